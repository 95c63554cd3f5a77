/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/spots.h"

#include <string.h>

#include "exporter/json.h"

#define KEY_MAX 64

/* What is inside of what; the last one's elements are spans. */
static const char *const path[] = { "resourceSpans", "scopeSpans", "spans" };

#define SPANS (sizeof(path) / sizeof(path[0]) - 1)

static struct atr_spot *spots(const struct atr_spots *s, size_t *ret_n)
{
	*ret_n = s->all.len / sizeof(struct atr_spot);
	return (struct atr_spot *)(void *)s->all.bytes;
}

/* ---- finding them ---- */

/* What is no object is no span. */
static void find_span(struct atr_spots *s, struct atr_json *j, const char *line, uint32_t begin)
{
	struct atr_spot spot = { .begin = begin };

	while (j->p < j->end && strchr(" \t\r\n", *j->p) && *j->p)
		j->p++;
	spot.from = (uint32_t)(j->p - line);
	if (j->p == j->end || *j->p != '{') {
		atr_json_skip(j);
		return;
	}
	atr_json_skip(j);
	spot.to = (uint32_t)(j->p - line);
	atr_buf_add(&s->all, &spot, sizeof(spot));
}

static void find_spans(struct atr_spots *s, struct atr_json *j, const char *line)
{
	uint32_t begin = (uint32_t)(j->p - line);
	struct atr_spot *spot;
	size_t n;

	while (atr_json_element(j))
		find_span(s, j, line, begin);
	spot = spots(s, &n);
	while (n-- && spot[n].begin == begin)
		spot[n].end = (uint32_t)(j->p - line) - 1;
}

static void find(struct atr_spots *s, struct atr_json *j, const char *line, size_t depth)
{
	char key[KEY_MAX];

	if (!atr_json_object(j))
		return;
	while (atr_json_key(j, key, sizeof(key))) {
		if (strcmp(key, path[depth]) != 0)
			atr_json_skip(j);
		else if (!atr_json_array(j))
			continue;
		else if (depth == SPANS)
			find_spans(s, j, line);
		else
			while (atr_json_element(j))
				find(s, j, line, depth + 1);
	}
}

bool atr_spots_find(struct atr_spots *s, const char *line, size_t len)
{
	struct atr_json j;

	atr_buf_reset(&s->all);
	atr_json_init(&j, line, len);
	find(s, &j, line, 0);
	return !j.bad && !s->all.failed;
}

/* ---- taking them out ---- */

/* The last one in front of it in its array that is still there; NULL: it is the first. */
static const struct atr_spot *before(const struct atr_spot *all, const struct atr_spot *spot)
{
	for (const struct atr_spot *p = spot; p > all && p[-1].begin == spot->begin; p--)
		if (!p[-1].gone)
			return &p[-1];
	return NULL;
}

size_t atr_spots_take(struct atr_spots *s, size_t first, size_t n, uint32_t *from, uint32_t *to)
{
	size_t n_all, k = 0;
	struct atr_spot *all = spots(s, &n_all), *spot = all + first;
	const struct atr_spot *kept;
	bool last;

	if (first >= n_all)
		return 0;
	kept = before(all, spot);
	for (; k < n && first + k < n_all && spot[k].begin == spot->begin; k++)
		spot[k].gone = true;
	last = first + k == n_all || spot[k].begin != spot->begin;
	/* The comma that stays is the one behind, or none. */
	*from = kept ? kept->to : spot->begin;
	*to = last ? spot->end : kept ? spot[k - 1].to : spot[k].from;
	return k;
}

void atr_spots_finish(struct atr_spots *s)
{
	atr_buf_free(&s->all);
}
