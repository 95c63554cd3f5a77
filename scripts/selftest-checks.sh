#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A checker must be seen to fail: gives every check a small tree that is right,
# and then that tree with one thing wrong, and demands success and failure.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
CC=${CC:-cc}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0 done=0
# The fixtures are no git tree, whatever TMPDIR lies in.
export GIT_CEILING_DIRECTORIES="$tmp"

# passes WHAT COMMAND...; fails WHAT EXPECTED-TEXT COMMAND...
passes() {
  what=$1
  shift
  done=$((done + 1))
  if ! "$@" >"$tmp/out" 2>&1; then
    echo "$what: fails on what is right: $(head -n 3 "$tmp/out")"
    bad=1
  fi
}
fails() {
  what=$1 text=$2
  shift 2
  done=$((done + 1))
  if "$@" >"$tmp/out" 2>&1; then
    echo "$what: passes"
    bad=1
  elif ! grep -qF -e "$text" "$tmp/out"; then
    echo "$what: does not say '$text': $(head -n 3 "$tmp/out")"
    bad=1
  fi
}

# A tree with one hook, and the two shared objects made from it.
tree() {
  rm -rf "$tmp/t"
  mkdir -p "$tmp/t/preload" "$tmp/t/hooks" "$tmp/t/exporter" "$tmp/t/cli" "$tmp/t/b/preload" \
    "$tmp/t/b/hooks" "$tmp/t/b/exporter"
  cd "$tmp/t"
  cat >hooks/hooks.def <<'END'
/* SPDX-License-Identifier: Apache-2.0 */
/* HOOK(in_a_comment, LIBC, NONE) */
LIB(LIBC,	NULL)
HOOK(connect,	LIBC,	SYS_connect)	/* HOOK(behind, LIBC, NONE) */
#if 1
HOOK(close,	LIBC,	SYS_close)
#else
HOOK(other_machine, LIBC, NONE)
#endif
CALL(PQsocket,	LIBPQ)
END
  cat >hooks/io.c <<'END'
/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/a.h"
#include <unistd.h>
#define X __attribute__((visibility("default")))
X int connect(int, void *, unsigned);
int connect(int fd, void *a, unsigned n) { return fd + !a + (int)n + a_helper(); } /* malloc() */
X int close(int fd);
int close(int fd) { return fd + (int)sizeof("free(it)"); }
END
  cat >preload/a.h <<'END'
/* SPDX-License-Identifier: Apache-2.0 */
int a_helper(void);
END
  cat >preload/a.c <<'END'
/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/a.h"
#include <unistd.h>
int a_helper(void) { return getpid(); }
END
  printf '/* SPDX-License-Identifier: Apache-2.0 */\nint no_includes_here;\n' >preload/init.c
  cat >exporter/e.c <<'END'
/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/a.h"
__attribute__((visibility("default"))) int atr_exporter_run(void);
int atr_exporter_run(void) { return 0; }
END
  printf '/* SPDX-License-Identifier: Apache-2.0 */\n#include "exporter/e.h"\n' >cli/main.c
  shim_link=
}
build() {
  for f in preload/a hooks/io exporter/e; do
    $CC -fPIC -fvisibility=hidden -fno-builtin -w -I. -c -o b/$f.o $f.c
  done
  sh "$here/gen-map.sh" hooks/hooks.def >b/map
  if [ "${named:-}" ]; then sed -i 's/^{/NAMED {/' b/map; fi
  # shellcheck disable=SC2086 # options are words
  $CC -shared -Wl,-z,relro -Wl,-z,now -Wl,--version-script=b/map -o b/libautotrace.so b/hooks/io.o b/preload/a.o $shim_link
  $CC -shared -o b/libautotrace-exporter.so b/exporter/e.o
}
export B=b

tree
build
passes map sh "$here/gen-map.sh" hooks/hooks.def
if [ "$(sh "$here/gen-map.sh" --names hooks/hooks.def | tr '\n' ' ')" != 'close connect ' ]; then
  echo "map: the names are not those of the rows"
  bad=1
fi
passes symbols sh "$here/check-symbols.sh"
passes needed sh "$here/check-needed.sh"
passes self sh "$here/check-self.sh"
passes layers sh "$here/check-layers.sh"
printf '' >allow
passes style sh "$here/check-style.sh" . allow

