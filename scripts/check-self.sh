#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# No object of ours calls an interposed function by its name: it would call us.
# Looks at relocations, so a call from the file that defines the hook is seen as
# well as one from elsewhere.  dlopen() may be called: its hook is a jump to the real one, which
# looks at nothing that we ask for.
#
#   check-self.sh [DIR [hooks.def]]    DIR holds preload/ hooks/ exporter/ with .o files
set -eu
export LC_ALL=C
here=$(dirname "$0")
dir=${1:-${B:-build}}
def=${2:-hooks/hooks.def}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
sh "$here/gen-map.sh" --names "$def" >"$tmp/names" || exit 1
grep -vx dlopen "$tmp/names" >"$tmp/hooks"

seen=0 bad=0
for obj in "$dir"/preload/*.o "$dir"/hooks/*.o "$dir"/exporter/*.o "$dir"/*/*/*.o; do
  case $obj in
  *'*'* | "$dir"/tests/* | "$dir"/cli/*) continue ;;
  "$dir"/preload/* | "$dir"/hooks/* | "$dir"/exporter/*) ;;
  *) continue ;; # another build below this one
  esac
  seen=$((seen + 1))
  readelf -rW "$obj" >"$tmp/relocs" || {
    echo "readelf cannot read $obj"
    exit 1
  }
  # Offset Info Type Value Name [+-] Addend; debug sections name functions without calling them.
  awk '/^Relocation section/ { debug = /\.debug/ } !debug && $3 ~ /^R_/ && NF >= 5 { print $5 }' \
    "$tmp/relocs" | sed 's/@.*//' | sort -u >"$tmp/names"
  calls=$(comm -12 "$tmp/hooks" "$tmp/names" | tr '\n' ' ')
  if [ "$calls" ]; then
    echo "$obj calls by name: $calls"
    bad=1
  fi
done
if [ $seen = 0 ]; then
  echo "no object files below $dir"
  exit 1
fi
exit $bad
