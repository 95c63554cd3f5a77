# SPDX-License-Identifier: Apache-2.0
"""OTLP/gRPC to a server that is not ours: gRPC's own library."""
import pytest

import harness
from grpc_peer import GrpcCollector
from harness import program, run


def client(echo, threads=1, rounds=1):
    """Three operations a round and thread: a connect, a send, a receive."""
    return [program("threads-client"), "echo", str(threads), str(rounds), str(echo.port)]


@pytest.fixture
def collector():
    started = []

    def start(*args, **settings):
        started.append(GrpcCollector(*args, **settings))
        return started[-1]
    harness.spool_dir.cache_clear()
    yield start
    for one in started:
        one.stop()
    reports = harness.sanitizer_reports()
    assert not reports, reports[:6000]


# gRPC's C library makes those wait whose messages are too large, for up to a second each.
PATIENT = {"AUTOTRACE_EXIT_TIMEOUT": "30000", "OTEL_EXPORTER_OTLP_TIMEOUT": "0",
           "OTEL_BSP_EXPORT_TIMEOUT": "0"}


def env(endpoint, **more):
    return harness.shim_env(endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="grpc", **more)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_spans_arrive_by_grpc(collector, echo, compression):
    c = collector()
    r = run(client(echo, 2, 50), env(c.endpoint, OTEL_EXPORTER_OTLP_COMPRESSION=compression,
                                     OTEL_EXPORTER_OTLP_HEADERS="X-Api-Key=a%20b",
                                     OTEL_EXPORTER_OTLP_TIMEOUT="7000",
                                     OTEL_BSP_MAX_EXPORT_BATCH_SIZE="50")).ok()
    spans, calls = c.spans(), c.calls()
    assert len(spans) == r.total("recorded") == r.total("exported") > 200 and r.err == ""
    assert len(calls) == r.total("requests") >= len(spans) / 50
    for call in calls:
        assert call["metadata"]["x-api-key"] == "a b"
        assert "OTel-OTLP-Exporter-C/" in call["metadata"]["user-agent"]
        assert 0 < call["remaining"] <= 7.0


def test_no_timeout_is_none_for_the_server(collector, echo):
    c = collector()
    run(client(echo), env(c.endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="0",
                          OTEL_BSP_EXPORT_TIMEOUT="0")).ok()
    assert len(c.spans()) == 3
    remaining = c.calls()[0]["remaining"]
    assert remaining is None or remaining > 1e6


@pytest.mark.parametrize("code", [1, 4, 10, 11, 14, 15])
def test_what_may_be_tried_again_is(collector, echo, code):
    c = collector([{"code": code, "message": "not now"}])
    r = run(client(echo), env(c.endpoint, AUTOTRACE_EXIT_TIMEOUT="9000"), timeout=15).ok()
    calls = c.calls()
    assert len(calls) == 2 and len(c.spans()) == 3 == r.total("exported")
    assert r.total("retries") == 1 and r.total("rejected") == 0
    assert calls[1]["time"] - calls[0]["time"] > 0.7


@pytest.mark.parametrize("code", [2, 3, 5, 6, 7, 8, 9, 12, 13, 16])
def test_what_may_not_be_tried_again_is_not(collector, echo, code):
    c = collector([{"code": code, "message": "never: 100% \u00fc"}])
    r = run(client(echo), env(c.endpoint, AUTOTRACE_EXIT_TIMEOUT="3000")).ok()
    assert len(c.calls()) == 1 and not c.spans()
    assert r.total("rejected") == r.total("recorded") == 3 and r.total("exported") == 0
    assert f"({code}), never: 100% \u00fc; they are dropped" in r.err


@pytest.mark.parametrize("code", [8, 14])
def test_a_delay_named_by_retry_info_is_kept(collector, echo, code):
    c = collector([{"code": code, "message": "slow down", "retry": 2}])
    r = run(client(echo), env(c.endpoint, AUTOTRACE_EXIT_TIMEOUT="9000"), timeout=15).ok()
    calls = c.calls()
    assert len(calls) == 2 and len(c.spans()) == 3 == r.total("exported")
    assert 1.95 < calls[1]["time"] - calls[0]["time"] < 2.5 * harness.SLOW


def test_partial_success_is_not_sent_again(collector, echo):
    c = collector([{"rejected": 2, "message": "two too many"}])
    r = run(client(echo), env(c.endpoint)).ok()
    assert len(c.calls()) == 1
    assert r.total("rejected") == 2 and r.total("exported") == 1 and "two too many" in r.err


def test_a_batch_too_large_is_halved_until_it_is_taken(collector, echo):
    c = collector(max=5000)
    r = run(client(echo, 1, 100), env(c.endpoint, OTEL_BSP_SCHEDULE_DELAY="60000", **PATIENT),
            timeout=40).ok()
    spans = c.spans()
    assert len(spans) == r.total("recorded") == r.total("exported") > 200
    assert r.total("split") >= 1 and r.total("rejected") == r.total("retries") == 0 and r.err == ""
    assert r.total("split") < 15, "what is too large is learned"


def test_a_span_too_large_is_dropped_and_said_once(collector, echo):
    c = collector(max=10)
    r = run(client(echo, 1, 3), env(c.endpoint, **PATIENT), timeout=40).ok()
    assert not c.calls() and r.total("rejected") == r.total("recorded") > 3
    assert r.err.count("such spans are dropped") == 1


def test_a_connection_that_is_told_to_go_away_is_replaced(collector, echo):
    c = collector(max_age=300)
    code = ("import socket, time\n"
            f"s = socket.create_connection(('127.0.0.1', {echo.port}))\n"
            "for i in range(30):\n  s.sendall(b'x'); s.recv(1); time.sleep(0.1)\n")
    r = run(["/usr/bin/python3", "-c", code], env(c.endpoint, OTEL_BSP_SCHEDULE_DELAY="50")).ok()
    assert len(c.spans()) == r.total("recorded") == r.total("exported") == 61
    assert len({call["peer"] for call in c.calls()}) >= 3 and r.total("failed") == 0


def test_a_socket(collector, echo, tmp_path):
    c = collector(address=f"unix:{tmp_path}/otel.sock")
    r = run(client(echo), env(f"unix://{tmp_path}/otel.sock")).ok()
    assert len(c.spans()) == 3 == r.total("exported") and r.err == ""


def test_a_host_alone_is_insecure_only_if_that_is_said(collector, echo):
    c = collector()
    r = run(client(echo), env(f"127.0.0.1:{c.port}", OTEL_EXPORTER_OTLP_INSECURE="true")).ok()
    assert len(c.spans()) == 3 == r.total("exported") and r.err == ""
    r = run(client(echo), env(f"dns:///127.0.0.1:{c.port}")).ok()
    assert len(c.spans()) == 3 and r.total("left") == 3
    assert f"export to https://127.0.0.1:{c.port} failed" in r.err


def test_an_http_server_is_no_grpc_server(shim, receiver, echo):
    r = run(client(echo), shim(OTEL_EXPORTER_OTLP_PROTOCOL="grpc")).ok()
    assert r.total("exported") == 0 and r.total("left") == 3
    assert r.err.count("export to http") == 1, r.err
    receiver.violations.clear()
