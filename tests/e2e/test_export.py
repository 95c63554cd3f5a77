# SPDX-License-Identifier: Apache-2.0
"""Collectors that are slow, sick or gone; and rings that are full."""
import json
import time

import pytest

import harness
from harness import program, run
from receiver import Answer


def client(echo, threads, rounds, mode="echo"):
    return [program("threads-client"), mode, str(threads), str(rounds), str(echo.port)]


def operations(result):
    did = json.loads(result.out)
    assert did["failures"] == 0
    return did["connects"] + did["sends"] + did["receives"] + did["queries"]


def test_503_twice_then_well_again(receiver, shim, echo):
    receiver.script += [Answer(503), Answer(503)]
    r = run(client(echo, 2, 3), shim(AUTOTRACE_EXIT_TIMEOUT="9000"), timeout=15).ok()
    n = operations(r)
    assert len(receiver.wait(n)) == n == r.total("exported"), "none lost, none doubled"
    assert receiver.requests >= 3 and r.total("retries") >= 2
    assert r.total("failed") == r.total("unsent") == 0 and r.err == ""


@pytest.mark.parametrize("answer", [Answer(429, {"Retry-After": "1"}), Answer(502), Answer(504),
                                    Answer("close")], ids=lambda a: str(a.what))
def test_what_may_be_tried_again_is(receiver, shim, echo, answer):
    receiver.script += [answer]
    run(client(echo, 1, 1), shim(AUTOTRACE_EXIT_TIMEOUT="9000"), timeout=15).ok()
    assert len(receiver.wait(3)) == 3 and receiver.requests == 2
    gap = receiver.request_times[1] - receiver.request_times[0]
    assert gap > (0.95 if answer.headers else 0.1), "not at once"


@pytest.mark.parametrize("status", [400, 401, 404, 500, 501])
def test_what_may_not_be_tried_again_is_not(receiver, shim, echo, status):
    receiver.script += [Answer(status)]
    r = run(client(echo, 1, 1), shim(AUTOTRACE_EXIT_TIMEOUT="3000"), timeout=15).ok()
    assert receiver.requests == 1 and not receiver.spans
    assert r.total("rejected") == r.total("recorded") == 3 and r.total("exported") == 0
    assert str(status) in r.err, "the operator is told"


def test_partial_success_is_not_sent_again(receiver, shim, echo):
    receiver.script += [Answer("partial", rejected=2, message="two too many")]
    r = run(client(echo, 1, 1), shim()).ok()
    assert receiver.requests == 1 and len(receiver.spans) == 1
    assert r.total("rejected") == 2 and r.total("exported") == 1
    assert "two too many" in r.err


def test_refused_endpoint(shim, echo):
    r = run(client(echo, 2, 5), shim(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
                                     AUTOTRACE_EXIT_TIMEOUT=None)).ok()
    n = operations(r)
    assert r.total("recorded") == n
    assert r.total("failed") + r.total("left") == n and r.total("exported") == 0
    assert len(r.err.splitlines()) == 1 and r.err.startswith("autotrace["), "said, but once"
    assert r.seconds < 1.5 * harness.SLOW


def test_unresolvable_endpoint(shim, echo):
    r = run(client(echo, 1, 2), shim(OTEL_EXPORTER_OTLP_ENDPOINT="http://no-such-host.invalid:4318",
                                     AUTOTRACE_EXIT_TIMEOUT=None)).ok()
    assert r.seconds < 2.5 * harness.SLOW


def test_hanging_collector(receiver, shim, echo):
    receiver.script += [Answer("hang")] * 50
    r = run(client(echo, 2, 5), shim(AUTOTRACE_EXIT_TIMEOUT=None)).ok()
    n = operations(r)
    assert r.total("recorded") == n == r.total("left") + r.total("failed")
    assert r.seconds < 1.5 * harness.SLOW


def test_threads_lose_nothing(receiver, shim, echo):
    r = run(client(echo, 8, 150), shim(OTEL_BSP_SCHEDULE_DELAY="50"), timeout=30).ok()
    n = operations(r)
    spans = receiver.wait(n)
    assert r.total("ring_full") == r.total("no_memory") == r.total("bugs") == 0
    assert len(spans) == n == r.total("recorded") == r.total("exported")
    assert len({s.attrs["thread.id"] for s in spans}) == 8
    did = json.loads(r.out)
    assert sum(s.name == "send" for s in spans) == did["sends"]
    assert sum(s.name == "recv" for s in spans) == did["receives"]
    assert sum(s.name.startswith("socket connect") for s in spans) == did["connects"]


def test_short_lived_threads_lose_nothing(receiver, shim, echo):
    r = run(client(echo, 4, 100, "each"), shim(OTEL_BSP_SCHEDULE_DELAY="50"), timeout=30).ok()
    n = operations(r)
    spans = receiver.wait(n)
    assert len(spans) == n == r.total("recorded") + r.total("no_memory")
    assert r.total("ring_full") == r.total("no_memory") == 0


def test_pg_threads_lose_nothing(receiver, shim, postgres):
    r = run([program("threads-client"), "pg", "8", "50"],
            shim(OTEL_BSP_SCHEDULE_DELAY="50", PGAPPNAME="threads", **postgres.env()),
            timeout=30).ok()
    n = operations(r)
    spans = receiver.wait(n + 8)
    assert n == 8 * 51 and len(spans) == n + 8 == r.total("recorded"), "and 8 socket connects"
    harness.wait_for(lambda: len(postgres.statements("threads")) == 400, "the server's log")
    assert sum(s.name == "SELECT" for s in spans) == 400


def test_a_full_ring_counts_what_it_drops(receiver, shim, echo):
    receiver.script += [Answer("hang")] * 50
    r = run(client(echo, 2, 2000), shim(AUTOTRACE_RING_SIZE="65536", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="32",
                                        AUTOTRACE_EXIT_TIMEOUT="300"), timeout=30).ok()
    n = operations(r)
    assert r.total("ring_full") > 0
    assert r.total("recorded") + r.total("ring_full") == n
    assert r.total("recorded") == r.total("left") + r.total("failed") + r.total("exported")


def test_a_full_ring_drains_and_goes_on(receiver, shim, echo):
    r = run(client(echo, 2, 3000), shim(AUTOTRACE_RING_SIZE="65536", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="128"),
            timeout=30).ok()
    n = operations(r)
    spans = receiver.wait(n - r.total("ring_full"))
    assert r.total("recorded") + r.total("ring_full") == n
    assert len(spans) == r.total("exported") == r.total("recorded")


def test_spans_leave_after_the_schedule_delay(receiver, shim, echo):
    code = ("import socket, time\n"
            f"s = socket.create_connection(('127.0.0.1', {echo.port}))\n"
            "s.sendall(b'x'); s.recv(1); print(time.monotonic()); time.sleep(1.2)\n")
    r = run(["/usr/bin/python3", "-c", code], shim()).ok()
    done = float(r.out)
    assert receiver.request_times and receiver.request_times[0] - done < 0.9 * harness.SLOW
    assert len(receiver.spans) == 3
