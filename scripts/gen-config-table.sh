#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# README's table of settings, from the rows of preload/config.def.
#
#   gen-config-table.sh [config.def]       prints the table
#   gen-config-table.sh --write [README]   puts it between the markers
#                                          <!-- config:begin --> and <!-- config:end -->
#
# A small C program includes the rows like any other user of them, so what the
# table says is what the parser has.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)

write=
if [ "${1:-}" = --write ]; then
  write=${2:-README.md}
  shift $#
fi
def=${1:-$here/../preload/config.def}
[ -r "$def" ] || {
  echo "gen-config-table: cannot read $def" >&2
  exit 1
}
def=$(cd "$(dirname "$def")" && pwd)/$(basename "$def")

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cat >"$tmp/table.c" <<'END'
#include <stdio.h>
#include <string.h>

static const struct word {
	const char *type, *constant, *spelling;
} words[] = {
#define WORD(c, s) { NULL, #c, s },
#define ENUM(name, list) { #name, NULL, NULL }, list
#define SET ENUM
#include DEF
	{ "", NULL, NULL },
};

static const struct option {
	const char *type, *env, *def, *min, *max, *doc;
} options[] = {
#define OPTION(field, type, env, def, min, max, doc) { #type, env, #def, #min, #max, doc },
#include DEF
};

/* The words of an ENUM row; what is NULL: print them all, else the spelling of that constant. */
static int enumerated(const char *type, const char *what)
{
	const char *comma = "";
	int in = 0, found = 0;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const struct word *w = &words[i];

		if (w->type) {
			in = strcmp(w->type, type) == 0;
		} else if (in && (!what || strcmp(w->constant, what) == 0)) {
			printf("%s`%s`", comma, w->spelling);
			comma = ", ";
			found = 1;
		}
	}
	return found;
}

static int is_set(const char *type)
{
#define SET(name, list) if (!strcmp(type, #name)) return 1;
#include DEF
	return 0;
}

static void cell(const char *text)
{
	for (; *text; text++)
		printf(*text == '|' ? "\\|" : "%c", *text);
}

static int row(const struct option *o)
{
	int known = 1;

	printf("| `%s` | ", o->env);
	if (!strcmp(o->type, "BOOL"))
		printf("`true`, `false`");
	else if (!strcmp(o->type, "INT"))
		printf("%s to %s", o->min, o->max);
	else if (!strcmp(o->type, "DURATION") || !strcmp(o->type, "TIMEOUT"))
		printf("milliseconds%s%s%s", strcmp(o->max, "2147483647") ? ", at most " : "",
		       strcmp(o->max, "2147483647") ? o->max : "",
		       strcmp(o->type, "TIMEOUT") ? "" : ", 0 = no limit");
	else if (!strcmp(o->type, "RATIO"))
		printf("%s to %s", o->min, o->max);
	else if (!strcmp(o->type, "STRING"))
		printf("text");
	else {
		printf("%s", is_set(o->type) ? "list of " : "");
		known = enumerated(o->type, NULL);
	}

	printf(" | ");
	if (!strcmp(o->def, "NULL"))
		;
	else if (o->def[0] == '"')
		printf("`%.*s`", (int)strlen(o->def) - 2, o->def + 1);
	else if (!enumerated(o->type, o->def))
		printf("`%s`", o->def);
	printf(" | ");
	cell(o->doc);
	printf(" |\n");
	if (!known)
		fprintf(stderr, "gen-config-table: %s: no type and no ENUM row %s\n", o->env, o->type);
	return known;
}

int main(void)
{
	int ok = 1;

	printf("| variable | values | default | |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		ok &= row(&options[i]);
	return !ok;
}
END
# shellcheck disable=SC2086 # $CC may be several words
${CC:-cc} -std=gnu11 -w -DDEF="\"$def\"" -o "$tmp/table" "$tmp/table.c"
"$tmp/table" >"$tmp/table.md"

if [ -z "$write" ]; then
  cat "$tmp/table.md"
  exit 0
fi
for marker in '<!-- config:begin -->' '<!-- config:end -->'; do
  grep -q -e "$marker" "$write" || {
    echo "gen-config-table: $write has no line $marker" >&2
    exit 1
  }
done
awk -v table="$tmp/table.md" '
/<!-- config:end -->/ { inside = 0 }
!inside { print }
/<!-- config:begin -->/ {
  inside = 1
  while ((getline line < table) > 0) print line
}' "$write" >"$tmp/readme"
cmp -s "$tmp/readme" "$write" || cat "$tmp/readme" >"$write"
