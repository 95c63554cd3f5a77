/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: hooks/http1.o */
#include "hooks/open.c"

#include <pthread.h>

#include "tests/unit/test.h"

static struct atr_open entries[4 * PROBES];
static struct atr_cell cells[4 * PROBES];

/* What entry n is found as. */
static struct atr_context context(unsigned n)
{
	return (struct atr_context){ .valid = true,
				     .span_id = { (uint8_t)(n + 1) },
				     .open = &cells[n],
				     .gen = cells[n].gen };
}

/* The remote parent whose span id begins with this. */
static struct atr_context remote(uint32_t id)
{
	struct atr_context c = { .valid = true, .remote = true, .trace_id = { [15] = 7 } };

	memcpy(c.span_id, &id, sizeof(id));
	return c;
}

static struct atr_http_head head_of(const char *text)
{
	struct atr_http_head head;

	if (atr_http_parse_request(&head, text, strlen(text)) != 0)
		abort();
	return head;
}

static void add(unsigned n, const char *text, const struct atr_context *from)
{
	struct atr_http_head head = head_of(text);
	struct atr_context c = context(n);

	atr_open_add(&entries[n], &head, from, &c);
}

static void add_from(unsigned n, uint32_t from)
{
	struct atr_context c = remote(from);

	add(n, "GET / HTTP/1.1\r\n", &c);
}

/* Which entry is the one, or minus how many there are (2: several). */
static int found(enum atr_found is, const struct atr_context *ret)
{
	return is == ATR_FOUND_ONE ? ret->span_id[0] - 1 : is == ATR_FOUND_NONE ? -1 : -2;
}

#define NONE (-1)
#define SEVERAL (-2)

static int by_id(uint32_t from)
{
	struct atr_context c = remote(from), ret;

	return found(atr_open_by_ids(&c, &ret), &ret);
}

static int by_text(const char *text)
{
	struct atr_http_head head = head_of(text);
	struct atr_context ret;

	return found(atr_open_by_head(&head, &ret), &ret);
}

static void tables_are_empty(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		n += by_ids.slots[i] || by_target.slots[i];
	CHECK_INT(n, 0);
	CHECK_INT(by_ids.left_out + by_target.left_out, 0);
}

TEST(a_request_is_found_by_the_ids_it_came_with_while_it_is_listed)
{
	struct atr_context found_one, from = remote(1);

	CHECK_INT(by_id(1), NONE);
	add_from(0, 1);
	add_from(1, 2);
	CHECK_INT(by_id(1), 0);
	CHECK_INT(by_id(2), 1);
	CHECK_INT(by_id(3), NONE);
	CHECK(atr_open_by_ids(&from, &found_one) == ATR_FOUND_ONE);
	CHECK(found_one.open == &cells[0] && found_one.gen == cells[0].gen && found_one.valid);
	from.trace_id[0] ^= 1;
	CHECK(atr_open_by_ids(&from, &found_one) == ATR_FOUND_NONE);
	atr_open_remove(&entries[0]);
	CHECK_INT(by_id(1), NONE);
	CHECK_INT(by_id(2), 1);
	atr_open_remove(&entries[1]);
	atr_open_remove(&entries[1]); /* once more does no harm */
	tables_are_empty();
}

TEST(two_that_came_with_the_same_are_several_until_one_goes)
{
	add_from(0, 1);
	add_from(1, 1);
	CHECK_INT(by_id(1), SEVERAL);
	atr_open_remove(&entries[0]);
	CHECK_INT(by_id(1), 1);
	add_from(0, 1);
	CHECK_INT(by_id(1), SEVERAL);
	cells[1].gen++; /* its span has ended, it is only listed still */
	CHECK_INT(by_id(1), 0);
	atr_open_remove(&entries[0]);
	CHECK_INT(by_id(1), NONE);
	atr_open_remove(&entries[1]);
	tables_are_empty();
}

TEST(a_request_without_a_parent_is_not_found_by_ids)
{
	static const struct atr_context zero;
	struct atr_context ret;

	add(0, "GET / HTTP/1.1\r\n", NULL);
	CHECK(atr_open_by_ids(&zero, &ret) == ATR_FOUND_NONE);
	tables_are_empty(); /* and there is nothing else that tells it from others */
	atr_open_remove(&entries[0]);
	tables_are_empty();
}

