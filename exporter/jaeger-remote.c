/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/jaeger-remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "exporter/http.h"
#include "exporter/json.h"
#include "exporter/resource.h"
#include "exporter/url.h"
#include "preload/host.h"
#include "preload/target.h"

#define NS_PER_MS 1000000u
#define LOOK_NS (10 * NS_PER_MS) /* a request under way is looked after so often */
#define TIMEOUT_MS 10000L
#define TURNS_MAX 32
#define BODY_MAX (1u << 20)
#define ENDPOINT "http://localhost:5778/sampling"
#define PATH "/sampling"
#define NAME_MAX_BYTES 512

/* ---- the answer ---- */

static double bounded(double v, double least, double most)
{
	return v >= least ? (v <= most ? v : most) : least;
}

/* {"samplingRate": N} and the like. */
static bool number_in(struct atr_json *j, const char *wanted, double *ret)
{
	char key[64];
	bool found = false;

	if (!atr_json_object(j))
		return false;
	while (atr_json_key(j, key, sizeof(key)))
		if (strcmp(key, wanted) == 0)
			found = atr_json_number(j, ret);
		else
			atr_json_skip(j);
	return found;
}

struct reading {
	struct atr_json j;
	struct atr_strategy *to;
	struct atr_buf *names;
	size_t at[ATR_STRATEGY_OPERATIONS]; /* of each name in `names` */
	double ratio, per_second;
	bool has_ratio, has_limit, has_operations;
};

static void read_operation(struct reading *r)
{
	struct atr_strategy_operation *o = &r->to->operations[r->to->n_operations];
	char key[64], name[NAME_MAX_BYTES];
	bool has_name = false, has_ratio = false;
	size_t len = 0;
	double ratio = 0;

	if (!atr_json_object(&r->j))
		return;
	while (atr_json_key(&r->j, key, sizeof(key)))
		if (strcmp(key, "operation") == 0)
			has_name = atr_json_string(&r->j, name, sizeof(name), &len) && len;
		else if (strcmp(key, "probabilisticSampling") == 0)
			has_ratio = number_in(&r->j, "samplingRate", &ratio);
		else
			atr_json_skip(&r->j);
	if (!has_name || !has_ratio || r->to->n_operations == ATR_STRATEGY_OPERATIONS)
		return;
	r->at[r->to->n_operations++] = r->names->len;
	atr_buf_add(r->names, name, len);
	o->name.len = len;
	o->ratio = bounded(ratio, 0, 1);
}

static void read_operations(struct reading *r)
{
	char key[64];

	if (!atr_json_object(&r->j))
		return;
	r->has_operations = true;
	while (atr_json_key(&r->j, key, sizeof(key)))
		if (strcmp(key, "defaultSamplingProbability") == 0)
			(void)atr_json_number(&r->j, &r->to->ratio);
		else if (strcmp(key, "defaultLowerBoundTracesPerSecond") == 0)
			(void)atr_json_number(&r->j, &r->to->lower);
		else if (strcmp(key, "perOperationStrategies") != 0)
			atr_json_skip(&r->j);
		else if (atr_json_array(&r->j))
			while (atr_json_element(&r->j))
				read_operation(r);
}

/* Which of the three counts is the first that is there, in this order. */
static bool choose(struct reading *r)
{
	struct atr_strategy *s = r->to;

	if (!r->has_operations) {
		s->ratio = r->has_ratio ? r->ratio : 1;
		if (!r->has_ratio && r->has_limit)
			s->per_second = bounded(r->per_second, 0, 1e9);
	}
	s->ratio = bounded(s->ratio, 0, 1);
	s->lower = bounded(s->lower, 0, 1e9);
	return r->has_operations || r->has_ratio || r->has_limit;
}

bool atr_jaeger_read(const char *text, size_t len, struct atr_strategy *ret, struct atr_buf *names)
{
	struct reading r = { .to = ret, .names = names };
	char key[64];

	ret->ratio = ret->lower = 0;
	ret->per_second = -1;
	ret->n_operations = 0;
	atr_buf_reset(names);
	atr_json_init(&r.j, text, len);
	if (!atr_json_object(&r.j))
		return false;
	while (atr_json_key(&r.j, key, sizeof(key)))
		if (strcmp(key, "operationSampling") == 0)
			read_operations(&r);
		else if (strcmp(key, "probabilisticSampling") == 0)
			r.has_ratio = number_in(&r.j, "samplingRate", &r.ratio);
		else if (strcmp(key, "rateLimitingSampling") == 0)
			r.has_limit = number_in(&r.j, "maxTracesPerSecond", &r.per_second);
		else
			atr_json_skip(&r.j);
	for (size_t i = 0; i < ret->n_operations; i++)
		ret->operations[i].name.p = (const char *)names->bytes + r.at[i];
	return atr_json_end(&r.j) && !names->failed && choose(&r);
}