echo 'HOOKS(recv, LIBC, NONE)' >>hooks/hooks.def
fails 'map: a row of an unknown kind' HOOKS sh "$here/gen-map.sh" hooks/hooks.def
tree
echo 'HOOK(close, LIBC, NONE)' >>hooks/hooks.def
fails 'map: a row twice' close sh "$here/gen-map.sh" hooks/hooks.def
: >hooks/hooks.def
fails 'map: no rows' 'no HOOK row' sh "$here/gen-map.sh" hooks/hooks.def
fails 'map: no file' 'cannot read' sh "$here/gen-map.sh" hooks/none.def

tree
build
echo 'HOOK(recv, LIBC, NONE)' >>hooks/hooks.def
fails 'symbols: a row without its function' 'does not export: recv' sh "$here/check-symbols.sh"
tree
build
sed -i '/HOOK(close/d' hooks/hooks.def
fails 'symbols: a function without its row' 'exports besides: close' sh "$here/check-symbols.sh"
tree
named=1
build
named=
fails 'symbols: a named version script' 'connect@@NAMED' sh "$here/check-symbols.sh"
tree
echo '__attribute__((visibility("default"))) int helper(void) { return 1; }' >>exporter/e.c
build
fails 'symbols: the exporter exports more' 'exports besides: helper' sh "$here/check-symbols.sh"
rm b/libautotrace-exporter.so
fails 'symbols: no exporter' 'is not there' sh "$here/check-symbols.sh"

tree
shim_link='-Wl,--no-as-needed -lm'
build
fails 'needed: another library' 'needs: libm.so.6' sh "$here/check-needed.sh"
tree
shim_link='-Wl,-z,execstack'
build
fails 'needed: an executable stack' 'stack' sh "$here/check-needed.sh"
tree
shim_link='-Wl,-z,lazy'
build
fails 'needed: late binding' '-z now' sh "$here/check-needed.sh"
tree
shim_link='-Wl,-rpath,/tmp'
build
fails 'needed: a run path' 'run path' sh "$here/check-needed.sh"
fails 'needed: no shim' 'is not there' sh "$here/check-needed.sh" b/none.so
if [ "$(uname -m)" = x86_64 ]; then
  tree
  echo '__asm__(".text; .quad getpid; .data");' >>preload/a.c
  shim_link='-Wl,-z,notext'
  build
  fails 'needed: text relocations' 'text relocations' sh "$here/check-needed.sh"
fi

tree
sed -i 's/getpid()/close(3)/' preload/a.c
build
fails 'self: a call from another object' 'preload/a.o calls by name: close' sh "$here/check-self.sh"
tree
echo 'int twice(int fd) { return close(fd) + close(fd); }' >>hooks/io.c
build
fails 'self: a call in the same object' 'hooks/io.o calls by name: close' sh "$here/check-self.sh"
tree
echo 'int twice(void) { return connect(1, 0, 0); }' >>exporter/e.c
build
fails 'self: a call from the exporter' 'exporter/e.o calls by name: connect' sh "$here/check-self.sh"
fails 'self: no objects' 'no object files' sh "$here/check-self.sh" none

# The forbidden include is in the last file looked at, behind files without any.
layer() {
  tree
  echo "#include \"$2\"" >>"$1"
  fails "layers: $1 includes $2" "$1:" sh "$here/check-layers.sh"
}
layer preload/a.c hooks/io.h
layer preload/a.h exporter/e.h
layer hooks/io.c exporter/e.h
layer exporter/e.c hooks/io.h
layer exporter/e.c cli/main.h
layer cli/main.c hooks/io.h
layer preload/a.c a.h
layer preload/a.c ../hooks/io.h
layer hooks/io.c preload/a.c
tree
echo '#include "hooks/io.h"' >>preload/init.c
passes 'layers: init.c ties all together' sh "$here/check-layers.sh"
rm -r preload hooks exporter cli
fails 'layers: nothing to look at' 'no source files' sh "$here/check-layers.sh"

