#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# README's table of settings is the one config.def gives, and docs/ links to
# nothing that is not there.
#
#   check-docs.sh [README [config.def]]
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
readme=${1:-README.md}
def=${2:-preload/config.def}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0

[ -r "$readme" ] || {
  echo "$readme is not there"
  exit 1
}
sh "$here/gen-config-table.sh" "$def" >"$tmp/want" || exit 1
for marker in '<!-- config:begin -->' '<!-- config:end -->'; do
  if [ "$(grep -c -e "$marker" "$readme" || :)" != 1 ]; then
    echo "$readme: the line $marker is wanted once"
    exit 1
  fi
done
sed -n '/<!-- config:begin -->/,/<!-- config:end -->/p' "$readme" | sed '1d;$d' >"$tmp/got"
if ! diff -u --label "$readme" --label "$def" "$tmp/got" "$tmp/want" >"$tmp/diff"; then
  echo "$readme: the table of settings is not that of $def; run scripts/gen-config-table.sh --write"
  sed -n '3,12p' "$tmp/diff"
  bad=1
fi

# [text](path) without a scheme, relative to the file that says so.
for page in "$readme" "$(dirname "$readme")"/docs/*.md; do
  [ -r "$page" ] || continue
  grep -o '](\([^)#: ]*\)' "$page" | sed 's/^](//' | sort -u >"$tmp/links" || :
  while IFS= read -r link; do
    if [ "$link" ] && [ ! -e "$(dirname "$page")/$link" ]; then
      echo "$page: links to $link, which is not there"
      bad=1
    fi
  done <"$tmp/links"
done
exit $bad
