# SPDX-License-Identifier: Apache-2.0
"""Ordinary programs with us in front: same output, same errors, same exit status."""
import re
import shutil

import pytest

import harness
from harness import bare_env, run

GIT = """set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT; cd "$d"
git init -q -b main; echo one > f; git add f; git commit -q -m first
echo two >> f; git commit -q -am second; git log --stat --format=%H%n%s
git clone -q . copy; git -C copy rev-parse HEAD; git no-such-command
"""

BASH = r"""
set -o pipefail
for i in 1 2 3; do echo "$i"; done | tr 123 abc | sort -r
( exec 7>&1; echo to seven >&7 ); exec 5</dev/null; read -r -u 5 x; echo "read: $?"
{ echo err >&2; false; } ; echo "status $?"; trap 'echo bye' EXIT
sleep 0.05 & wait $!; echo "$?"; cat <(echo sub); kill -TERM $BASHPID
"""

PYTHON = r"""
import os, sys, subprocess, threading, signal, socket, select, multiprocessing
print(sys.version_info >= (3,), subprocess.run(["echo", "sub"], capture_output=True).stdout)
t = [threading.Thread(target=print, args=(i,)) for i in range(3)]
for x in t: x.start(); x.join()
a, b = socket.socketpair(); a.send(b"ping"); print(b.recv(10), a.fileno(), b.fileno())
r, w = os.pipe(); print(r, w); os.write(w, b"x"); print(select.select([r], [], [], 1)[0])
pid = os.fork()
if not pid: os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(sorted(os.listdir("/proc/self/fd"), key=int))
try: socket.create_connection(("127.0.0.1", 9), 1)
except OSError as e: print(e)
print("err", file=sys.stderr); sys.exit(4)
"""

NODE = r"""
const net = require('net'), cp = require('child_process');
const s = net.createServer(c => c.end('hi')).listen(0, '127.0.0.1', () => {
  const c = net.connect(s.address().port, '127.0.0.1');
  c.on('data', d => console.log(String(d))); c.on('close', () => { s.close();
    cp.exec('echo child; exit 3', (e, out) => { console.log(out, e.code); process.exitCode = 5; }); });
});
"""

PERL = r"""
use strict; use IO::Socket::INET; use Socket;
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; syswrite $a, "hello\n";
print scalar <$b>, fileno($a), fileno($b), "\n"; print `echo shell`; system("exit 3"); print $? >> 8, "\n";
my $c = IO::Socket::INET->new("127.0.0.1:9"); print defined $c ? "up" : "$!", "\n"; exit 6;
"""

GDB = ["gdb", "-q", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set startup-with-shell off",
       "-ex", "break main", "-ex", "run", "-ex", "p 6*7", "-ex", "info signals SIGUSR1", "-ex",
       "continue", "/bin/true"]

JAVA = ["java", "-Xshare:auto", "-version"]

PROGRAMS = {
    "ls": ["ls", "/"],
    "ls-missing": ["ls", "/no/such/file"],
    "true": ["/bin/true"],
    "cat-closed-stdin": ["/bin/sh", "-c", "cat <&-"],
    "sh-closed-stderr": ["/bin/sh", "-c", "exec 2>&-; echo out; ls /no/such; exit 2"],
    "bash": ["bash", "-c", BASH],
    "git": ["bash", "-c", GIT],
    "python3": ["/usr/bin/python3", "-c", PYTHON],
    "node": ["node", "-e", NODE],
    "node-version": ["node", "--version"],
    "java": JAVA,
    "gdb": ["gdb", "-q", "-nx", "-batch", "-ex", "p 6*7", "-ex", "info line main", "/bin/ls"],
    "gdb-run": GDB,
    "apt-get": ["apt-get", "--version"],
    "perl": ["perl", "-e", PERL],
    "curl": ["curl", "--version"],
    "curl-file": ["curl", "-sS", "file:///etc/hostname"],
    "make": ["make", "--version"],
    "awk": ["awk", "BEGIN { while ((\"echo a b\" | getline x) > 0) print x; exit 3 }"],
    "tar": ["bash", "-c", "tar cf - /etc/hostname 2>/dev/null | tar tf -"],
    "xargs": ["bash", "-c", "seq 20 | xargs -n 3 -P 1 echo"],
    "ldd": ["ldd", "/bin/ls"],
    "fds": ["ls", "/proc/self/fd"],
    "fds-of-a-child": ["bash", "-c", "exec 8</dev/null; ls /proc/self/fd; ls /proc/$$/fd; exit 3"],
    "env": ["env"],
    "getent": ["getent", "hosts", "localhost"],
    "id": ["id"],
}

# What legitimately differs from run to run, bare too.
NOISE = [(rb"0x[0-9a-f]{6,}", b"0xN"), (rb"\(process \d+\)|process \d+|LWP \d+", b"process N"),
         (rb"\bpid \d+", b"pid N")]
# What we are for: our own variables, and the object itself in a list of objects.
OURS = re.compile(rb"^(LD_PRELOAD|OTEL_|AUTOTRACE_|[AT]SAN_|UBSAN_).*\n|^.*(libautotrace|lib[atu]*san|special[.0-9]*/first)\S* .*\n",
                  re.M)


def tidy(text):
    text = OURS.sub(b"", text)
    for pattern, word in NOISE:
        text = re.sub(pattern, word, text)
    return text


# These move bytes over sockets: with the collector down they get our one line on
# stderr that says so, unless OTEL_LOG_LEVEL=none.
NETWORK = {"python3", "node", "perl"}


@pytest.mark.parametrize("collector", ["up", "closed"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_nobody_notices(shim, tmp_path, name, collector):
    argv = PROGRAMS[name]
    if not shutil.which(argv[0]):
        pytest.skip(f"no {argv[0]} here")
    if harness.SAN and argv[0] in ("java", "node", "gdb", "ldd"):
        pytest.skip("a sanitizer's runtime changes this program, not we")
    if harness.SAN and name == "fds-of-a-child":
        pytest.skip("a sanitizer's runtime has files open for moments")
    more = {"AUTOTRACE_DEBUG": None, "OTEL_SERVICE_NAME": None, "AUTOTRACE_EXIT_TIMEOUT": None}
    if collector == "closed":
        if name in NETWORK:
            more["OTEL_LOG_LEVEL"] = "none"
        more["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    bare = run(argv, bare_env(), cwd=tmp_path, timeout=30)
    r = run(argv, shim(**more), cwd=tmp_path, timeout=30)
    if name == "ldd":  # load addresses aside, one more object: we
        assert b"libautotrace" in r.out
    assert r.rc == bare.rc
    assert tidy(r.out).splitlines() == tidy(bare.out).splitlines()
    assert tidy(r.raw_err).splitlines() == tidy(bare.raw_err).splitlines()
