/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .eh_frame as far as a stack walk needs it: Linux Standard Base Core, "Exception
 * Frames", and DWARF 5, 6.4.  The search table of .eh_frame_hdr leads to a function's
 * FDE; its instructions are run up to the address, with three registers
 * followed: CFA, frame pointer, return address.
 *
 * All reading goes through a window of a few bytes that is filled by
 * atr_sys_peek(), within the object.  What is not understood gives no rule.
 */
#include "preload/cfi.h"

#include <stddef.h>
#include <string.h>

#include "preload/compiler.h"
#include "preload/sys.h"

#if defined(__x86_64__)
enum { REG_FP = 6, REG_SP = 7, REG_RA = 16 };
#elif defined(__aarch64__)
enum { REG_FP = 29, REG_SP = 31, REG_RA = 30 };
#endif

#define STEPS_MAX 20000 /* instructions of one function */
#define REMEMBER_MAX 8

/* ---- reading ---- */

struct reader {
	uintptr_t at, end; /* end: nothing is read from there on */
	uintptr_t window;  /* where buf comes from */
	size_t n;
	bool failed;
	uint8_t buf[64];
};

static void reader_init(struct reader *r, uintptr_t at, uintptr_t end)
{
	r->at = at;
	r->end = end;
	r->window = r->n = 0;
	r->failed = at > end;
}

static bool fill(struct reader *r, size_t n)
{
	size_t left = r->end - r->at;

	if (r->failed || left < n) {
		r->failed = true;
		return false;
	}
	r->window = r->at;
	r->n = left < sizeof(r->buf) ? left : sizeof(r->buf);
	if (!atr_sys_peek(r->buf, (const void *)r->at, r->n))
		r->failed = true;
	return !r->failed;
}

static uint64_t take(struct reader *r, size_t n)
{
	uint64_t v = 0;

	if (r->failed)
		return 0;
	if ((r->at - r->window > r->n || r->window + r->n - r->at < n) && !fill(r, n))
		return 0;
	memcpy(&v, r->buf + (r->at - r->window), n); /* both machines are little-endian */
	r->at += n;
	return v;
}

static uint8_t u8(struct reader *r)
{
	return (uint8_t)take(r, 1);
}

static uint64_t uleb(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t b = u8(r);

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	r->failed = true;
	return 0;
}

static int64_t sleb(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 63; shift += 7) {
		uint8_t b = u8(r);

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return (int64_t)(b & 0x40 ? v | ~(uint64_t)0 << (shift + 7) : v);
	}
	r->failed = true;
	return 0;
}

static void skip(struct reader *r, uint64_t n)
{
	if (n > r->end - r->at)
		r->failed = true;
	else
		r->at += n;
}

enum { PE_OMIT = 0xff, PE_PCREL = 0x10, PE_DATAREL = 0x30, PE_FORM = 0x0f, PE_BASE = 0x70 };

/* An encoded pointer's bytes, sign extended as its form says. */
static uint64_t encoded_form(struct reader *r, uint8_t enc)
{
	switch (enc & PE_FORM) {
	case 0x00: /* absptr */
	case 0x04: /* udata8 */
	case 0x0c: /* sdata8 */
		return take(r, 8);
	case 0x01:
		return uleb(r);
	case 0x02:
		return take(r, 2);
	case 0x03:
		return take(r, 4);
	case 0x09:
		return (uint64_t)sleb(r);
	case 0x0a:
		return (uint64_t)(int64_t)(int16_t)take(r, 2);
	case 0x0b:
		return (uint64_t)(int64_t)(int32_t)take(r, 4);
	default:
		r->failed = true;
		return 0;
	}
}

static uintptr_t encoded(struct reader *r, uint8_t enc)
{
	uintptr_t here = r->at;
	uintptr_t v = encoded_form(r, enc);

	if ((enc & PE_BASE) == PE_PCREL)
		return here + v;
	if (enc & PE_BASE)
		r->failed = true; /* relative to what we do not know */
	return v;
}

/* ---- finding ---- */

struct hdr {
	uint8_t version, frame_enc, count_enc, table_enc;
};

