# SPDX-License-Identifier: Apache-2.0
"""otel.sdk.* metrics: what they say is what the receiver got, and what the program counted."""
import json
import re
import subprocess
import time

import pytest

import harness
from grpc_peer import GrpcCollector
from harness import Sender, end, program, run, wait_for
from receiver import Answer, check_metrics, load_proto

# Kind, monotonic, unit and keys as the registry has them (model/otel/metrics.yaml).
EXPORTER = {"otel.component.name", "otel.component.type", "server.address", "server.port"}
PROCESSOR = {"otel.component.name", "otel.component.type"}
REGISTRY = {
    "otel.sdk.span.started": ("sum", True, "{span}", {"otel.span.parent.origin", "otel.span.sampling_result"}),
    "otel.sdk.span.live": ("sum", False, "{span}", {"otel.span.sampling_result"}),
    "otel.sdk.processor.span.queue.size": ("sum", False, "{span}", PROCESSOR),
    "otel.sdk.processor.span.queue.capacity": ("sum", False, "{span}", PROCESSOR),
    "otel.sdk.processor.span.processed": ("sum", True, "{span}", PROCESSOR | {"error.type"}),
    "otel.sdk.exporter.span.inflight": ("sum", False, "{span}", EXPORTER),
    "otel.sdk.exporter.span.exported": ("sum", True, "{span}", EXPORTER | {"error.type"}),
    "otel.sdk.exporter.operation.duration": ("histogram", None, "s",
                                             EXPORTER | {"error.type", "http.response.status_code"}),
}
DELTA, CUMULATIVE = 1, 2


def client(echo, threads, rounds):
    return [program("threads-client"), "echo", str(threads), str(rounds), str(echo.port)]


def value(points, name, **attrs):
    """The sum of the points of that name with these attributes; None: there is none."""
    wanted = {k.replace("__", "."): v for k, v in attrs.items()}
    found = [p.value for (n, a), p in points.items()
             if n == name and all(dict(a).get(k) == v for k, v in wanted.items())]
    return sum(found) if found else None


def as_registered(points):
    for (name, attrs), p in points.items():
        kind, monotonic, unit, keys = REGISTRY[name]
        assert (p.kind, p.unit) == (kind, unit) and (monotonic is None or p.monotonic == monotonic)
        attrs = dict(attrs)
        assert set(attrs) <= keys and attrs.get("otel.component.type", "x") in (
            "x", "batching_span_processor" if keys is PROCESSOR or "processor" in name
            else "otlp_http_span_exporter")
        if "otel.component.name" in attrs:
            assert attrs["otel.component.name"] == attrs["otel.component.type"] + "/0"
    return points


