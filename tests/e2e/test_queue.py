# SPDX-License-Identifier: Apache-2.0
"""OTEL_BSP_*: each setting, measured at a receiver; what waking costs; and after an outage.

Limits are those of a busy machine: what must not happen before a time is exact, what must
happen by one has seconds.
"""
import collections
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

import harness
from harness import B, PAIRS, Sender, bare_env, program, run, shim_env, wait_for
from receiver import Answer, Receiver

LONG = "600000"


@pytest.fixture
def sender(shim, tmp_path):
    """Starts programs that send as often as they are told, a span each time."""
    started = []

    def start(**more):
        more.setdefault("AUTOTRACE_SPOOL_DIR", str(tmp_path))
        s = Sender(shim(AUTOTRACE_SOCKET_SPANS="all", **more))
        started.append(s)
        return s
    yield start
    for s in started:
        s.stop()


def batches(receiver):
    """How many spans were in each request."""
    counts = collections.Counter(s.request for s in receiver.spans)
    return [counts[k] for k in sorted(counts)]


def test_schedule_delay(receiver, sender):
    """A span waits for the delay, and no longer."""
    s = sender(OTEL_BSP_SCHEDULE_DELAY="700")
    s.send(1)
    wait_for(lambda: receiver.spans, "the connection's spans", 20)
    n = len(receiver.spans)
    for _ in range(3):
        time.sleep(0.25)  # at another moment of the round each time
        began = time.monotonic()
        s.send(1)
        wait_for(lambda: len(receiver.spans) > n, "a span", 20)
        assert receiver.request_times[-1] - began < 0.7 + 1.5 * harness.SLOW
        n = len(receiver.spans)
    gaps = [b - a for a, b in zip(receiver.request_times, receiver.request_times[1:])]
    assert min(gaps) > 0.6, "never sooner than the delay after the last"


def test_a_full_batch_goes_at_once(receiver, sender):
    s = sender(OTEL_BSP_SCHEDULE_DELAY=LONG, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="40")
    s.send(20)
    time.sleep(0.5)
    assert not receiver.requests, "half a batch waits"
    s.send(100)
    wait_for(lambda: len(receiver.spans) >= 120, "the full batches")
    time.sleep(0.3)
    assert set(batches(receiver)) == {40} and len(receiver.spans) % 40 == 0
    rest = 120 + len(receiver.spans) // 1000  # what did not fill one is still there
    assert s.finish() == 0 and len(receiver.spans) > rest
    assert max(batches(receiver)) == 40


def test_several_threads_fill_a_batch_together(receiver, shim, echo):
    """Each ring has less than a batch."""
    began = time.monotonic()
    run([program("threads-client"), "echo", "8", "30", str(echo.port)],
        shim(OTEL_BSP_SCHEDULE_DELAY=LONG, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="200")).ok()
    assert time.monotonic() - began < 20 * harness.SLOW
    assert batches(receiver)[0] == 200


def test_max_export_batch_size(receiver, sender):
    s = sender(OTEL_BSP_SCHEDULE_DELAY="50", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="7")
    s.send(300)
    wait_for(lambda: len(receiver.spans) >= 300, "the spans")
    assert max(batches(receiver)) == 7 and batches(receiver).count(7) > 30


