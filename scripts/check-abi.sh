#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Compares our own declarations of libpq (hooks/libpq-api.h) with the installed
# <libpq-fe.h>, by compiling tests/abi/libpq.c; then spoils ours in several ways
# and demands that each is noticed.
#
#   check-abi.sh [libpq-api.h]      77: there is no libpq-fe.h here
set -u
export LC_ALL=C
cd "$(dirname "$0")/.." || exit 1
api=${1:-hooks/libpq-api.h}
CC=${CC:-cc}

include=$(pg_config --includedir 2>/dev/null) || include=/usr/include/postgresql
if ! echo '#include <libpq-fe.h>' | $CC -I"$include" -fsyntax-only -x c - 2>/dev/null; then
  echo "there is no libpq-fe.h (libpq-dev)"
  exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/hooks"

# compare: $tmp/hooks/libpq-api.h with the real one; says what differs.
compare() {
  sed 's:/\*.*\*/::; /^ *\/\*/,/\*\//d; /^ \*/d' "$tmp/hooks/libpq-api.h" >"$tmp/bare.h"
  {
    grep -oE '\b(PQ|lo_)[A-Za-z0-9_]+\(' "$tmp/bare.h" | sort -u | sed 's/\(.*\)(/FUNCTION(\1)/'
    grep -oE '\bATR_PG[A-Z_]+' "$tmp/bare.h" | sort -u | sed '
      s/^ATR_PG_POLLING_\(.*\)/CONSTANT(&, PGRES_POLLING_\1)/
      s/^ATR_PG_PIPELINE_\(.*\)/CONSTANT(&, PQ_PIPELINE_\1)/
      s/^ATR_PG_TRANS_\(.*\)/CONSTANT(&, PQTRANS_\1)/
      s/^ATR_PG_PING_\(.*\)/CONSTANT(&, PQPING_\1)/
      s/^ATR_PG_CONNECTION_\(.*\)/CONSTANT(&, CONNECTION_\1)/
      s/^ATR_\(PG.*\)/CONSTANT(&, \1)/'
  } >"$tmp/libpq.def"
  $CC -std=gnu11 -Wall -Wextra -Werror -I"$tmp" -I"$include" -fsyntax-only tests/abi/libpq.c
}

cp "$api" "$tmp/hooks/libpq-api.h" || exit 1
cp hooks/libpq-api-17.h "$tmp/hooks/" || exit 1
compare || exit 1
functions=$(grep -c FUNCTION "$tmp/libpq.def") constants=$(grep -c CONSTANT "$tmp/libpq.def")
if [ "$functions" = 0 ] || [ "$constants" = 0 ]; then
  echo "$api declares $functions functions and $constants constants"
  exit 1
fi

bad=0 refused=0
spoil() {
  sed "$1" "$api" >"$tmp/hooks/libpq-api.h"
  if cmp -s "$api" "$tmp/hooks/libpq-api.h"; then
    echo "nothing to spoil with: $1"
    bad=1
  elif compare 2>/dev/null; then
    echo "not noticed: $1"
    bad=1
  else
    refused=$((refused + 1))
  fi
}
spoil 's/int result_format/long result_format/'
spoil 's/const unsigned \*param_types/const int *param_types/'
spoil 's/^int PQstatus(const/long PQstatus(const/'
spoil 's/^int PQresultStatus(const/int PQresultStatus(/'
spoil 's/^int PQsocket(/char *PQsocket(/'
spoil 's/^int PQsendQuery(/int PQsendQuerry(/'
spoil 's/\(ATR_PGRES_FATAL_ERROR = \)7/\18/'
spoil 's/^unsigned lo_import(/int lo_import(/'
spoil 's/^int PQping(const/long PQping(const/'
spoil 's/\(ATR_PG_TRANS_INERROR = \)3/\12/'
spoil "s/\\(ATR_PG_DIAG_SQLSTATE \\)'C'/\\1'M'/"
[ $bad = 0 ] || exit 1
echo "     libpq: $functions functions, $constants constants; $refused spoilt headers were refused"
