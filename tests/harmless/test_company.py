# SPDX-License-Identifier: Apache-2.0
"""What is not a comparison with bare alone: how often a span arrives, what is said."""
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

import harness
from harness import bare_env, run
from test_lines import PROGRAMS

QUIET = [os.path.join(PROGRAMS, "company"), "quiet"]  # 42 operations


def copy(directory, name):
    """Another installation of us."""
    directory.mkdir()
    for file in ("libautotrace.so", "libautotrace-exporter.so"):
        shutil.copy(os.path.join(harness.B, file), directory)
    os.rename(directory / "libautotrace.so", directory / name)
    return str(directory / name)


@pytest.mark.skipif(bool(harness.SAN), reason="two objects with a sanitizer's tables")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["libautotrace.so", "renamed.so"])
def test_of_two_copies_one_works(receiver, shim, tmp_path, first, name):
    other = copy(tmp_path / "other", name)
    env = shim()
    env["LD_PRELOAD"] = " ".join([env["LD_PRELOAD"], other] if first else [other, env["LD_PRELOAD"]])
    bare, traced = run(QUIET, bare_env()), run(QUIET, env)
    assert (traced.rc, traced.out, traced.err) == (bare.rc, bare.out, "")
    assert len(receiver.spans) == 42


@pytest.mark.skipif(bool(harness.SAN) or os.geteuid() != 0, reason="root's calls, a sanitizer's thread")
@pytest.mark.parametrize("argv", ["sandbox unshare-user", "sandbox keep-caps", "sandbox deny tsync kill,futex",
                                  "threads seen", "threads main-leaves-traced"])
def test_without_an_exporter_there_is_no_thread(shim, tmp_path, argv):
    """As in a container that has us, but no libcurl."""
    other = tmp_path / "libautotrace.so"
    shutil.copy(harness.SHIM, other)
    argv = argv.split()
    argv[0] = os.path.join(PROGRAMS, argv[0])
    bare = run(argv, bare_env())
    traced = run(argv, shim(LD_PRELOAD=str(other), OTEL_LOG_LEVEL="none", AUTOTRACE_DEBUG=None))
    assert (traced.rc, traced.out, traced.err) == (bare.rc, bare.out, bare.raw_err.decode())


@pytest.mark.skipif(bool(harness.SAN), reason="the file would have to name the sanitizer's runtime")
def test_ld_so_preload(receiver, shim, tmp_path):
    """In a mount namespace whose /etc is another."""
    if not shutil.which("bwrap") or subprocess.run(["bwrap", "--ro-bind", "/", "/", "true"],
                                                   check=False).returncode:
        pytest.skip("no bwrap, or no right to a mount namespace")
    (tmp_path / "ld.so.preload").write_text(harness.SHIM + "\n")
    within = ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/etc"]
    for file in ("ld.so.cache", "passwd", "hosts", "nsswitch.conf"):
        within += ["--ro-bind", "/etc/" + file, "/etc/" + file]
    env = shim(LD_PRELOAD=None, AUTOTRACE_SPOOL_MAX_BYTES="0")  # all is read-only there
    bare = run([*within, *QUIET], env)
    assert not receiver.spans
    traced = run([*within, "--ro-bind", str(tmp_path / "ld.so.preload"), "/etc/ld.so.preload", *QUIET], env)
    assert (traced.rc, traced.out, traced.err) == (bare.rc, bare.out, bare.err)
    assert len(receiver.spans) == 42


@pytest.mark.parametrize("program", ["company", "forks"])
def test_a_bug_is_counted_and_logged_once(receiver, shim, program):
    case = {"company": "plain", "forks": "plain"}[program]
    r = run([os.path.join(PROGRAMS, program), case],
            shim(AUTOTRACE_DEBUG="stats,bug", AUTOTRACE_ABORT_ON_BUG="false")).ok()
    assert not receiver.spans
    lines = r.err.splitlines()
    said = [int(one.split("[")[1].split("]")[0]) for one in lines if "internal inconsistency" in one]
    assert sorted(said) == sorted(pid for pid, s in r.stats.items() if s["bugs"]) and said, r.err
    assert r.total("bugs") == len(said)
    assert r.total("recorded") == r.total("exported") == 0


@pytest.mark.parametrize("case", ["cancel", "exception"])
def test_libpq_left_by_an_unwind(receiver, shim, postgres, case):
    argv = [os.path.join(PROGRAMS, "pg"), case]
    bare, traced = run(argv, bare_env(**postgres.env())), run(argv, shim(**postgres.env()))
    assert (traced.rc, traced.out, traced.err) == (bare.rc, bare.out, bare.raw_err.decode())
    assert bare.rc == 0 and b"after 42" in bare.out
    names = [s.name for s in receiver.spans]
    assert names.count("SELECT") == (2 if case == "cancel" else 3), names


class SlowTls:
    """A collector that speaks TLS and takes its time; nobody knows its certificate's issuer, so it
    is tried again and again."""

    def __init__(self, directory):
        crt, key = str(directory / "crt.pem"), str(directory / "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-keyout", key, "-out", crt], check=True, capture_output=True,
                       timeout=60)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(crt, key)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.endpoint = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.refused = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        s.settimeout(5)
        time.sleep(0.005)
        try:
            with self.context.wrap_socket(s, server_side=True) as tls:
                tls.recv(1)
        except ssl.SSLError as e:
            self.refused += "UNKNOWN_CA" in str(e).upper().replace(" ", "_")
        except OSError:
            pass


@pytest.mark.skipif(bool(harness.SAN), reason="hundreds of forks")
def test_forks_in_the_middle_of_tls(shim, tmp_path):
    collector = SlowTls(tmp_path)
    try:
        argv = [os.path.join(PROGRAMS, "forks"), "few-among-threads"]
        bare = run(argv, bare_env())
        traced = run(argv, shim(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, AUTOTRACE_EXIT_TIMEOUT="30",
                                OTEL_BSP_SCHEDULE_DELAY="10", OTEL_LOG_LEVEL="none"), timeout=40)
        assert (traced.rc, traced.out, traced.err) == (bare.rc, bare.out, "")
        assert collector.refused >= 2
    finally:
        collector.listener.close()
