#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# hooks -> preload <- exporter <- cli, and preload/init.c above all, by what the
# files include.  An include of ours is written as a path from the root.
#
#   check-layers.sh [ROOT]
#
# One awk over all files and no `set -e` inside $( ): a file without includes
# must not end the check.
set -u
export LC_ALL=C
cd "${1:-.}" || exit 1

files=$(find preload hooks exporter cli -name '*.[ch]' -o -name '*.def' 2>/dev/null | sort)
if [ -z "$files" ]; then
  echo "no source files here: $PWD"
  exit 1
fi
# shellcheck disable=SC2086 # words are wanted, our names have no blanks
awk '
BEGIN {
  may["preload"] = " preload "
  may["hooks"] = " hooks preload "
  may["exporter"] = " exporter preload "
  may["cli"] = " cli exporter preload "
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
  split($0, part, "\"")
  target = part[2]
  from = FILENAME
  sub(/\/.*/, "", from)
  to = target
  if (!sub(/\/.*/, "", to) || !(to in may)) {
    printf "%s:%d: \"%s\" is no path from the root into preload/ hooks/ exporter/ cli/\n", FILENAME, FNR, target
    bad = 1
  } else if (FILENAME != "preload/init.c" && !index(may[from], " " to " ")) {
    printf "%s:%d: %s/ may not include \"%s\"\n", FILENAME, FNR, from, target
    bad = 1
  } else if (target ~ /\.c$/ && !(target ~ /\.pb-c\.c$/)) {
    printf "%s:%d: a .c is included: \"%s\"\n", FILENAME, FNR, target
    bad = 1
  }
}
END { exit bad }' $files
