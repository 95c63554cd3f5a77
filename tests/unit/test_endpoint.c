/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/authority.o */
/* LINK: exporter/url.o exporter/list.o exporter/buf.o preload/target.o preload/sys.o */
/* LINK: preload/utf8.o exporter/otlp.pb-c.o -lcurl -lprotobuf-c */
#include "exporter/endpoint.c"

#include <sys/stat.h>

#include "tests/unit/fake_host.h"
#include "tests/unit/test.h"

static char looked_up[256];

static void look_up(const char *endpoint, struct atr_addresses *ret)
{
	(void)snprintf(looked_up, sizeof(looked_up), "%s", endpoint);
	*ret = (struct atr_addresses){ .resolved = "found" };
}

/* A host with default settings and no look-ups yet. */
static struct atr_config *fresh(void)
{
	fake_init();
	fake.host.look_up = look_up;
	looked_up[0] = '\0';
	return &fake.config;
}

static struct atr_endpoint made(enum atr_signal signal)
{
	struct atr_endpoint ep;

	CHECK_INT(atr_endpoint_init(&ep, &fake.host, signal), 0);
	return ep;
}

static bool has(const struct atr_endpoint *ep, const char *line)
{
	for (const struct curl_slist *h = ep->headers; h; h = h->next)
		if (strcmp(h->data, line) == 0)
			return true;
	return false;
}

