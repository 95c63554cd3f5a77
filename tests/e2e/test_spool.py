# SPDX-License-Identifier: Apache-2.0
"""Whatever ends a process, its spans arrive, each once, after a drain."""
import glob
import os
import random
import signal
import struct
import subprocess
import time

import pytest

import harness
from harness import B, bare_env, end, program, run
from receiver import Answer

ENDS = {"return": 7, "exit": 7, "_exit": 7, "quick_exit": 7, "exit_group": 7, "exec": 7, "orphan": 7,
        "abort": -signal.SIGABRT, "SIGSEGV": -signal.SIGSEGV, "SIGTERM": -signal.SIGTERM,
        "SIGKILL": -signal.SIGKILL}


class Counts:
    """Two words in shared memory: operations begun and ended."""

    def __init__(self, path):
        self.path = str(path)
        with open(path, "wb") as f:
            f.write(bytes(4096))

    def __call__(self):
        with open(self.path, "rb") as f:
            return struct.unpack("QQ", f.read(16))


@pytest.fixture
def counts(tmp_path):
    return Counts(tmp_path / "counts")


@pytest.fixture
def spool(tmp_path):
    """A spool of this test's own."""
    os.makedirs(tmp_path / "spool")
    return str(tmp_path / "spool")


def files(spool):
    return glob.glob(spool + "/autotrace-*/*")


def drain(receiver, spool, **more):
    env = bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, AUTOTRACE_SPOOL_DIR=spool)
    env.update(more)
    return run([os.path.join(B, "autotrace"), "drain"], env, timeout=30)


def each_once(spans):
    ids = [(s.trace, s.span) for s in spans]
    assert len(set(ids)) == len(ids), "a span came twice"
    return len(ids)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("n", [1, 700])
def test_every_end_ships_everything_once(receiver, shim, spool, counts, how, n):
    if how == "SIGSEGV" and harness.SAN:
        pytest.skip("the sanitizers handle that signal themselves")
    r = run([program("doomed"), how, counts.path, str(n)], shim(AUTOTRACE_SPOOL_DIR=spool))
    assert r.rc == ENDS[how], r.raw_err
    if how == "orphan":
        harness.wait_for(lambda: counts()[1] == 2 * n, "the child")
        time.sleep(0.2)
    begun, ended = counts()
    assert begun == ended > 0
    d = drain(receiver, spool)
    assert d.rc == 0, d.raw_err
    assert each_once(receiver.wait(ended)) == ended
    assert {s.resource["service.name"] for s in receiver.spans} == {"e2e"}
    assert files(spool) == [], "a file without spans goes"


@pytest.mark.parametrize("collector", ["dead", "hanging"])
@pytest.mark.parametrize("how", ["return", "_exit", "exec", "SIGKILL"])
def test_what_a_sick_collector_did_not_take_comes_later(receiver, shim, spool, counts, how, collector):
    more = {}
    if collector == "dead":
        more["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    else:
        receiver.script += [Answer("hang")] * 3
    r = run([program("doomed"), how, counts.path, "100"],
            shim(AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_EXIT_TIMEOUT=None, **more))
    assert r.rc == ENDS[how] and r.seconds < 1.5 * harness.SLOW
    assert not receiver.spans and files(spool)
    receiver.script.clear()
    assert drain(receiver, spool).rc == 0
    assert each_once(receiver.wait(100)) == 100


def test_killed_in_the_middle(receiver, shim, spool, counts):
    """kill -9 at any moment, with threads that record and a sender that sends."""
    rng = random.Random(7)
    env = shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_BSP_SCHEDULE_DELAY="10")
    for _ in range(30):
        p = subprocess.Popen([program("doomed"), "never", counts.path, "0", "3"], env=env,
                             stdout=subprocess.DEVNULL, start_new_session=True)
        time.sleep(rng.random() * 0.15 * harness.SLOW)
        end(p, signal.SIGKILL)
    d = drain(receiver, spool)
    assert d.rc == 0, d.raw_err
    begun, ended = counts()
    n = each_once(receiver.wait(ended))
    assert ended <= n <= begun and ended > 100
    assert files(spool) == []


