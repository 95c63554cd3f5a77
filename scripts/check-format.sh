#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Are the C sources formatted as .clang-format says?  `make format` makes them so.
#
#   check-format.sh [FILE...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
command -v clang-format >/dev/null || {
  echo "skipped: there is no clang-format"
  exit 77
}
if [ $# = 0 ]; then
  # shellcheck disable=SC2046 # words are wanted, our names have no blanks
  set -- $(sh "$here/sources.sh" '*.c' '*.h')
fi
[ $# != 0 ] || {
  echo "no source files here: $PWD"
  exit 1
}
if ! out=$(clang-format --dry-run -Werror --ferror-limit=3 "$@" 2>&1); then
  printf '%s\n' "$out" | grep 'error:' | head -n 20
  exit 1
fi
