# SPDX-License-Identifier: Apache-2.0
"""What HTTP's settings do, how a trace comes in and goes out, and what a span says when a
request does not end well: through small programs that know nothing of tracing."""
import collections
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading

import pytest

import harness
from harness import bare_env, end, free_port, listening, run, wait_for
from http_peer import Asking, Origin, request, response_from, traceparents

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "services"))

from talker import converse  # noqa: E402

PYTHON = "/usr/bin/python3"
TRACE, PARENT = "5b8aa5a2d2c872e8321cf37308d69df2", "051581bf3cb55c13"
OTHER, OTHERS = "11111111111111112222222222222222", "3333333333333333"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
CONTEXT = ("traceparent", "tracestate", "baggage", "b3", "x-b3-", "uber-trace-id", "x-trace-id")


@pytest.fixture(scope="module")
def upstream():
    origin = Origin()
    yield origin
    origin.stop()


def carried(r):
    """The headers of a request that may have to do with a trace, by their names in lower case."""
    found = [(n.lower(), v) for n, v in r.headers if n.lower().startswith(CONTEXT)]
    assert len(dict(found)) == len(found), f"one twice: {found}"
    return dict(found)


def http_spans(spans, kind=None):
    return sorted((s for s in spans if "http.request.method" in s.attrs
                   and kind in (None, s.kind)), key=lambda s: s.start)


class Relay:
    """services/relay.py, and what it was asked."""

    def __init__(self, env, *options):
        self.port, self.err = free_port(), tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [PYTHON, HERE + "/services/relay.py", str(self.port), *options], env=env,
            stdout=subprocess.DEVNULL, stderr=self.err, start_new_session=True,
            preexec_fn=harness.die_with_us)
        try:
            wait_for(lambda: listening(self.port), "relay.py")
        except AssertionError:
            self.stop()
            raise

    def ask(self, lines=(), calls=(), target="/"):
        body = json.dumps(list(calls)).encode()
        with Asking(self.port) as c:
            response, = c.ask(request("POST", target, ["Host: h", *lines], body))
        assert response.status == 200 and response.body == b'{"done": true}\n'
        return response

    def stop(self):
        end(self.process, 2, 10)
        self.err.seek(0)
        result = harness.Result([], self.process.returncode, b"", self.err.read(), 0)
        self.err.close()
        return result


@pytest.fixture(name="through")
def through_fixture(receiver, shim, upstream):
    """One request with these lines to a relay with these settings, and what it calls in turn:
    (what arrived there, the relay's result)."""
    def through(lines=(), calls=({},), options=(), target="/", **settings):
        upstream.take()
        relay = Relay(shim(**settings), *options)
        try:
            relay.ask(lines, [{"url": f"{upstream.url}/echo?{i}", **c}
                              for i, c in enumerate(calls)], target)
            log = upstream.take(len(calls))
            # All that will come: the accept that looked whether it listens is one more.
            wait_for(lambda: len(log) == len(calls), "the upstream")
        finally:
            result = relay.stop()
        receiver.wait(result.total("exported"))
        return sorted(log, key=lambda r: r.target), result
    return through


# ---- every format, in and out

def b3multi(trace, span, **more):
    return {"x-b3-traceid": trace, "x-b3-spanid": span,
            **{"x-b3-" + k: v for k, v in more.items()}}


def lines(headers):
    return [f"{k}: {v}" for k, v in headers.items()]


