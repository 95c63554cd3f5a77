#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The project's files that match the given globs, tracked or new but not ignored,
# and still there; without git (an unpacked archive), every one outside build/.
set -eu
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while IFS= read -r f; do
    if [ -f "$f" ]; then printf '%s\n' "$f"; fi
  done
else
  for glob; do
    find . -path ./build -prune -o -path ./.git -prune -o -type f \( -path "./$glob" -o -path "./*/$glob" \) -print
  done | sed 's:^\./::' | sort -u
fi