TEST(a_request_is_found_by_method_target_and_request_id)
{
	add(0, "GET /a?b HTTP/1.1\r\nHost: h\r\nX-Request-Id: 1\r\n", NULL);
	CHECK_INT(by_text("GET /a?b HTTP/1.1\r\nX-Request-Id: 1\r\n"), 0);
	CHECK_INT(by_text("GET /a?b HTTP/1.0\r\nHost: other\r\nx-request-id:  1 \r\nVia: x\r\n"),
		  0);
	CHECK_INT(by_text("GET /a?b HTTP/1.1\r\nX-Request-Id: 2\r\n"), NONE);
	CHECK_INT(by_text("GET /a?b HTTP/1.1\r\nX-Request-Id: 11\r\n"), NONE);
	CHECK_INT(by_text("GET /a?b HTTP/1.1\r\nX-Correlation-Id: 1\r\n"), NONE);
	CHECK_INT(by_text("GET /a?b HTTP/1.1\r\n"), NONE);
	CHECK_INT(by_text("POST /a?b HTTP/1.1\r\nX-Request-Id: 1\r\n"), NONE);
	CHECK_INT(by_text("GET /a?c HTTP/1.1\r\nX-Request-Id: 1\r\n"), NONE);
	add(1, "GET /a?b HTTP/1.1\r\nHost: h\r\nX-Request-Id: 1\r\n", NULL);
	CHECK_INT(by_text("GET /a?b HTTP/1.1\r\nX-Request-Id: 1\r\n"), SEVERAL);
	atr_open_remove(&entries[0]);
	CHECK_INT(by_text("GET /a?b HTTP/1.1\r\nX-Request-Id: 1\r\n"), 1);
	cells[1].gen++;
	CHECK_INT(by_text("GET /a?b HTTP/1.1\r\nX-Request-Id: 1\r\n"), NONE);
	atr_open_remove(&entries[1]);
	tables_are_empty();
}

TEST(all_that_tells_it_apart_must_be_there_too_and_more_may_be)
{
	static const char both[] = "GET / HTTP/1.1\r\nX-Request-Id: 1\r\nIdempotency-Key: k\r\n";
	static const char one[] = "GET / HTTP/1.1\r\nX-Request-Id: 1\r\n";

	add(0, both, NULL);
	CHECK_INT(by_text(both), 0);
	CHECK_INT(by_text(one), NONE);
	CHECK_INT(by_text("GET / HTTP/1.1\r\nX-Request-Id: k\r\nIdempotency-Key: 1\r\n"), NONE);
	atr_open_remove(&entries[0]);
	add(0, one, NULL);
	CHECK_INT(by_text(both), 0);
	add(1, both, NULL);
	CHECK_INT(by_text(both), SEVERAL);
	CHECK_INT(by_text(one), 0);
	atr_open_remove(&entries[0]);
	atr_open_remove(&entries[1]);
	tables_are_empty();
}

/* Of http.def: which fields are said to tell one request from another. */
TEST(each_distinct_field_tells_and_no_other_does)
{
	static const char *const names[] = {
#define FIELD(name, text, kind) text,
#include "hooks/http.def"
	};
	enum { PLAIN, DISTINCT };
	static const int kinds[] = {
#define FIELD(name, text, kind) kind,
#include "hooks/http.def"
	};

	for (unsigned i = 0; i < ATR_HTTP_N_FIELDS; i++) {
		char text[128], other[128];

		if (i == ATR_HTTP_TRANSFER_ENCODING)
			continue; /* has a grammar */
		(void)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s: 1\r\n", names[i]);
		(void)snprintf(other, sizeof(other), "GET / HTTP/1.1\r\n%s: 2\r\n", names[i]);
		add(0, text, NULL);
		CHECK_INT(by_text(text), kinds[i] == DISTINCT ? 0 : NONE);
		CHECK_INT(by_text(other), NONE);
		atr_open_remove(&entries[0]);
	}
	CHECK_INT(kinds[ATR_HTTP_COOKIE] + kinds[ATR_HTTP_AUTHORIZATION], 0);
	tables_are_empty();
}

TEST(values_of_every_length_are_told_apart)
{
	char text[128], other[128];

	for (unsigned n = 1; n < 40; n++) {
		for (unsigned at = 0; at < n; at++) {
			int line = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nX-Request-Id: ");

			memset(text + line, 'a', n);
			memcpy(text + line + n, "\r\n", 3);
			memcpy(other, text, sizeof(text));
			other[(unsigned)line + at] = 'b';
			add(0, text, NULL);
			CHECK_INT(by_text(text), 0);
			CHECK_INT(by_text(other), NONE);
			atr_open_remove(&entries[0]);
		}
	}
	tables_are_empty();
}

/* Numbers of remote parents whose hashes begin at one slot of the table. */
static unsigned same_slot(uint32_t ids[static PROBES + 3])
{
	unsigned n = 0, slot = 0;

	for (uint32_t i = 0; i < 1 << 20 && n < PROBES + 3; i++) {
		struct atr_context c = remote(i);
		unsigned at = (uint32_t)hash_ids(c.trace_id, c.span_id) % SLOTS;

		if (!n || at == slot) {
			slot = at;
			ids[n++] = i;
		}
	}
	return n;
}

