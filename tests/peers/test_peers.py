# SPDX-License-Identifier: Apache-2.0
"""Real receivers get our spans and tell them again, attribute by attribute.

Real programs run once under the shim, with no collector; what they leave in the
spool is the batch.  A copy of it is drained to our own strict receiver over
http/protobuf: that is the truth, and the console shows the same.  Further copies
are drained to each receiver in each protocol, compression and security, and what the
receiver then tells must be the same, fact by fact (facts.py).  And programs send to them themselves.
"""
import os
import shutil
import tempfile

import pytest

import facts
import harness
import otlp_json
import peers
from faulty import Certificates
from harness import B, program, run
from test_faulty import has_exporter, has_option, has_protocol


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(str(tmp_path_factory.mktemp("certificates")))


def drain(spool, endpoint, **more):
    """Drain a copy of the spool, which stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "spool")
        shutil.copytree(spool, copy)
        env = harness.bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, AUTOTRACE_SPOOL_DIR=copy, **more)
        return run([os.path.join(B, "autotrace"), "drain"], env, timeout=30)


class Batch:
    def __init__(self, spool, truth):
        self.spool, self.truth = spool, truth


@pytest.fixture(scope="session")
def batch(postgres, echo, nginx, tmp_path_factory):
    """Spans of real programs: every kind, status, type and parent there is."""
    spool = str(tmp_path_factory.mktemp("spool"))
    env = harness.shim_env("http://127.0.0.1:9", AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_EXIT_TIMEOUT="0",
                           AUTOTRACE_SOCKET_SPANS="all", AUTOTRACE_STACKTRACE="error",
                           OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=pr%C3%BCfung,odd=%22%5C%09%E2%82%AC",
                           TRACEPARENT="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
                           TRACESTATE="other=1,a=b", **postgres.env())
    r = [run([program("pg-client")], env), run([program("sockets")], env),
         run([program("threads-client"), "echo", "2", "10", str(echo.port)], env),
         run(["curl", "-s", f"http://127.0.0.1:{nginx.port}/?q=%C3%BC"], env),
         run(["curl", "-s", f"http://127.0.0.1:{nginx.port}/no-such-page"], env)]
    recorded = sum(one.total("recorded") for one in r)
    assert recorded == sum(one.total("left") for one in r) > 100
    sink = peers.Sink()
    try:
        assert drain(spool, sink.endpoint).ok()
        truth = sink.told()
    finally:
        sink.stop()
    assert len(truth) == recorded
    types = {v[0] for one in truth.values() for fact, v in one.items() if fact.startswith("attribute ")}
    assert types >= {"string_value", "int_value"}
    assert {one["status"] for one in truth.values()} == {0, 2} and any(one["parent"] for one in truth.values())
    return Batch(spool, truth)


def started(make):
    """A receiver for all tests of the session."""
    @pytest.fixture(scope="session")
    def fixture(certificates):
        peer = make(certificates)
        yield peer
        peer.stop()
    return fixture


otelcol = started(peers.Otelcol)
rotel = started(peers.Rotel)
jaeger = started(peers.Jaeger)
jaeger_tls = started(lambda certificates: peers.Jaeger(certificates, "tls"))
jaeger_mtls = started(lambda certificates: peers.Jaeger(certificates, "mtls"))

FIXTURES = {"otelcol": peers.Otelcol, "rotel": peers.Rotel, "jaeger": peers.Jaeger}
MATRIX = [(name, protocol, security, compression) for name, kind in FIXTURES.items()
          for protocol, security in kind.speaks for compression in ("none", "gzip")]


def settings(peer, protocol, security, compression, certificates):
    """The endpoint and the options to reach it; skips what this build has not."""
    if not has_protocol(protocol):
        pytest.skip(f"this build does not speak {protocol}")
    env = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_COMPRESSION": compression}
    if security != "plain":
        if not has_option("OTEL_EXPORTER_OTLP_CERTIFICATE"):
            pytest.skip("this build has no OTEL_EXPORTER_OTLP_CERTIFICATE")
        env["OTEL_EXPORTER_OTLP_CERTIFICATE"] = certificates.path("ca")
    if security == "mtls":
        env["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"] = certificates.path("client")
        env["OTEL_EXPORTER_OTLP_CLIENT_KEY"] = certificates.path("client", ".key")
    scheme = "http" if security == "plain" else "https"
    return f"{scheme}://127.0.0.1:{peer.ports[protocol, security]}", env


def peer_of(request, name, security):
    return request.getfixturevalue(f"{name}_{security}" if name == "jaeger" and security != "plain" else name)


@pytest.mark.parametrize("name,protocol,security,compression", MATRIX, ids=lambda v: v.replace("/", "-"))
def test_told_as_it_was(request, name, protocol, security, compression, batch, certificates):
    peer = peer_of(request, name, security)
    endpoint, env = settings(peer, protocol, security, compression, certificates)
    peer.reset()
    r = drain(batch.spool, endpoint, **env)
    assert r.rc == 0, r.raw_err
    told = peer.wait(batch.truth)
    wrong = facts.differences(told, batch.truth, getattr(peer, "loses", lambda fact: False))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name,protocol,security,compression", MATRIX, ids=lambda v: v.replace("/", "-"))
def test_programs_send_it_themselves(request, name, protocol, security, compression, certificates, postgres, echo,
                                     tmp_path):
    peer = peer_of(request, name, security)
    endpoint, env = settings(peer, protocol, security, compression, certificates)
    peer.reset()
    os.makedirs(tmp_path / "spool")
    env = harness.shim_env(endpoint, AUTOTRACE_SPOOL_DIR=str(tmp_path / "spool"), AUTOTRACE_SOCKET_SPANS="all",
                           OTEL_BSP_MAX_EXPORT_BATCH_SIZE="50", **env, **postgres.env())
    programs = [run([program("pg-client")], env).ok(),
                run([program("threads-client"), "echo", "4", "50", str(echo.port)], env).ok()]
    recorded = sum(r.total("recorded") for r in programs)
    assert recorded == sum(r.total("exported") for r in programs) > 400
    assert not "".join(r.err for r in programs)
    harness.wait_for(lambda: peer.count() >= recorded, "all spans to be told")
    assert peer.count() == recorded, "each once"


@pytest.mark.parametrize("protocol,compression", [("http/protobuf", "none"), ("http/protobuf", "gzip"),
                                                  ("http/json", "none")], ids=lambda v: v.replace("/", "-"))
def test_what_the_collector_finds_too_large_it_gets_in_parts(otelcol, protocol, compression, echo, tmp_path):
    """It says so by 400."""
    otelcol.reset()
    env = harness.shim_env(f"http://127.0.0.1:{otelcol.small}", AUTOTRACE_SPOOL_DIR=str(tmp_path),
                           OTEL_EXPORTER_OTLP_PROTOCOL=protocol, OTEL_EXPORTER_OTLP_COMPRESSION=compression)
    r = run([program("threads-client"), "echo", "4", "50", str(echo.port)], env).ok()
    assert r.total("recorded") == r.total("exported") == 404 and r.total("split") and not r.err
    harness.wait_for(lambda: otelcol.count() >= 404, "all spans to be told")
    assert otelcol.count() == 404, "each once"


@pytest.mark.parametrize("exporter", ["console", "otlp/stdout"])
def test_the_console_showed_the_same(batch, exporter):
    r = drain(batch.spool, "http://127.0.0.1:9", OTEL_TRACES_EXPORTER=exporter, AUTOTRACE_CONSOLE="json")
    assert r.rc == 0, r.raw_err
    told = facts.of_requests(otlp_json.to_message(line) for line in r.out.splitlines())
    wrong = facts.differences(told, batch.truth)
    assert not wrong, "\n".join(wrong)


# ---- Zipkin ----

zipkin = started(peers.Zipkin)
ZIPKIN_KIND = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}


def text_of(typed):
    """An attribute as Zipkin has them: text.  None for what has parts."""
    kind, v = typed
    if kind in ("array_value", "kvlist_value", "bytes_value", None):
        return None
    return str(v).lower() if kind == "bool_value" else str(v)


def in_zipkin(fact):
    """What the specification's translation makes of a span, as Zipkin's server keeps it (names in lower case)."""
    start, end = fact["start_time_unix_nano"] // 1000, fact["end_time_unix_nano"] // 1000
    tags = {key.split(" ", 1)[1]: text_of(v) for key, v in fact.items() if key.startswith("attribute ")}
    tags["otel.scope.name"] = fact["scope name"]
    if fact["status"] == 2:
        tags.update({"otel.status_code": "ERROR", "error": fact["status message"]})
    return {"traceId": fact["trace_id"], "parentId": fact["parent"] or None, "name": fact["name"].lower(),
            "kind": ZIPKIN_KIND.get(fact["kind"]), "timestamp": start, "duration": max(end - start, 1),
            "service": fact["resource service.name"][1].lower(), "tags": {k: v for k, v in tags.items() if v is not None}}


def test_zipkin_tells_it_as_it_was(request, batch):
    if not has_exporter("zipkin"):
        pytest.skip("this build has no zipkin exporter")
    peer = request.getfixturevalue("zipkin")
    r = drain(batch.spool, "http://127.0.0.1:9", OTEL_TRACES_EXPORTER="zipkin", OTEL_EXPORTER_ZIPKIN_ENDPOINT=
              f"http://127.0.0.1:{peer.ports['zipkin', 'plain']}/api/v2/spans")
    assert r.rc == 0, r.raw_err
    told = peer.wait(batch.truth)
    assert told.keys() == batch.truth.keys()
    for span, fact in batch.truth.items():
        want, got = in_zipkin(fact), told[span]
        assert {k: got.get(k) for k in ("traceId", "parentId", "name", "kind", "timestamp")} == \
            {k: want[k] for k in ("traceId", "parentId", "name", "kind", "timestamp")}, got
        assert abs(got.get("duration", 1) - want["duration"]) <= 1, got  # microseconds, cut or rounded
        assert got["localEndpoint"]["serviceName"] == want["service"], got
        assert {k: got.get("tags", {}).get(k) for k in want["tags"]} == want["tags"], got


def spoilt(truth):
    """One fact of one span changed, for each fact there is."""
    seen = set()
    for span, found in truth.items():
        for fact in found:
            if fact not in seen:
                seen.add(fact)
                yield fact, {**truth, span: {**found, fact: "something else"}}
                yield fact, {**truth, span: {k: v for k, v in found.items() if k != fact}}


def test_the_comparison_can_fail(batch):
    assert not facts.differences(batch.truth, batch.truth)
    some = next(iter(batch.truth))
    assert facts.differences({k: v for k, v in batch.truth.items() if k != some}, batch.truth)
    assert facts.differences({**batch.truth, "f" * 16: batch.truth[some]}, batch.truth)
    n = 0
    for fact, told in spoilt(batch.truth):
        assert facts.differences(told, batch.truth), f"{fact} can be anything"
        n += 1
    assert n > 60, "facts"