# OTEL_PROPAGATORS, what comes, what goes ({} is our span), whether it is the parent.
W3C = {"traceparent": TRACEPARENT}
FORMATS = {
    "the default": (None, {**W3C, "tracestate": "k=v,l=w", "baggage": "a=1;p,b=%20"},
                    {"traceparent": f"00-{TRACE}-{{}}-01", "tracestate": "k=v,l=w",
                     "baggage": "a=1;p,b=%20"}, True),
    "no baggage": ("tracecontext", {**W3C, "baggage": "a=1"},
                   {"traceparent": f"00-{TRACE}-{{}}-01"}, True),
    "baggage alone": ("baggage", {**W3C, "baggage": "a=1"}, {"baggage": "a=1"}, False),
    "not sampled": (None, {"traceparent": TRACEPARENT[:-1] + "0"},
                    {"traceparent": f"00-{TRACE}-{{}}-00"}, True),
    "b3": ("b3", {"b3": f"{TRACE}-{PARENT}-1"}, {"b3": f"{TRACE}-{{}}-1"}, True),
    "b3, a short trace id": ("b3", {"b3": f"{TRACE[16:]}-{PARENT}-1-{OTHERS}"},
                             {"b3": f"{'0' * 16}{TRACE[16:]}-{{}}-1"}, True),
    "b3, not sampled": ("b3", {"b3": f"{TRACE}-{PARENT}-0"}, {"b3": f"{TRACE}-{{}}-0"}, True),
    "b3, undecided": ("b3", {"b3": f"{TRACE}-{PARENT}"}, {"b3": f"{TRACE}-{{}}-1"}, True),
    "b3, debug": ("b3", {"b3": f"{TRACE}-{PARENT}-d"}, {"b3": f"{TRACE}-{{}}-d"}, True),
    "b3 read from its many": ("b3", b3multi(TRACE, PARENT, sampled="1"),
                              {"b3": f"{TRACE}-{{}}-1"}, True),
    "b3multi": ("b3multi", b3multi(TRACE, PARENT, sampled="1"),
                b3multi(TRACE, "{}", sampled="1"), True),
    "b3multi, debug": ("b3multi", b3multi(TRACE, PARENT, flags="1"),
                       b3multi(TRACE, "{}", flags="1"), True),
    "b3multi, not sampled": ("b3multi", b3multi(TRACE, PARENT, sampled="0", parentspanid=OTHERS),
                             b3multi(TRACE, "{}", sampled="0"), True),
    "b3multi read from its one": ("b3multi", {"b3": f"{TRACE}-{PARENT}-1"},
                                  b3multi(TRACE, "{}", sampled="1"), True),
    "jaeger": ("jaeger", {"uber-trace-id": f"{TRACE}:{PARENT}:{OTHERS}:1"},
               {"uber-trace-id": f"{TRACE}:{{}}:0:1"}, True),
    "jaeger, escaped and short": ("jaeger", {"uber-trace-id": f"abc%3A{PARENT}%3A0%3A1"},
                                  {"uber-trace-id": f"{'0' * 29}abc:{{}}:0:1"}, True),
    "jaeger, not sampled": ("jaeger", {"uber-trace-id": f"{TRACE}:{PARENT}:0:0"},
                            {"uber-trace-id": f"{TRACE}:{{}}:0:0"}, True),
    "jaeger, debug": ("jaeger", {"uber-trace-id": f"{TRACE}:{PARENT}:0:3"},
                      {"uber-trace-id": f"{TRACE}:{{}}:0:3"}, True),
    "none": ("none", {**W3C, "tracestate": "k=v", "baggage": "a=1"}, {}, False),
    "none among others": ("tracecontext,none,b3", W3C, {}, False),
    "from one to all": ("tracecontext, B3 ,b3multi,jaeger", {"b3": f"{TRACE}-{PARENT}-1"},
                        {"traceparent": f"00-{TRACE}-{{}}-01", "b3": f"{TRACE}-{{}}-1",
                         **b3multi(TRACE, "{}", sampled="1"),
                         "uber-trace-id": f"{TRACE}:{{}}:0:1"}, True),
    "the later one wins": ("b3,tracecontext", {**W3C, "b3": f"{OTHER}-{OTHERS}-1"},
                           {"traceparent": f"00-{TRACE}-{{}}-01", "b3": f"{TRACE}-{{}}-1"}, True),
    "a later one that is invalid does not": (
        "tracecontext,b3", {**W3C, "b3": "nonsense"},
        {"traceparent": f"00-{TRACE}-{{}}-01", "b3": f"{TRACE}-{{}}-1"}, True),
    "another format is not read": ("b3", W3C, {"b3": None}, False),
}


@pytest.mark.parametrize("case", list(FORMATS))
def test_a_trace_goes_through(receiver, through, case):
    setting, comes, goes, is_parent = FORMATS[case]
    log, _ = through(lines(comes), OTEL_PROPAGATORS=setting)
    sampled = "not sampled" not in case
    spans = http_spans(receiver.spans)
    assert len(spans) == (2 if sampled else 0)
    if sampled:
        server, client = spans
        assert (server.kind, client.kind) == ("SERVER", "CLIENT")
        assert client.parent == server.span and client.trace == server.trace
        assert (server.parent == PARENT) == is_parent and bool(server.parent) == is_parent
        assert (server.flags & 0x300 == 0x300) == is_parent
        trace = next((re.split("[:-]", v)[n] for k, n in (
            ("traceparent", 1), ("b3", 0), ("x-b3-traceid", 0), ("uber-trace-id", 0))
            for v in [goes.get(k)] if v), None)
        assert trace in (None, server.trace)
        assert server.state == (comes["tracestate"] if "tracestate" in goes else "")
    came = carried(log[0])
    if goes == {"b3": None}:
        goes = {"b3": f"{client.trace}-{{}}-1"}
    span = client.span if sampled else next(iter(
        re.findall(r"\b(?!%s)[0-9a-f]{16}\b" % PARENT, " ".join(came.values()))), "absent")
    assert came == {k: v.replace("{}", span) for k, v in goes.items()}


@pytest.mark.parametrize("name", ["b3", "b3multi"])
def test_a_sampling_decision_may_come_alone(receiver, through, name):
    for state, multi, sampled in (("0", {"x-b3-sampled": "0"}, False),
                                  ("d", {"x-b3-flags": "1"}, True)):
        comes = {"b3": state} if name == "b3" else multi
        log, _ = through(lines(comes), OTEL_PROPAGATORS=name)
        came = carried(log[0])
        if name == "b3":
            assert came["b3"].split("-")[2:] == [state]
        else:
            assert {k: v for k, v in came.items() if k not in b3multi("", "")} == multi
        assert len(http_spans(receiver.spans)) == (2 if sampled else 0)


def test_unknown_and_doubled_formats_are_left_out(through):
    log, r = through(lines(W3C), OTEL_PROPAGATORS="b3,xyz,tracecontext,b3")
    assert sorted(carried(log[0])) == ["b3", "traceparent"]
    line, = r.err.splitlines()
    assert re.fullmatch(r'autotrace\[\d+\]: OTEL_PROPAGATORS: .*"xyz".*', line)