/* The FDE whose function may contain pc, by the binary search table; 0: none. */
static uintptr_t search(uintptr_t at, uintptr_t end, uintptr_t pc)
{
	struct hdr h;
	struct reader r;
	uint64_t n, lo = 0, hi;
	uintptr_t table;
	int32_t entry[2];

	if (end - at < sizeof(h) || !atr_sys_peek(&h, (const void *)at, sizeof(h)) ||
	    h.version != 1 || h.table_enc != (PE_DATAREL | 0x0b) || h.count_enc != 0x03)
		return 0;
	reader_init(&r, at + sizeof(h), end);
	(void)encoded_form(&r, h.frame_enc);
	n = take(&r, 4);
	table = r.at;
	if (r.failed || n > (end - table) / sizeof(entry))
		return 0;
	hi = n;
	while (lo < hi) { /* the last one that begins at or before pc is below hi */
		uint64_t mid = lo + (hi - lo) / 2;

		if (!atr_sys_peek(entry, (const void *)(table + mid * sizeof(entry)),
				  sizeof(entry)))
			return 0;
		if (at + (uintptr_t)(intptr_t)entry[0] <= pc)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo ||
	    !atr_sys_peek(entry, (const void *)(table + (lo - 1) * sizeof(entry)), sizeof(entry)))
		return 0;
	return at + (uintptr_t)(intptr_t)entry[1];
}

struct cie {
	uint64_t code_align;
	int64_t data_align;
	uintptr_t at, end; /* its instructions */
	uint8_t pointer_enc;
	bool has_data; /* FDEs have augmentation data */
	bool signal;
};

/* Augmentation data, as the letters say. */
static bool augmentation(struct cie *cie, struct reader *r, const char *letters)
{
	uint64_t len = uleb(r);
	uintptr_t data = r->at;

	for (const char *p = letters + 1; *p; p++) {
		uint8_t enc;

		if (*p == 'R') {
			cie->pointer_enc = u8(r);
		} else if (*p == 'L') {
			(void)u8(r);
		} else if (*p == 'P') {
			enc = u8(r);
			if (enc != PE_OMIT)
				(void)encoded_form(r, enc);
		} else if (*p == 'S') {
			cie->signal = true;
		} else if (*p != 'B') {
			break; /* the length says where it ends */
		}
	}
	r->at = data;
	skip(r, len);
	return !r->failed;
}

static bool read_cie(struct cie *cie, uintptr_t at, uintptr_t end)
{
	struct reader r;
	uint64_t len;
	uint8_t version;
	char letters[8];
	size_t n = 0;

	*cie = (struct cie){ 0 };
	reader_init(&r, at, end);
	len = take(&r, 4);
	if (r.failed || len >= 0xfffffff0u || len > end - r.at)
		return false;
	cie->end = r.end = r.at + len;
	if (take(&r, 4) != 0) /* a CIE's id */
		return false;
	version = u8(&r);
	while ((letters[n] = (char)u8(&r)))
		if (++n == sizeof(letters))
			return false;
	if (r.failed || (version != 1 && version != 3))
		return false;
	cie->code_align = uleb(&r);
	cie->data_align = sleb(&r);
	if ((version == 1 ? u8(&r) : uleb(&r)) != REG_RA)
		return false;
	if (letters[0] == 'z') {
		cie->has_data = true;
		if (!augmentation(cie, &r, letters))
			return false;
	} else if (letters[0]) {
		return false;
	}
	cie->at = r.at;
	return !r.failed;
}

/* ---- running ---- */

struct place { /* where a register of the caller is */
	uint8_t kind;
	int64_t off;
};
enum { SAME, AT_CFA, AT_FP, UNDEFINED, UNKNOWN };

struct row {
	uint8_t base; /* enum atr_cfi_base */
	int64_t cfa;
	struct place fp, ra;
};

struct machine {
	const struct cie *cie;
	struct row row, initial;
	struct row saved[REMEMBER_MAX];
	unsigned n_saved;
	bool bad;
};

static struct place *followed(struct machine *m, uint64_t reg)
{
	return reg == REG_FP ? &m->row.fp : reg == REG_RA ? &m->row.ra : NULL;
}

static void put(struct machine *m, uint64_t reg, uint8_t kind, int64_t off)
{
	struct place *p = followed(m, reg);

	if (p)
		*p = (struct place){ .kind = kind, .off = off };
}

