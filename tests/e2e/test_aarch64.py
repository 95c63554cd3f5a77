# SPDX-License-Identifier: Apache-2.0
"""The shim built for aarch64 and run by qemu-user: same results bare and preloaded.

The exporter is not built there (its libraries would have to be, too), so the spans
are counted as recorded and unsent.
"""
import glob
import os
import re
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CC = "aarch64-linux-gnu-gcc"
QEMU = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]

PROGRAM = r"""
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(1) };
	int s = socket(AF_INET, SOCK_STREAM, 0), p[2], r;
	char b[9];

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r = connect(s, (void *)&at, sizeof(at));
	printf("%d %d\n", r, errno == ECONNREFUSED);
	printf("%d\n", socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	printf("%zd\n", write(p[0], "hi", 2));
	printf("%zd\n", read(p[1], b, sizeof(b)));
	printf("%zd\n", recv(p[1], b, sizeof(b), MSG_DONTWAIT));
	return 0;
}
"""


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)


@pytest.mark.skipif(bool(os.environ.get("SAN")), reason="built without sanitizers")
@pytest.mark.skipif(not shutil.which(CC), reason=f"no {CC}")
@pytest.mark.skipif(not shutil.which(QEMU[0]), reason=f"no {QEMU[0]}")
def test_the_shim_works_on_aarch64(tmp_path):
    version_map = run(["sh", "scripts/gen-map.sh", "hooks/hooks.def"], cwd=ROOT)
    (tmp_path / "map").write_text(version_map.stdout)
    shim, program = tmp_path / "libautotrace.so", tmp_path / "program"
    sources = glob.glob("preload/*.c", root_dir=ROOT) + glob.glob("hooks/*.c", root_dir=ROOT)
    built = run([CC, "-std=gnu11", "-O1", "-fPIC", "-fvisibility=hidden", "-ftls-model=initial-exec",
                 "-D_GNU_SOURCE", "-I.", "-Wall", "-Wextra", "-Werror", "-shared", "-Wl,-z,defs",
                 f"-Wl,--version-script={tmp_path}/map", "-o", str(shim), *sorted(sources)], cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (tmp_path / "program.c").write_text(PROGRAM)
    assert run([CC, "-o", str(program), str(tmp_path / "program.c")]).returncode == 0

    bare = run([*QEMU, str(program)])
    traced = run([*QEMU, "-E", f"LD_PRELOAD={shim}", "-E", "AUTOTRACE_DEBUG=stats", str(program)])
    assert (traced.stdout, traced.returncode) == (bare.stdout, bare.returncode)
    assert bare.stdout == "-1 1\n0\n2\n2\n-1\n"
    counts = re.findall(r"stats recorded=(\d+) .* unsent=(\d+)", traced.stderr)
    assert counts == [("3", "3")], traced.stderr  # connect, write, read


@pytest.mark.skipif(bool(os.environ.get("SAN")), reason="built without sanitizers")
@pytest.mark.skipif(not shutil.which(CC), reason=f"no {CC}")
@pytest.mark.skipif(not shutil.which(QEMU[0]), reason=f"no {QEMU[0]}")
def test_stacks_are_walked_on_aarch64(tmp_path):
    test = tmp_path / "test_stack"
    built = run([CC, "-std=gnu11", "-O2", "-g", "-fno-omit-frame-pointer", "-D_GNU_SOURCE", "-I.",
                 "-o", str(test), "tests/unit/test_stack.c", "preload/cfi.c", "preload/sys.c", "preload/peek.c",
                 "preload/object.c", "-lpthread", "-ldl"], cwd=ROOT)
    assert built.returncode == 0, built.stderr
    ran = run([*QEMU, str(test)])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 failed" in ran.stdout