def test_a_plain_trace_id_header(receiver, through):
    for number, (propagators, comes) in enumerate([
            (None, {"X-Trace-Id": TRACE}), (None, {}), ("none", {"X-Trace-Id": TRACE}),
            (None, {"X-Trace-Id": OTHER, **W3C}), (None, {"X-Trace-Id": "not hex"})]):
        receiver.spans.clear()
        log, _ = through(lines(comes), OTEL_PROPAGATORS=propagators,
                         AUTOTRACE_TRACE_ID_HEADER="X-Trace-Id")
        server, client = http_spans(receiver.spans)
        wanted = {"x-trace-id": client.trace}
        if propagators is None:
            wanted["traceparent"] = f"00-{client.trace}-{client.span}-" + (
                "03" if number in (1, 4) else "01")
        assert carried(log[0]) == wanted
        assert (server.trace == TRACE) == (number in (0, 2, 3))
        assert server.parent == (PARENT if number == 3 else "")
        assert client.parent == server.span


def test_a_bad_trace_id_header_is_told_and_not_used(through):
    log, r = through(AUTOTRACE_TRACE_ID_HEADER="Cookie")
    assert list(carried(log[0])) == ["traceparent"]
    line, = r.err.splitlines()
    assert "AUTOTRACE_TRACE_ID_HEADER=Cookie" in line and line.endswith("; using none")


# ---- with spans or without

OFF = {"OTEL_TRACES_EXPORTER": "none"}
NEVER = {"OTEL_TRACES_SAMPLER": "always_off"}
NEW_NEVER = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}


@pytest.mark.parametrize("settings, flags", [
    (OFF, {"01": "01", "00": "00", "": "03"}), (NEVER, {"01": "00", "00": "00", "": "02"}),
    (NEW_NEVER, {"01": "01", "00": "00", "": "02"})],
    ids=["exporter none", "always_off", "parentbased_always_off"])
def test_a_trace_goes_on_where_no_span_is_recorded(receiver, through, settings, flags):
    for came, went in flags.items():
        receiver.spans.clear()
        lines_ = [f"traceparent: 00-{TRACE}-{PARENT}-{came}", "tracestate: k=v"] if came else []
        log, r = through(lines_, calls=({}, {}), **settings)
        recorded = settings is NEW_NEVER and came == "01"
        assert (r.total("recorded") > 0) == recorded == bool(http_spans(receiver.spans))
        sent = [traceparents(one)[0] for one in log]
        assert [f for _, _, f in sent] == [went, went]
        assert {t for t, _, _ in sent} == {TRACE} or not came
        spans = {s for _, s, _ in sent}
        assert len(spans) == 2 and PARENT not in spans, "a new span id each, though no span is shown"
        assert carried(log[0]).get("tracestate") == ("k=v" if came else None)
        assert len({t for t, _, _ in sent}) == 1, "one request, one trace"


def test_switched_off_nothing_goes_on(receiver, through):
    log, _ = through(lines(W3C), OTEL_SDK_DISABLED="true")
    assert carried(log[0]) == {} and not receiver.spans


def test_switched_off_what_came_goes_on_as_it_came_where_that_is_asked_for(receiver, through):
    comes = {**W3C, "tracestate": "k=v", "baggage": "a=1"}
    settings = {"OTEL_SDK_DISABLED": "true", "OTEL_PROPAGATORS": "tracecontext,baggage"}
    log, _ = through(lines(comes), calls=({}, {"pass": ["traceparent"]}), **settings)
    assert [carried(r) for r in log] == [comes, {**W3C, "baggage": "a=1"}]
    log, _ = through(**settings)
    assert carried(log[0]) == {} and not receiver.spans


def test_the_trace_of_the_environment_reaches_a_request(receiver, shim, upstream):
    upstream.take()
    r = run(["curl", "-sS", f"{upstream.url}/echo"],
            shim(TRACEPARENT=TRACEPARENT, TRACESTATE="k=v,l=w", BAGGAGE="a=1,b=2;p")).ok()
    span, = http_spans(receiver.wait(r.total("exported")))
    assert len(receiver.spans) == 2, "the connect as well"
    for one in receiver.spans:
        assert (one.trace, one.parent, one.state) == (TRACE, PARENT, "k=v,l=w")
    arrived, = upstream.take(1)
    assert carried(arrived) == {"traceparent": f"00-{TRACE}-{span.span}-01",
                                "tracestate": "k=v,l=w", "baggage": "a=1,b=2;p"}


def test_the_requests_of_a_server_have_their_own_traces_not_the_environments(receiver, through):
    log, _ = through(calls=({}, {}), TRACEPARENT=TRACEPARENT, TRACESTATE="k=v")
    server, *clients = http_spans(receiver.spans)
    assert server.kind == "SERVER" and server.parent == "" and server.trace != TRACE
    assert {(c.trace, c.parent) for c in clients} == {(server.trace, server.span)}
    for arrived in log:
        assert list(carried(arrived)) == ["traceparent"]


# ---- who may get them

HOSTS = ["shop.example", "a.shop.example", "b.a.SHOP.example:8080", "xshop.example", "other.test",
         "[::1]:80"]


@pytest.mark.parametrize("to, except_, get", [
    (None, None, HOSTS), ("*", None, HOSTS), ("shop.example", None, ["shop.example"]),
    ("*.shop.example", None, ["a.shop.example", "b.a.SHOP.example:8080"]),
    ("other.test, *.Shop.example", "a.shop.example", ["b.a.SHOP.example:8080", "other.test"]),
    (None, "*.shop.example,other.test", ["shop.example", "xshop.example", "[::1]:80"]),
    ("shop.example", "*", []), ("::1", None, ["[::1]:80"]), (None, "*", [])])