static void cfa_register(struct machine *m, uint64_t reg)
{
	m->row.base = reg == REG_SP ? ATR_CFI_SP : reg == REG_FP ? ATR_CFI_FP : ATR_CFI_NONE;
}

/* breg<fp> offset, then nothing or deref: what compilers write; true when it is that. */
static bool expression(struct reader *r, int64_t *ret_off, bool *ret_deref)
{
	uint64_t len = uleb(r);
	struct reader e = *r;

	skip(r, len);
	if (r->failed)
		return false;
	e.end = r->at;
	if (u8(&e) != 0x70 + REG_FP) /* DW_OP_breg0 + n */
		return false;
	*ret_off = sleb(&e);
	*ret_deref = e.at < e.end;
	if (*ret_deref && u8(&e) != 0x06) /* DW_OP_deref */
		return false;
	return !e.failed && e.at == e.end;
}

static void cfa_expression(struct machine *m, struct reader *r)
{
	bool deref;

	if (!expression(r, &m->row.cfa, &deref))
		m->row.base = ATR_CFI_NONE;
	else
		m->row.base = deref ? ATR_CFI_FP_DEREF : ATR_CFI_FP;
}

static void register_expression(struct machine *m, struct reader *r)
{
	uint64_t reg = uleb(r);
	bool deref;
	int64_t off = 0;

	if (expression(r, &off, &deref) && !deref)
		put(m, reg, AT_FP, off);
	else
		put(m, reg, UNKNOWN, 0);
}

static void restore(struct machine *m, uint64_t reg)
{
	if (reg == REG_FP)
		m->row.fp = m->initial.fp;
	else if (reg == REG_RA)
		m->row.ra = m->initial.ra;
}

static void remember(struct machine *m)
{
	if (m->n_saved < REMEMBER_MAX)
		m->saved[m->n_saved++] = m->row;
	else
		m->bad = true;
}

static void recall(struct machine *m)
{
	if (m->n_saved)
		m->row = m->saved[--m->n_saved];
	else
		m->bad = true;
}

/* DW_CFA_*, those whose two high bits are 0 and that do not move on. */
static void instruction(struct machine *m, struct reader *r, uint8_t op)
{
	uint64_t reg;

	switch (op) {
	case 0x00: /* nop */
	case 0x2d: /* AARCH64_negate_ra_state: signs are taken off all the same */
		break;
	case 0x05: /* offset_extended */
		reg = uleb(r);
		put(m, reg, AT_CFA, (int64_t)uleb(r) * m->cie->data_align);
		break;
	case 0x06: /* restore_extended */
		restore(m, uleb(r));
		break;
	case 0x07: /* undefined */
		put(m, uleb(r), UNDEFINED, 0);
		break;
	case 0x08: /* same_value */
		put(m, uleb(r), SAME, 0);
		break;
	case 0x09: /* register */
		reg = uleb(r);
		(void)uleb(r);
		put(m, reg, UNKNOWN, 0);
		break;
	case 0x0a:
		remember(m);
		break;
	case 0x0b:
		recall(m);
		break;
	case 0x0c: /* def_cfa */
		cfa_register(m, uleb(r));
		m->row.cfa = (int64_t)uleb(r);
		break;
	case 0x0d: /* def_cfa_register */
		cfa_register(m, uleb(r));
		break;
	case 0x0e: /* def_cfa_offset */
		m->row.cfa = (int64_t)uleb(r);
		break;
	case 0x0f:
		cfa_expression(m, r);
		break;
	case 0x10:
		register_expression(m, r);
		break;
	case 0x11: /* offset_extended_sf */
		reg = uleb(r);
		put(m, reg, AT_CFA, sleb(r) * m->cie->data_align);
		break;
	case 0x12: /* def_cfa_sf */
		cfa_register(m, uleb(r));
		m->row.cfa = sleb(r) * m->cie->data_align;
		break;
	case 0x13: /* def_cfa_offset_sf */
		m->row.cfa = sleb(r) * m->cie->data_align;
		break;
	case 0x14: /* val_offset */
	case 0x15: /* val_offset_sf */
		reg = uleb(r);
		(void)uleb(r);
		put(m, reg, UNKNOWN, 0);
		break;
	case 0x16: /* val_expression */
		put(m, uleb(r), UNKNOWN, 0);
		skip(r, uleb(r));
		break;
	case 0x2e: /* GNU_args_size */
		(void)uleb(r);
		break;
	default:
		m->bad = true;
	}
}

