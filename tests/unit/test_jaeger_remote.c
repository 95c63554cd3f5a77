/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/endpoint.o */
/* LINK: preload/authority.o */
/* LINK: exporter/buf.o exporter/json.o exporter/http.o exporter/url.o exporter/resource.o */
/* LINK: exporter/list.o exporter/detect.o exporter/container.o preload/utf8.o preload/text.o */
/* LINK: exporter/grpc.o exporter/otlp.pb-c.o -lprotobuf-c preload/sys.o preload/target.o -lcurl */
#include "exporter/jaeger-remote.c"
#include "tests/unit/test.h"

static struct atr_strategy s;
static struct atr_buf names;

static bool reads(const char *text)
{
	return atr_jaeger_read(test_edge(text, strlen(text)), strlen(text), &s, &names);
}

/* Answers as Jaeger's own HTTP endpoint gives them. */
TEST(the_three_kinds_of_strategy_are_read)
{
	CHECK(reads("{\"strategyType\":\"PROBABILISTIC\","
		    "\"probabilisticSampling\":{\"samplingRate\":0.25}}"));
	CHECK(s.ratio == 0.25 && s.per_second < 0 && s.lower == 0 && !s.n_operations);
	CHECK(reads("{\"strategyType\":1,\"rateLimitingSampling\":{\"maxTracesPerSecond\":7}}"));
	CHECK(s.ratio == 1 && s.per_second == 7);
	/* Of two the first counts. */
	CHECK(reads("{\"rateLimitingSampling\":{\"maxTracesPerSecond\":7},"
		    "\"probabilisticSampling\":{\"samplingRate\":0.25}}"));
	CHECK(s.ratio == 0.25 && s.per_second < 0);
	CHECK(reads("{\"strategyType\":\"PROBABILISTIC\",\"operationSampling\":{"
		    "\"defaultSamplingProbability\":0.5,\"defaultLowerBoundTracesPerSecond\":2.5,"
		    "\"perOperationStrategies\":[{\"operation\":\"GET /a\","
		    "\"probabilisticSampling\":{\"samplingRate\":1}},"
		    "{\"operation\":\"GET\",\"probabilisticSampling\":{\"samplingRate\":0}}],"
		    "\"defaultUpperBoundTracesPerSecond\":9},"
		    "\"probabilisticSampling\":{\"samplingRate\":0.125}}"));
	CHECK(s.ratio == 0.5 && s.lower == 2.5 && s.per_second < 0);
	if (!CHECK_INT(s.n_operations, 2))
		return;
	CHECK(atr_slice_is(s.operations[0].name, "GET /a") && s.operations[0].ratio == 1);
	CHECK(atr_slice_is(s.operations[1].name, "GET") && s.operations[1].ratio == 0);
}

TEST(what_is_out_of_bounds_is_brought_back)
{
	CHECK(reads("{\"probabilisticSampling\":{\"samplingRate\":7}}") && s.ratio == 1);
	CHECK(reads("{\"probabilisticSampling\":{\"samplingRate\":-7}}") && s.ratio == 0);
	CHECK(reads("{\"rateLimitingSampling\":{\"maxTracesPerSecond\":-1}}") && s.per_second == 0);
}

TEST(what_is_no_strategy_is_refused)
{
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"null",
		"{\"strategyType\":\"PROBABILISTIC\"}",
		"{\"probabilisticSampling\":{}}",
		"{\"probabilisticSampling\":{\"samplingRate\":\"1\"}}",
		"{\"probabilisticSampling\":{\"samplingRate\":1}",
		"not json",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!CHECK(!reads(bad[i])))
			printf("  %s\n", bad[i]);
}

TEST(more_operations_than_there_is_room_for_are_left_to_the_default)
{
	static char text[64 * 400];
	size_t n = (size_t)sprintf(text, "{\"operationSampling\":{\"perOperationStrategies\":[");

	for (int i = 0; i < 300; i++)
		n += (size_t)sprintf(text + n,
				     "%s{\"operation\":\"o%d\",\"probabilisticSampling\":"
				     "{\"samplingRate\":1}}",
				     i ? "," : "", i);
	sprintf(text + n, "]}}");
	CHECK(reads(text));
	CHECK_INT(s.n_operations, ATR_STRATEGY_OPERATIONS);
	CHECK(atr_slice_is(s.operations[255].name, "o255"));
}

TEST(the_url_is_the_endpoint_s)
{
	static const struct {
		const char *endpoint, *url;
	} rows[] = {
		{ "http://h:5778", "http://h:5778/sampling?service=a%20b" },
		{ "http://h:5778/", "http://h:5778/sampling?service=a%20b" },
		{ "https://h/x/y", "https://h/x/y?service=a%20b" },
		{ "http://h/x?k=v#f", "http://h/x?k=v&service=a%20b" },
		{ "http://h/?k=v", "http://h/sampling?k=v&service=a%20b" },
		{ "http://h?k=v", "http://h/sampling?k=v&service=a%20b" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *url = url_of(rows[i].endpoint, "a b");

		CHECK_STR(url, rows[i].url);
		free(url);
	}
}