PROGRAMS = ["pg-client", "pg-pipeline", "pg-copy", "pg-session"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_statement_that_began_has_ended(receiver, shim, postgres, name):
    run([program(name)], shim(OTEL_METRICS_EXPORTER="otlp", **postgres.env()))
    assert len(receiver.spans) > 3
    assert value(receiver.metrics[-1], "otel.sdk.span.live") == 0


SERVER = """
import http.client, http.server, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_GET(self):
        if self.path == "/slow": go.wait(10)
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
go = threading.Event()
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler); s.daemon_threads = True
threading.Thread(target=s.serve_forever, daemon=True).start()
def get(path):
    c = http.client.HTTPConnection(*s.server_address); c.request("GET", path); c.getresponse().read(); c.close()
for _ in range(20): get("/")
them = [threading.Thread(target=get, args=("/slow",)) for _ in range(3)]
[t.start() for t in them]
print("open", flush=True); input()
go.set(); [t.join() for t in them]
"""


def test_what_is_under_way_is_live(receiver, shim):
    env = shim(OTEL_METRICS_EXPORTER="otlp", OTEL_METRIC_EXPORT_INTERVAL="50")
    p = subprocess.Popen(["/usr/bin/python3", "-c", SERVER], env=env, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert p.stdout.readline() == b"open\n"
        wait_for(lambda: receiver.metrics and value(receiver.metrics[-1], "otel.sdk.span.live") == 6, "both sides of three requests")
        p.stdin.write(b"\n")
        p.stdin.close()
        assert p.wait(10 * harness.SLOW) == 0
    finally:
        end(p)
    assert len([s for s in receiver.spans if s.kind in ("SERVER", "CLIENT") and "http.request.method" in s.attrs]) == 46
    assert value(receiver.metrics[-1], "otel.sdk.span.live") == 0


def test_off_unless_asked_for(receiver, shim, echo):
    run(client(echo, 1, 5), shim(OTEL_METRIC_EXPORT_INTERVAL="10")).ok()
    assert not receiver.metrics and receiver.spans


def test_the_last_ones_are_what_there_was(receiver, shim, echo):
    r = run(client(echo, 3, 40), shim(OTEL_METRICS_EXPORTER="otlp")).ok()
    points = as_registered(receiver.metrics[-1])
    n = len(receiver.spans)
    assert n == r.total("exported") > 200 and len(receiver.metrics) == 1
    assert value(points, "otel.sdk.exporter.span.exported") == n
    assert value(points, "otel.sdk.processor.span.processed") == n
    assert value(points, "otel.sdk.processor.span.queue.size") == 0
    assert value(points, "otel.sdk.processor.span.queue.capacity") == 2048
    assert value(points, "otel.sdk.exporter.span.inflight") == 0
    assert value(points, "otel.sdk.exporter.operation.duration", http__response__status_code=200) == receiver.requests
    by_parent = {"local": 0, "none": 0, "remote": 0}
    for s in receiver.spans:
        by_parent["none" if not s.parent else "remote" if s.flags & 0x200 else "local"] += 1
    for origin, count in by_parent.items():
        assert (value(points, "otel.sdk.span.started", otel__span__parent__origin=origin,
                      otel__span__sampling_result="RECORD_AND_SAMPLE") or 0) == count
    assert {p.temporality for p in points.values()} == {CUMULATIVE}
    assert value(points, "otel.sdk.exporter.span.exported", server__address="127.0.0.1",
                 server__port=receiver.port) == n


def test_what_was_refused_or_dropped_has_its_reason(receiver, shim, echo):
    receiver.script += [Answer(400), Answer("partial", rejected=1, message="no")]
    r = run(client(echo, 1, 30), shim(OTEL_METRICS_EXPORTER="otlp", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
                                      AUTOTRACE_EXIT_TIMEOUT="9000")).ok()
    points = as_registered(receiver.metrics[-1])
    assert value(points, "otel.sdk.exporter.span.exported", error__type="400") == 10
    assert value(points, "otel.sdk.exporter.span.exported", error__type="rejected") == 1
    assert value(points, "otel.sdk.exporter.span.exported", error__type=None) == r.total("exported") \
        == len(receiver.spans)
    assert value(points, "otel.sdk.processor.span.processed") == r.total("recorded")
    assert value(points, "otel.sdk.exporter.operation.duration", error__type="400",
                 http__response__status_code=400) == 1


def test_unsampled_spans_are_started_too(receiver, shim, echo):
    r = run(client(echo, 8, 20), shim(OTEL_METRICS_EXPORTER="otlp", OTEL_TRACES_SAMPLER="traceidratio",
                                      OTEL_TRACES_SAMPLER_ARG="0.5")).ok()
    points = as_registered(receiver.metrics[-1])
    did = json.loads(r.out)
    sampled = value(points, "otel.sdk.span.started", otel__span__sampling_result="RECORD_AND_SAMPLE")
    dropped = value(points, "otel.sdk.span.started", otel__span__sampling_result="DROP")
    assert sampled == len(receiver.spans) and dropped > 0
    assert sampled + dropped >= did["connects"] + did["sends"] + did["receives"]


def test_a_full_queue_is_the_processors_error(receiver, shim, echo):
    r = run(client(echo, 1, 2000), shim(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:9/v1/traces",
                                        OTEL_METRICS_EXPORTER="otlp", AUTOTRACE_RING_SIZE="65536"),
            timeout=30).ok()
    points = as_registered(receiver.metrics[-1])
    assert value(points, "otel.sdk.processor.span.processed", error__type="queue_full") == r.total("ring_full") > 0
    assert value(points, "otel.sdk.exporter.span.exported", error__type="connection_failed") > 0
    assert value(points, "otel.sdk.exporter.span.exported", error__type=None) is None
    assert value(points, "otel.sdk.processor.span.queue.size") == r.total("left") > 0


@pytest.mark.parametrize("preference", [None, "delta", "lowmemory"])
def test_every_interval_in_the_preferred_temporality(receiver, shim, echo, preference):
    receiver.metric_script += [None, Answer(503)]
    s = Sender(shim(OTEL_METRICS_EXPORTER="otlp", OTEL_METRIC_EXPORT_INTERVAL="50", OTEL_BSP_SCHEDULE_DELAY="10",
                    AUTOTRACE_SOCKET_SPANS="all", OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preference))
    try:
        for _ in range(8):
            s.send(20)
            time.sleep(0.05)
        assert s.finish() == 0
    finally:
        s.stop()
    told = [as_registered(m) for m in receiver.metrics]
    name = "otel.sdk.exporter.span.exported"
    per_request = [value(m, name) or 0 for m in told]
    if preference:
        assert sum(per_request) == len(receiver.spans), "what failed is in the next one"
    else:
        assert per_request == sorted(per_request) and per_request[-1] == len(receiver.spans)
        assert len({p.start for m in told for p in m.values()}) == 1
    for m in told:
        for (n, _), point in m.items():
            goes_up_only = REGISTRY[n][1] in (True, None)
            assert point.temporality == (DELTA if preference and goes_up_only else CUMULATIVE)
    ends = [next(iter(m.values())) for m in told]
    if preference:
        assert all(p.start == a.time for a, m in zip(ends, told[1:]) for p in m.values()
                   if p.temporality == DELTA), "no gap, no overlap"
        assert len({p.start for m in told for p in m.values() if p.temporality == CUMULATIVE}) == 1
    assert len(told) >= 4, "not only at the end"


def test_a_collector_that_hangs_holds_nothing_up(receiver, shim, echo):
    receiver.metric_script += [Answer("hang")] * 100
    r = run(client(echo, 2, 100), shim(OTEL_METRICS_EXPORTER="otlp", OTEL_METRIC_EXPORT_INTERVAL="10",
                                       AUTOTRACE_EXIT_TIMEOUT=str(600 * harness.SLOW))).ok()
    assert len(receiver.spans) == r.total("recorded") == r.total("exported")
    assert r.seconds < 3 * harness.SLOW


def test_an_end_point_and_headers_of_their_own(receiver, shim, echo):
    run(client(echo, 1, 5), shim(OTEL_METRICS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
                                 OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=receiver.endpoint + "/v1/metrics",
                                 OTEL_EXPORTER_OTLP_METRICS_COMPRESSION="gzip")).ok()
    assert len(receiver.metrics) == 1 and not receiver.spans
    as_registered(receiver.metrics[0])


def test_a_refusal_is_said_once(receiver, shim, echo):
    receiver.metric_script += [Answer(400)] * 1000
    r = run(client(echo, 1, 300), shim(OTEL_METRICS_EXPORTER="otlp", OTEL_METRIC_EXPORT_INTERVAL="10")).ok()
    assert re.findall("export of metrics to .*: HTTP 400\n", r.err) and r.err.count("\n") == 1


def test_on_standard_error(shim, echo):
    r = run(client(echo, 1, 5), shim(OTEL_METRICS_EXPORTER="console", OTEL_TRACES_EXPORTER="console")).ok()
    assert re.search(r"^otel\.sdk\.exporter\.span\.exported \{.*\} %d$" % r.total("exported"), r.err, re.M)
    assert re.search(r"^otel\.sdk\.exporter\.operation\.duration \{.*\} count \d+ sum [\d.]+ s$", r.err, re.M)


def test_to_a_collector_and_on_standard_error(receiver, shim, echo):
    """Each has its own deltas."""
    r = run(client(echo, 1, 5), shim(OTEL_METRICS_EXPORTER="otlp,console",
                                     OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta")).ok()
    n = r.total("exported")
    assert sum(value(m, "otel.sdk.exporter.span.exported") or 0 for m in receiver.metrics) == n > 5
    assert re.search(r"^otel.sdk.exporter.span.exported {.*} %d$" % n, r.err, re.M), r.err


def test_a_child_counts_anew(receiver, shim, echo):
    script = "%s; %s & wait" % ((" ".join(client(echo, 1, 3)),) * 2)
    r = run(["sh", "-c", script], shim(OTEL_METRICS_EXPORTER="otlp")).ok()
    assert sum(value(m, "otel.sdk.exporter.span.exported") for m in receiver.metrics) == len(receiver.spans) \
        == r.total("exported")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_over_grpc(shim, echo, compression):
    collector = GrpcCollector()
    try:
        r = run(client(echo, 1, 5), shim(OTEL_METRICS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
                                         OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
                                         OTEL_EXPORTER_OTLP_COMPRESSION=compression)).ok()
        wait_for(collector.metrics, "metrics")
        request = load_proto().ExportMetricsServiceRequest()
        request.ParseFromString(collector.metrics()[-1])
        points = check_metrics(request)
        n = len(collector.spans())
    finally:
        collector.stop()
    assert r.err == "" and value(points, "otel.sdk.exporter.span.exported",
                                 otel__component__type="otlp_grpc_span_exporter") == n == r.total("exported") > 0
    assert value(points, "otel.sdk.exporter.operation.duration", rpc__response__status_code="OK") == 1


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_as_json(receiver, shim, echo, compression):
    """What protobuf's own JSON reader makes of it is what is sent as protobuf."""
    r = run(client(echo, 1, 5), shim(OTEL_METRICS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_METRICS_PROTOCOL="http/json",
                                     OTEL_EXPORTER_OTLP_COMPRESSION=compression)).ok()
    assert len(receiver.metrics) == 1 and r.err == ""
    assert receiver.metric_types == ["application/json"]
    n = r.total("exported")
    assert value(receiver.metrics[0], "otel.sdk.exporter.span.exported") == n == len(receiver.spans) > 0
    assert value(receiver.metrics[0], "otel.sdk.exporter.operation.duration") == 1


def test_nothing_waits_for_them(receiver, shim, echo):
    """Spans go out while metrics hang."""
    receiver.metric_script += [Answer("hang")] * 1000
    p = subprocess.Popen([program("threads-client"), "echo", "1", "30000", str(echo.port)],
                         env=shim(OTEL_METRICS_EXPORTER="otlp", OTEL_METRIC_EXPORT_INTERVAL="20",
                                  OTEL_BSP_SCHEDULE_DELAY="50"),
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(lambda: len(receiver.spans) > 10, "the first spans")
        time.sleep(0.3)
        at = len(receiver.spans)
        wait_for(lambda: len(receiver.spans) > at, "more of them", 2)
    finally:
        end(p)
