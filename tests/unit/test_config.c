/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: preload/authority.o */
/* LINK: preload/sys.o preload/text.o */
#include "preload/config.c"

#include "tests/unit/test.h"

/* The environment of a test, and what was warned about. */
static const char *variables[8][2];
static char warnings[64][512];
static unsigned n_warnings;

static const char *get(const char *name)
{
	for (size_t i = 0; i < 8 && variables[i][0]; i++)
		if (strcmp(variables[i][0], name) == 0)
			return variables[i][1];
	return NULL;
}

static void warn(const char *line)
{
	if (n_warnings < 64)
		snprintf(warnings[n_warnings], sizeof(warnings[0]), "%s", line);
	n_warnings++;
}

/* Reads the settings where `name` is `value`; NULL: where nothing is set. */
static struct atr_config config_of(const char *name, const char *value)
{
	struct atr_config config;

	memset(&config, 0xa5, sizeof(config));
	memset(variables, 0, sizeof(variables));
	variables[0][0] = name;
	variables[0][1] = value;
	/* The ratio is only read where a sampler wants one. */
	if (name && *value && strcmp(name, "OTEL_TRACES_SAMPLER_ARG") == 0) {
		variables[1][0] = "OTEL_TRACES_SAMPLER";
		variables[1][1] = "traceidratio";
	}
	n_warnings = 0;
	atr_config_read(&config, get, warn);
	return config;
}

static bool same_string(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : !a && !b;
}

/* One row: is its field as without the variable? */
#define SAME_BOOL(a, b) ((a) == (b))
#define SAME_INT(a, b) ((a) == (b))
#define SAME_DURATION(a, b) ((a) == (b))
#define SAME_TIMEOUT(a, b) ((a) == (b))
#define SAME_RATIO(a, b) ((a) == (b))
#define SAME_STRING(a, b) same_string(a, b)
#define SAME_SAMPLER(a, b) ((a) == (b))
#define SAME_EXPORTERS(a, b) ((a) == (b))
#define SAME_CONSOLE(a, b) ((a) == (b))
#define SAME_PROTOCOL(a, b) ((a) == (b))
#define SAME_COMPRESSION(a, b) ((a) == (b))
#define SAME_METRICS_EXPORTERS(a, b) ((a) == (b))
#define SAME_TEMPORALITY(a, b) ((a) == (b))
#define SAME_HISTOGRAM(a, b) ((a) == (b))
#define SAME_LOG_LEVEL(a, b) ((a) == (b))
#define SAME_SOCKET_SPANS(a, b) ((a) == (b))
#define SAME_CALL_SITES(a, b) ((a) == (b))
#define SAME_STACKTRACE(a, b) ((a) == (b))

static bool same(const struct atr_config *a, const struct atr_config *b)
{
	bool yes = true;

#define OPTION(field, type, env, def, min, max, doc) \
	yes = yes && SAME_##type(a->field, b->field) && a->field##_set == b->field##_set;
#include "preload/config.def"
	return yes;
}

