/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/target.c"

#include "preload/compiler.h"
#include "tests/unit/test.h"

TEST(a_signals_own_endpoint_wins)
{
	struct atr_config c = { .otlp_endpoint = "http://general",
				.otlp_endpoint_set = true,
				.otlp_metrics_endpoint = "http://metrics" };

	CHECK_STR(atr_target_endpoint(&c, ATR_SIGNAL_TRACES), "http://general");
	CHECK_STR(atr_target_endpoint(&c, ATR_SIGNAL_METRICS), "http://metrics");
	c.otlp_traces_endpoint = "http://traces";
	CHECK_STR(atr_target_endpoint(&c, ATR_SIGNAL_TRACES), "http://traces");
}

TEST(the_default_is_the_protocols)
{
	struct atr_config c = { .otlp_endpoint = "http://localhost:4318" };

	CHECK_STR(atr_target_endpoint(&c, ATR_SIGNAL_TRACES), "http://localhost:4318");
	c.otlp_traces_protocol = ATR_PROTOCOL_GRPC;
	c.otlp_traces_protocol_set = true;
	CHECK_STR(atr_target_endpoint(&c, ATR_SIGNAL_TRACES), "http://localhost:4317");
	CHECK_STR(atr_target_endpoint(&c, ATR_SIGNAL_METRICS), "http://localhost:4318");
	c.otlp_endpoint_set = true; /* set to what is the other's default */
	CHECK_STR(atr_target_endpoint(&c, ATR_SIGNAL_TRACES), "http://localhost:4318");
}

static const char *proxy(const char *no_proxy, const char *url)
{
	const struct atr_config c = { .http_proxy = "http://p:1",
				      .https_proxy_upper = "http://ps:1",
				      .no_proxy = no_proxy };
	size_t n = strlen(url) + 1;
	char *edge = test_edge(url, n);
	const char *ret = atr_target_proxy(&c, edge);

	test_edge_free(edge, n);
	return ret ? ret : "none";
}

TEST(the_scheme_chooses_the_proxy)
{
	struct atr_config c = { 0 };

	CHECK_STR(proxy(NULL, "http://c:4318/x"), "http://p:1");
	CHECK_STR(proxy(NULL, "HTTPS://c:4318/x"), "http://ps:1");
	CHECK_STR(proxy(NULL, "unix:///run/x"), "none");
	CHECK_STR(proxy(NULL, "http://"), "none");
	CHECK(!atr_target_proxy(&c, "http://c"));
	c.all_proxy_upper = "A";
	CHECK_STR(atr_target_proxy(&c, "http://c"), "A");
	c.all_proxy = "a";
	CHECK_STR(atr_target_proxy(&c, "https://c"), "a");
	c.https_proxy_upper = "S";
	CHECK_STR(atr_target_proxy(&c, "https://c"), "S");
	c.https_proxy = "s";
	CHECK_STR(atr_target_proxy(&c, "https://c"), "s");
	CHECK_STR(atr_target_proxy(&c, "http://c"), "a");
	c.no_proxy_upper = "c";
	CHECK(!atr_target_proxy(&c, "http://c"));
	c.no_proxy = "d";
	CHECK_STR(atr_target_proxy(&c, "http://c"), "a");
}

TEST(some_hosts_are_reached_without_a_proxy)
{
	static const struct {
		const char *list, *url;
		bool without;
	} cases[] = {
		{ "*", "http://c", true },
		{ "a,*", "http://c", false },
		{ "c", "http://C:4318", true },
		{ ".c", "http://c", true },
		{ "c.", "http://c./x", true },
		{ "example", "http://c.example", true },
		{ ".example", "http://c.example", true },
		{ "ample", "http://c.example", false },
		{ "c.example.org", "http://example.org", false },
		{ " a\tb, c ,", "http://c", true },
		{ ",, ,", "http://c", false },
		{ "c", "http://c@d", false },
		{ "d", "http://c@d:1", true },
		{ "10.0.0.0/8", "http://10.1.2.3:1", true },
		{ "10.0.0.0/8", "http://11.1.2.3:1", false },
		{ "10.1.2.0/23", "http://10.1.3.9", true },
		{ "10.1.2.0/23", "http://10.1.4.9", false },
		{ "10.1.2.3", "http://10.1.2.3", true },
		{ "10.1.2.3", "http://10.1.2.4", false },
		{ "0.0.0.0/0", "http://10.1.2.4", true },
		{ "10.1.2.3/33", "http://10.1.2.3", false },
		{ "10.1.2.3/", "http://10.1.2.3", false },
		{ "10.1.2.3/8x", "http://10.1.2.3", false },
		{ "2.3", "http://10.1.2.3", false },
		{ "::1", "http://[::1]:4318", true },
		{ "[::1]", "http://[::1]:4318", true },
		{ "fe80::/10", "http://[fe80::1%25eth0]:1", true },
		{ "fe80::/10", "http://[fec0::1]:1", false },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++)
		if (!CHECK_STR(proxy(cases[i].list, cases[i].url),
			       cases[i].without ? "none" : "http://p:1"))
			printf("  %s, %s\n", cases[i].list, cases[i].url);
}