def test_hosts_that_get_headers(receiver, shim, upstream, to, except_, get):
    upstream.take()
    argv = ["curl", "-sS"]
    for host in HOSTS:
        argv += ["-H", "Host: " + host, f"{upstream.url}/echo", "--next"]
    r = run(argv[:-1], shim(AUTOTRACE_PROPAGATE_TO=to, AUTOTRACE_PROPAGATE_EXCEPT=except_,
                            TRACESTATE="k=v", TRACEPARENT=TRACEPARENT, BAGGAGE="a=1")).ok()
    log = upstream.take(len(HOSTS))
    for arrived in log:
        host = dict(arrived.headers)["Host"]
        assert sorted(carried(arrived)) == (
            ["baggage", "traceparent", "tracestate"] if host in get else [])
    spans = http_spans(receiver.wait(r.total("exported")), "CLIENT")
    assert len(spans) == len(log) == len(HOSTS), "spans are made all the same"
    assert r.total("not_injected") == 0


def test_what_a_host_may_not_get_is_not_replaced_either(receiver, through):
    """What the program passes on by itself is its own affair, and goes as it is."""
    log, _ = through(lines(W3C), [{"pass": ["traceparent"]}], AUTOTRACE_PROPAGATE_EXCEPT="*")
    assert carried(log[0]) == W3C


# ---- what a program sends by itself

def test_what_is_passed_on_becomes_our_span(receiver, through):
    comes = {**W3C, "tracestate": "k=v", "b3": f"{TRACE}-{PARENT}-1", "Cookie": "c=1"}
    for names in (["traceparent"], ["traceparent", "tracestate", "b3", "Cookie"]):
        receiver.spans.clear()
        log, r = through(lines(comes), [{"pass": names}], OTEL_PROPAGATORS="tracecontext,b3")
        server, client = http_spans(receiver.spans)
        assert (server.parent, client.parent) == (PARENT, server.span)
        wanted = {"traceparent": f"00-{TRACE}-{client.span}-01", "b3": f"{TRACE}-{client.span}-1"}
        if "tracestate" in names:  # who sends a traceparent says whether one belongs to it
            wanted["tracestate"] = "k=v"
        assert carried(log[0]) == wanted and r.total("not_injected") == 0


OWN = {
    "traceparent": ("tracecontext", {"traceparent": f"00-{OTHER}-{OTHERS}-01"}),
    "b3": ("b3", {"b3": f"{OTHER}-{OTHERS}-1"}),
    "b3multi": ("b3multi", b3multi(OTHER, OTHERS, sampled="1")),
    "jaeger": ("jaeger", {"uber-trace-id": f"{OTHER}:{OTHERS}:0:1"}),
}


@pytest.mark.parametrize("name", list(OWN))
def test_a_trace_of_the_programs_own_stays_and_is_joined(receiver, through, name):
    setting, own = OWN[name]
    log, _ = through(lines(W3C), [{"headers": own}, {}], OTEL_PROPAGATORS=f"tracecontext,{setting}")
    server, joined, ours = http_spans(receiver.spans)
    came = carried(log[0])
    assert {k: v for k, v in came.items() if k in own} == own
    assert (joined.trace, joined.parent) == (OTHER, OTHERS)
    assert traceparents(log[0]) == [(OTHER, OTHERS if "traceparent" in own else joined.span, "01")]
    assert (ours.trace, ours.parent) == (server.trace, server.span) == (TRACE, server.span)


def test_a_tracestate_and_a_baggage_of_the_programs_own_stay(receiver, through):
    own = {"tracestate": "mine=1", "baggage": "own=1"}
    log, _ = through(lines({**W3C, "tracestate": "k=v", "baggage": "a=1"}), [{"headers": own}])
    server, client = http_spans(receiver.spans)
    assert carried(log[0]) == {"traceparent": f"00-{TRACE}-{client.span}-01", **own}
    assert client.parent == server.span


PROXY = """
	server {{ listen 127.0.0.1:{port}; location / {{
		proxy_pass {upstream}; proxy_http_version 1.1; proxy_set_header Connection "";
	}} }}
"""


class Proxy(harness.Nginx):
    """nginx before an upstream."""

    def __init__(self, env, upstream):
        self.upstream = upstream
        super().__init__(env)

    def servers(self):
        return PROXY.format(port=self.port, upstream=self.upstream)


def asked_through_nginx(env, upstream, questions):
    upstream.take()
    nginx = Proxy(env, upstream.url)
    try:
        with Asking(nginx.port) as c:
            for n, q in enumerate(questions):
                answer, = c.ask(request("POST", f"/echo?{n}", ["Host: h", *q], b"x" * 1000))
                assert (answer.status, answer.body) == (200, b"x" * 1000)
        log = upstream.take(len(questions))
    finally:
        stats = harness.Result([], 0, b"", nginx.stop(), 0)
    return log, stats