TEST(each_protocol_has_its_url_and_headers)
{
	struct atr_config *c = fresh();
	struct atr_endpoint ep = made(ATR_SIGNAL_TRACES);

	CHECK_STR(ep.url.url, "http://localhost:4318/v1/traces");
	CHECK(has(&ep, "Content-Type: application/x-protobuf"));
	CHECK(!has(&ep, "TE: trailers"));
	atr_endpoint_finish(&ep);
	c->otlp_protocol = ATR_PROTOCOL_HTTP_JSON;
	c->otlp_compression = ATR_COMPRESSION_GZIP;
	ep = made(ATR_SIGNAL_METRICS);
	CHECK_STR(ep.url.url, "http://localhost:4318/v1/metrics");
	CHECK(has(&ep, "Content-Type: application/json"));
	CHECK(has(&ep, "Content-Encoding: gzip"));
	atr_endpoint_finish(&ep);
	c->otlp_protocol = ATR_PROTOCOL_GRPC;
	ep = made(ATR_SIGNAL_TRACES);
	CHECK_STR(ep.url.url, "http://localhost:4317/"
			      "opentelemetry.proto.collector.trace.v1.TraceService/Export");
	CHECK_STR(ep.shown, "http://localhost:4317");
	CHECK(has(&ep, "Content-Type: application/grpc") && has(&ep, "TE: trailers"));
	CHECK(has(&ep, "grpc-encoding: gzip") && !has(&ep, "Content-Encoding: gzip"));
	atr_endpoint_finish(&ep);
	ep = made(ATR_SIGNAL_METRICS);
	CHECK_STR(ep.url.url, "http://localhost:4317/"
			      "opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
	atr_endpoint_finish(&ep);
	CHECK_STR(fake.log, "");
}

TEST(each_setting_of_a_signal_wins_over_the_general_one)
{
	struct atr_config *c = fresh();
	struct atr_endpoint ep;

	c->otlp_endpoint = "https://general/x";
	c->otlp_headers = "general=1";
	c->otlp_certificate = "/dev/null";
	c->otlp_timeout = 1000;
	c->otlp_metrics_endpoint = "https://metrics/y";
	c->otlp_metrics_headers = "metrics=1";
	c->otlp_metrics_certificate = "/dev/zero";
	c->otlp_metrics_timeout = 2000;
	c->otlp_metrics_timeout_set = true;
	ep = made(ATR_SIGNAL_TRACES);
	CHECK_STR(ep.url.url, "https://general/x/v1/traces");
	CHECK(has(&ep, "general: 1") && !has(&ep, "metrics: 1"));
	CHECK_STR(ep.certificate, "/dev/null");
	CHECK_INT(ep.timeout, 1000000000);
	atr_endpoint_finish(&ep);
	ep = made(ATR_SIGNAL_METRICS);
	CHECK_STR(ep.url.url, "https://metrics/y");
	CHECK(!has(&ep, "general: 1") && has(&ep, "metrics: 1"));
	CHECK_STR(ep.certificate, "/dev/zero");
	CHECK_INT(ep.timeout, 2000000000);
	atr_endpoint_finish(&ep);
	c->otlp_timeout = c->bsp_export_timeout = 0;
	ep = made(ATR_SIGNAL_TRACES);
	CHECK(ep.timeout == UINT64_MAX);
	atr_endpoint_finish(&ep);
}

TEST(what_grpc_answers_for_is_not_the_users_to_set)
{
	struct atr_config *c = fresh();
	struct atr_endpoint ep;

	c->otlp_headers = "te=gzip,grpc-timeout=1S,Grpc-Encoding=identity,x=y";
	ep = made(ATR_SIGNAL_TRACES);
	CHECK(has(&ep, "te: gzip") && has(&ep, "x: y"));
	atr_endpoint_finish(&ep);
	c->otlp_protocol = ATR_PROTOCOL_GRPC;
	ep = made(ATR_SIGNAL_TRACES);
	CHECK(!has(&ep, "te: gzip") && has(&ep, "x: y"));
	CHECK(fake_said("OTEL_EXPORTER_OTLP_HEADERS: 3 bad headers left out, first \"te\"\n"));
	atr_endpoint_finish(&ep);
}

TEST(of_headers_of_one_name_the_last_good_one_is_sent)
{
	struct atr_config *c = fresh();
	struct atr_endpoint ep;
	unsigned n = 0;

	c->otlp_headers = "x-key=1,x=a,X-KEY=2,x-key=%zz,x-keys=b,y=1,y=,te=x,te=y";
	ep = made(ATR_SIGNAL_TRACES);
	for (const struct curl_slist *h = ep.headers; h; h = h->next)
		n++;
	CHECK_INT(n, 2 + 5); /* with Content-Type and Expect */
	CHECK(has(&ep, "X-KEY: 2") && has(&ep, "x: a") && has(&ep, "x-keys: b"));
	CHECK(has(&ep, "y;") && has(&ep, "te: y"));
	CHECK(has(&ep, "Content-Type: application/x-protobuf") && has(&ep, "Expect:"));
	CHECK_INT(fake_log_lines(), 1);
	atr_endpoint_finish(&ep);
}

TEST(a_file_that_is_not_there_is_named_and_waited_for)
{
	struct atr_config *c = fresh();
	struct atr_endpoint ep;

	c->otlp_endpoint = "https://c";
	c->otlp_certificate = "/proc/self/exe"; /* a link is followed */
	c->otlp_traces_client_certificate = "/nowhere/c.pem";
	c->otlp_client_key = "/nowhere/k\n.pem";
	ep = made(ATR_SIGNAL_TRACES);
	CHECK_STR(fake.log,
		  "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE=/nowhere/c.pem cannot be "
		  "read: No such file or directory; nothing is sent until it can, spans "
		  "are kept\n"
		  "OTEL_EXPORTER_OTLP_CLIENT_KEY=/nowhere/k\\n.pem cannot be read: No such "
		  "file or directory; nothing is sent until it can, spans are kept\n");
	CHECK_STR(ep.client_certificate, "/nowhere/c.pem");
	CHECK_STR(ep.client_key, "/nowhere/k\n.pem");
	atr_endpoint_finish(&ep);
}

TEST(what_is_no_file_is_named_and_never_opened_by_libcurl)
{
	char dir[] = "/tmp/test_endpoint.XXXXXX", pipe[64], said[256], why[256] = "";
	struct atr_config *c = fresh();
	struct atr_endpoint ep;

	CHECK(mkdtemp(dir) != NULL);
	(void)snprintf(pipe, sizeof(pipe), "%s/pipe", dir);
	CHECK_INT(mkfifo(pipe, 0600), 0);
	c->otlp_endpoint = "https://c";
	c->otlp_client_certificate = "/proc/self/status";
	c->otlp_client_key = pipe;
	ep = made(ATR_SIGNAL_TRACES);
	(void)snprintf(said, sizeof(said),
		       "OTEL_EXPORTER_OTLP_CLIENT_KEY=%s cannot be read: it is no regular file; "
		       "nothing is sent until it can, spans are kept\n",
		       pipe);
	CHECK_STR(fake.log, said);
	CHECK_STR(ep.client_key, pipe);
	CHECK(atr_endpoint_blocked(&ep, why, sizeof(why)));
	(void)snprintf(said, sizeof(said), "%s is no regular file", pipe);
	CHECK_STR(why, said);
	CHECK_INT(unlink(pipe), 0); /* that is libcurl's to say: it may have a connection */
	CHECK(!atr_endpoint_blocked(&ep, why, sizeof(why)));
	atr_endpoint_finish(&ep);
	c = fresh();
	c->otlp_endpoint = "https://c";
	c->otlp_certificate = dir;
	ep = made(ATR_SIGNAL_TRACES);
	CHECK(fake_said("it is no regular file"));
	CHECK(atr_endpoint_blocked(&ep, why, sizeof(why)));
	atr_endpoint_finish(&ep);
	CHECK_INT(rmdir(dir), 0);
}

TEST(an_encrypted_key_is_named_wherever_in_its_file_it_is)
{
	char path[] = "/tmp/test_endpoint.XXXXXX", text[9000];
	int fd = mkstemp(path);
	struct atr_endpoint ep;

	CHECK(fd >= 0);
	for (size_t at = 4080; at < 4104; at++) {
		struct atr_config *c = fresh();

		memset(text, 'x', sizeof(text));
		memcpy(text + at, "ENCRYPTED", 9);
		CHECK_INT(pwrite(fd, text, sizeof(text), 0), sizeof(text));
		c->otlp_endpoint = "https://c";
		c->otlp_client_certificate = path;
		ep = made(ATR_SIGNAL_TRACES);
		CHECK(fake_said("is encrypted, and nobody is asked for a password; unless that is "
				"empty, "));
		CHECK_INT(fake_log_lines(), 1);
		atr_endpoint_finish(&ep);
	}
	CHECK_INT(ftruncate(fd, 0), 0);
	CHECK_INT(ftruncate(fd, 2 * KEY_MAX), 0);
	CHECK_INT(pwrite(fd, "ENCRYPTED", 9, KEY_MAX + 4096), 9);
	(void)fresh();
	fake.config.otlp_endpoint = "https://c";
	fake.config.otlp_client_certificate = path;
	ep = made(ATR_SIGNAL_TRACES);
	CHECK_STR(fake.log, "");
	atr_endpoint_finish(&ep);
	close(fd);
	unlink(path);
}

TEST(a_key_without_a_certificate_is_not_used)
{
	struct atr_config *c = fresh();
	struct atr_endpoint ep;

	c->otlp_endpoint = "https://c";
	c->otlp_client_key = "/dev/null";
	ep = made(ATR_SIGNAL_TRACES);
	CHECK(!ep.client_key);
	CHECK(fake_said("OTEL_EXPORTER_OTLP_CLIENT_KEY is set without a certificate"));
	atr_endpoint_finish(&ep);
	c = fresh(); /* nor are files looked at where there is no TLS */
	c->otlp_client_key = "/nowhere";
	ep = made(ATR_SIGNAL_TRACES);
	CHECK_STR(fake.log, "");
	atr_endpoint_finish(&ep);
}

TEST(a_name_is_looked_up_once)
{
	struct atr_config *c = fresh();
	struct atr_endpoint ep;

	c->otlp_endpoint = "http://c:4318";
	fake.host.looked_up = "http://c:4318";
	(void)snprintf(fake.host.addresses.resolved, 16, "before");
	ep = made(ATR_SIGNAL_TRACES);
	CHECK_STR(ep.addresses.resolved, "before");
	CHECK_STR(looked_up, "");
	atr_endpoint_finish(&ep);
	c->otlp_metrics_endpoint = "http://m:4318";
	ep = made(ATR_SIGNAL_METRICS);
	CHECK_STR(ep.addresses.resolved, "found");
	CHECK_STR(looked_up, "http://m:4318");
	atr_endpoint_finish(&ep);
	c = fresh();
	c->otlp_endpoint = "unix:///run/o.sock";
	c->all_proxy = "http://p:1";
	ep = made(ATR_SIGNAL_TRACES);
	CHECK_STR(looked_up, "");
	CHECK_STR(ep.url.socket, "/run/o.sock");
	CHECK_STR(ep.shown, "unix:///run/o.sock");
	CHECK(!ep.proxy);
	atr_endpoint_finish(&ep);
}

static void not_found(const char *endpoint, struct atr_addresses *ret)
{
	look_up(endpoint, ret);
	*ret = (struct atr_addresses){ .error = "no such host" };
}

TEST(a_name_is_looked_up_again_now_and_then_and_an_address_is_not_forgotten)
{
	struct atr_config *c = fresh();
	char why[256];
	struct atr_endpoint ep;

	c->otlp_endpoint = "http://c:4318";
	fake.host.look_up = not_found;
	ep = made(ATR_SIGNAL_TRACES);
	CHECK(atr_endpoint_blocked(&ep, why, sizeof(why)));
	CHECK_STR(why, "no such host");
	fake.host.look_up = look_up;
	atr_endpoint_look_again(&ep, &fake.host);
	CHECK_STR(ep.addresses.resolved, "found");
	CHECK(!atr_endpoint_blocked(&ep, why, sizeof(why)));
	looked_up[0] = '\0';
	atr_endpoint_look_again(&ep, &fake.host); /* too soon */
	CHECK_STR(looked_up, "");
	ep.looked -= LOOK_UP_EVERY_NS;
	fake.host.look_up = not_found;
	atr_endpoint_look_again(&ep, &fake.host);
	CHECK_STR(looked_up, "http://c:4318");
	CHECK_STR(ep.addresses.resolved, "found");
	atr_endpoint_finish(&ep);
	c->otlp_endpoint = "unix:///run/o.sock"; /* there is nothing to look up */
	looked_up[0] = '\0';
	ep = made(ATR_SIGNAL_TRACES);
	atr_endpoint_look_again(&ep, &fake.host);
	CHECK_STR(looked_up, "");
	atr_endpoint_finish(&ep);
}

TEST(a_bad_endpoint_is_named_with_what_is_used)
{
	static const struct {
		const char *own, *general, *said, *url;
		bool grpc;
	} cases[] = {
		{ "c:1", "http://g", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=c:1 is",
		  "http://g/v1/metrics", false },
		{ "c:1", "g:1", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=c:1 is",
		  "http://localhost:4318/v1/metrics", false },
		{ NULL, "u:p@g:1", "OTEL_EXPORTER_OTLP_ENDPOINT=g:1 is",
		  "http://localhost:4318/v1/metrics", false },
		{ "ftp://c", "g:1", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=ftp://c is",
		  "https://g:1/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
		  true },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		struct atr_config *c = fresh();
		struct atr_endpoint ep;

		c->otlp_metrics_endpoint = cases[i].own;
		c->otlp_endpoint = cases[i].general;
		c->otlp_endpoint_set = true;
		c->otlp_protocol = cases[i].grpc ? ATR_PROTOCOL_GRPC : ATR_PROTOCOL_HTTP_PROTOBUF;
		ep = made(ATR_SIGNAL_METRICS);
		CHECK_STR(ep.url.url, cases[i].url);
		CHECK(fake_said(cases[i].said));
		CHECK_INT(fake_log_lines(), 1);
		atr_endpoint_finish(&ep);
	}
}