tree
printf '' >allow
echo 'void *grab(void) { return malloc (1); }' >>preload/a.c
fails 'style: malloc in preload/' 'preload/a.c:5: malloc()' sh "$here/check-style.sh" . allow
echo 'preload/a.c malloc because the test says so' >allow
passes 'style: an exception' sh "$here/check-style.sh" . allow
echo 'preload/a.c malloc' >allow
fails 'style: an exception without a reason' 'no reason' sh "$here/check-style.sh" . allow
tree
echo 'preload/a.c malloc because the test says so' >allow
fails 'style: an exception for nothing' 'nobody does' sh "$here/check-style.sh" . allow
printf '' >allow
echo 'void say(void) { /* a comment */ printf("x"); }' >>hooks/io.c
fails 'style: stdio in hooks/' 'printf()' sh "$here/check-style.sh" . allow
tree
printf '' >allow
echo 'void say(char *a) { strcpy(a, "x"); }' >>cli/main.c
fails 'style: strcpy anywhere' 'strcpy()' sh "$here/check-style.sh" . allow
tree
printf '' >allow
sed -i 1d cli/main.c
fails 'style: no licence line' 'cli/main.c: no SPDX' sh "$here/check-style.sh" . allow

tree
cat >config.def <<'END'
#ifndef ENUM
#define ENUM(name, words)
#endif
#ifndef OPTION
#define OPTION(field, type, env, def, min, max, doc)
#endif
ENUM(KIND, WORD(K_A, "a") WORD(K_B, "b"))
OPTION(kind, KIND, "THE_KIND", K_B, 0, 0, "A | kind.")
#undef ENUM
#undef OPTION
#undef WORD
END
printf 'text\n<!-- config:begin -->\nold\n<!-- config:end -->\nend\n' >README.md
fails 'docs: an old table' 'is not that of' sh "$here/check-docs.sh" README.md config.def
{
  printf 'text\n<!-- config:begin -->\n'
  sh "$here/gen-config-table.sh" config.def
  printf '<!-- config:end -->\nend\n'
} >README.md
passes docs sh "$here/check-docs.sh" README.md config.def
# shellcheck disable=SC2016 # the backquotes are Markdown's
if ! grep -qF '| `THE_KIND` | `a`, `b` | `b` | A \| kind. |' README.md; then
  echo "docs: the table has no right row: $(grep THE_KIND README.md)"
  bad=1
fi
echo '[gone](docs/gone.md)' >>README.md
fails 'docs: a dead link' 'docs/gone.md' sh "$here/check-docs.sh" README.md config.def
echo 'no markers' >README.md
fails 'docs: no markers' 'config:begin' sh "$here/check-docs.sh" README.md config.def
fails 'docs: no README' 'is not there' sh "$here/check-docs.sh" none.md config.def

if command -v clang-format >/dev/null; then
  cp "$here/../.clang-format" .
  printf 'int f(void);\n' >good.h
  passes format sh "$here/check-format.sh" good.h
  printf 'int  f ( void ) ;\n' >bad.h
  fails 'format: badly formatted' 'bad.h' sh "$here/check-format.sh" bad.h
  fails 'format: finds files itself' 'bad.h' sh "$here/check-format.sh"
fi

# The adding up: what fails or says nothing may not come out as passed.
cd "$tmp"
printf '#!/bin/sh\necho "2 passed, 0 failed, 1 skipped"\n' >good
printf '#!/bin/sh\necho "2 passed, 1 failed, 0 skipped"\nexit 1\n' >failing
printf '#!/bin/sh\necho "2 passed, 0 failed, 0 skipped"\nexit 3\n' >crashing
printf '#!/bin/sh\nexit 0\n' >silent
printf '#!/bin/sh\nsleep 30\n' >hanging
chmod +x good failing crashing silent hanging
passes run-unit "$here/run-unit" ./good
fails 'run-unit: a failure' '4 passed, 1 failed, 1 skipped' "$here/run-unit" ./failing ./good
fails 'run-unit: a crash' '2 passed, 1 failed, 0 skipped' "$here/run-unit" ./crashing
fails 'run-unit: silence' '0 passed, 1 failed, 0 skipped' "$here/run-unit" ./silent
fails 'run-unit: a hang' 'did not end within 1 s' env UNIT_TIMEOUT=1 "$here/run-unit" ./hanging
fails 'run-unit: nothing' '0 passed, 1 failed, 0 skipped' "$here/run-unit"

[ $bad != 0 ] || echo "     $done times a check was seen to pass or to fail as it should"
exit $bad
