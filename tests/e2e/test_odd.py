# SPDX-License-Identifier: Apache-2.0
"""Off the main road: what bare programs survive, they survive with us, and it is told truly."""
import collections
import os
import subprocess
import sys

import pytest

import harness
from harness import bare_env, program, run


@pytest.mark.parametrize("name", ["pointers", "freopen", "daemon"])
def test_odd_calls_return_what_they_return_bare(shim, name):
    if harness.SAN and name == "pointers":
        pytest.skip("the sanitizers' own interceptors read these pointers")
    bare = run([program("odd"), name], bare_env()).ok()
    traced = run([program("odd"), name], shim(AUTOTRACE_DEBUG=None)).ok()
    assert sorted(traced.out.splitlines()) == sorted(bare.out.splitlines())
    assert len(bare.out.splitlines()) >= (1 if name == "freopen" else 2)


def named(receiver):
    return collections.Counter(s.name.split(":")[0] for s in receiver.spans)


def test_a_socket_connected_anew_has_its_new_peer(receiver, shim):
    r = run([program("odd"), "unspec"], shim()).ok()
    ports = [int(p) for p in r.out.decode().split("ports ")[1].split()]
    assert named(receiver) == {"socket connect 127.0.0.1": 2, "send": 2}
    sends = sorted((s for s in receiver.spans if s.name == "send"), key=lambda s: s.start)
    assert [s.attrs["network.peer.port"] for s in sends] == ports


def test_a_number_that_libc_made_a_file_is_no_socket(receiver, shim):
    run([program("odd"), "freopen"], shim()).ok()
    assert named(receiver) == {"send": 1}


def test_a_daemon_keeps_what_its_parent_did_and_writes_to_no_socket(receiver, shim):
    run([program("odd"), "daemon"], shim()).ok()
    receiver.wait(1)
    assert named(receiver) == {"send": 1}


def test_a_thread_whose_handler_jumped_out_of_us_is_still_traced(receiver, shim):
    r = run([program("odd"), "jump"], shim(OTEL_BSP_MAX_QUEUE_SIZE="100000",
                                           AUTOTRACE_EXIT_TIMEOUT="60000"), timeout=90).ok()
    assert r.out == b"jumped\n"
    receiver.wait(r.total("exported"))
    assert not r.total("unsent"), r.stats
    last = [s for s in receiver.spans if 8 in (s.attrs.get("autotrace.bytes_sent"),
                                               s.attrs.get("autotrace.bytes_received"))]
    assert len(last) == 100


# ---- libpq ----

def statements(receiver):
    return [s for s in sorted(receiver.spans, key=lambda s: s.start)
            if s.attrs.get("db.system.name") == "postgresql" and not s.name.startswith("connect")]


@pytest.fixture(name="pg")
def pg_fixture(postgres, shim):
    return lambda name, **more: run([program("pg-odd"), name], shim(**postgres.env(), **more)).ok()


def test_a_refused_second_query_leaves_the_first_alone(receiver, pg):
    assert pg("busy").out == b"1 0 1\n"
    first, second = statements(receiver)
    assert not first.status and first.end - first.start >= 0.2e9
    assert second.status == "ERROR" and second.name == "SELECT pg_class"


def test_a_refused_function_leaves_what_is_under_way_alone(receiver, pg):
    assert pg("refused").out == b"-1 PGRES_FATAL_ERROR -1 1\n"
    _, _, select, function, copy, tell = statements(receiver)
    assert not select.status and select.attrs["db.response.returned_rows"] == 3
    assert not copy.status and copy.attrs["db.postgresql.copy.rows"] == 1
    assert function.attrs["error.type"] == tell.attrs["error.type"] == "_OTHER"


def test_a_copy_ends_with_its_data(receiver, pg):
    assert pg("copy").out == b"1\n"
    copy = statements(receiver)[-1]
    assert copy.attrs["error.type"] == copy.attrs["db.response.status_code"] == "22P02"
    assert copy.end - copy.start >= 0.2e9


def test_no_secret_is_told(receiver, pg):
    pg("secrets")
    assert len(statements(receiver)) == 8
    for s in statements(receiver):
        assert "SECRET" not in str(s), s.attrs
    assert statements(receiver)[5].attrs["db.query.text"] == "SELECT ?, ?, ?"
    assert "db.query.text" not in statements(receiver)[7].attrs


