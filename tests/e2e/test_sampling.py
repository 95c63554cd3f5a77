# SPDX-License-Identifier: Apache-2.0
"""What is sampled, kept and ignored, and what the next service is told of it: through a small
service that calls another."""
import glob
import http.server
import json
import os
import re
import signal
import threading
import time

import pytest

import harness
from harness import program, run
from http_peer import Origin, traceparents
from test_http import PARENT, PYTHON, TRACE, Relay, carried, http_spans

HALF = 1 << 55
HIGH, LOW = TRACE[:18] + "f" * 14, TRACE[:18] + "0" * 14


@pytest.fixture(scope="module")
def upstream():
    origin = Origin()
    yield origin
    origin.stop()


@pytest.fixture
def relay(receiver, shim, upstream):
    """relay(settings) is a Relay; stop() gives its result and the spans of its requests."""
    running = []

    class Sampled(Relay):
        def stop(self):
            result = super().stop()
            running.remove(self)
            return result

        def end(self):
            result = self.stop()
            spans = receiver.wait(result.total("exported"))
            assert len(receiver.spans) == result.total("exported"), result.stats
            assert result.total("recorded") == sum(result.total(c) for c in (
                "exported", "unkept", "keep_overflow", "keep_limited")), result.stats
            return result, spans

        def call(self, path="/echo", lines=(), **one):
            self.ask(lines, [dict(one, url=upstream.url + path)])

    upstream.take()

    def start(**settings):
        running.append(Sampled(shim(**{"AUTOTRACE_SOCKET_SPANS": "none", **settings})))
        return running[-1]

    yield start
    for r in list(running):
        r.stop()


def told(upstream, n):
    """(trace, sampled, tracestate) of each request that came to the next service."""
    found = []
    for r in upstream.take(n):
        (trace, _, flags), = traceparents(r)
        found.append((trace, bool(int(flags, 16) & 1), carried(r).get("tracestate")))
    assert len(found) == n
    return found


def whole(spans):
    """Traces by their ids; each has the request and the call made for it."""
    traces = {}
    for s in spans:
        traces.setdefault(s.trace, []).append(s)
    for t in traces.values():
        server, = [s for s in t if s.kind == "SERVER"]
        client, = [s for s in t if s.kind == "CLIENT"]
        assert client.parent == server.span and len(t) == 2
    return traces


def randomness(trace):
    return int(trace[18:], 16)


# ---- thresholds ----