def test_nginx_passes_on_what_is_ours_then(receiver, shim, upstream):
    questions = [["traceparent: " + TRACEPARENT], ["A: b", f"TraceParent:   {TRACEPARENT}  ", "C: d"],
                 [], ["traceparent: garbage"], ["traceparent: " + TRACEPARENT, "tracestate: k=v"]]
    plain, _ = asked_through_nginx(bare_env(), upstream, questions)
    log, stats = asked_through_nginx(shim(), upstream, questions)
    spans = http_spans(receiver.wait(stats.total("exported")))
    servers = [s for s in spans if s.kind == "SERVER"]
    clients = {s.parent: s for s in spans if s.kind == "CLIENT"}
    assert len(servers) == len(log) == len(plain) == 5
    for n, (a, b, server) in enumerate(zip(plain, log, servers)):
        client = clients[server.span]
        assert server.parent == (PARENT if n in (0, 1, 4) else "")
        ours = f"00-{client.trace}-{client.span}-{'01' if server.parent else '03'}"
        if n == 3:  # it is no context, and the program's own: it stays
            assert b.headers == a.headers
            continue
        wanted = [(k, ours if k.lower() == "traceparent" else v) for k, v in a.headers]
        if n == 2:
            wanted.append(("traceparent", ours))
        assert b.headers == wanted and b.body == a.body


# ---- behind a load balancer

class Proxied(harness.Nginx):
    def servers(self):
        return ("server { listen 127.0.0.1:%d proxy_protocol; location / {"
                " return 200 \"$proxy_protocol_addr\"; } }" % self.port)


V2 = b"\r\n\r\n\0\r\nQUIT\n"
PROXIED = {
    "v1": (b"PROXY TCP4 192.0.2.7 192.0.2.9 50123 80\r\n", "192.0.2.7"),
    "v1-ipv6": (b"PROXY TCP6 2001:db8::7 2001:db8::9 50123 80\r\n", "2001:db8::7"),
    "v1-unknown": (b"PROXY UNKNOWN what ever\r\n", ""),
    "v2": (V2 + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 9, 195, 203, 0, 80]),
           "192.0.2.7"),
    "v2-ipv6": (V2 + b"\x21\x21\0\x24" + (b"\x20\1\r\xb8" + bytes(11) + b"\7") * 2 + b"\1\2\0\x50",
                "2001:db8::7"),
    "v2-local": (V2 + b"\x20\0\0\0", ""),
}


@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
@pytest.mark.parametrize("name", list(PROXIED))
def test_what_a_load_balancer_says_first(receiver, shim, name, together):
    header, client = PROXIED[name]
    nginx = Proxied(shim())
    try:
        with Asking(nginx.port) as c:
            if not together:
                c.socket.sendall(header)
                header = b""
            c.socket.sendall(header + request("GET", "/a", ["Host: h", "traceparent: " + TRACEPARENT]))
            answer = response_from(c.file, False)
            assert (answer.status, answer.body.decode()) == (200, client)
            c.socket.sendall(request("GET", "/b", ["Host: h", "traceparent: " + TRACEPARENT]))
            assert response_from(c.file, False).status == 200
    finally:
        stats = harness.Result([], 0, b"", nginx.stop(), 0)
    spans = [s for s in http_spans(receiver.wait(stats.total("exported"))) if s.kind == "SERVER"]
    assert [(s.attrs["url.path"], s.parent, s.attrs["client.address"], s.attrs["network.peer.address"])
            for s in spans] == [(path, PARENT, client or "127.0.0.1", "127.0.0.1")
                                for path in ("/a", "/b")]


def test_curl_says_first_whom_it_speaks_for(receiver, shim):
    nginx = Proxied(shim())
    try:
        r = harness.run(["curl", "-sS", "--haproxy-protocol", f"http://127.0.0.1:{nginx.port}/"], env=shim())
    finally:
        stats = harness.Result([], 0, b"", nginx.stop(), 0)
    assert r.out == b"127.0.0.1"
    spans = http_spans(receiver.wait(stats.total("exported") + r.total("exported")))
    client, = [s for s in spans if s.kind == "CLIENT"]
    server, = [s for s in spans if s.kind == "SERVER"]
    assert (server.trace, server.parent) == (client.trace, client.span)


# ---- servers that fork

@pytest.mark.parametrize("option", ["--single", "--fork", "--fork-late"])
def test_a_server_with_a_process_for_each_request(receiver, shim, upstream, option):
    upstream.take()
    relay = Relay(shim(), option)
    try:
        for n in range(6):
            relay.ask([f"traceparent: 00-{TRACE}-{n + 1:016x}-01"],
                      [{"url": f"{upstream.url}/echo?{n}.{i}"} for i in range(2)])
        log = upstream.take(12)
    finally:
        result = relay.stop()
    spans = http_spans(receiver.wait(result.total("exported")))
    servers = {s.parent: s for s in spans if s.kind == "SERVER"}
    clients = [s for s in spans if s.kind == "CLIENT"]
    assert (len(servers), len(clients), len(spans)) == (6, 12, 18)
    by_span = {s.span: s for s in clients}
    for arrived in log:
        (trace, span, _), = traceparents(arrived)
        n = int(arrived.target.partition("?")[2].partition(".")[0])
        server, client = servers[f"{n + 1:016x}"], by_span.pop(span)
        assert client.parent == server.span and {trace, client.trace, server.trace} == {TRACE}
        assert server.start <= client.start <= client.end <= server.end
        assert server.attrs["http.response.status_code"] == 200
    assert not by_span
    assert (result.total("forks") > 0) == (option != "--single")