def test_the_next_program_sends_what_the_last_one_left(receiver, shim, spool, counts):
    env = shim(AUTOTRACE_SPOOL_DIR=spool)
    r = run([program("doomed"), "SIGKILL", counts.path, "3"], dict(env, OTEL_SERVICE_NAME="dead"))
    assert r.rc == -signal.SIGKILL and not receiver.spans
    r = run([program("doomed"), "return", counts.path, "2"], env)
    assert r.total("adopted") == 3 and r.total("exported") == r.total("recorded") == 2
    assert each_once(receiver.wait(5)) == 5
    assert sorted(s.resource["service.name"] for s in receiver.spans) == ["dead"] * 3 + ["e2e"] * 2
    dead, = {s.resource["service.instance.id"] for s in receiver.spans
             if s.resource["service.name"] == "dead"}
    assert dead and files(spool) == []


def test_a_sibling_sends_it_within_an_interval(receiver, shim, spool, counts):
    env = shim(AUTOTRACE_SPOOL_DIR=spool)
    p = subprocess.Popen([program("doomed"), "never", counts.path, "0"], env=env,
                         stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        receiver.wait(1)
        r = run([program("doomed"), "SIGKILL", counts.path, "40"], dict(env, OTEL_SERVICE_NAME="dead"))
        assert r.rc == -signal.SIGKILL
        harness.wait_for(lambda: sum(s.resource["service.name"] == "dead"
                                     for s in receiver.spans) == 40, "the sibling", 5)
    finally:
        end(p)
    assert each_once(receiver.spans)


def test_only_the_same_destination_is_adopted(receiver, shim, spool, counts):
    """Spans meant for one collector are not another's to have."""
    env = shim(AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_EXIT_TIMEOUT=None)
    run([program("doomed"), "return", counts.path, "3"],
        dict(env, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9"))
    run([program("doomed"), "return", counts.path, "2"], env)
    assert len(receiver.wait(2)) == 2 and len(files(spool)) == 1
    assert drain(receiver, spool).rc == 0, "who asks for it gets all"
    assert each_once(receiver.wait(5)) == 5


def test_the_living_are_left_alone(receiver, shim, spool, counts):
    p = subprocess.Popen([program("doomed"), "never", counts.path, "0"],
                         env=shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_BSP_SCHEDULE_DELAY="60000",
                                  AUTOTRACE_RING_SIZE="16777216"),
                         stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        harness.wait_for(lambda: counts()[1] > 20, "spans")
        assert drain(receiver, spool).rc == 0 and not receiver.spans and len(files(spool)) == 1
    finally:
        end(p, signal.SIGKILL)
    assert drain(receiver, spool).rc == 0
    begun, ended = counts()
    assert ended <= each_once(receiver.wait(ended)) <= begun


def test_parents_and_children_once_each(receiver, shim, spool, counts):
    """One child after another, each with a file of its own, and none left."""
    n = 100 if harness.SAN else 400
    r = run([program("doomed"), "children", counts.path, str(n)], shim(AUTOTRACE_SPOOL_DIR=spool),
            timeout=60)
    assert r.rc == 7 and counts() == (n, n)
    assert each_once(receiver.wait(n)) == n and files(spool) == []


@pytest.mark.skipif(bool(harness.SAN), reason="autotrace run does not put a sanitizer's runtime first")
def test_autotrace_run_sends_what_its_program_left(receiver, spool, counts):
    env = bare_env(AUTOTRACE_SPOOL_DIR=spool, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    began = time.monotonic()
    r = run([os.path.join(B, "autotrace"), "run", "--service", "left", "--",
             program("doomed"), "SIGKILL", counts.path, "5"], env)
    assert r.rc == -signal.SIGKILL and time.monotonic() - began < 5 * harness.SLOW, r.raw_err
    assert each_once(receiver.wait(5)) == 5
    assert {s.resource["service.name"] for s in receiver.spans} == {"left"}
    harness.wait_for(lambda: not files(spool), "the file to go")