@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_the_threshold_is_told_with_what_it_sampled(relay, upstream, sampler):
    r = relay(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.5")
    n = 60
    for _ in range(n):
        r.call()
    _, spans = r.end()
    taken = whole(spans)
    for trace, sampled, state in told(upstream, n):
        assert sampled == (randomness(trace) >= HALF) == (trace in taken)
        assert state == ("ot=th:8" if sampled else None)
    assert {s.state for s in spans} == {"ot=th:8"}
    assert 12 <= len(taken) <= 48


@pytest.mark.parametrize("sampler, arg, trace, flag, state, sampled, after", [
    ("parentbased_always_on", "", LOW, "01", "ot=th:c", True, None),
    ("parentbased_always_on", "", HIGH, "03", "a=b,ot=th:c", True, "a=b,ot=th:c"),
    ("parentbased_always_on", "", HIGH, "02", "ot=th:c,a=b", False, "a=b"),
    ("parentbased_always_on", "", LOW, "02", "ot=th:c", False, "ot=th:c"),
    ("parentbased_traceidratio", "0.1", LOW, "01", "a=b", True, "a=b"),
    ("traceidratio", "0.1", HIGH, "00", "a=b,ot=th:c;x:y", True, "ot=th:e666;x:y,a=b"),
    ("traceidratio", "0.1", LOW, "01", "a=b,ot=th:0", False, "a=b"),
    ("traceidratio", "0.1", LOW, "01", "ot=rv:f0000000000000", True,
     "ot=th:e666;rv:f0000000000000"),
    ("traceidratio", "0.1", HIGH, "01", "ot=rv:e0000000000000", False, "ot=rv:e0000000000000"),
    ("always_on", "", HIGH, "00", "ot=th:0", True, None),
    ("always_on", "", HIGH, "01", "ot=th:0", True, "ot=th:0"),
    ("always_off", "", HIGH, "01", "ot=th:0;x:y", False, "ot=x:y"),
    ("always_off", "", LOW, "01", "ot=th:8", False, None),
    ("traceidratio", "0", LOW, "02", "ot=th:8;x:y", False, "ot=x:y"),
])
def test_what_a_parent_says_and_what_the_next_one_is_told(
        relay, upstream, sampler, arg, trace, flag, state, sampled, after):
    r = relay(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=arg)
    r.call(lines=[f"traceparent: 00-{trace}-{PARENT}-{flag}", f"tracestate: {state}"])
    _, spans = r.end()
    assert told(upstream, 1) == [(trace, sampled, after)]
    assert len(spans) == (2 if sampled else 0)
    assert {s.state for s in spans} <= {after or ""}


def test_baggage_without_a_trace_goes_beside_the_threshold(relay, upstream):
    r = relay(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="1.0")
    r.call(lines=["baggage: k=v"])
    r.end()
    assert {k: v for k, v in carried(upstream.take(1)[0]).items() if k != "traceparent"} == {
        "baggage": "k=v", "tracestate": "ot=th:0"}


def test_the_environment_s_tracestate_is_made_true(receiver, shim, upstream):
    upstream.take()
    for sampler, after in (("traceidratio", "ot=th:8,a=b"), ("parentbased_always_on", "a=b")):
        env = shim(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.5", TRACESTATE="a=b,ot=th:c",
                   TRACEPARENT=f"00-{TRACE[:18]}80000000000000-{PARENT}-01")
        run(["/usr/bin/curl", "-s", upstream.url + "/echo"], env).ok()
        (_, sampled, state), = told(upstream, 1)
        assert sampled and state == after


def test_the_specification_s_warnings_come_once(relay):
    r = relay(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="1.0")
    for _ in range(3):
        r.call(lines=[f"traceparent: 00-{HIGH}-{PARENT}-01"])
    result, _ = r.end()
    lines = [re.sub(r"^autotrace\[\d+\]: ", "", line) for line in result.err.splitlines()]
    assert [line[:32] for line in lines if "trace" in line] == [
        "OTEL_TRACES_SAMPLER=traceidratio", "traces come without the random f"]


# ---- kept ones ----

@pytest.mark.parametrize("sampler, arg", [("always_off", ""), ("traceidratio", "0"),
                                          ("parentbased_traceidratio", "1e-9")])
def test_failed_traces_are_kept_whole_and_others_dropped_whole(relay, upstream, sampler, arg):
    r = relay(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=arg, AUTOTRACE_KEEP_ERRORS="true")
    paths = ["/echo", "/status/500", "/echo", "/echo", "/status/404", "/echo", "/slow"]
    for path in paths:
        r.call(path)
    result, spans = r.end()
    came = told(upstream, len(paths))
    assert not any(sampled or state for _, sampled, state in came)
    assert set(whole(spans)) == {came[1][0], came[4][0]}
    assert all(s.attrs["autotrace.kept"] == "error" and not s.flags & 1 and not s.state
               for s in spans)
    assert result.total("unkept") == 10


def test_slow_traces_are_kept_whole(relay, upstream):
    r = relay(OTEL_TRACES_SAMPLER="always_off", AUTOTRACE_KEEP_SLOW_MS="90")
    for path in ("/echo", "/slow", "/status/500", "/slow"):
        r.call(path)
    _, spans = r.end()
    came = told(upstream, 4)
    assert set(whole(spans)) == {came[1][0], came[3][0]}
    assert {s.attrs["autotrace.kept"] for s in spans} == {"slow"}


WAITING = """
import socket, sys, threading, time
s = socket.create_server(("127.0.0.1", 0))
def client():
    time.sleep(0.4)
    with socket.create_connection(s.getsockname()) as c:
        time.sleep(0.4)
        c.send(b"PING\\n")
        c.recv(9)
t = threading.Thread(target=client)
t.start()
c, _ = s.accept()
c.recv(9)
time.sleep(float(sys.argv[1]))
c.send(b"PONG\\n")
t.join()
"""


@pytest.mark.parametrize("thinks, kept", [(0, []), (0.4, ["recv"])])
def test_to_wait_for_a_client_is_not_slow(receiver, shim, thinks, kept):
    """Nor does it make a stack; to wait for a server's answer does."""
    r = run([PYTHON, "-c", WAITING, str(thinks)],
            shim(OTEL_TRACES_SAMPLER="always_off", AUTOTRACE_KEEP_SLOW_MS="300")).ok()
    spans = receiver.wait(r.total("exported"))
    assert [s.name for s in spans] == kept and r.total("unkept") > 0
    assert all("code.stacktrace" in s.attrs for s in spans)


def test_a_parent_that_was_not_sampled_does_not_forbid_keeping(relay, upstream):
    r = relay(AUTOTRACE_KEEP_ERRORS="true")
    r.call("/status/500", [f"traceparent: 00-{TRACE}-{PARENT}-00"])
    r.call("/status/500", [f"traceparent: 00-{HIGH}-{PARENT}-03"])
    _, spans = r.end()
    kept = {s.trace: s.attrs.get("autotrace.kept") for s in spans}
    assert kept == {TRACE: "error", HIGH: None} and len(spans) == 4
    assert [sampled for _, sampled, _ in told(upstream, 2)] == [False, True]


def test_what_fails_by_itself_is_kept_in_every_thread(receiver, shim):
    """Every span is a root of its own here."""
    r = run([program("threads-client"), "each", "4", "5", "1"], shim(
        OTEL_TRACES_SAMPLER="always_off", AUTOTRACE_KEEP_ERRORS="true"))
    spans = receiver.wait(r.total("exported"))
    assert len(spans) == 60 and "connection_refused" in {s.attrs["error.type"] for s in spans}
    assert all(s.status == "ERROR" and s.attrs["autotrace.kept"] == "error" for s in spans)


# ---- so many per second ----

def test_the_ceiling(relay, upstream):
    r = relay(AUTOTRACE_MAX_TRACES_PER_SECOND="5")
    began, n = time.monotonic(), 40
    for _ in range(n):
        r.call()
        time.sleep(0.02)
    seconds = time.monotonic() - began
    r.call(lines=[f"traceparent: 00-{TRACE}-{PARENT}-01"])
    _, spans = r.end()
    taken = whole(spans)
    assert TRACE in taken, "which did not begin here"
    assert min(n, 5 + 5 * (seconds - 0.5) - 1) <= len(taken) - 1 <= 5 + 5 * seconds + 1
    assert {t for t, sampled, _ in told(upstream, n + 1) if sampled} == set(taken)


@pytest.mark.parametrize("name, most", [
    ("AUTOTRACE_MAX_TRACES_PER_SECOND", 5), ("AUTOTRACE_TARGET_TRACES_PER_SECOND", 20)])
def test_a_connection_takes_nothing_from_its_requests(relay, upstream, name, most):
    """Each is accepted, and read from, before it is known that it is HTTP."""
    r = relay(**{"AUTOTRACE_SOCKET_SPANS": "auto", name: str(most), "OTEL_METRICS_EXPORTER": "console"})
    began, n = time.monotonic(), 40
    for _ in range(n):
        r.call()
        time.sleep(0.02)
    seconds = time.monotonic() - began
    result = r.stop()
    sampled = sum(1 for _, sampled, _ in told(upstream, n) if sampled)
    if name == "AUTOTRACE_MAX_TRACES_PER_SECOND":
        # One token may have gone to the connection that only looked whether it listens.
        assert 5 + 5 * (seconds - 0.5) - 2 <= sampled <= 5 + 5 * seconds + 1
        assert result.total("limited") == n - sampled
    else:
        assert sampled > 0.6 * n, "fewer than the target came"
    started = sum(int(m) for m in re.findall(r"otel.sdk.span.started .*origin=none.* (\d+)", result.err))
    assert n <= started <= n + 1, result.err


def test_the_ceiling_hides_the_threshold_when_it_is_reached(relay, upstream):
    r = relay(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="1",
              AUTOTRACE_MAX_TRACES_PER_SECOND="3")
    for _ in range(30):
        r.call()
    r.end()
    came = told(upstream, 30)
    states = [state for _, sampled, state in came if sampled]
    assert states[:3] == ["ot=th:0"] * 3 and not any(states[3:])
    assert not any(state for _, sampled, state in came if not sampled)


def test_the_ceiling_is_one_of_what_is_kept_too(relay):
    r = relay(AUTOTRACE_MAX_TRACES_PER_SECOND="2", AUTOTRACE_KEEP_ERRORS="true")
    began = time.monotonic()
    for _ in range(20):
        r.call("/status/500")
    seconds = time.monotonic() - began
    result, spans = r.end()
    traces = whole(spans)
    kept = {s.trace for s in spans if "autotrace.kept" in s.attrs}
    assert 2 <= len(kept) <= 2 + 2 * seconds + 1
    assert 2 <= len(traces) - len(kept) <= 2 + 2 * seconds + 1
    assert result.total("keep_limited") == 2 * (20 - len(traces))  # all of them failed


def test_the_ratio_is_steered_to_a_target(relay, upstream):
    r = relay(AUTOTRACE_TARGET_TRACES_PER_SECOND="20")
    began, n = time.monotonic(), 0
    while time.monotonic() - began < 5:
        r.call()
        n += 1
    _, spans = r.end()
    assert n > 300, "the test means a load beyond the target"
    came, taken = told(upstream, n), whole(spans)
    assert 20 * 5 * 0.4 < len(taken) < 20 * 5 * 2
    thresholds = set()
    for trace, sampled, state in came:
        assert sampled == (trace in taken)
        if not sampled:
            assert state is None
            continue
        th = re.fullmatch("ot=th:([0-9a-f]{1,14})", state)[1]
        assert randomness(trace) >= int(th.ljust(14, "0"), 16)
        thresholds.add(th)
    assert len(thresholds) > 1


# ---- ignored ----

def test_ignored_requests_are_no_spans_nor_is_what_is_below(relay, upstream):
    host = upstream.url[7:]
    r = relay(AUTOTRACE_IGNORE="/healthz, /static/*,127.0.0.1/status/*,*.internal",
              AUTOTRACE_KEEP_ERRORS="true")
    calls = [{"url": upstream.url + "/echo"}]
    traced = [f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: ot=th:0;x:y"]
    for target in ("/healthz", "/healthz?q=1", "/static/a", "/static/", "http://x.internal/y"):
        r.ask(traced, calls, target)
    came = told(upstream, 5)
    assert came == [(TRACE, False, "ot=x:y")] * 5
    r.ask(traced, calls, "/healthz/no")
    r.ask(traced, calls, "/Healthz")
    assert told(upstream, 2) == [(TRACE, True, "ot=th:0;x:y")] * 2
    # Sent ones: the request that is served is a span, the call is not.
    r.ask(traced, [{"url": f"http://{host}/status/500"}, *calls])
    assert told(upstream, 2) == [(TRACE, False, "ot=x:y"), (TRACE, True, "ot=th:0;x:y")]
    _, spans = r.end()
    spans = http_spans(spans)
    assert sorted(s.attrs.get("url.path", s.attrs.get("url.full", "")[-5:]) for s in spans) == [
        "/", "/Healthz", "/echo", "/echo", "/echo", "/healthz/no"]


@pytest.mark.parametrize("name, value, line", [
    ("AUTOTRACE_IGNORE", "/a*b,/ok", '"/a*b" is not a /path, a host or a host/path, with * for '
     "*.domain and at the end of a path; leaving it out"),
    ("AUTOTRACE_MAX_TRACES_PER_SECOND", "-1", "is not a whole number from 0 to 1000000; using 0"),
    ("AUTOTRACE_KEEP_ERRORS", "2", 'is not "true" or "false"; using false'),
    ("AUTOTRACE_KEEP_SLOW_MS", "1s", "is not a number of milliseconds from 0 to 2147483647; using 0"),
])
def test_a_bad_setting_is_told_of(shim, name, value, line):
    r = run(["/bin/true"], shim(**{name: value})).ok()
    assert f"{name}={value}" in r.err and line in r.err


def test_a_target_without_a_ratio_is_told_of(shim):
    r = run(["/bin/true"], shim(AUTOTRACE_TARGET_TRACES_PER_SECOND="3",
                                OTEL_TRACES_SAMPLER="always_off")).ok()
    assert "AUTOTRACE_TARGET_TRACES_PER_SECOND=3 is not used" in r.err


# ---- a strategy from elsewhere ----

class Jaeger:
    """What Jaeger's collector answers to GET /sampling?service=NAME."""

    def __init__(self, answer=None):
        self.answer, self.asked, jaeger = answer, [], self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                jaeger.asked.append((self.path, dict(self.headers)))
                status, body = 200, jaeger.answer
                if isinstance(body, int):
                    status, body = body, "{}"
                body = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def asked_again(self, n=1):
        before = len(self.asked)
        harness.wait_for(lambda: len(self.asked) >= before + n, "being asked for a strategy")
        time.sleep(0.1)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def jaeger():
    j = Jaeger()
    yield j
    j.stop()


def ratio(rate):
    return {"strategyType": "PROBABILISTIC", "probabilisticSampling": {"samplingRate": rate}}


def remote(jaeger, rate="0", polling=50):
    return f"endpoint={jaeger.endpoint},pollingIntervalMs={polling},initialSamplingRate={rate}"


def sampled_of(r, upstream, n, **call):
    upstream.take()
    for _ in range(n):
        r.call(**call)
    return [(sampled, state) for _, sampled, state in told(upstream, n)]


@pytest.mark.parametrize("sampler", ["jaeger_remote", "parentbased_jaeger_remote"])
def test_a_remote_strategy_is_asked_for_and_followed(relay, upstream, jaeger, sampler):
    jaeger.answer = ratio(1)
    r = relay(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=remote(jaeger),
              OTEL_SERVICE_NAME="shop & co")
    assert sampled_of(r, upstream, 1) == [(False, None)], "the initial rate"
    jaeger.asked_again(2)
    assert sampled_of(r, upstream, 3) == [(True, "ot=th:0")] * 3
    jaeger.answer = ratio(0.25)
    jaeger.asked_again(2)
    assert {s for s in sampled_of(r, upstream, 40)} == {(True, "ot=th:c"), (False, None)}
    jaeger.answer = {"strategyType": "RATE_LIMITING",
                     "rateLimitingSampling": {"maxTracesPerSecond": 2}}
    jaeger.asked_again(2)
    began = time.monotonic()
    found = sampled_of(r, upstream, 20)
    most = 3 + 2 * (time.monotonic() - began)
    assert 2 <= found.count((True, None)) <= most and set(found) == {(True, None), (False, None)}
    jaeger.answer = ratio(0)
    jaeger.asked_again(2)
    assert sampled_of(r, upstream, 3) == [(False, None)] * 3
    traced = [f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: ot=th:0"]
    assert sampled_of(r, upstream, 1, lines=traced) == [
        (True, "ot=th:0") if sampler.startswith("parent") else (False, None)]
    _, spans = r.end()
    assert whole(spans)
    assert {path for path, _ in jaeger.asked} == {"/sampling?service=shop%20%26%20co"}


def test_operations_have_strategies_of_their_own(relay, upstream, jaeger):
    jaeger.answer = {"operationSampling": {
        "defaultSamplingProbability": 0, "defaultLowerBoundTracesPerSecond": 0,
        "perOperationStrategies": [
            {"operation": "POST /orders/{id}", "probabilisticSampling": {"samplingRate": 1}}]}}
    r = relay(OTEL_TRACES_SAMPLER="parentbased_jaeger_remote", AUTOTRACE_HTTP_ROUTES="/orders/{id}",
              OTEL_TRACES_SAMPLER_ARG=remote(jaeger))
    r.call()
    jaeger.asked_again(2)
    for target in ("/", "/orders/7", "/orders/8", "/orders"):
        r.ask(target=target)
    _, spans = r.end()
    assert [s.attrs["url.path"] for s in http_spans(spans)] == ["/orders/7", "/orders/8"]
    assert {s.state for s in spans} == {"ot=th:0"}


@pytest.mark.parametrize("answer, why", [
    (404, "HTTP 404"), ("rubbish", "HTTP 200, and no strategy"), ({}, "HTTP 200, and no strategy"),
    pytest.param(" " * (2 << 20), "the answer is too long", id="long")])
def test_without_an_answer_the_last_strategy_stays(relay, upstream, jaeger, answer, why):
    jaeger.answer = ratio(1)
    r = relay(OTEL_TRACES_SAMPLER="jaeger_remote", OTEL_TRACES_SAMPLER_ARG=remote(jaeger))
    r.call()
    jaeger.asked_again(2)
    jaeger.answer = answer
    jaeger.asked_again(3)
    assert sampled_of(r, upstream, 2) == [(True, "ot=th:0")] * 2
    jaeger.answer = ratio(0)
    jaeger.asked_again(3)
    assert sampled_of(r, upstream, 2) == [(False, None)] * 2
    result, _ = r.end()
    lines = [line.split(": ", 1)[1] for line in result.err.splitlines() if "strategy" in line]
    assert lines == [f"sampling strategy from {jaeger.endpoint}: {why}; the last one stays",
                     f"sampling strategy from {jaeger.endpoint} works again"]


def test_when_nobody_answers_the_initial_rate_counts(relay, upstream):
    port = harness.free_port()
    r = relay(OTEL_TRACES_SAMPLER="jaeger_remote", OTEL_TRACES_SAMPLER_ARG=
              f"endpoint=http://127.0.0.1:{port},pollingIntervalMs=50,initialSamplingRate=1")
    assert sampled_of(r, upstream, 5) == [(True, "ot=th:0")] * 5
    time.sleep(0.3)
    result, spans = r.end()
    assert len(spans) == 10
    assert result.err.count("sampling strategy from") == 1


def test_a_remote_strategy_with_the_console(relay, jaeger):
    jaeger.answer = ratio(1)
    r = relay(OTEL_TRACES_SAMPLER="jaeger_remote", OTEL_TRACES_SAMPLER_ARG=remote(jaeger),
              OTEL_TRACES_EXPORTER="console")
    r.call()
    jaeger.asked_again(2)
    r.call()
    result = r.stop()
    assert "POST" in result.err and result.total("exported") == 2


@pytest.mark.parametrize("arg, line", [
    ("0.5", "OTEL_TRACES_SAMPLER_ARG=0.5 is not a list of endpoint=URL, pollingIntervalMs=N, "
     "initialSamplingRate=0 to 1; using none of it"),
    ("endpoint=ftp://h,initialSamplingRate=1", "OTEL_TRACES_SAMPLER_ARG: endpoint=ftp://h is not a "
     "usable http or https URL; using http://localhost:5778/sampling")])
def test_a_bad_argument_is_told_of(relay, arg, line):
    r = relay(OTEL_TRACES_SAMPLER="jaeger_remote", OTEL_TRACES_SAMPLER_ARG=arg)
    r.call()
    harness.wait_for(lambda: r.err.seek(0, 2) > 0, "a line")
    result, _ = r.end()
    assert line in result.err


# ---- what becomes of candidates when all does not go well ----

@pytest.fixture
def spool(tmp_path):
    os.makedirs(tmp_path / "spool")
    return str(tmp_path / "spool")


def drain(receiver, spool):
    env = harness.bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, AUTOTRACE_SPOOL_DIR=spool)
    r = run([os.path.join(harness.B, "autotrace"), "drain"], env, timeout=30)
    assert r.rc == 0, r.raw_err
    assert glob.glob(spool + "/autotrace-*/*") == []


DEAD = "http://127.0.0.1:9"
HALF_AND_ERRORS = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5",
                   "AUTOTRACE_KEEP_ERRORS": "true", "AUTOTRACE_SOCKET_SPANS": "none"}


def ask_some(relay, upstream, n):
    """Requests of which every third fails; the traces that were sampled, and that failed."""
    upstream.take()
    for i in range(n):
        relay.ask((), [{"url": upstream.url + ("/status/500" if i % 3 == 0 else "/echo")}])
    came = told(upstream, n)
    return ({trace for trace, sampled, _ in came if sampled},
            {trace for i, (trace, sampled, _) in enumerate(came) if i % 3 == 0 and not sampled})


@pytest.mark.parametrize("collector", ["there", "away"])
@pytest.mark.parametrize("rest", [1, 0], ids=["after a while", "at once"])
def test_killed_with_candidates(receiver, shim, upstream, spool, collector, rest):
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": DEAD} if collector == "away" else {}
    r = Relay(shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_BSP_SCHEDULE_DELAY="60000", **HALF_AND_ERRORS, **away))
    sampled, failed = ask_some(r, upstream, 60)
    assert len(sampled) > 4 and len(failed) > 1
    time.sleep((rest or 0.02) * harness.SLOW)
    r.process.send_signal(signal.SIGKILL)
    r.stop()
    assert not receiver.spans
    drain(receiver, spool)
    spans = receiver.wait(2 * len(sampled | failed) if rest else 2 * len(sampled))
    assert len({(s.trace, s.span) for s in spans}) == len(spans), "a span came twice"
    came = {s.trace for s in spans}
    assert sampled <= came <= sampled | failed
    kept = {s.trace for s in spans if "autotrace.kept" in s.attrs}
    assert kept == came - sampled
    if rest:
        assert kept == failed
        assert set(whole(spans)) == sampled | failed