/* How far an instruction moves on; false when it is of another kind. */
static bool advance(struct machine *m, struct reader *r, uint8_t op, uint64_t *ret_delta)
{
	if (op >> 6 == 1)
		*ret_delta = op & 0x3f;
	else if (op >= 0x02 && op <= 0x04)
		*ret_delta = take(r, (size_t)1 << (op - 2));
	else
		return false;
	*ret_delta *= m->cie->code_align;
	return true;
}

/* Runs instructions while they are about addresses up to pc. */
static void run(struct machine *m, struct reader *r, uintptr_t loc, uintptr_t pc)
{
	for (unsigned i = 0; r->at < r->end; i++) {
		uint8_t op = u8(r);
		uint64_t delta;

		if (r->failed || m->bad || i > STEPS_MAX) {
			m->bad = true;
			return;
		}
		if (advance(m, r, op, &delta)) {
			if (delta > pc - loc)
				return;
			loc += delta;
		} else if (op == 0x01) { /* set_loc */
			uintptr_t to = encoded(r, m->cie->pointer_enc);

			if (to < loc || to > pc)
				return;
			loc = to;
		} else if (op >> 6 == 2) {
			put(m, op & 0x3f, AT_CFA, (int64_t)uleb(r) * m->cie->data_align);
		} else if (op >> 6 == 3) {
			restore(m, op & 0x3f);
		} else {
			instruction(m, r, op);
		}
	}
	m->bad |= r->failed;
}

static bool small(int64_t v)
{
	return v > -(1 << 30) && v < 1 << 30;
}

/* False where the frame pointer or the return address cannot be had so. */
static bool to_rule(struct atr_cfi *rule, const struct row *row)
{
	if (row->base == ATR_CFI_NONE || row->ra.kind != AT_CFA || row->fp.kind == UNKNOWN ||
	    !small(row->cfa) || !small(row->ra.off) || !small(row->fp.off))
		return false;
	*rule = (struct atr_cfi){
		.base = row->base,
		.cfa = (int32_t)row->cfa,
		.fp_rule = row->fp.kind == AT_CFA  ? ATR_CFI_FP_AT_CFA
			   : row->fp.kind == AT_FP ? ATR_CFI_FP_AT_FP
						   : ATR_CFI_FP_SAME,
		.fp = (int32_t)row->fp.off,
		.ra = (int32_t)row->ra.off,
	};
	return true;
}

void atr_cfi_find(struct atr_cfi *rule, uintptr_t hdr, uintptr_t start, uintptr_t end, uintptr_t pc)
{
	uintptr_t at, begin, size, cie_at, call = pc - 1; /* the call may be the last instruction */
	struct machine m = { 0 };
	struct cie cie;
	struct reader r;
	uint64_t len;

	*rule = (struct atr_cfi){ .base = ATR_CFI_NONE };
	if (hdr < start || hdr >= end || call < start || call >= end)
		return;
	at = search(hdr, end, call);
	if (at < start || at >= end)
		return;
	reader_init(&r, at, end);
	len = take(&r, 4);
	if (r.failed || len >= 0xfffffff0u || len > end - r.at)
		return;
	r.end = r.at + len;
	cie_at = r.at;
	cie_at -= take(&r, 4);
	if (r.failed || cie_at < start || cie_at >= at || !read_cie(&cie, cie_at, end) ||
	    cie.signal)
		return;
	begin = encoded(&r, cie.pointer_enc);
	size = encoded_form(&r, cie.pointer_enc & PE_FORM);
	if (r.failed || call - begin >= size)
		return;
	if (cie.has_data)
		skip(&r, uleb(&r));
	if (r.failed)
		return;
	m.cie = &cie;
	{
		struct reader c;

		reader_init(&c, cie.at, cie.end);
		run(&m, &c, begin, begin);
	}
	m.initial = m.row;
	run(&m, &r, begin, call);
	if (!m.bad)
		(void)to_rule(rule, &m.row);
}
