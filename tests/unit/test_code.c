/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/demangle.o exporter/image.o exporter/lines.o exporter/symbols.o exporter/buf.o */
/* LINK: preload/attr.o preload/utf8.o preload/object.o preload/sys.o preload/peek.o */
/* LINK: exporter/otlp.pb-c.o */
/* LINK: -lprotobuf-c -ldl */
#include "exporter/code.c"

#include "exporter/otlp.pb-c.h"
#include "tests/unit/test.h"

static uint64_t now;

static uint64_t fake_now(void)
{
	return now;
}

static const struct atr_host host = { .now = fake_now, .object = atr_object };

static __attribute__((noinline)) uint64_t here(void)
{
	struct atr_mapping map;
	union {
		const struct atr_object *read;
		struct atr_object *write;
	} o;
	uintptr_t pc = (uintptr_t)__builtin_extract_return_addr(__builtin_return_address(0));
	unsigned i;

	atr_object_init();
	CHECK(atr_object_map(pc, &map));
	i = atr_object_index(&map);
	o.read = atr_object(i);
	o.write->class = ATR_OBJECT_PROGRAM; /* it is in ours here, for which no lines are read */
	return (uint64_t)i << ATR_ADDR_BITS | (pc - map.bias);
}

static __attribute__((noinline)) uint64_t first_caller(int *line)
{
	uint64_t addr = (*line = __LINE__, here());

	__asm__ volatile("" ::: "memory");
	return addr;
}

/* A record with an empty span and these addresses, unpacked. */
static Atr__Otlp__Span *span_of(struct atr_code *code, const uint64_t *addrs, size_t n,
				unsigned flags, uint64_t until)
{
	static union {
		struct atr_record record;
		uint64_t room[64];
	} r;
	const struct atr_buf *span;
	static const uint8_t name[] = { 0x2a, 1, 'x' };

	memset(&r, 0, sizeof(r));
	memcpy(r.record.span, name, sizeof(name));
	r.record.span_len = sizeof(name);
	r.record.n_addrs = (uint16_t)n;
	r.record.flags = (uint16_t)flags;
	memcpy(r.room + (sizeof(r.record) + atr_record_addrs_at(sizeof(name))) / 8, addrs, n * 8);
	span = atr_code_span(code, &r.record, until);
	return span ? atr__otlp__span__unpack(NULL, span->len, span->bytes) : NULL;
}

static const Atr__Otlp__AnyValue *attr(const Atr__Otlp__Span *s, const char *key)
{
	for (size_t i = 0; s && i < s->n_attributes; i++)
		if (strcmp(s->attributes[i]->key, key) == 0)
			return s->attributes[i]->value;
	return NULL;
}

static const char *text(const Atr__Otlp__Span *s, const char *key)
{
	const Atr__Otlp__AnyValue *v = attr(s, key);

	return v ? v->string_value : "(none)";
}

TEST(a_site_and_a_stack_become_attributes)
{
	struct atr_code code;
	Atr__Otlp__Span *s;
	uint64_t addrs[4];
	char wanted[64];
	int line = 0;

	addrs[0] = addrs[1] = first_caller(&line);
	addrs[2] = here();
	addrs[3] = 0x123456; /* code of no object */
	atr_code_init(&code, &host);
	for (int round = 0; round < 2; round++) {
		s = span_of(&code, addrs, 4, ATR_RECORD_SITE, UINT64_MAX);
		CHECK_STR(s->name, "x");
		CHECK_STR(text(s, "code.function.name"), "first_caller");
		if (attr(s, "code.file.path")) { /* libdw is there */
			CHECK(strstr(text(s, "code.file.path"), "tests/unit/test_code.c") != NULL);
			CHECK_INT(attr(s, "code.line.number")->int_value, line);
		}
		CHECK_INT(strncmp(text(s, "code.stacktrace"), "first_caller+0x", 15), 0);
		CHECK(strstr(text(s, "code.stacktrace"),
			     "\ntest_a_site_and_a_stack_become_attributes+0x") != NULL);
		CHECK(strstr(text(s, "code.stacktrace"), " in test_code\n0x123456") != NULL);
		atr__otlp__span__free_unpacked(s, NULL);
		atr_code_rest(&code);
		CHECK_INT(code.n_opened, 0);
	}
	s = span_of(&code, addrs + 1, 1, 0, UINT64_MAX);
	CHECK(attr(s, "code.function.name") == NULL);
	CHECK(attr(s, "code.stacktrace") != NULL);
	atr__otlp__span__free_unpacked(s, NULL);
	s = span_of(&code, addrs, 1, ATR_RECORD_SITE, UINT64_MAX);
	CHECK(attr(s, "code.stacktrace") == NULL);
	atr__otlp__span__free_unpacked(s, NULL);
	s = span_of(&code, addrs + 3, 1, ATR_RECORD_SITE, UINT64_MAX);
	CHECK_INT(s->n_attributes, 0);
	atr__otlp__span__free_unpacked(s, NULL);
	(void)wanted;
	atr_code_finish(&code);
}

TEST(no_new_file_is_read_when_the_time_is_up)
{
	struct atr_code code;
	Atr__Otlp__Span *s;
	uint64_t addr = here();

	atr_code_init(&code, &host);
	now = 100;
	s = span_of(&code, &addr, 1, ATR_RECORD_SITE, 100);
	CHECK_INT(s->n_attributes, 0);
	CHECK_INT(code.n_opened, 0);
	atr__otlp__span__free_unpacked(s, NULL);
	s = span_of(&code, &addr, 1, ATR_RECORD_SITE, 101);
	CHECK(attr(s, "code.function.name") != NULL);
	atr__otlp__span__free_unpacked(s, NULL);
	s = span_of(&code, &addr, 1, ATR_RECORD_SITE, 100); /* known by now */
	CHECK(attr(s, "code.function.name") != NULL);
	atr__otlp__span__free_unpacked(s, NULL);
	atr_code_finish(&code);
	now = 0;
}

TEST(however_many_addresses_there_are_memory_is_bounded)
{
	struct atr_code code;
	uint64_t object = here() >> ATR_ADDR_BITS << ATR_ADDR_BITS;
	size_t most = 0;

	atr_code_init(&code, &host);
	for (uint64_t i = 1; i < 3 * NAMES; i++) {
		const uint64_t addr = object | i;

		atr__otlp__span__free_unpacked(span_of(&code, &addr, 1, 0, UINT64_MAX), NULL);
		most = code.n_names > most ? code.n_names : most;
	}
	CHECK_INT(most, NAMES_FULL);
	atr_code_finish(&code);
}

TEST(what_is_added_stays_within_its_bound)
{
	struct atr_code code;
	uint64_t addrs[33];

	atr_code_init(&code, &host);
	for (size_t i = 0; i < 33; i++)
		addrs[i] = here();
	atr__otlp__span__free_unpacked(span_of(&code, addrs, 33, ATR_RECORD_SITE, UINT64_MAX),
				       NULL);
	CHECK(code.span.len < ATR_CODE_MAX);
	atr_code_finish(&code);
}