def test_ended_with_candidates_and_no_collector(receiver, shim, upstream, spool):
    r = Relay(shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_EXPORTER_OTLP_ENDPOINT=DEAD, **HALF_AND_ERRORS))
    sampled, failed = ask_some(r, upstream, 40)
    result = r.stop()
    assert result.total("left") == 2 * len(sampled | failed)
    assert result.total("unkept") == 2 * (40 - len(sampled | failed))
    assert result.total("recorded") == 80
    drain(receiver, spool)
    assert set(whole(receiver.wait(result.total("left")))) == sampled | failed
    assert {s.trace for s in receiver.spans if "autotrace.kept" in s.attrs} == failed


def test_candidates_take_no_room_from_what_waits_for_a_collector(shim, echo):
    """A fiftieth is sampled and cannot be sent; all that is not must go by even so."""
    r = run([program("threads-client"), "each", "2", "3000", str(echo.port)],
            shim(OTEL_EXPORTER_OTLP_ENDPOINT=DEAD, OTEL_TRACES_SAMPLER="traceidratio",
                 OTEL_TRACES_SAMPLER_ARG="0.02", AUTOTRACE_KEEP_SLOW_MS="600000"), timeout=60).ok()
    left = r.total("left") + r.total("unsent")
    n = r.total("recorded") + r.total("ring_full")
    assert n >= 18000 and r.total("keep_overflow") == r.total("exported") == 0
    assert r.total("recorded") == left + r.total("unkept")
    assert 0.013 * n < left < 0.03 * n
    assert r.total("ring_full") < n / 10, "what is decided about a moment later"


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_much_that_fails_is_kept_within_bounds(shim):
    r = run([PYTHON, "-c", PEAK, program("threads-client"), "each", "4", "10000", "1"],
            shim(OTEL_EXPORTER_OTLP_ENDPOINT=DEAD, OTEL_TRACES_SAMPLER="always_off",
                 AUTOTRACE_KEEP_ERRORS="true"), timeout=60)
    kept = r.total("left") + r.total("unsent")
    assert r.total("recorded") + r.total("ring_full") + r.total("queue_full") >= 40000
    assert r.total("recorded") == kept + r.total("unkept")
    assert r.total("queue_full") > 0 and kept >= 2048, "as many are left as the queue holds"
    # 8 MiB of them, what is in the rings, and the program itself.
    if not harness.SAN:
        assert int(r.out.split()[-1]) < 64 << 10


