/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/text.h"

#include <stdbool.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

size_t atr_decimal(char *buf, uint64_t v)
{
	char tmp[20];
	size_t n = 0;

	do {
		tmp[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	for (size_t i = 0; i < n; i++)
		buf[i] = tmp[n - 1 - i];
	return n;
}

struct out {
	char *p;
	char *end; /* the last byte is kept for the NUL */
};

static void put(struct out *o, const char *s, size_t n)
{
	size_t room = (size_t)(o->end - o->p);

	if (n > room)
		n = room;
	memcpy(o->p, s, n);
	o->p += n;
}

static void put_int(struct out *o, uint64_t v, bool negative, unsigned base)
{
	char tmp[24];
	size_t n = 0;

	if (negative)
		put(o, "-", 1);
	if (base == 16) {
		char digits[16];

		do {
			digits[n++] = "0123456789abcdef"[v & 15];
			v >>= 4;
		} while (v);
		for (size_t i = 0; i < n; i++)
			tmp[i] = digits[n - 1 - i];
	} else {
		n = atr_decimal(tmp, v);
	}
	put(o, tmp, n);
}

struct spec {
	int longs;     /* 0 int, 1 long or size_t, 2 long long */
	int precision; /* -1: none */
};

static const char *spec_read(struct spec *spec, const char *f, va_list *args)
{
	*spec = (struct spec){ .precision = -1 };
	while (*f && strchr("-+ #0123456789", *f))
		f++;
	if (*f == '.') {
		f++;
		spec->precision = 0;
		if (*f == '*') {
			spec->precision = va_arg(*args, int);
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			spec->precision = spec->precision * 10 + (*f - '0');
	}
	for (; *f && strchr("hlzjt", *f); f++)
		spec->longs += *f != 'h';
	return f;
}

static int64_t signed_arg(const struct spec *spec, va_list *args)
{
	return spec->longs == 0	  ? va_arg(*args, int)
	       : spec->longs == 1 ? va_arg(*args, long)
				  : va_arg(*args, long long);
}

static uint64_t unsigned_arg(const struct spec *spec, va_list *args)
{
	return spec->longs == 0	  ? va_arg(*args, unsigned)
	       : spec->longs == 1 ? va_arg(*args, unsigned long)
				  : va_arg(*args, unsigned long long);
}

static void put_string(struct out *o, const char *s, int precision)
{
	if (!s)
		s = "(null)";
	put(o, s, precision >= 0 ? strnlen(s, (size_t)precision) : strlen(s));
}

static void convert(struct out *o, char type, const struct spec *spec, va_list *args)
{
	switch (type) {
	case 's':
		put_string(o, va_arg(*args, const char *), spec->precision);
		break;
	case 'c':
		put(o, &(char){ (char)va_arg(*args, int) }, 1);
		break;
	case 'd':
	case 'i': {
		int64_t v = signed_arg(spec, args);

		put_int(o, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0, 10);
		break;
	}
	case 'u':
		put_int(o, unsigned_arg(spec, args), false, 10);
		break;
	case 'x':
		put_int(o, unsigned_arg(spec, args), false, 16);
		break;
	case 'p':
		put(o, "0x", 2);
		put_int(o, (uintptr_t)va_arg(*args, void *), false, 16);
		break;
	default:
		put(o, &type, 1);
	}
}

size_t atr_vformat(char *buf, size_t size, const char *fmt, va_list args)
{
	struct out o = { .p = buf, .end = buf + size - 1 };
	va_list ap;

	va_copy(ap, args);
	for (const char *f = fmt; *f; f++) {
		const char *percent = strchr(f, '%');
		struct spec spec;

		if (!percent) {
			put(&o, f, strlen(f));
			break;
		}
		put(&o, f, (size_t)(percent - f));
		f = spec_read(&spec, percent + 1, &ap);
		if (!*f)
			break;
		convert(&o, *f, &spec, &ap);
	}
	va_end(ap);
	*o.p = '\0';
	return (size_t)(o.p - buf);
}

size_t atr_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;
	size_t n;

	va_start(args, fmt);
	n = atr_vformat(buf, size, fmt, args);
	va_end(args);
	return n;
}

size_t atr_ipv4_text(char buf[static ATR_ADDR_TEXT_MAX], const uint8_t addr[static 4])
{
	size_t n = 0;

	for (int i = 0; i < 4; i++) {
		if (i)
			buf[n++] = '.';
		n += atr_decimal(buf + n, addr[i]);
	}
	return n;
}

static size_t put_group(char *buf, unsigned v)
{
	size_t n = 0;

	for (int shift = 12; shift >= 0; shift -= 4)
		if (n || shift == 0 || v >> shift)
			buf[n++] = "0123456789abcdef"[v >> shift & 15];
	return n;
}

size_t atr_ipv6_text(char buf[static ATR_ADDR_TEXT_MAX], const uint8_t addr[static 16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	unsigned group[8];
	int best = -1, best_len = 1; /* a single zero group is not shortened */
	size_t n = 0;

	if (memcmp(addr, mapped, sizeof(mapped)) == 0)
		return atr_ipv4_text(buf, addr + 12);
	for (int i = 0; i < 8; i++)
		group[i] = (unsigned)addr[2 * i] << 8 | addr[2 * i + 1];
	for (int i = 0, run; i < 8; i += run + 1) {
		for (run = 0; i + run < 8 && !group[i + run]; run++)
			;
		if (run > best_len) {
			best = i;
			best_len = run;
		}
	}
	for (int i = 0; i < 8; i++) {
		if (i == best) {
			buf[n++] = ':';
			buf[n++] = ':';
			i += best_len - 1;
			continue;
		}
		if (i && (best < 0 || i != best + best_len))
			buf[n++] = ':';
		n += put_group(buf + n, group[i]);
	}
	return n;
}

/* clang-format off */
#define PAIRS(high) \
	#high "0" #high "1" #high "2" #high "3" #high "4" #high "5" #high "6" #high "7" \
	#high "8" #high "9" #high "a" #high "b" #high "c" #high "d" #high "e" #high "f"
static const char hex_pairs[] = PAIRS(0) PAIRS(1) PAIRS(2) PAIRS(3) PAIRS(4) PAIRS(5) PAIRS(6)
				PAIRS(7) PAIRS(8) PAIRS(9) PAIRS(a) PAIRS(b) PAIRS(c) PAIRS(d)
				PAIRS(e) PAIRS(f);
#undef PAIRS
/* clang-format on */

#ifdef __SSE2__
/* Ids are in every request: sixteen digits at a time. */
static inline void eight_to_hex(char *buf, const uint8_t *bytes)
{
	const __m128i low = _mm_set1_epi8(0x0f);
	__m128i v = _mm_loadl_epi64((const __m128i *)(const void *)bytes);
	__m128i d =
		_mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(v, 4), low), _mm_and_si128(v, low));
	__m128i letters =
		_mm_and_si128(_mm_cmpgt_epi8(d, _mm_set1_epi8(9)), _mm_set1_epi8('a' - '0' - 10));

	_mm_storeu_si128((__m128i *)(void *)buf,
			 _mm_add_epi8(d, _mm_add_epi8(letters, _mm_set1_epi8('0'))));
}
#endif

void atr_to_hex(char *buf, const uint8_t *bytes, size_t n)
{
#ifdef __SSE2__
	for (; n >= 8; n -= 8, bytes += 8, buf += 16)
		eight_to_hex(buf, bytes);
#endif
	for (size_t i = 0; i < n; i++)
		memcpy(buf + 2 * i, hex_pairs + 2 * bytes[i], 2);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int atr_from_hex(uint8_t *bytes, const char *hex, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int hi = hex_digit(hex[2 * i]);
		int lo = hi < 0 ? -1 : hex_digit(hex[2 * i + 1]);

		if (lo < 0)
			return -1;
		bytes[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}
