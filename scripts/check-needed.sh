#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The shim goes into every process: it needs libc.so.6 and nothing else, has no
# text relocations, asks for no executable stack and lets nobody rebind late.
#
#   check-needed.sh [SHIM.so]
set -eu
export LC_ALL=C
shim=${1:-${B:-build}/libautotrace.so}
bad=0

[ -r "$shim" ] || {
  echo "$shim is not there"
  exit 1
}
dynamic=$(readelf -dW "$shim") || {
  echo "readelf cannot read $shim"
  exit 1
}
headers=$(readelf -lW "$shim")

needed=$(printf '%s\n' "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | tr '\n' ' ')
if [ "$needed" != 'libc.so.6 ' ]; then
  echo "$shim needs: ${needed:-nothing }(only libc.so.6 is allowed)"
  bad=1
fi
if printf '%s\n' "$dynamic" | grep -q TEXTREL; then
  echo "$shim has text relocations"
  bad=1
fi
if printf '%s\n' "$dynamic" | grep -Eq '\((RPATH|RUNPATH)\)'; then
  echo "$shim has a run path"
  bad=1
fi
stack=$(printf '%s\n' "$headers" | awk '$1 == "GNU_STACK" { print $7 }')
if [ "$stack" != RW ]; then
  echo "$shim: the flags of its stack are '${stack:-not stated}', not RW"
  bad=1
fi
if ! printf '%s\n' "$dynamic" | grep -q 'BIND_NOW'; then
  echo "$shim is not linked with -z now"
  bad=1
fi
if ! printf '%s\n' "$headers" | grep -q GNU_RELRO; then
  echo "$shim is not linked with -z relro"
  bad=1
fi
exit $bad
