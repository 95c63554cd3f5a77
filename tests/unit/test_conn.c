/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/sys.o preload/utf8.o preload/pool.o preload/attr.o preload/text.o */
/* LINK: preload/peek.o exporter/otlp.pb-c.o -lprotobuf-c -lpthread */
#include "exporter/otlp.pb-c.h"
#include "preload/conn.c"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <pthread.h>

struct atr_stats atr_stats;
static bool foreign;
static unsigned bugs;

void atr_bug(const char *what, const char *file, int line)
{
	(void)what;
	(void)file;
	(void)line;
	__atomic_fetch_add(&bugs, 1, __ATOMIC_RELAXED);
}

bool atr_process_foreign(void)
{
	return foreign;
}

static struct atr_conn *tcp(int fd, enum atr_role role, const char *addr, int port)
{
	struct atr_conn *c = atr_conn_new(fd, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, role);
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	inet_pton(AF_INET, addr, &in.sin_addr);
	atr_conn_peer(c, (struct sockaddr *)&in, sizeof(in));
	return c;
}

/* "key=value key=value" of what a connection writes into its spans. */
static const char *attrs(struct atr_conn *c, int fd)
{
	static char out[1024];
	uint8_t buf[1024];
	struct atr_pb pb = { .p = buf, .end = buf + sizeof(buf) };
	Atr__Otlp__Span *span;
	size_t n = 0;

	atr_conn_attrs(c, fd, &pb);
	span = atr__otlp__span__unpack(NULL, (size_t)(pb.p - buf), buf);
	out[0] = '\0';
	for (size_t i = 0; span && i < span->n_attributes; i++) {
		const Atr__Otlp__AnyValue *v = span->attributes[i]->value;
		bool str = v->value_case == ATR__OTLP__ANY_VALUE__VALUE_STRING_VALUE;

		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s=", i ? " " : "",
				      span->attributes[i]->key);
		n += str ? (size_t)snprintf(out + n, sizeof(out) - n, "%s", v->string_value)
			 : (size_t)snprintf(out + n, sizeof(out) - n, "%lld",
					    (long long)v->int_value);
	}
	if (span)
		atr__otlp__span__free_unpacked(span, NULL);
	return out;
}

TEST(a_descriptor_is_found_until_it_is_closed)
{
	static const int fds[] = { 70, TABLE_FIRST - 1, TABLE_FIRST, 5000, CHUNK * CHUNKS - 1 };

	for (size_t i = 0; i < ATR_ARRAY_LEN(fds); i++) {
		struct atr_conn *c = tcp(fds[i], ATR_ROLE_CLIENT, "10.0.0.1", 80);
		uint32_t gen = c->gen;

		CHECK(atr_conn_get(fds[i]) == c);
		atr_conn_close(fds[i]);
		CHECK(atr_conn_get(fds[i]) == NULL);
		CHECK(c->gen != gen);
	}
	CHECK(atr_conn_get(-1) == NULL);
	CHECK(atr_conn_get(CHUNK * CHUNKS) == NULL);
	CHECK(atr_conn_get(INT32_MAX) == NULL);
}

TEST(duplicates_share_one_connection_until_the_last_is_closed)
{
	struct atr_conn *c = tcp(100, ATR_ROLE_CLIENT, "10.0.0.1", 80);
	uint32_t gen = c->gen;

	atr_conn_dup(100, 101);
	atr_conn_dup(101, 3000);
	CHECK(atr_conn_get(101) == c && atr_conn_get(3000) == c);
	atr_conn_close(100);
	atr_conn_close(101);
	CHECK(atr_conn_get(3000) == c && c->gen == gen);
	(void)tcp(102, ATR_ROLE_CLIENT, "10.0.0.2", 80);
	atr_conn_dup(102, 3000); /* dup2 over the last one */
	CHECK(c->gen != gen);
	atr_conn_close_range(0, ~0u);
	CHECK(atr_conn_get(102) == NULL && atr_conn_get(3000) == NULL);
}

TEST(a_number_used_again_is_a_new_connection)
{
	struct atr_conn *old = tcp(200, ATR_ROLE_CLIENT, "10.0.0.1", 80);
	uint32_t gen = old->gen;
	struct atr_conn *c = tcp(200, ATR_ROLE_SERVER, "10.0.0.2", 81);

	CHECK(old->gen != gen);
	CHECK(atr_conn_get(200) == c);
	/* Over a file: nothing of ours any more. */
	atr_conn_dup(201, 200);
	CHECK(atr_conn_get(200) == NULL);
}

TEST(a_vfork_child_changes_nothing_of_ours)
{
	struct atr_conn *c = tcp(300, ATR_ROLE_CLIENT, "10.0.0.1", 80);

	foreign = true;
	atr_conn_close(300);
	atr_conn_close_range(0, ~0u);
	atr_conn_dup(301, 300);
	foreign = false;
	CHECK(atr_conn_get(300) == c);
	atr_conn_close(300);
}

TEST(other_families_are_not_followed)
{
	(void)tcp(400, ATR_ROLE_CLIENT, "10.0.0.1", 80);
	CHECK(atr_conn_new(400, AF_NETLINK, SOCK_RAW, ATR_ROLE_UNKNOWN) == NULL);
	CHECK(atr_conn_get(400) == NULL);
}