/* ---- asking ---- */

static size_t take_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct atr_jaeger *j = arg;

	if (j->body.len + size * n > BODY_MAX) {
		j->too_long = true;
		return 0; /* ends the transfer */
	}
	atr_buf_add(&j->body, bytes, size * n);
	return size * n;
}

/* endpoint, /sampling if it has no path, and the service's name. */
static char *url_of(const char *endpoint, const char *service)
{
	const char *authority = strstr(endpoint, "://") + 3;
	const char *path = authority + strcspn(authority, "/?#");
	size_t len = strcspn(endpoint, "#");
	bool has_path = path[0] == '/' && path[1] && path[1] != '?' && path[1] != '#';
	char *escaped = curl_easy_escape(NULL, service, 0);
	struct atr_buf url = { NULL, 0, 0, false };

	if (!has_path)
		len = (size_t)(path - endpoint);
	atr_buf_add(&url, endpoint, len);
	if (!has_path)
		atr_buf_str(&url, PATH);
	if (!has_path && path[path[0] == '/'] == '?')
		atr_buf_add(&url, path + (path[0] == '/'), strcspn(path + (path[0] == '/'), "#"));
	atr_buf_str(&url, memchr(url.bytes ? (char *)url.bytes : "", '?', url.len) ? "&service="
										   : "?service=");
	atr_buf_str(&url, escaped ? escaped : "");
	atr_buf_add(&url, "", 1);
	if (url.failed || !escaped)
		atr_buf_free(&url);
	curl_free(escaped);
	return (char *)url.bytes;
}

static bool usable(const char *endpoint)
{
	return atr_url_valid(endpoint, false) && (strncasecmp(endpoint, "http://", 7) == 0 ||
						  strncasecmp(endpoint, "https://", 8) == 0);
}

static void set_url(struct atr_jaeger *j)
{
	const struct atr_config *c = j->host->config;
	const char *endpoint = c->jaeger.endpoint ? c->jaeger.endpoint : ENDPOINT;
	const struct atr_attr *name;
	struct atr_resource r = { 0 };

	if (!usable(endpoint)) {
		atr_url_shown(j->shown, sizeof(j->shown), endpoint);
		j->host->log(ATR_LOG_WARN,
			     "OTEL_TRACES_SAMPLER_ARG: endpoint=%s is not a usable http or https "
			     "URL; using %s",
			     j->shown, ENDPOINT);
		endpoint = ENDPOINT;
	}
	(void)atr_resource_build(&r, c->resource_attributes, c->service_name);
	name = atr_resource_get(&r, "service.name");
	j->url = url_of(endpoint, name && name->text ? name->text : "unknown_service");
	atr_url_shown(j->shown, sizeof(j->shown), endpoint);
	atr_resource_finish(&r);
}