def test_exports_never_overlap(receiver, sender):
    """The next request comes when the one before was answered."""
    receiver.script += [Answer(503, {"Retry-After": "1"})]
    s = sender(OTEL_BSP_SCHEDULE_DELAY="10", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    s.send(200)
    wait_for(lambda: len(receiver.spans) >= 200, "the spans", 20)
    assert receiver.connections == 1
    gap = receiver.request_times[1] - receiver.request_times[0]
    assert gap > 0.95, "nothing else went while the first batch was being exported"


@pytest.mark.parametrize("size", [10, 100, 1000])
def test_max_queue_size(receiver, sender, size):
    """Where it is set no more wait, exactly; the rest is dropped, and counted."""
    receiver.script += [Answer("hang")] * 50
    s = sender(OTEL_BSP_MAX_QUEUE_SIZE=str(size), OTEL_BSP_SCHEDULE_DELAY=LONG, AUTOTRACE_EXIT_TIMEOUT="300")
    batch = min(512, size)
    s.send(1500)
    wait_for(lambda: receiver.requests, "the first batch")
    wait_for(lambda: status(s.pid, 1500)["inflight"] == batch, "it is on its way")
    s.send(1500)
    one = status(s.pid, 3000)
    assert one["waiting"] == size + batch and receiver.requests == 1
    assert one["counters"]["queue_full"] == one["total"] - size - batch


def status(pid, n=3000):
    """By its own counters, when n spans were recorded or dropped."""
    for _ in range(200):
        r = run([os.path.join(B, "autotrace"), "status", "--json", str(pid)], bare_env())
        (one,) = json.loads(r.out)
        one["total"] = one.get("written", 0) + one.get("counters", {}).get("queue_full", 0)
        if one["total"] >= n:
            break
        time.sleep(0.05)
    return one


@pytest.mark.parametrize("size", [None, "2048", "5000"])
def test_a_queue_larger_than_a_ring(receiver, sender, size):
    """One thread fills it: a ring of 512 KiB holds some 1,300 spans."""
    receiver.script += [Answer("hang")] * 50
    more = {"OTEL_BSP_MAX_QUEUE_SIZE": size} if size else {}
    s = sender(OTEL_BSP_SCHEDULE_DELAY=LONG, AUTOTRACE_EXIT_TIMEOUT="300", **more)
    s.send(600)
    wait_for(lambda: receiver.requests, "the first batch")
    wait_for(lambda: status(s.pid, 600)["inflight"] == 512, "it is on its way")
    s.send(6000)
    one = status(s.pid, 6600)
    assert not one["counters"]["ring_full"]
    if size:
        assert one["waiting"] == int(size) + 512
    else:
        assert 2048 + 512 <= one["waiting"] < 4000, "more where it fits"
    assert one["counters"]["queue_full"] == one["total"] - one["waiting"]


FAILING = """
import errno, socket, time
for i in range(1800):
    if i % 100 == 0: time.sleep(0.03)  # their ring is read meanwhile
    s = socket.socket()
    assert s.connect_ex(("127.0.0.1", 9)) == errno.ECONNREFUSED
    s.close()
print("did", flush=True)
input()
"""


def test_what_is_kept_waits_in_the_spool_and_survives_a_kill(shim, tmp_path, receiver):
    env = shim(AUTOTRACE_SPOOL_DIR=str(tmp_path), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
               OTEL_TRACES_SAMPLER="always_off", AUTOTRACE_KEEP_ERRORS="true", OTEL_BSP_SCHEDULE_DELAY="50")
    s = Sender(dict(env), ("/usr/bin/python3", "-c", FAILING))
    try:
        assert s.process.stdout.readline() == b"did\n"
        wait_for(lambda: status(s.pid, 1800)["waiting"] >= 1800, "all of them in the spool", 20)
        one = status(s.pid, 1800)
        assert one["waiting"] == 1800 and not one["counters"]["queue_full"]
    finally:
        s.stop(signal.SIGKILL)
    r = run([os.path.join(B, "autotrace"), "drain"], bare_env(AUTOTRACE_SPOOL_DIR=str(tmp_path),
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)).ok()
    assert len(receiver.spans) == 1800, r.err
    assert all(x.attrs["autotrace.kept"] == "error" for x in receiver.spans)


def test_without_it_the_rings_are_behind_the_queue(receiver, sender):
    receiver.script += [Answer("hang")] * 50
    s = sender(OTEL_BSP_SCHEDULE_DELAY="50", AUTOTRACE_RING_SIZE="4194304")
    s.send(6000)
    one = status(s.pid)
    assert one["waiting"] == one["written"] >= 6000 and not one["counters"]["ring_full"]


@pytest.mark.parametrize("which", ["OTEL_BSP_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"])
def test_export_timeout(receiver, sender, which):
    """The export is given up then: the next attempt is a new one, with what has come since."""
    receiver.script += [Answer("hang")]
    s = sender(OTEL_BSP_SCHEDULE_DELAY="20", **{which: "800"})
    s.send(5)
    wait_for(lambda: receiver.requests, "the first request")
    s.send(5)
    wait_for(lambda: len(receiver.spans) >= 10, "the spans", 20)
    gap = receiver.request_times[1] - receiver.request_times[0]
    assert 0.75 < gap < 5 * harness.SLOW
    assert len({x.span for x in receiver.spans}) == len(receiver.spans)


def test_a_timeout_of_0_is_none(receiver, sender):
    receiver.script += [Answer("hang")]
    s = sender(OTEL_BSP_SCHEDULE_DELAY="20", OTEL_BSP_EXPORT_TIMEOUT="0", OTEL_EXPORTER_OTLP_TIMEOUT="0")
    s.send(5)
    wait_for(lambda: receiver.requests, "the first request")
    time.sleep(2)
    assert receiver.requests == 1


# ---- what waking costs ----

def syscalls(argv, env, thread):
    """How often the thread made each system call, by strace."""
    path = env["AUTOTRACE_SPOOL_DIR"] + "/strace"
    run(["strace", "-f", "-qq", "-o", path, "-e", "trace=futex,sendto,sendmsg"]
        + ["-E", "LD_PRELOAD=" + env.pop("LD_PRELOAD")] + argv, env, timeout=60).ok()
    found = collections.Counter()
    first = None
    with open(path, encoding="utf-8", errors="replace") as f:
        for one in f:
            m = re.match(r"(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>)?\(?", one)
            if not m:
                continue
            first = first or m.group(1)
            if (m.group(1) == first) == (thread == "first") and "resumed" not in one:
                found["wake" if "FUTEX_WAKE" in one else m.group(2)] += 1
    return found


def test_waking_takes_no_system_call_as_a_rule(receiver, shim, tmp_path):
    if not shutil.which("strace"):
        pytest.skip("there is no strace")
    if harness.SAN:
        pytest.skip("a sanitizer makes calls of its own")
    n = 5000
    code = PAIRS.replace("for line in sys.stdin:\n    for _ in range(int(line)):\n        c.send(b\"x\")",
                         f"if True:\n    for _ in range({n}): c.send(b'x')")
    assert str(n) in code
    env = shim(AUTOTRACE_SPOOL_DIR=str(tmp_path), AUTOTRACE_SOCKET_SPANS="all", OTEL_BSP_SCHEDULE_DELAY="5000",
               AUTOTRACE_RING_SIZE="4194304", AUTOTRACE_DEBUG=None)
    found = syscalls(["/usr/bin/python3", "-c", code], env, "first")
    assert found["sendto"] + found["sendmsg"] >= n, found
    assert len(receiver.spans) >= n
    # One for a batch of 512 at most, and a few at the start and at the end.
    assert found["wake"] <= n // 512 + 20, found


# ---- after an outage ----

class Outage:
    """A collector that can be away: the port is there, or it is not."""

    def __init__(self):
        self.port = harness.free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def back(self):
        return Receiver(port=self.port)


def arrival(receiver, began, n_before):
    """Seconds until a span begun after `began` (ns since 1970) has arrived; None: not yet."""
    with receiver.lock:
        new = [s for s in receiver.spans[n_before:] if s.start >= began]
    return bool(new)


def test_a_backlog_goes_oldest_first_and_fresh_spans_do_not_wait_for_it(sender, tmp_path):
    """Dead processes left thousands; a living one goes on meanwhile."""
    outage = Outage()
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": outage.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100",
            "AUTOTRACE_EXIT_TIMEOUT": "300"}
    left = 0
    for _ in range(6):
        s = sender(**more, AUTOTRACE_RING_SIZE="4194304")
        s.send(4000)
        s.stop()
        left += 4001
    s = sender(**more, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="64")
    s.send(1)
    time.sleep(0.3)
    receiver = outage.back()
    try:
        wait_for(lambda: len(receiver.spans) > 64, "the catch-up", 30)
        began_at, began_n = time.monotonic(), len(receiver.spans)
        latencies = []
        while len(receiver.spans) < left:
            began, n = time.time_ns(), len(receiver.spans)
            t = time.monotonic()
            s.send(1)
            wait_for(lambda: arrival(receiver, began, n), "a fresh span", 20)
            latencies.append(time.monotonic() - t)
        rate = (len(receiver.spans) - began_n) / (time.monotonic() - began_at)
        print(f"fresh spans took {sorted(latencies)[len(latencies) // 2]:.3f} s at {rate:.0f} spans/s")
        assert len(latencies) >= 3, "it was over before it could be measured"
        assert sorted(latencies)[len(latencies) // 2] < 0.1 + 1.0 * harness.SLOW
        assert rate > 500 / harness.SLOW
        assert len({x.span for x in receiver.spans}) == len(receiver.spans)
    finally:
        receiver.stop()
    assert not receiver.violations


def test_its_own_backlog_arrives_in_order(sender, tmp_path):
    outage = Outage()
    s = sender(OTEL_EXPORTER_OTLP_ENDPOINT=outage.endpoint, OTEL_BSP_SCHEDULE_DELAY="50",
               AUTOTRACE_RING_SIZE="8388608")
    s.send(10000)
    time.sleep(0.3)
    receiver = outage.back()
    try:
        wait_for(lambda: len(receiver.spans) >= 10000, "the backlog", 40)
        starts = [x.start for x in receiver.spans]
        assert starts == sorted(starts)
        assert max(batches(receiver)) == 512
    finally:
        receiver.stop()


TWO = """
import socket, sys, threading
def pair():
    l = socket.socket(); l.bind(("127.0.0.1", 0)); l.listen()
    return socket.create_connection(l.getsockname()), l
quiet, l = pair()
quiet.send(b"x")
def flood():
    loud, k = pair()
    for _ in range(6000): loud.send(b"y")
t = threading.Thread(target=flood); t.start(); t.join()
for _ in range(50): quiet.send(b"x")
print(l.getsockname()[1], flush=True)
sys.stdin.readline()
"""


def test_a_threads_backlog_does_not_keep_the_others_waiting(shim, tmp_path):
    outage = Outage()
    s = Sender(shim_env(outage.endpoint, AUTOTRACE_SPOOL_DIR=str(tmp_path), AUTOTRACE_SOCKET_SPANS="all",
                        AUTOTRACE_RING_SIZE="4194304", OTEL_BSP_SCHEDULE_DELAY="50"),
               ("/usr/bin/python3", "-c", TWO))
    receiver = None
    try:
        port = int(s.process.stdout.readline())
        time.sleep(0.3)
        receiver = outage.back()
        wait_for(lambda: len(receiver.spans) > 6050, "all", 30)
        quiet = [i for i, x in enumerate(receiver.spans) if x.attrs.get("network.peer.port") == port]
        assert len(quiet) >= 51 and quiet[-1] < 3000, quiet
    finally:
        s.stop()
        if receiver:
            receiver.stop()


def test_the_spool_keeps_up_to_its_limit(sender, tmp_path):
    """Full, it drops what is new and says so; what it has arrives."""
    outage = Outage()
    s = sender(OTEL_EXPORTER_OTLP_ENDPOINT=outage.endpoint, OTEL_BSP_SCHEDULE_DELAY="50",
               AUTOTRACE_RING_SIZE="65536")
    s.send(3000)
    one = status(s.pid)
    kept = one["waiting"]
    assert one["counters"]["ring_full"] + one["written"] >= 3000 and 50 < kept < 3000
    receiver = outage.back()
    try:
        wait_for(lambda: len(receiver.spans) >= kept, "what was kept", 30)
    finally:
        receiver.stop()
