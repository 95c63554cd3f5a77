#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What the compiler does not check of docs/design.md's house style:
#   - every source file says SPDX-License-Identifier in its first two lines;
#   - preload/ and hooks/ are guests in a program's thread: no malloc, no stdio,
#     no locale, no exit; exceptions are lines of style.allow, with a reason;
#   - nobody uses strcpy, sprintf, strtok and the like.
# A file of more than 500 lines is mentioned, not refused.
#
#   check-style.sh [ROOT [style.allow]]
#   check-style.sh --top [N]              the N longest functions
set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)

top=
if [ "${1:-}" = --top ]; then
  top=${2:-20}
  shift $#
fi
allow=${2:-$here/style.allow}
[ -r "$allow" ] || {
  echo "cannot read $allow"
  exit 1
}
cd "${1:-.}" || exit 1

everyone='gets strcpy strcat sprintf vsprintf strtok alloca atoi atol mktemp tmpnam'
guest='malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf posix_memalign
  aligned_alloc memalign
  printf fprintf vprintf vfprintf dprintf vdprintf snprintf vsnprintf puts fputs putc fputc putchar
  fwrite fread fopen fdopen freopen fclose fflush fgets fgetc getc getline getdelim setvbuf
  scanf sscanf fscanf perror syslog openlog psignal
  setlocale newlocale uselocale strtod strtof strcoll strftime localtime localtime_r mktime gmtime
  exit abort _exit _Exit quick_exit assert raise kill
  signal sigaction timer_create setitimer alarm sleep usleep nanosleep
  system popen getaddrinfo gethostbyname getenv_s setenv putenv unsetenv
  opendir readdir closedir qsort strerror dlopen dlclose'

if [ "$top" ]; then
  find preload hooks exporter cli -name '*.c' -exec awk '
    FNR == 1 { name = "" }
    /^[A-Za-z_].*\(/ && !/;[ \t]*$/ { name = $0; start = FNR }
    /^}/ && name != "" {
      sub(/\(.*/, "", name)
      sub(/.*[ *]/, "", name)
      printf "%5d  %s:%d %s\n", FNR - start + 1, FILENAME, start, name
      name = ""
    }' {} + 2>/dev/null | sort -rn | head -n "$top"
  exit 0
fi

bad=0
spdx=$(sh "$here/sources.sh" '*.c' '*.h' '*.def' '*.proto' '*.py' 'scripts/*' '.ci/run' |
  while IFS= read -r f; do
    head -n 2 "$f" | grep -q 'SPDX-License-Identifier: ' || echo "$f: no SPDX-License-Identifier in its first two lines"
  done)
if [ "$spdx" ]; then
  printf '%s\n' "$spdx"
  bad=1
fi

files=$(find preload hooks exporter cli -name '*.[ch]' 2>/dev/null | sort)
if [ -z "$files" ]; then
  echo "no source files here: $PWD"
  exit 1
fi

# Calls, with comments and literals blanked out first.
# shellcheck disable=SC2086 # words are wanted, our names have no blanks
awk -v everyone="$everyone" -v guest="$guest" -v allow="$allow" '
function blank(line,    out, i, c, two) {
  out = ""
  for (i = 1; i <= length(line); i++) {
    c = substr(line, i, 1)
    two = substr(line, i, 2)
    if (state == "comment") {
      if (two == "*/") { state = ""; i++; out = out " " }
    } else if (state == "\"" || state == "\047") {
      if (c == "\\") i++
      else if (c == state) state = ""
    } else if (two == "/*") { state = "comment"; i++ }
    else if (two == "//") break
    else if (c == "\"" || c == "\047") { state = c; out = out "Q" }
    else out = out c
  }
  if (state != "comment") state = ""
  return out
}
BEGIN {
  n = split(everyone, word)
  for (i = 1; i <= n; i++) banned_all[word[i]] = 1
  n = split(guest, word)
  for (i = 1; i <= n; i++) banned_guest[word[i]] = 1
  while ((getline line < allow) > 0) {
    if (line ~ /^#/ || line ~ /^[ \t]*$/) continue
    if (split(line, field) < 3) { print allow ": no reason given: " line; bad = 1 }
    allowed[field[1] " " field[2]] = 1
  }
}
FNR == 1 { state = "" }
{
  text = blank($0)
  if (text ~ /^[ \t]*#[ \t]*include/) next
  if (text ~ /^[ \t]*#[ \t]*pragma[ \t]+GCC[ \t]+poison/) next
  while (match(text, /[A-Za-z_][A-Za-z_0-9]*[ \t]*\(/)) {
    name = substr(text, RSTART, RLENGTH - 1)
    before = substr(text, 1, RSTART - 1)
    text = substr(text, RSTART + RLENGTH)
    sub(/[ \t]+$/, "", name)
    if (before ~ /(\.|->)[ \t]*$/) continue # a member: atr_real.exit()
    is_guest = FILENAME ~ /^(preload|hooks)\//
    if (!(name in banned_all) && !(is_guest && name in banned_guest)) continue
    if ((FILENAME " " name) in allowed) { used[FILENAME " " name] = 1; continue }
    # atr_export void _exit(int status): a definition of ours at the start of a line
    if (is_guest && before ~ /^atr_export /) continue
    printf "%s:%d: %s() is not for %s\n", FILENAME, FNR, name, name in banned_all ? "us" : "code in a program\047s thread"
    bad = 1
  }
}
END {
  for (key in allowed)
    if (!(key in used)) { print allow ": allows what nobody does: " key; bad = 1 }
  exit bad
}' $files || bad=1

# shellcheck disable=SC2086
wc -l $files | awk '$2 != "total" && $1 > 500 { printf "note: %s has %d lines: which two ideas does it hold?\n", $2, $1 }'
exit $bad