static void set_options(struct atr_jaeger *j)
{
	const char *proxy = atr_target_proxy(j->host->config, j->url);
	CURL *easy = j->easy;

	curl_easy_setopt(easy, CURLOPT_URL, j->url);
	curl_easy_setopt(easy, CURLOPT_PROXY, proxy ? proxy : "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	curl_easy_setopt(easy, CURLOPT_USERAGENT, ATR_HTTP_USER_AGENT);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, j);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, j->error);
	/* Polled seldom: a connection that is kept would be a dead one. */
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	atr_http_set_protocols(easy);
}

void atr_jaeger_init(struct atr_jaeger *j, const struct atr_host *host)
{
	*j = (struct atr_jaeger){ .host = host, .next = UINT64_MAX };
	if (host->config->sampler != ATR_SAMPLER_JAEGER_REMOTE &&
	    host->config->sampler != ATR_SAMPLER_PARENTBASED_JAEGER_REMOTE)
		return;
	if (atr_http_global(host) != 0)
		return;
	j->multi = curl_multi_init();
	j->easy = curl_easy_init();
	if (j->multi && j->easy)
		set_url(j);
	if (!j->url) {
		host->log(ATR_LOG_ERROR, "out of memory: the remote sampler is not asked");
		return;
	}
	set_options(j);
	j->next = 0;
}

static void stop(struct atr_jaeger *j)
{
	if (j->in_flight)
		(void)curl_multi_remove_handle(j->multi, j->easy);
	j->in_flight = false;
}

void atr_jaeger_finish(struct atr_jaeger *j)
{
	stop(j);
	curl_easy_cleanup(j->easy);
	curl_multi_cleanup(j->multi);
	curl_slist_free_all(j->resolve);
	free(j->url);
	atr_buf_free(&j->body);
	atr_buf_free(&j->names);
}

uint64_t atr_jaeger_due(const struct atr_jaeger *j)
{
	return j->next;
}

/* As long as it goes on by itself, but for ever it shall not. */
static void perform(struct atr_jaeger *j)
{
	int running = 0;
	size_t before;

	for (int i = 0; i < TURNS_MAX; i++) {
		before = j->body.len;
		(void)curl_multi_perform(j->multi, &running);
		if (!running || j->body.len == before)
			break;
	}
}

/* What is gone by until it answers. */
static void say_until(const struct atr_jaeger *j, char *text, size_t size)
{
	if (j->answered)
		(void)snprintf(text, size, "the last one stays");
	else
		(void)snprintf(text, size, "%g of the traces is recorded until there is one",
			       j->host->config->jaeger.ratio);
}

static void show(const struct atr_jaeger *j, const char *what)
{
	(void)snprintf(j->host->strategy_shown, ATR_STATUS_STRATEGY, "%s", what);
	for (char *p = j->host->strategy_shown; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

/* Said once when it begins, once when it is over. */
static void failed(struct atr_jaeger *j, const char *why, long status)
{
	char line[ATR_STATUS_STRATEGY], http[32] = "", until[80];

	if (status)
		(void)snprintf(http, sizeof(http), "HTTP %ld", status);
	say_until(j, until, sizeof(until));
	(void)snprintf(line, sizeof(line), "sampling strategy from %.160s: %s%.100s; %s", j->shown,
		       http, why, until);
	if (!j->failed)
		j->host->log(ATR_LOG_WARN, "%s", line);
	show(j, line);
	j->failed = true;
}

static void use(struct atr_jaeger *j)
{
	char line[ATR_STATUS_STRATEGY];
	const struct atr_strategy *s = &j->strategy;
	size_t n =
		(size_t)snprintf(line, sizeof(line), "sampling strategy from %.160s: ", j->shown);

	if (s->per_second >= 0)
		(void)snprintf(line + n, sizeof(line) - n, "at most %g traces per second",
			       s->per_second);
	else
		(void)snprintf(line + n, sizeof(line) - n, "%g of the traces%s", s->ratio,
			       s->n_operations ? ", but for some operations" : "");
	show(j, line);
	j->host->strategy(s);
	if (j->failed)
		j->host->log(ATR_LOG_INFO, "sampling strategy from %s works again", j->shown);
	j->failed = false;
	j->answered = true;
}

static void use_answer(struct atr_jaeger *j, CURLcode code)
{
	long status = 0;

	(void)curl_easy_getinfo(j->easy, CURLINFO_RESPONSE_CODE, &status);
	if (j->too_long) {
		failed(j, "the answer is too long", 0);
	} else if (code != CURLE_OK) {
		failed(j, j->error[0] ? j->error : curl_easy_strerror(code), 0);
	} else if (status != 200) {
		failed(j, "", status);
	} else if (j->body.failed || !atr_jaeger_read((const char *)j->body.bytes, j->body.len,
						      &j->strategy, &j->names)) {
		failed(j, ", and no strategy", status);
	} else {
		use(j);
	}
}

static void ask(struct atr_jaeger *j)
{
	struct atr_addresses found;

	j->host->look_up(j->url, &found);
	curl_easy_setopt(j->easy, CURLOPT_RESOLVE, NULL);
	curl_slist_free_all(j->resolve);
	j->resolve = found.resolved[0] ? curl_slist_append(NULL, found.resolved) : NULL;
	curl_easy_setopt(j->easy, CURLOPT_RESOLVE, j->resolve);
	atr_buf_reset(&j->body);
	j->too_long = false;
	j->error[0] = '\0';
	if (found.error)
		failed(j, found.error, 0);
	else
		j->in_flight = curl_multi_add_handle(j->multi, j->easy) == CURLM_OK;
}

void atr_jaeger_step(struct atr_jaeger *j)
{
	uint64_t now = j->host->now();
	int left = 0;
	CURLMsg *msg;

	if (now < j->next)
		return;
	if (!j->in_flight)
		ask(j);
	if (j->in_flight) {
		perform(j);
		msg = curl_multi_info_read(j->multi, &left);
		if (!msg || msg->msg != CURLMSG_DONE) {
			j->next = now + LOOK_NS;
			return;
		}
		use_answer(j, msg->data.result);
		stop(j);
	}
	j->next = now + (uint64_t)j->host->config->jaeger.polling_ms * NS_PER_MS;
}