TEST(as_many_as_there_is_room_for_near_a_hash_are_all_found)
{
	uint32_t ids[PROBES + 3] = { 0 };

	if (!CHECK(same_slot(ids) == PROBES + 3))
		return;
	for (unsigned i = 0; i < PROBES / 2; i++)
		add_from(i, ids[i]);
	atr_open_remove(&entries[1]); /* a gap does not hide what lies behind it */
	for (unsigned i = 0; i < PROBES / 2; i++)
		CHECK_INT(by_id(ids[i]), i == 1 ? NONE : (int)i);
	add_from(1, ids[1]);
	for (unsigned i = PROBES / 2; i < PROBES; i++)
		add_from(i, ids[i]);
	for (unsigned i = 0; i < PROBES; i++)
		CHECK_INT(by_id(ids[i]), i);
	CHECK_INT(by_ids.left_out, 0);
	for (unsigned i = 0; i < PROBES; i++)
		atr_open_remove(&entries[i]);
	tables_are_empty();
}

TEST(while_one_is_not_kept_nothing_is_found_for_certain)
{
	uint32_t ids[PROBES + 3] = { 0 };
	unsigned n = PROBES + 2;

	if (!CHECK(same_slot(ids) == PROBES + 3))
		return;
	add_from(n, 0xffffff); /* elsewhere */
	for (unsigned i = 0; i < PROBES + 2; i++)
		add_from(i, ids[i]);
	CHECK_INT(by_ids.left_out, 2);
	CHECK_INT(by_id(ids[0]), SEVERAL);
	CHECK_INT(by_id(0xffffff), SEVERAL);
	CHECK_INT(by_id(ids[PROBES]), NONE);
	atr_open_remove(&entries[0]); /* room, but they do not come back */
	atr_open_remove(&entries[PROBES]);
	CHECK_INT(by_id(ids[1]), SEVERAL);
	atr_open_remove(&entries[PROBES + 1]);
	CHECK_INT(by_id(ids[1]), 1);
	CHECK_INT(by_id(0xffffff), (int)n);
	for (unsigned i = 0; i < PROBES + 3; i++)
		atr_open_remove(&entries[i]);
	tables_are_empty();
}

TEST(an_entry_that_is_made_anew_forgets_what_it_was)
{
	struct atr_context from = remote(1);

	add(0, "GET / HTTP/1.1\r\nX-Request-Id: 1\r\n", &from);
	CHECK_INT(by_id(1), 0);
	CHECK_INT(by_text("GET / HTTP/1.1\r\nX-Request-Id: 1\r\n"), 0);
	atr_open_remove(&entries[0]);
	add(0, "GET / HTTP/1.1\r\n", NULL);
	CHECK_INT(by_id(1), NONE);
	CHECK_INT(by_text("GET / HTTP/1.1\r\nX-Request-Id: 1\r\n"), NONE);
	CHECK_INT(entries[0].slot_ids + entries[0].slot_target, 0);
	tables_are_empty();
}

/* A context that is not open any more, or never was, is no parent. */
TEST(what_has_no_cell_is_not_found)
{
	struct atr_http_head head = head_of("GET / HTTP/1.1\r\n");
	struct atr_context from = remote(1), c = context(0);

	c.open = NULL;
	atr_open_add(&entries[0], &head, &from, &c);
	CHECK_INT(by_id(1), NONE);
	atr_open_remove(&entries[0]);
	tables_are_empty();
}

/* ---- threads ---- */

#define ROUNDS 20000

static unsigned wrong;
static bool stop;

/* Entry i is only ever listed under id i + 1, so nothing else may be found there. */
static void *look(void *arg)
{
	(void)arg;
	for (unsigned i = 1; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i = i % 4 + 1) {
		int is = by_id(i);

		if (is != NONE && is != (int)i - 1)
			__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *come_and_go(void *arg)
{
	unsigned first = *(unsigned *)arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned n = first + i % 2;

		add_from(n, n + 1);
		if (by_id(n + 1) != (int)n)
			__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&cells[n].gen, 1, __ATOMIC_RELEASE);
		atr_open_remove(&entries[n]);
	}
	return NULL;
}

TEST(threads_may_add_remove_and_look_at_once)
{
	static unsigned first[2] = { 0, 2 };
	pthread_t threads[3];

	CHECK(pthread_create(&threads[0], NULL, look, NULL) == 0);
	for (unsigned i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[1 + i], NULL, come_and_go, &first[i]) == 0);
	pthread_join(threads[1], NULL);
	pthread_join(threads[2], NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(threads[0], NULL);
	CHECK_INT(wrong, 0);
	tables_are_empty();
}