# ---- what spans say on request

CAPTURE = {f"OTEL_INSTRUMENTATION_HTTP_{side}_CAPTURE_{what}_HEADERS": names for side, what, names in (
    ("CLIENT", "REQUEST", "X-Mine,host"), ("CLIENT", "RESPONSE", "SERVER, missing"),
    ("SERVER", "REQUEST", "x-many,X-One"), ("SERVER", "RESPONSE", "x-served-by"))}


@pytest.mark.parametrize("settings", [{}, CAPTURE], ids=["none", "some"])
def test_captured_headers(receiver, through, upstream, settings):
    through(["X-Many: 1", "x-one: alone", "X-Many: 2"], [{"headers": {"x-mine": "m"}}], **settings)
    server, client = http_spans(receiver.spans)
    found = [{k[5:]: v for k, v in s.attrs.items() if ".header." in k} for s in (server, client)]
    assert found == ([{}, {}] if not settings else [
        {"request.header.x-many": ["1", "2"], "request.header.x-one": ["alone"],
         "response.header.x-served-by": ["relay"]},
        {"request.header.x-mine": ["m"], "request.header.host": [f"127.0.0.1:{upstream.port}"],
         "response.header.server": ["Origin"]}])


def test_routes(receiver, shim):
    relay = Relay(shim(AUTOTRACE_HTTP_ROUTES="/users/{id},/users/me, /static/*,/users/{id}/orders"))
    wanted = {"/users/7": "/users/{id}", "/users/me": "/users/me", "/static/a/b.css": "/static/*",
              "/users/7/orders?x=/users/1": "/users/{id}/orders", "/users": None, "/": None,
              "/users/7/other": None, "http://h/users/8": "/users/{id}"}
    try:
        for target in wanted:
            relay.ask(target=target)
    finally:
        result = relay.stop()
    spans = http_spans(receiver.wait(result.total("exported")), "SERVER")
    assert [(s.name, s.attrs.get("http.route")) for s in spans] == [
        ("POST " + route if route else "POST", route) for route in wanted.values()]


def test_known_methods(receiver, shim, upstream):
    methods = ["GET", "PURGE", "PUT", "get"]
    r = run(["curl", "-sS", "-o", "/dev/null"] + sum(
        ([f"{upstream.url}/echo", "-X", m, "-o", "/dev/null", "--next"] for m in methods), [])[:-1],
        shim(OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS="GET,PURGE")).ok()
    spans = http_spans(receiver.wait(r.total("exported")))
    assert [(s.name, s.attrs["http.request.method"], s.attrs.get("http.request.method_original"))
            for s in spans] == [("GET", "GET", None), ("PURGE", "PURGE", None),
                                ("HTTP", "_OTHER", "PUT"), ("HTTP", "_OTHER", "get")]


# ---- the spans of single calls

def test_single_calls_are_below_their_request(receiver, through):
    log, r = through(lines(W3C), calls=({}, {}), AUTOTRACE_SOCKET_SPANS="all")
    server, *clients = requests = http_spans(receiver.spans)
    assert [s.kind for s in requests] == ["SERVER", "CLIENT", "CLIENT"]
    assert {c.parent for c in clients} == {server.span}
    calls = collections.defaultdict(list)
    for s in receiver.spans:
        if s.name in ("send", "recv") and s.attrs.get("network.peer.address"):
            calls[s.parent].append(s)
    assert set(calls) == {s.span for s in requests}, "each is below a request"
    for one in requests:
        for s in calls[one.span]:
            assert s.trace == TRACE and s.kind == one.kind and s.start >= one.start, (s, one)
            assert s.attrs["network.peer.port"] == one.attrs["network.peer.port"]

    def moved(one, name, key):
        return sum(s.attrs[key] for s in calls[one.span] if s.name == name)
    # The program's own bytes, without the line that we put in.
    for arrived, client in zip(log, clients):
        line = len("traceparent: ") + 55 + 2
        first = f"{arrived.method} {arrived.target} {arrived.version}\r\n\r\n"
        size = len(first) + sum(len(f"{n}: {v}\r\n") for n, v in arrived.headers)
        assert moved(client, "send", "autotrace.bytes_sent") == size - line
        assert moved(client, "recv", "autotrace.bytes_received") > 50
    assert moved(server, "recv", "autotrace.bytes_received") > 150
    assert moved(server, "send", "autotrace.bytes_sent") > 50
    assert r.total("bugs") == 0


def test_no_spans_of_single_calls(receiver, through):
    log, _ = through(AUTOTRACE_SOCKET_SPANS="none")
    server, client = receiver.spans if receiver.spans[0].kind == "SERVER" else receiver.spans[::-1]
    assert (server.name, server.kind, client.name, client.kind) == (
        "POST", "SERVER", "GET", "CLIENT")
    assert traceparents(log[0]) == [(client.trace, client.span, "03")]


# ---- one connection, byte for byte

class Peer(threading.Thread):
    """The other end of a talker under the shim, in this process: untraced."""

    def __init__(self, steps):
        super().__init__(daemon=True)
        self.steps, self.came = steps, None
        self.door = socket.create_server(("127.0.0.1", 0))
        self.door.settimeout(10 * harness.SLOW)
        self.port = self.door.getsockname()[1]
        self.start()

    def run(self):
        with self.door, self.door.accept()[0] as s:
            self.came = converse(s, self.steps)


