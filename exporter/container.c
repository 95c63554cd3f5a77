/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.id.  The specification gives no rules for finding it; these are the
 * ones the Java agent has used for years.
 */
#include <string.h>

#include "exporter/detect.h"

static bool hex(char c, bool lower_only)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
	       (!lower_only && c >= 'A' && c <= 'F');
}

/* Do exactly 64 hex digits stand at s, and no 65th? */
static bool is_id(const char *s, size_t len, bool lower_only)
{
	size_t n = 0;

	while (n < len && hex(s[n], lower_only))
		n++;
	return n == ATR_CONTAINER_ID;
}

/* The last place of c in s, or NULL. */
static const char *last(const char *s, size_t len, char c)
{
	return memrchr(s, c, len);
}

/* The next line of *text, without its end; false when there is none. */
static bool next_line(const char **text, size_t *len, const char **line, size_t *line_len)
{
	const char *end;

	if (!*len)
		return false;
	end = memchr(*text, '\n', *len);
	*line = *text;
	*line_len = end ? (size_t)(end - *text) : *len;
	*text += *line_len + (end != NULL);
	*len -= *line_len + (end != NULL);
	return true;
}

bool atr_detect_container_v1(char id[static ATR_CONTAINER_ID], const char *cgroup, size_t len)
{
	const char *s;
	size_t n;

	while (next_line(&cgroup, &len, &s, &n)) {
		const char *end = s + n;
		const char *slash = last(s, n, '/');
		const char *cut;

		if (!slash)
			continue;
		s = slash + 1;
		cut = last(s, (size_t)(end - s), ':');
		if (cut) {
			s = cut + 1;
		} else {
			cut = last(s, (size_t)(end - s), '-');
			if (cut)
				s = cut + 1;
			cut = last(s, (size_t)(end - s), '.');
			if (cut)
				end = cut;
		}
		if (end - s == ATR_CONTAINER_ID && is_id(s, (size_t)(end - s), false)) {
			memcpy(id, s, ATR_CONTAINER_ID);
			return true;
		}
	}
	return false;
}

/* The first id right behind `mark` anywhere in the text. */
static const char *behind(const char *text, size_t len, const char *mark)
{
	size_t n = strlen(mark);

	for (;;) {
		const char *at = memmem(text, len, mark, n);

		if (!at)
			return NULL;
		len -= (size_t)(at - text) + n;
		text = at + n;
		if (is_id(text, len, true))
			return text;
	}
}

/* The last path component of field 4 (the mount's root) that is an id, below a "containers/". */
static const char *in_root(const char *line, size_t len)
{
	const char *found = NULL;
	const char *s = line, *end;

	for (int field = 0; field < 3; field++) {
		s = memchr(s, ' ', len - (size_t)(s - line));
		if (!s)
			return NULL;
		s++;
	}
	end = memchr(s, ' ', len - (size_t)(s - line));
	if (!end)
		end = line + len;
	s = memmem(s, (size_t)(end - s), "/containers/", 12);
	if (!s)
		return NULL;
	for (s += 11; s && s < end; s = memchr(s, '/', (size_t)(end - s))) {
		s++;
		if (is_id(s, (size_t)(end - s), true))
			found = s;
	}
	return found;
}

bool atr_detect_container_v2(char id[static ATR_CONTAINER_ID], const char *mountinfo, size_t len)
{
	const char *found = behind(mountinfo, len, "/crio-");
	const char *line;
	size_t n;

	if (!found)
		found = behind(mountinfo, len, "cri-containerd:");
	if (!found)
		while (next_line(&mountinfo, &len, &line, &n)) {
			const char *here = in_root(line, n);

			found = here ? here : found;
		}
	if (found)
		memcpy(id, found, ATR_CONTAINER_ID);
	return found != NULL;
}