TEST(an_inherited_socket_is_looked_at_and_a_file_only_once)
{
	int pair[2], file = dup(1);

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	atr_conn_init();
	CHECK(pair[0] < INHERITED && atr_conn_get(pair[0]) != NULL);
	CHECK_INT(atr_conn_get(pair[0])->role, ATR_ROLE_UNKNOWN);
	CHECK_INT(atr_conn_get(pair[0])->family, AF_UNIX);
	CHECK(atr_conn_get(file) == NULL);
	CHECK(*slot(file) == NULL);
	(void)close(pair[0]);
	(void)close(pair[1]);
	(void)close(file);
}

TEST(peers_become_attributes)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(443) };
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/run/x.sock" };
	struct atr_conn *c = tcp(500, ATR_ROLE_CLIENT, "127.0.0.1", 80);
	char text[ATR_PEER_TEXT_MAX + 1];

	CHECK_STR(attrs(c, 500), "network.transport=tcp network.type=ipv4 "
				 "network.peer.address=127.0.0.1 network.peer.port=80 "
				 "server.address=127.0.0.1 server.port=80");
	CHECK_STR(attrs(c, 500), attrs(c, 500)); /* the second time from the cache */
	text[atr_conn_peer_text(c, text)] = '\0';
	CHECK_STR(text, "127.0.0.1:80");

	c = atr_conn_new(501, AF_INET6, SOCK_STREAM, ATR_ROLE_CLIENT);
	inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr);
	atr_conn_peer(c, (struct sockaddr *)&in6, sizeof(in6));
	text[atr_conn_peer_text(c, text)] = '\0';
	CHECK_STR(text, "[2001:db8::1]:443");
	CHECK(strstr(attrs(c, 501), "network.type=ipv6") != NULL);

	/* A v4-mapped peer of a dual-stack socket is an IPv4 peer. */
	c = atr_conn_new(502, AF_INET6, SOCK_STREAM, ATR_ROLE_CLIENT);
	inet_pton(AF_INET6, "::ffff:10.1.2.3", &in6.sin6_addr);
	atr_conn_peer(c, (struct sockaddr *)&in6, sizeof(in6));
	CHECK(strstr(attrs(c, 502), "network.type=ipv4 network.peer.address=10.1.2.3") != NULL);

	c = atr_conn_new(503, AF_UNIX, SOCK_STREAM, ATR_ROLE_CLIENT);
	atr_conn_peer(c, (struct sockaddr *)&un, sizeof(un));
	CHECK_STR(attrs(c, 503), "network.transport=unix network.peer.address=/run/x.sock "
				 "server.address=/run/x.sock");
	un.sun_path[0] = '\0';
	c = atr_conn_new(504, AF_UNIX, SOCK_STREAM, ATR_ROLE_CLIENT);
	atr_conn_peer(c, (struct sockaddr *)&un, offsetof(struct sockaddr_un, sun_path) + 11);
	text[atr_conn_peer_text(c, text)] = '\0';
	CHECK_STR(text, "@run/x.sock");
	c = atr_conn_new(505, AF_UNIX, SOCK_STREAM, ATR_ROLE_CLIENT);
	atr_conn_peer(c, (struct sockaddr *)&un, sizeof(sa_family_t)); /* unnamed */
	CHECK_STR(attrs(c, 505), "network.transport=unix");
	atr_conn_peer(c, &((union atr_addr){ .un = un }).any, sizeof(union atr_addr) + 1);
	/* too long: not taken */
	CHECK_INT(c->peer_len, sizeof(sa_family_t));
}

static void *hammer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (int i = 0; i < 200000; i++) {
		int fd = 600 + (int)((seed = seed * 1103515245 + 12345) >> 16) % 8;

		switch ((seed >> 8) % 4) {
		case 0:
			(void)atr_conn_new(fd, AF_INET, SOCK_STREAM, ATR_ROLE_CLIENT);
			break;
		case 1:
			atr_conn_dup(fd, 600 + (fd + 3) % 8);
			break;
		case 2:
			atr_conn_close(fd);
			break;
		default:
			(void)atr_conn_get(fd);
		}
	}
	return NULL;
}

/* dup() of a descriptor that another thread closes is the program's own race: it
 * must not crash us, and what it may lose is a few objects of the pool. */
TEST(threads_that_make_and_close_the_same_numbers_do_no_harm)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, hammer, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	atr_conn_close_range(600, 640);
	CHECK(atr_conn_get(600) == NULL);
	CHECK_INT(bugs, 0);
}

TEST(what_is_let_go_too_often_is_a_bug_and_goes_no_further)
{
	struct atr_conn *c = tcp(650, ATR_ROLE_CLIENT, "127.0.0.1", 1);
	uint32_t gen = c->gen;

	atr_conn_close(650);
	CHECK_INT(bugs, 0);
	CHECK(c->gen == gen + 1);
	conn_drop(c);
	CHECK_INT(bugs, 1);
	CHECK(c->gen == gen + 1);
	bugs = 0;
	c->refs = 0;
}