def as_client(env, steps, others):
    """The talker connects: (what it got, what the other side got, result)."""
    peer = Peer(others)
    r = run([PYTHON, HERE + "/services/talker.py", "connect", str(peer.port), json.dumps(steps)],
            env).ok()
    peer.join(10)
    assert peer.came is not None
    return json.loads(r.out), peer.came, r


def as_server(env, steps, others):
    """The talker accepts."""
    with tempfile.TemporaryFile() as err:
        p = subprocess.Popen([PYTHON, HERE + "/services/talker.py", "accept", json.dumps(steps)],
                             env=env, stdout=subprocess.PIPE, stderr=err, start_new_session=True)
        try:
            with socket.create_connection(("127.0.0.1", int(p.stdout.readline())), 10) as s:
                came = converse(s, others)
            out = p.stdout.read()
            assert p.wait(10 * harness.SLOW) == 0
        finally:
            end(p, 9)
            p.stdout.close()
        err.seek(0)
        return json.loads(out), came, harness.Result([], 0, out, err.read(), 0)


GET = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CONNECT = "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n"
OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ESTABLISHED = "HTTP/1.1 200 Connection established\r\n\r\n"
# Looks like what we know, and is not, or is broken off.
LOOKALIKE = GET + OK + "\x81\x05\0\xff" + UPGRADE + "\r\n\r\n" + GET[:9]
INJECTED = re.compile(r"traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\r\n")

TUNNELS = {"upgrade": (UPGRADE, SWITCHED, 101), "connect": (CONNECT, ESTABLISHED, 200)}


def talk(first, answer):
    """Both sides of a tunnel, 3 times each way."""
    asks, answers = [["send", first], ["read", len(answer)]], [
        ["until", "\r\n\r\n"], ["send", answer]]
    for _ in range(3):
        asks += [["send", LOOKALIKE], ["read", len(LOOKALIKE)]]
        answers += [["read", len(LOOKALIKE)], ["send", LOOKALIKE]]
    return asks, answers


@pytest.mark.parametrize("name", list(TUNNELS))
def test_what_follows_a_switch_is_untouched_where_it_is_asked_for(receiver, shim, name):
    first, answer, status = TUNNELS[name]
    asks, answers = talk(first, answer)
    got, arrived, r = as_client(shim(), asks, answers)
    assert got == answer + 3 * LOOKALIKE
    span, = receiver.wait(r.total("exported"))[1:] or receiver.spans
    head, rest = arrived.split("\r\n\r\n", 1)
    line = INJECTED.search(head + "\r\n")
    assert line and INJECTED.sub("", head + "\r\n") + "\r\n" + rest == first + 3 * LOOKALIKE
    span, = http_spans(receiver.spans)
    assert line.groups() == (span.trace, span.span)
    assert (span.kind, span.name) == ("CLIENT", first.split()[0]) and span.status == ""
    assert span.attrs["http.response.status_code"] == status
    assert {s.name.split(":")[0] for s in receiver.spans} == {span.name, "socket connect 127.0.0.1"}


@pytest.mark.parametrize("name", list(TUNNELS))
def test_what_follows_a_switch_is_untouched_where_it_is_granted(receiver, shim, name):
    first, answer, status = TUNNELS[name]
    asks, answers = talk(first, answer)
    got, arrived, r = as_server(shim(), answers, asks)
    assert got == first + 3 * LOOKALIKE and arrived == answer + 3 * LOOKALIKE
    span, = receiver.wait(r.total("exported"))
    assert (span.kind, span.name, span.status) == ("SERVER", first.split()[0], "")
    assert span.attrs["http.response.status_code"] == status


@pytest.mark.parametrize("side", [as_client, as_server])
@pytest.mark.parametrize("first", [UPGRADE, CONNECT], ids=["upgrade", "connect"])
def test_a_switch_that_was_refused_changes_nothing(receiver, shim, side, first):
    refused = OK if first is UPGRADE else OK.replace("200 OK", "403 No")
    asks = [["send", first], ["read", len(refused)], ["send", GET], ["read", len(OK)]]
    answers = [["until", "\r\n\r\n"], ["send", refused], ["until", "\r\n\r\n"], ["send", OK]]
    got, arrived, r = side(shim(), *((asks, answers) if side is as_client else (answers, asks)))
    if side is as_client:
        assert len(INJECTED.findall(arrived)) == 2
        got, arrived = INJECTED.sub("", arrived), got
    assert (got, arrived) == (first + GET, refused + OK)
    spans = http_spans(receiver.wait(r.total("exported")))
    assert [(s.name, s.attrs["http.response.status_code"]) for s in spans] == [
        (first.split()[0], int(refused.split()[1])), ("GET", 200)]


CUT = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
# What the client does, what the server does, error.type of the client's span: None is none.
CLIENT_ENDS = {
    "the server closes": ([["send", GET], ["end"]], [["until", "\r\n\r\n"]], "connection_closed"),
    "the server closes in the head": (
        [["send", GET], ["end"]], [["until", "\r\n\r\n"], ["send", OK[:20]]], "connection_closed"),
    "the server resets": ([["send", GET], ["end"]], [["until", "\r\n\r\n"], ["reset"]],
                          "connection_reset"),
    "the answer is none": ([["send", GET], ["read", 9]],
                           [["until", "\r\n\r\n"], ["send", "SSH-2.0-x\r\n"]], "malformed_response"),
    "the program gives up": ([["send", GET]], [["end"]], None),
    "the body is cut": ([["send", GET], ["end"]], [["until", "\r\n\r\n"], ["send", CUT]], None),
    "all is well": ([["send", GET], ["read", len(OK)]], [["until", "\r\n\r\n"], ["send", OK]], None),
}


