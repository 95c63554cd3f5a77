#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The shim exports exactly the HOOK rows of hooks.def, unversioned; the exporter
# exports exactly atr_exporter_run.
#
#   check-symbols.sh [SHIM.so [EXPORTER.so [hooks.def]]]
set -eu
export LC_ALL=C
here=$(dirname "$0")
B=${B:-build}
shim=${1:-$B/libautotrace.so}
exporter=${2:-$B/libautotrace-exporter.so}
def=${3:-hooks/hooks.def}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

exports() {
  [ -r "$1" ] || {
    echo "$1 is not there"
    return 1
  }
  nm -D --defined-only --with-symbol-versions "$1" >"$tmp/nm" || {
    echo "nm cannot read $1"
    return 1
  }
  awk '{ print $NF }' "$tmp/nm" | sort
}

# compare FILE WANTED GOT: says what differs, in both directions.
bad=0
compare() {
  missing=$(comm -23 "$2" "$3" | tr '\n' ' ')
  extra=$(comm -13 "$2" "$3" | tr '\n' ' ')
  if [ "$missing" ]; then
    echo "$1 does not export: $missing"
    bad=1
  fi
  if [ "$extra" ]; then
    echo "$1 exports besides: $extra"
    bad=1
  fi
}

sh "$here/gen-map.sh" --names "$def" >"$tmp/want" || exit 1
exports "$shim" >"$tmp/got" || {
  cat "$tmp/got"
  exit 1
}
compare "$shim" "$tmp/want" "$tmp/got"

echo atr_exporter_run >"$tmp/want"
exports "$exporter" >"$tmp/got" || {
  cat "$tmp/got"
  exit 1
}
compare "$exporter" "$tmp/want" "$tmp/got"
exit $bad