def test_a_name_has_the_text_that_it_has_now(receiver, pg):
    assert pg("named").out == b"a new d f \n"
    done = [(s.name, s.attrs.get("db.query.text")) for s in statements(receiver)
            if s.attrs.get("db.query.text", "SELECT ? FROM").startswith("SELECT ? FROM")
            and not s.name.startswith("PREPARE")]
    assert done == [("SELECT pg_am", "SELECT ? FROM pg_am"), ("SELECT pg_class", "SELECT ? FROM pg_class"),
                    ("SELECT pg_type", "SELECT ? FROM pg_type"), ("EXECUTE", None)]
    assert "SECRET" not in str([s.attrs for s in statements(receiver)])


def test_a_pipeline_is_five_statements(receiver, pg):
    r = pg("pipeline")
    assert r.out == b"5\n"
    assert [s.attrs["db.query.text"] for s in statements(receiver)] == ["SELECT ?"] * 6
    assert not any(s.status for s in statements(receiver))
    assert r.total("not_followed") == 0


def test_a_call_that_is_left_by_longjmp_is_counted(receiver, pg):
    r = pg("jump")
    assert r.out == b"3\n"
    assert [s.name for s in statements(receiver)] == ["SELECT"]
    assert r.total("not_followed") == 3


def test_many_connections_begun_at_once_are_all_told(receiver, pg):
    good = int(pg("async").out)
    connects = [s for s in receiver.spans if s.name.startswith("connect")]
    assert len(connects) == 101
    assert sum(not s.status for s in connects) == good + 1


# ---- our own lines ----

@pytest.mark.parametrize("setting", [{"OTEL_BSP_SCHEDULE_DELAY": "abc"}, {"TRACEPARENT": "garbage"}])
def test_a_line_of_ours_does_not_end_the_program_by_sigpipe(shim, setting):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(["/bin/true"], env=shim(**setting), stderr=writer, timeout=20,
                              check=False, restore_signals=True)
    finally:
        os.close(writer)
    assert done.returncode == 0


def test_a_full_pipe_as_stderr_does_not_hold_the_program(shim):
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
        done = subprocess.run(["/bin/true"], env=shim(TRACEPARENT="garbage"), stderr=writer,
                              timeout=20, check=False)
    finally:
        os.close(reader)
        os.close(writer)
    assert done.returncode == 0


# ---- the collector's name ----

NAMES = """
import os, subprocess, sys, time
mine = "/tmp/hosts.%d" % os.getpid()
with open(mine, "w") as f:
    f.write("127.0.0.1 localhost\\n")
subprocess.run(["mount", "--bind", mine, "/etc/hosts"], check=True)
p = subprocess.Popen(sys.argv[2:])
time.sleep(1.5)
with open(mine, "a") as f:
    f.write("127.0.0.1 collector.test\\n")
rc = p.wait(timeout=30)
os.unlink(mine)
sys.exit(rc)
"""

TICKER = """
import socket, time
a, b = socket.socketpair()
for i in range(80):
    a.send(b"x"); b.recv(1); time.sleep(0.1)
"""


@pytest.mark.skipif(bool(harness.SAN), reason="python is not built with sanitizers")
def test_a_collector_whose_name_appears_later_gets_everything(receiver, shim):
    """As at boot, before there is a name server.  In a mount namespace of its own."""
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no right to a mount namespace")
    port = receiver.port
    env = shim(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://collector.test:{port}", OTEL_LOG_LEVEL="none")
    preload = env.pop("LD_PRELOAD")
    r = run(["unshare", "-m", "--propagation", "private", sys.executable, "-c", NAMES, "-", "env",
             f"LD_PRELOAD={preload}", "/usr/bin/python3", "-c", TICKER], env, timeout=40).ok()
    assert r.total("exported") == r.total("recorded") == 160
    assert len(receiver.spans) == 160


# ---- bounded memory ----

@pytest.mark.skipif(bool(harness.SAN), reason="a sanitizer's memory is not ours")
@pytest.mark.parametrize("endpoint", ["up", "closed"])
def test_threads_that_come_and_go_leave_no_memory_behind(receiver, shim, endpoint):
    more = {} if endpoint == "up" else {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
                                        "OTEL_LOG_LEVEL": "none"}
    r = run([program("churn"), "5000"], shim(**more), timeout=60).ok()
    operations, memory = map(int, r.out.split())
    assert memory < 40, "MiB"
    assert r.total("recorded") + r.total("ring_full") + r.total("queue_full") == operations
    assert r.total("recorded") == r.total("exported") + r.total("failed") + r.total("left") + r.total("unsent")
    if endpoint == "up":
        assert len(receiver.spans) == r.total("exported")