@pytest.mark.parametrize("case", list(CLIENT_ENDS))
def test_how_a_request_that_was_sent_ends(receiver, shim, case):
    steps, others, error = CLIENT_ENDS[case]
    bare = as_client(bare_env(), steps, others)
    got, arrived, r = as_client(shim(), steps, others)
    assert (got, INJECTED.sub("", arrived)) == bare[:2]
    span, = http_spans(receiver.wait(r.total("exported")))
    assert span.kind == "CLIENT" and span.name == "GET"
    assert (span.attrs.get("error.type"), span.status) == (error, "ERROR" if error else "")
    status = 200 if case in ("the body is cut", "all is well") else None
    assert span.attrs.get("http.response.status_code") == status


# The server's steps, the client's, error.type and status of the server's span.
SERVER_ENDS = {
    "the server closes": ([["until", "\r\n\r\n"]], [["send", GET], ["end"]],
                          "connection_closed", None),
    "the client goes away": ([["until", "\r\n\r\n"], ["end"]], [["send", GET]],
                             "connection_closed", None),
    "the client goes away, and is answered": (
        [["until", "\r\n\r\n"], ["end"], ["send", OK]], [["send", GET]], None, 200),
    "the client resets": ([["until", "\r\n\r\n"], ["end"]], [["send", GET], ["sleep", 0.1], ["reset"]],
                          "connection_reset", None),
    "the client resets, and is answered": (
        [["until", "\r\n\r\n"], ["sleep", 0.3], ["send", OK], ["send", OK]],
        [["send", GET], ["sleep", 0.1], ["reset"]], "connection_reset", None),
    "the body is cut": ([["until", "\r\n\r\n"], ["send", CUT]], [["send", GET], ["end"]],
                        "response_incomplete", 200),
    "the answer is none": ([["until", "\r\n\r\n"], ["send", "SSH-2.0-x\r\n"]],
                           [["send", GET], ["end"]], "malformed_response", None),
    "all is well": ([["until", "\r\n\r\n"], ["send", OK]], [["send", GET], ["read", len(OK)]],
                    None, 200),
}


@pytest.mark.parametrize("case", list(SERVER_ENDS))
def test_how_a_request_that_was_served_ends(receiver, shim, case):
    steps, others, error, status = SERVER_ENDS[case]
    bare = as_server(bare_env(), steps, others)
    got, arrived, r = as_server(shim(), steps, others)
    assert (got, arrived) == bare[:2]
    span, = receiver.wait(r.total("exported"))
    assert span.kind == "SERVER" and span.name == "GET"
    assert (span.attrs.get("error.type"), span.status) == (error, "ERROR" if error else "")
    assert span.attrs.get("http.response.status_code") == status


@pytest.mark.parametrize("setting, names", [
    (None, ["recv", "send", "socket connect 127.0.0.1"]), ("none", []),
    ("all", ["recv", "send", "socket connect 127.0.0.1"])])
def test_what_is_not_http(receiver, shim, setting, names):
    steps, others = [["send", "EHLO h\r\n"], ["read", 5]], [["until", "\n"], ["send", "250 h"]]
    got, arrived, r = as_client(shim(AUTOTRACE_SOCKET_SPANS=setting), steps, others)
    assert (got, arrived) == ("250 h", "EHLO h\r\n")
    spans = receiver.wait(r.total("exported"))
    assert sorted(s.name.rpartition(":")[0] or s.name for s in spans) == names


@pytest.mark.parametrize("setting", [None, "all"])
def test_what_only_began_like_http_is_told_all_the_same(receiver, shim, setting):
    """One byte could be the beginning of a method; what follows says that it was none."""
    steps = [["send", "E"], ["sleep", 0.2], ["send", "HLO h\r\n"], ["read", 5], ["send", "Q"]]
    others = [["until", "\n"], ["send", "250 h"], ["read", 1]]
    for side in as_client, as_server:
        receiver.spans.clear()
        r = side(shim(AUTOTRACE_SOCKET_SPANS=setting),
                 *((steps, others) if side is as_client else (others, steps)))[2]
        spans = receiver.wait(r.total("exported"))
        came = "recv" if side is as_server else "send"
        assert [s.attrs["autotrace.bytes_sent" if came == "send" else "autotrace.bytes_received"]
                for s in sorted(spans, key=lambda s: s.start) if s.name == came] == [1, 7, 1]


def test_a_request_that_never_ended_is_no_span(receiver, shim):
    """Neither is one whose head did not come, nor what only began like HTTP."""
    for bad in (GET[:-2], GET[:9], "GET /x HTTP/2.0\r\n\r\n", "GETTING THERE\r\n"):
        for side in as_client, as_server:
            steps, others = [["send", bad]], [["end"]]
            got = side(shim(), *((steps, others) if side is as_client else (others, steps)))
            assert got[:2] == (("", bad) if side is as_client else (bad, ""))
    assert not http_spans(receiver.spans)