def test_children_hold_their_own(receiver, shim, upstream):
    upstream.take()
    r = Relay(shim(AUTOTRACE_SOCKET_SPANS="none", OTEL_TRACES_SAMPLER="always_off",
                   AUTOTRACE_KEEP_ERRORS="true"), "--fork")
    for path in ("/echo", "/status/500", "/echo", "/status/500"):
        r.ask((), [{"url": upstream.url + path}])
    came = told(upstream, 4)
    spans = receiver.wait(4)
    r.stop()
    assert set(whole(spans)) == {came[1][0], came[3][0]}
    assert all(s.attrs["autotrace.kept"] == "error" for s in spans)


REFUSED = """
import os, socket, sys
for port in (1, int(sys.argv[1])):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        pass
os.execv("/bin/true", ["true"])
"""


@pytest.mark.parametrize("collector", ["there", "away"])
def test_exec_takes_what_is_kept_along(receiver, shim, echo, spool, collector):
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": DEAD} if collector == "away" else {}
    run([PYTHON, "-c", REFUSED, str(echo.port)],
        shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_TRACES_SAMPLER="always_off", AUTOTRACE_KEEP_ERRORS="true",
             **away)).ok()
    if away:
        assert not receiver.spans
        drain(receiver, spool)
    span, = receiver.wait(1)
    assert span.attrs["autotrace.kept"] == "error" and span.attrs["error.type"]