TEST(what_is_unset_or_empty_has_its_default_and_is_not_warned_about)
{
	struct atr_config unset = config_of(NULL, NULL), empty;

	CHECK_INT(n_warnings, 0);
#define OPTION(field, type, env, def, min, max, doc) \
	CHECK(SAME_##type(unset.field, def));        \
	CHECK(!unset.field##_set);                   \
	empty = config_of(env, "");                  \
	CHECK(same(&unset, &empty));                 \
	CHECK_INT(n_warnings, 0);
#include "preload/config.def"
}

#define BAD_BOOL "yes"
#define BAD_INT "12x"
#define BAD_DURATION "-1"
#define BAD_TIMEOUT "-1"
#define BAD_RATIO "1.5"
#define BAD_STRING NULL
#define BAD_SAMPLER "NoSuch Word"
#define BAD_EXPORTERS "NoSuch Word"
#define BAD_CONSOLE "NoSuch Word"
#define BAD_PROTOCOL "NoSuch Word"
#define BAD_COMPRESSION "NoSuch Word"
#define BAD_METRICS_EXPORTERS "NoSuch Word"
#define BAD_TEMPORALITY "NoSuch Word"
#define BAD_HISTOGRAM "NoSuch Word"
#define BAD_LOG_LEVEL "NoSuch Word"
#define BAD_SOCKET_SPANS "NoSuch Word"
#define BAD_CALL_SITES "NoSuch Word"
#define BAD_STACKTRACE "NoSuch Word"

/* How a default is written in a warning. */
#define USED_NUMBER(def) snprintf(used, sizeof(used), "using %.10g", (double)(def))
#define USED_WORD(name, def) \
	snprintf(used, sizeof(used), "using %s", spelling(words_##name, (int)(def)))
#define USED_BOOL(def) snprintf(used, sizeof(used), "using false")
#define USED_INT(def) USED_NUMBER(def)
#define USED_DURATION(def) USED_NUMBER(def)
#define USED_TIMEOUT(def) USED_NUMBER(def)
#define USED_RATIO(def) USED_NUMBER(def)
#define USED_STRING(def) ((void)0)
#define USED_SAMPLER(def) USED_WORD(SAMPLER, def)
#define USED_EXPORTERS(def) USED_WORD(EXPORTERS, def)
#define USED_CONSOLE(def) USED_WORD(CONSOLE, def)
#define USED_PROTOCOL(def) USED_WORD(PROTOCOL, def)
#define USED_COMPRESSION(def) USED_WORD(COMPRESSION, def)
#define USED_METRICS_EXPORTERS(def) USED_WORD(METRICS_EXPORTERS, def)
#define USED_TEMPORALITY(def) USED_WORD(TEMPORALITY, def)
#define USED_HISTOGRAM(def) USED_WORD(HISTOGRAM, def)
#define USED_LOG_LEVEL(def) USED_WORD(LOG_LEVEL, def)
#define USED_SOCKET_SPANS(def) USED_WORD(SOCKET_SPANS, def)
#define USED_CALL_SITES(def) USED_WORD(CALL_SITES, def)
#define USED_STACKTRACE(def) USED_WORD(STACKTRACE, def)

static void check_warning(const char *env, const char *bad, const char *used)
{
	if (!CHECK_INT(n_warnings, 1))
		return;
	if (!CHECK(strstr(warnings[0], env)) || !CHECK(strstr(warnings[0], bad)) ||
	    !CHECK(strstr(warnings[0], used)))
		printf("  %s=%s, \"%s\": %s\n", env, bad, used, warnings[0]);
}

TEST(a_bad_value_is_warned_about_once_with_its_name_itself_and_what_is_used_instead)
{
	struct atr_config config;
	char used[64];

#define OPTION(field, type, env, def, min, max, doc)   \
	if (BAD_##type) {                              \
		const char *bad = BAD_##type;          \
		config = config_of(env, bad);          \
		CHECK(SAME_##type(config.field, def)); \
		(void)USED_##type(def);                \
		check_warning(env, bad, used);         \
	}
#include "preload/config.def"
}

TEST(only_true_in_any_case_is_true)
{
	static const struct {
		const char *value;
		bool is, warns;
	} cases[] = {
		{ "true", true, false },   { "TRUE", true, false },   { "True", true, false },
		{ "tRuE", true, false },   { "false", false, false }, { "FALSE", false, false },
		{ "False", false, false }, { "1", false, true },      { "0", false, true },
		{ "yes", false, true },	   { "on", false, true },     { "t", false, true },
		{ "truee", false, true },  { "tru", false, true },    { "enabled", false, true },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		struct atr_config c = config_of("OTEL_SDK_DISABLED", cases[i].value);

		CHECK_INT(c.sdk_disabled, cases[i].is);
		CHECK_INT(n_warnings, cases[i].warns);
	}
	/* The specification says that for its own names. */
	CHECK(config_of("AUTOTRACE_ABORT_ON_BUG", "1").abort_on_bug && !n_warnings);
	CHECK(!config_of("AUTOTRACE_ABORT_ON_BUG", "0").abort_on_bug && !n_warnings);
	CHECK(!config_of("AUTOTRACE_ABORT_ON_BUG", "2").abort_on_bug && n_warnings == 1);
}

TEST(a_number_is_whole_decimal_and_within_its_bounds)
{
	static const struct {
		const char *value;
		int number; /* -1: bad */
	} cases[] = {
		{ "1", 1 },
		{ "2048", 2048 },
		{ " 512\t", 512 },
		{ "007", 7 },
		{ "1048576", 1048576 },
		{ "1048577", -1 },
		{ "0", -1 },
		{ "-1", -1 },
		{ "1.0", -1 },
		{ "1e3", -1 },
		{ "0x10", -1 },
		{ "12x", -1 },
		{ "x", -1 },
		{ "1 2", -1 },
		{ " ", -1 },
		{ "+", -1 },
		{ "2147483648", -1 },
		{ "4294967297", -1 },		/* 1 modulo 2^32 */
		{ "18446744073709551617", -1 }, /* 1 modulo 2^64 */
		{ "99999999999999999999999999999999999999999", -1 },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		struct atr_config c = config_of("OTEL_BSP_MAX_QUEUE_SIZE", cases[i].value);
		bool bad = cases[i].number < 0;

		CHECK_INT(c.bsp_max_queue_size, bad ? 2048 : cases[i].number);
		CHECK_INT(c.bsp_max_queue_size_set, !bad);
		CHECK_INT(n_warnings, bad);
	}
}

TEST(times_are_milliseconds_up_to_the_largest_int_and_never_negative)
{
	CHECK_INT(config_of("OTEL_BSP_SCHEDULE_DELAY", "0").bsp_schedule_delay, 0);
	CHECK_INT(config_of("OTEL_BSP_SCHEDULE_DELAY", "2147483647").bsp_schedule_delay,
		  2147483647);
	CHECK_INT(n_warnings, 0);
	CHECK_INT(config_of("OTEL_BSP_SCHEDULE_DELAY", "2147483648").bsp_schedule_delay, 5000);
	CHECK_INT(n_warnings, 1);
	CHECK_INT(config_of("OTEL_BSP_SCHEDULE_DELAY", "-5").bsp_schedule_delay, 5000);
	CHECK_INT(n_warnings, 1);
	CHECK_INT(config_of("OTEL_BSP_SCHEDULE_DELAY", "5s").bsp_schedule_delay, 5000);
	CHECK_INT(n_warnings, 1);
	/* 0 is a value here too: no limit. */
	CHECK_INT(config_of("OTEL_EXPORTER_OTLP_TIMEOUT", "0").otlp_timeout, 0);
	CHECK(config_of("OTEL_EXPORTER_OTLP_TIMEOUT", "0").otlp_timeout_set);
	CHECK_INT(n_warnings, 0);
	CHECK_INT(config_of("OTEL_EXPORTER_OTLP_TIMEOUT", "-1").otlp_timeout, 10000);
	CHECK_INT(n_warnings, 1);
}

TEST(every_word_is_known_in_any_case)
{
#define WORD(constant, spelling) { spelling, constant },
#define ENUM(name, words)             \
	static const struct {         \
		const char *spelling; \
		int value;            \
	} all_##name[] = { words };
#define SET ENUM
#include "preload/config.def"
#define CHECK_WORDS(name, field, env)                                                         \
	for (size_t i = 0; i < ATR_ARRAY_LEN(all_##name); i++) {                              \
		char upper[64];                                                               \
		size_t n = strlen(all_##name[i].spelling);                                    \
		for (size_t k = 0; k <= n; k++)                                               \
			upper[k] = all_##name[i].spelling[k] >= 'a' &&                        \
						   all_##name[i].spelling[k] <= 'z'           \
					   ? (char)(all_##name[i].spelling[k] - 32)           \
					   : all_##name[i].spelling[k];                       \
		CHECK_INT(config_of(env, all_##name[i].spelling).field, all_##name[i].value); \
		CHECK_INT(n_warnings, 0);                                                     \
		CHECK_INT(config_of(env, upper).field, all_##name[i].value);                  \
		CHECK(config_of(env, upper).field##_set);                                     \
		CHECK_INT(n_warnings, 0);                                                     \
	}
	CHECK_WORDS(SAMPLER, sampler, "OTEL_TRACES_SAMPLER")
	CHECK_WORDS(EXPORTERS, exporters, "OTEL_TRACES_EXPORTER")
	CHECK_WORDS(CONSOLE, console, "AUTOTRACE_CONSOLE")
	CHECK_WORDS(PROTOCOL, otlp_protocol, "OTEL_EXPORTER_OTLP_PROTOCOL")
	CHECK_WORDS(COMPRESSION, otlp_compression, "OTEL_EXPORTER_OTLP_COMPRESSION")
	CHECK_WORDS(METRICS_EXPORTERS, metrics_exporters, "OTEL_METRICS_EXPORTER")
	CHECK_WORDS(TEMPORALITY, otlp_temporality,
		    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE")
	CHECK_WORDS(HISTOGRAM, otlp_histogram,
		    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION")
	CHECK_WORDS(LOG_LEVEL, log_level, "OTEL_LOG_LEVEL")
	CHECK_WORDS(SOCKET_SPANS, socket_spans, "AUTOTRACE_SOCKET_SPANS")
	CHECK_WORDS(CALL_SITES, call_sites, "AUTOTRACE_CALL_SITES");
	CHECK_WORDS(STACKTRACE, stacktrace, "AUTOTRACE_STACKTRACE");
#undef CHECK_WORDS
}

TEST(metrics_have_a_list_of_exporters_too)
{
	CHECK_INT(config_of("OTEL_METRICS_EXPORTER", "otlp, console").metrics_exporters,
		  ATR_METRICS_OTLP | ATR_METRICS_CONSOLE);
	CHECK_INT(n_warnings, 0);
	CHECK_INT(config_of("OTEL_METRICS_EXPORTER", "none,otlp").metrics_exporters,
		  ATR_METRICS_OTLP);
	CHECK_STR(warnings[0], "OTEL_METRICS_EXPORTER: \"none\" is not to be combined with others; "
			       "leaving it out");
	CHECK_INT(config_of("OTEL_METRICS_EXPORTER", "prometheus").metrics_exporters,
		  ATR_METRICS_NONE);
}

TEST(an_unknown_word_is_ignored_and_shown_as_the_user_wrote_it)
{
	struct atr_config c = config_of("OTEL_TRACES_SAMPLER", "Always_On_Sundays");

	CHECK_INT(c.sampler, ATR_SAMPLER_PARENTBASED_ALWAYS_ON);
	CHECK(!c.sampler_set);
	CHECK_STR(warnings[0],
		  "OTEL_TRACES_SAMPLER=Always_On_Sundays is not one of always_on, always_off, "
		  "traceidratio, parentbased_always_on, parentbased_always_off, "
		  "parentbased_traceidratio, jaeger_remote, parentbased_jaeger_remote; using "
		  "parentbased_always_on");
	/* Neither the beginning of a word nor more than one is the word. */
	CHECK_INT(config_of("OTEL_TRACES_SAMPLER", "always").sampler_set, false);
	CHECK_INT(config_of("OTEL_TRACES_SAMPLER", "always_offf").sampler_set, false);
}

TEST(a_list_of_words_is_all_of_them_but_those_that_are_none)
{
	const char *env = "OTEL_TRACES_EXPORTER";
	struct atr_config c = config_of(env, " otlp , Console,,otlp/STDOUT\t");

	CHECK_INT(c.exporters, ATR_EXPORTER_OTLP | ATR_EXPORTER_CONSOLE | ATR_EXPORTER_STDOUT);
	CHECK(c.exporters_set);
	CHECK_INT(n_warnings, 0);
	c = config_of(env, "jaeger,zipkin,logging,otlp/std");
	CHECK_INT(c.exporters, ATR_EXPORTER_ZIPKIN);
	CHECK_INT(n_warnings, 3);
	CHECK_STR(warnings[0], "OTEL_TRACES_EXPORTER: \"jaeger\" is not one of otlp, console, "
			       "otlp/stdout, zipkin, none; leaving it out");
	CHECK(strstr(warnings[1], "\"logging\"") && strstr(warnings[2], "\"otlp/std\""));
	/* Nothing left is as if nothing had been said. */
	c = config_of(env, "jaeger");
	CHECK_INT(c.exporters, ATR_EXPORTER_OTLP);
	CHECK(!c.exporters_set);
	CHECK(strstr(warnings[0], "; using otlp") != NULL);
	c = config_of(env, " , ,");
	CHECK_INT(c.exporters, ATR_EXPORTER_OTLP);
	CHECK_INT(n_warnings, 0);
}

TEST(none_is_nothing_beside_others_and_a_file_is_one_of_them)
{
	struct atr_config c = config_of("OTEL_TRACES_EXPORTER", "none");

	CHECK_INT(c.exporters, ATR_EXPORTER_NONE);
	CHECK(!atr_config_exports(&c));
	CHECK_INT(n_warnings, 0);
	c = config_of("OTEL_TRACES_EXPORTER", "none,console");
	CHECK_INT(c.exporters, ATR_EXPORTER_CONSOLE);
	CHECK_INT(n_warnings, 1);
	CHECK(strstr(warnings[0], "OTEL_TRACES_EXPORTER") && strstr(warnings[0], "none"));
	c = config_of("AUTOTRACE_FILE", "/x");
	CHECK_INT(c.exporters, ATR_EXPORTER_NONE);
	CHECK(atr_config_exports(&c));
	variables[1][0] = "OTEL_TRACES_EXPORTER";
	variables[1][1] = "otlp";
	atr_config_read(&c, get, warn);
	CHECK_INT(c.exporters, ATR_EXPORTER_OTLP);
	CHECK_STR(c.file, "/x");
	CHECK_INT(n_warnings, 0);
}

TEST(a_ratio_is_a_number_from_0_to_1_in_every_locale)
{
	static const struct {
		const char *value;
		double ratio; /* -1: bad */
	} cases[] = {
		{ "0", 0 },	   { "1", 1 },	    { "0.5", 0.5 },    { "0.25", 0.25 },
		{ ".125", 0.125 }, { "1.", 1 },	    { "1.000", 1 },    { "0.0", 0 },
		{ "5e-1", 0.5 },   { "5E-1", 0.5 }, { "0.05e1", 0.5 }, { "1e-3", 0.001 },
		{ " 0.5 ", 0.5 },  { "1e0", 1 },    { "1.0001", -1 },  { "2", -1 },
		{ "-0.5", -1 },	   { "50%", -1 },   { "0,5", -1 },     { "half", -1 },
		{ "nan", -1 },	   { "inf", -1 },   { ".", -1 },       { "e", -1 },
		{ "1e", -1 },	   { "1e-", -1 },   { "0.5.5", -1 },   { "1e999999999", -1 },
		{ "0x1p-1", -1 },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(cases); i++) {
		struct atr_config c = config_of("OTEL_TRACES_SAMPLER_ARG", cases[i].value);
		bool bad = cases[i].ratio < 0;
		double want = bad ? 1.0 : cases[i].ratio;

		if (!CHECK(c.sampler_arg > want - 1e-12 && c.sampler_arg < want + 1e-12))
			printf("  %s: %.17g\n", cases[i].value, c.sampler_arg);
		CHECK_INT(c.sampler_arg_set, !bad);
		CHECK_INT(n_warnings, bad);
	}
}

TEST(strings_are_copied_as_they_are)
{
	char name[] = " a shop, =\xc3\xa9 ";
	struct atr_config c = config_of("OTEL_SERVICE_NAME", name);

	name[1] = 'X'; /* programs write over their environment */
	CHECK_STR(c.service_name, " a shop, =\xc3\xa9 ");
	CHECK(c.service_name_set);
	CHECK_INT(n_warnings, 0);
}

TEST(more_strings_than_the_buffer_holds_are_kept_all_the_same)
{
	static char big[100000];
	struct atr_config c;

	memset(big, 'b', sizeof(big) - 1);
	c = config_of("OTEL_RESOURCE_ATTRIBUTES", big);
	CHECK_STR(c.resource_attributes, big);
	for (unsigned i = 0; i < 100; i++) {
		char value[512];

		memset(value, 'a' + (int)(i % 26), sizeof(value));
		value[511] = '\0';
		c = config_of("OTEL_EXPORTER_OTLP_HEADERS", value);
		CHECK_STR(c.otlp_headers, value);
	}
}

TEST(a_long_bad_value_makes_a_line_that_still_names_everything)
{
	static char big[4000];

	memset(big, 'x', sizeof(big) - 1);
	(void)config_of("OTEL_BSP_SCHEDULE_DELAY", big);
	CHECK_INT(n_warnings, 1);
	CHECK(strncmp(warnings[0], "OTEL_BSP_SCHEDULE_DELAY=xxxx", 28) == 0);
	CHECK(strstr(warnings[0], "using 5000"));
	CHECK(!strchr(warnings[0], '\n'));
	(void)config_of("OTEL_TRACES_SAMPLER", big);
	CHECK(strstr(warnings[0], "using parentbased_always_on"));
}

TEST(several_bad_values_are_each_warned_about)
{
	struct atr_config c;

	memset(variables, 0, sizeof(variables));
	variables[0][0] = "OTEL_SDK_DISABLED";
	variables[0][1] = "1";
	variables[1][0] = "OTEL_BSP_MAX_QUEUE_SIZE";
	variables[1][1] = "many";
	variables[2][0] = "OTEL_TRACES_EXPORTER";
	variables[2][1] = "jaeger";
	variables[3][0] = "OTEL_SERVICE_NAME";
	variables[3][1] = "shop";
	n_warnings = 0;
	atr_config_read(&c, get, warn);
	CHECK_INT(n_warnings, 3);
	CHECK_STR(c.service_name, "shop");
}

/* Reads the settings where two variables are set. */
static struct atr_config config_of_two(const char *name, const char *value, const char *name2,
				       const char *value2)
{
	struct atr_config config;

	memset(variables, 0, sizeof(variables));
	variables[0][0] = name;
	variables[0][1] = value;
	variables[1][0] = name2;
	variables[1][1] = value2;
	n_warnings = 0;
	atr_config_read(&config, get, warn);
	return config;
}

TEST(a_bad_value_for_traces_alone_gives_the_general_one_and_says_so)
{
	struct atr_config c = config_of_two("OTEL_EXPORTER_OTLP_TIMEOUT", "1000",
					    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "5s");

	CHECK_INT(c.otlp_traces_timeout, 1000);
	CHECK_INT(n_warnings, 1);
	CHECK(strstr(warnings[0], "using 1000") != NULL);
	c = config_of_two("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip",
			  "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd");
	CHECK_INT(c.otlp_traces_compression, ATR_COMPRESSION_GZIP);
	CHECK(strstr(warnings[0], "using gzip") != NULL);
	c = config_of_two("OTEL_EXPORTER_OTLP_TIMEOUT", "1000", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
			  "7");
	CHECK_INT(c.otlp_traces_timeout, 7);
}

TEST(a_ratio_nobody_wants_is_not_read)
{
	CHECK_INT(config_of_two("OTEL_TRACES_SAMPLER_ARG", "abc", NULL, NULL).sampler_arg_set, 0);
	CHECK_INT(n_warnings, 1); /* that it is not */
	(void)config_of_two("OTEL_TRACES_SAMPLER_ARG", "7", "OTEL_TRACES_SAMPLER", "always_on");
	CHECK_INT(n_warnings, 0);
	(void)config_of_two("OTEL_TRACES_SAMPLER_ARG", "7", "OTEL_TRACES_SAMPLER",
			    "parentbased_traceidratio");
	CHECK_INT(n_warnings, 1);
}

TEST(the_argument_of_a_remote_sampler_is_a_list)
{
	static const struct {
		const char *arg, *endpoint;
		uint32_t polling_ms;
		double ratio;
		bool bad;
	} rows[] = {
		{ NULL, NULL, 60000, 0.001, false },
		{ "endpoint=http://h:1/x,pollingIntervalMs=5000,initialSamplingRate=0.25",
		  "http://h:1/x", 5000, 0.25, false },
		{ " initialSamplingRate = 1 , endpoint= http://h ", "http://h", 60000, 1, false },
		{ "pollingintervalms=7,", NULL, 7, 0.001, false },
		{ "0.5", NULL, 60000, 0.001, true },
		{ "endpoint=", NULL, 60000, 0.001, true },
		{ "endpoint=http://h,initialSamplingRate=2", NULL, 60000, 0.001, true },
		{ "endpoint=http://h,pollingIntervalMs=0", NULL, 60000, 0.001, true },
		{ "endpoint=http://h,colour=red", NULL, 60000, 0.001, true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct atr_config c = config_of_two("OTEL_TRACES_SAMPLER_ARG", rows[i].arg,
						    "OTEL_TRACES_SAMPLER", "jaeger_remote");

		CHECK_INT(n_warnings, rows[i].bad);
		CHECK_STR(c.jaeger.endpoint ? c.jaeger.endpoint : "-",
			  rows[i].endpoint ? rows[i].endpoint : "-");
		CHECK_INT(c.jaeger.polling_ms, rows[i].polling_ms);
		CHECK(c.jaeger.ratio > rows[i].ratio - 1e-12 &&
		      c.jaeger.ratio < rows[i].ratio + 1e-12);
	}
	CHECK_STR(
		warnings[0],
		"OTEL_TRACES_SAMPLER_ARG=endpoint=http://h,colour=red is not a list of "
		"endpoint=URL, pollingIntervalMs=N, initialSamplingRate=0 to 1; using none of it");
}

TEST(a_bad_list_with_a_user_in_it_is_not_shown)
{
	(void)config_of_two("OTEL_TRACES_SAMPLER_ARG", "endpoint=http://u:sesame@h,x",
			    "OTEL_TRACES_SAMPLER", "jaeger_remote");
	CHECK_INT(n_warnings, 1);
	CHECK(strncmp(warnings[0], "OTEL_TRACES_SAMPLER_ARG=... is not a list", 41) == 0);
}

TEST(lists_are_kept_as_text_and_have_the_semantic_conventions_defaults)
{
	struct atr_config c = config_of("OTEL_PROPAGATORS", " b3, tracecontext,none");

	CHECK_STR(c.propagators, " b3, tracecontext,none");
	CHECK_INT(n_warnings, 0);
	CHECK_STR(c.http_known_methods,
		  "CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,QUERY,TRACE");
	CHECK_STR(c.sensitive_query,
		  "X-Amz-Signature,X-Amz-Credential,X-Amz-Security-Token,sig,X-Goog-Signature");
	CHECK_STR(c.propagate_to, NULL);
	c = config_of("AUTOTRACE_PROPAGATE_TO", "*.example");
	CHECK_STR(c.propagators, "tracecontext,baggage");
	CHECK_STR(c.propagate_to, "*.example");
	CHECK_STR(c.propagate_except, NULL);
}

/* The settings as people see them. */
static const char *shown(const char *name, const char *value)
{
	static char text[2048];
	struct atr_config config = config_of(name, value);

	size_t len = atr_config_show(text, sizeof(text), &config);

	CHECK_INT(len, strlen(text));
	return text;
}

TEST(what_matters_is_shown_and_what_was_set)
{
	CHECK_STR(shown(NULL, NULL),
		  "OTEL_TRACES_SAMPLER=parentbased_always_on\nOTEL_TRACES_EXPORTER=otlp\n"
		  "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318\n"
		  "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n");
	CHECK(strstr(shown("OTEL_BSP_MAX_QUEUE_SIZE", "17"), "\nOTEL_BSP_MAX_QUEUE_SIZE=17\n"));
	CHECK(strstr(shown("AUTOTRACE_SQLCOMMENTER", "1"), "\nAUTOTRACE_SQLCOMMENTER=true\n"));
	CHECK(strstr(shown("OTEL_TRACES_SAMPLER_ARG", "0.25"), "\nOTEL_TRACES_SAMPLER_ARG=0.25\n"));
	CHECK(strstr(shown("OTEL_TRACES_SAMPLER_ARG", "1"), "\nOTEL_TRACES_SAMPLER_ARG=1.0\n"));
	CHECK(strstr(shown("OTEL_SERVICE_NAME", "a\nB=c"), "OTEL_SERVICE_NAME=a?B=c\n"));
}

TEST(secrets_are_not_shown)
{
	static const char *const secrets[][2] = {
		{ "OTEL_EXPORTER_OTLP_HEADERS", "api-key=sesame" },
		{ "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "sesame" },
		{ "OTEL_EXPORTER_OTLP_ENDPOINT", "https://sesame@host:1/x" },
		{ "OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:sesame@host:1/x?sesame" },
		{ "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a@sesame@host:1/x#sesame" },
		{ "OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:sesame/?#sesame@host:1/x" },
		{ "https_proxy", "http://me:sesame#@host:1/x" },
		{ "OTEL_SERVICE_NAME", "shop://me:sesame/s@host:1/x" },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(secrets); i++) {
		const char *text = shown(secrets[i][0], secrets[i][1]);

		if (!CHECK(!strstr(text, "sesame")) || !CHECK(strstr(text, secrets[i][0])))
			printf("  %s\n", text);
		if (i >= 2)
			CHECK(strstr(text, "://host:1/x\n") != NULL);
	}
}

TEST(only_whole_lines_are_shown)
{
	struct atr_config config = config_of("OTEL_SERVICE_NAME", "shop");
	char whole[1024], part[1024];
	size_t len = atr_config_show(whole, sizeof(whole), &config);

	for (size_t size = 1; size <= len + 1; size++) {
		size_t n = atr_config_show(part, size, &config);

		CHECK(n < size && n == strlen(part) && (!n || part[n - 1] == '\n'));
	}
}
