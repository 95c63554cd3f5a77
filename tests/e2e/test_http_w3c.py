# SPDX-License-Identifier: Apache-2.0
"""W3C Trace Context Level 2 through services that know nothing of it.

A request with some headers goes to services/w3c_service.*, which POSTs to an
upstream of ours; what matters is what arrives there.  The rules are those the
official suite asks for, which runs against the same services.
"""
import itertools
import json
import os
import re
import shutil
import subprocess

import pytest

import harness
from harness import end, free_port, listening, wait_for
from http_peer import Asking, Origin, request

HERE = os.path.dirname(os.path.abspath(__file__))
SERVICES = {
    "threaded": ["/usr/bin/python3", HERE + "/services/w3c_service.py", "PORT", "--threaded"],
    "single": ["/usr/bin/python3", HERE + "/services/w3c_service.py", "PORT"],
    "node": ["node", HERE + "/services/w3c_service.js", "PORT"],
}
TRACE, PARENT = "5b8aa5a2d2c872e8321cf37308d69df2", "051581bf3cb55c13"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
OURS = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
numbers = itertools.count()


class Service:
    def __init__(self, name, env):
        argv = [str(a) for a in SERVICES[name]]
        if not shutil.which(argv[0]):
            pytest.skip(f"there is no {argv[0]}")
        if harness.SAN and name == "node":
            pytest.skip("node does not run under a sanitizer")
        self.port = free_port()
        argv[argv.index("PORT")] = str(self.port)
        self.process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL,
                                        start_new_session=True, preexec_fn=harness.die_with_us)
        try:
            wait_for(lambda: listening(self.port), name)
        except AssertionError:
            self.stop()
            raise

    def stop(self):
        end(self.process, 15, 10)


@pytest.fixture(scope="module")
def upstream():
    origin = Origin()
    yield origin
    origin.stop()


@pytest.fixture(scope="module", params=list(SERVICES))
def service(request):
    s = Service(request.param, harness.shim_env("http://127.0.0.1:9",
                                                OTEL_TRACES_EXPORTER="none"))
    yield s
    s.stop()


class Seen:
    """What one call-back brought."""

    def __init__(self, headers):
        parents = [v for n, v in headers if n.lower() == "traceparent"]
        assert len(parents) == 1, f"{len(parents)} traceparent fields: {parents}"
        m = OURS.fullmatch(parents[0])
        assert m, f"traceparent: {parents[0]}"
        self.trace, self.span, flags = m.groups()
        self.flags = int(flags, 16)
        assert not self.flags & ~3, f"unknown flags are sent on: {flags}"
        self.states = [v for n, v in headers if n.lower() == "tracestate"]

    def members(self):
        """[(key, value)]; a value's leading blanks are its own."""
        found = []
        for member in ",".join(self.states).split(","):
            if member.strip(" \t"):
                key, _, value = member.lstrip(" \t").partition("=")
                found.append((key, value.rstrip(" \t")))
        return found


def through(service, upstream, lines, calls=1):
    """Sends a request with these header lines, raw; what each call-back brought."""
    number = next(numbers)
    urls = [f"{upstream.url}/echo?{number}.{i}" for i in range(calls)]
    body = json.dumps([{"url": url, "arguments": []} for url in urls]).encode()
    upstream.take()
    with Asking(service.port) as c:
        response, = c.ask(request("POST", "/test", ["Host: h", "Connection: close"] + lines, body))
    assert response.status == 200
    log = {r.target: r for r in upstream.take(calls)}
    assert sorted(log) == sorted(u[len(upstream.url):] for u in urls)
    return [Seen(log[u[len(upstream.url):]].headers) for u in urls]


# ---- the rules, as lines of (name, headers, what is wanted)

def inherits(seen):
    assert seen.trace == TRACE and seen.span != PARENT


def restarts(seen):
    assert seen.trace != TRACE and seen.span != PARENT
    assert seen.states == [], "the tracestate of a trace that was not taken up"


def tp(value, name="traceparent"):
    return f"{name}: {value}"


PARENTS = [
    ("nothing", [], restarts),
    ("valid", [tp(TRACEPARENT)], inherits),
    ("not sampled", [tp(TRACEPARENT[:-2] + "00")], inherits),
    ("all flags", [tp(TRACEPARENT[:-2] + "ff")], inherits),
    ("two of them", [tp(TRACEPARENT), tp(TRACEPARENT.replace("5b8a", "5b8b"))], restarts),
    ("the same twice", [tp(TRACEPARENT), tp(TRACEPARENT)], restarts),
    ("name in mixed case", [tp(TRACEPARENT, "TraceParent")], inherits),
    ("name in upper case", [tp(TRACEPARENT, "TRACEPARENT")], inherits),
    ("name with a dash", [tp(TRACEPARENT, "trace-parent")], restarts),
    ("name with a dot", [tp(TRACEPARENT, "trace.parent")], restarts),
    ("name with an underscore", [tp(TRACEPARENT, "trace_parent")], restarts),
    ("empty", [tp("")], restarts),
    ("version cc", [tp("cc" + TRACEPARENT[2:])], inherits),
    ("version fe", [tp("fe" + TRACEPARENT[2:])], inherits),
    ("version 01 that goes on", [tp("01" + TRACEPARENT[2:] + "-and-more.of-it")], inherits),
    ("version 01 that ends with a dash", [tp("01" + TRACEPARENT[2:] + "-")], inherits),
    ("version cc that goes on without a dash", [tp("cc" + TRACEPARENT[2:] + ".more")], restarts),
    ("version ff", [tp("ff" + TRACEPARENT[2:])], restarts),
    ("version 00 that goes on", [tp(TRACEPARENT + "-more")], restarts),
    ("version 00 and a dot", [tp(TRACEPARENT + ".")], restarts),
    ("version 00 and a dash", [tp(TRACEPARENT + "-")], restarts),
    ("version with a dot", [tp(".0" + TRACEPARENT[2:])], restarts),
    ("version with a letter", [tp("0g" + TRACEPARENT[2:])], restarts),
    ("version in upper case", [tp("CC" + TRACEPARENT[2:])], restarts),
    ("version of three digits", [tp("000" + TRACEPARENT[2:])], restarts),
    ("version of one digit", [tp(TRACEPARENT[1:])], restarts),
    ("trace id zero", [tp(f"00-{'0' * 32}-{PARENT}-01")], restarts),
    ("trace id with a dot", [tp(f"00-.{TRACE[1:]}-{PARENT}-01")], restarts),
    ("trace id in upper case", [tp(f"00-{TRACE.upper()}-{PARENT}-01")], restarts),
    ("trace id too long", [tp(f"00-{TRACE}0-{PARENT}-01")], restarts),
    ("trace id too short", [tp(f"00-{TRACE[1:]}-{PARENT}-01")], restarts),
    ("parent id zero", [tp(f"00-{TRACE}-{'0' * 16}-01")], restarts),
    ("parent id with a dot", [tp(f"00-{TRACE}-.{PARENT[1:]}-01")], restarts),
    ("parent id in upper case", [tp(f"00-{TRACE}-{PARENT.upper()}-01")], restarts),
    ("parent id too long", [tp(f"00-{TRACE}-{PARENT}0-01")], restarts),
    ("parent id too short", [tp(f"00-{TRACE}-{PARENT[1:]}-01")], restarts),
    ("flags with a dot", [tp(TRACEPARENT[:-2] + ".0")], restarts),
    ("flags with a letter", [tp(TRACEPARENT[:-2] + "0x")], restarts),
    ("flags in upper case", [tp(TRACEPARENT[:-2] + "0A")], restarts),
    ("flags too long", [tp(TRACEPARENT[:-2] + "001")], restarts),
    ("flags too short", [tp(TRACEPARENT[:-2] + "1")], restarts),
    ("cut off", [tp(TRACEPARENT[:54])], restarts),
    ("a blank before", ["traceparent:  " + TRACEPARENT], inherits),
    ("a tab before", ["traceparent:\t" + TRACEPARENT], inherits),
    ("no blank before", ["traceparent:" + TRACEPARENT], inherits),
    ("a blank behind", [tp(TRACEPARENT + " ")], inherits),
    ("a tab behind", [tp(TRACEPARENT + "\t")], inherits),
    ("blanks and tabs around", ["traceparent:\t \t" + TRACEPARENT + " \t "], inherits),
    ("tracestate alone", ["tracestate: k=v"], restarts),
    ("tracestate of a bad one", [tp(TRACEPARENT + "."), "tracestate: k=v"], restarts),
    ("tracestate of two", [tp(TRACEPARENT), tp(TRACEPARENT), "tracestate: k=v"], restarts),
]
EVERY = "".join(chr(c) for c in range(0x21, 0x7f) if chr(c) not in ",=")
KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
MANY = [(f"m{i}", str(i)) for i in range(33)]


def joined(members):
    return ",".join(f"{k}={v}" for k, v in members)


# What stands behind "tracestate:", line by line, and the members wanted.
STATES = [
    ("none", [], []),
    ("one", [" k=v"], [("k", "v")]),
    ("two", [" k=v,l=w"], [("k", "v"), ("l", "w")]),
    ("order", [" z=1,y=2,a=3"], [("z", "1"), ("y", "2"), ("a", "3")]),
    ("two fields", [" k=v", " l=w"], [("k", "v"), ("l", "w")]),
    ("four fields", [" a=1,b=2", " c=3", " d=4,e=5", " f=6"],
     [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5"), ("f", "6")]),
    ("empty", [""], []),
    ("empty first", ["", " k=v"], [("k", "v")]),
    ("empty last", [" k=v", ""], [("k", "v")]),
    ("empty members", [" ,k=v,,\t,l=w,"], [("k", "v"), ("l", "w")]),
    ("blanks between", [" k=v \t , \t l=w,\tm=x"], [("k", "v"), ("l", "w"), ("m", "x")]),
    ("blanks around", ["\t k=v \t"], [("k", "v")]),
    ("every character of a key", [f" {KEY}=v"], [(KEY, "v")]),
    ("a key that begins with a digit", [" 0a=v"], [("0a", "v")]),
    ("a tenant", [f" {KEY}@vendor=v"], [(f"{KEY}@vendor", "v")]),
    ("at signs", [" a@=1,b@@c=2,d@e@f=3"], [("a@", "1"), ("b@@c", "2"), ("d@e@f", "3")]),
    ("a long vendor", [" t@" + "v" * 15 + "=1"], [("t@" + "v" * 15, "1")]),
    ("a long tenant", [" " + "t" * 242 + "@v=1"], [("t" * 242 + "@v", "1")]),
    ("a key of 256", [" k=v", f" {'z' * 256}=1"], [("k", "v"), ("z" * 256, "1")]),
    ("a key of 257", [" k=v", f" {'z' * 257}=1"], []),
    ("every character of a value", [f" k={EVERY}"], [("k", EVERY)]),
    ("a value that begins with blanks", [" k=  v,l= w x"], [("k", "  v"), ("l", " w x")]),
    ("a value of 256", [f" k={'v' * 256}"], [("k", "v" * 256)]),
    ("a value of 257", [f" l=w,k={'v' * 257}"], []),
    ("32 members", [" " + joined(MANY[:20]), " " + joined(MANY[20:32])], MANY[:32]),
    ("33 members", [" " + joined(MANY[:20]), " " + joined(MANY[20:])], []),
    ("a key in upper case", [" l=w,K=v"], []),
    ("a key with a dot", [" a.b=v"], []),
    ("a key with a blank", [" k =v"], []),
    ("a key that begins with @", [" @k=v"], []),
    ("a key of nothing", [" =v,l=w"], []),
    ("no equals sign", [" k,l=w"], []),
    ("two equals signs", [" k=v=w"], []),
    ("an empty value", [" k=,l=w"], []),
    ("a semicolon", [" l=w,k;x=v"], []),
]


@pytest.mark.parametrize("headers, wanted", [c[1:] for c in PARENTS], ids=[c[0] for c in PARENTS])
def test_traceparent(service, upstream, headers, wanted):
    seen, = through(service, upstream, headers)
    wanted(seen)


@pytest.mark.parametrize("values, wanted", [c[1:] for c in STATES], ids=[c[0] for c in STATES])
def test_tracestate(service, upstream, values, wanted):
    seen, = through(service, upstream, [tp(TRACEPARENT)] + [f"tracestate:{v}" for v in values])
    inherits(seen)
    assert seen.members() == wanted
    assert wanted or not seen.states, "an empty tracestate is none"


def test_tracestate_in_any_case(service, upstream):
    seen, = through(service, upstream, [tp(TRACEPARENT), "TraceState: k=v", "TRACESTATE: l=w"])
    inherits(seen)
    assert seen.members() == [("k", "v"), ("l", "w")]


@pytest.mark.parametrize("name", ["trace-state", "trace.state", "trace_state"])
def test_another_name_is_no_tracestate(service, upstream, name):
    seen, = through(service, upstream, [tp(TRACEPARENT), f"{name}: k=v"])
    inherits(seen)
    assert not seen.states


@pytest.mark.parametrize("values", [[" k=1,k=1"], [" k=1,k=2"], [" k=1", " k=1"], [" k=1", " k=2"],
                                    [" k=1,l=x", " l=y,k=2"]])
def test_a_key_twice(service, upstream, values):
    """Left as they are, or one of them dropped."""
    seen, = through(service, upstream, [tp(TRACEPARENT)] + [f"tracestate:{v}" for v in values])
    inherits(seen)
    came = [tuple(m.split("=")) for v in values for m in v.strip().split(",")]
    left = seen.members()
    assert {k for k, _ in left} == {k for k, _ in came} and set(left) <= set(came)


@pytest.mark.parametrize("sent, wanted", [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("f3", 3),
                                          ("fc", 0)])
def test_flags(service, upstream, sent, wanted):
    """Sampled as the parent is, random as the trace id is, nothing else."""
    seen, = through(service, upstream, [tp(TRACEPARENT[:-2] + sent)])
    inherits(seen)
    assert seen.flags == wanted


def test_a_new_trace_id_is_random_and_says_so(service, upstream):
    seen = [through(service, upstream, [])[0] for _ in range(5)]
    assert len({s.trace for s in seen}) == 5 and {s.flags for s in seen} == {3}


@pytest.mark.parametrize("headers, inherited", [
    ([tp(TRACEPARENT)], True), ([], False), ([tp(f"00-{'0' * 32}-{PARENT}-01")], False)],
    ids=["valid", "none", "invalid"])
def test_three_calls_of_one_request(service, upstream, headers, inherited):
    seen = through(service, upstream, headers, calls=3)
    assert len({s.span for s in seen}) == 3 and PARENT not in {s.span for s in seen}
    assert len({s.trace for s in seen}) == 1, "one request, one trace"
    assert (seen[0].trace == TRACE) == inherited


# ---- spans, and the checks themselves


@pytest.mark.parametrize("name", list(SERVICES))
def test_the_spans_of_one_request(receiver, shim, upstream, name):
    service = Service(name, shim())
    try:
        seen = through(service, upstream, [tp(TRACEPARENT), "tracestate: k=v"], calls=3)
        receiver.wait(5)
    finally:
        service.stop()
    spans = [s for s in receiver.spans if "http.request.method" in s.attrs]
    server, = [s for s in spans if s.kind == "SERVER"]
    clients = [s for s in spans if s.kind == "CLIENT"]
    assert (server.trace, server.parent, server.state) == (TRACE, PARENT, "k=v")
    assert server.flags == 0x301 and server.name == "POST"
    assert {(s.trace, s.span) for s in clients} == {(s.trace, s.span) for s in seen}
    assert {(s.parent, s.state, s.flags) for s in clients} == {(server.span, "k=v", 0x101)}
    for s in clients:
        assert server.start <= s.start <= s.end <= server.end


def seen(*headers):
    return Seen([h.split(": ", 1) for h in headers])


@pytest.mark.parametrize("headers", [
    [], [tp(TRACEPARENT)] * 2, [tp("ff" + TRACEPARENT[2:])], [tp(TRACEPARENT.upper())],
    [tp(TRACEPARENT + "-")], [tp(TRACEPARENT[:-2] + "04")], [tp(f"00-{'0' * 32}-{PARENT}-01")]])
def test_what_arrives_must_be_valid(headers):
    with pytest.raises(AssertionError):
        seen(*headers)


def test_the_checks_can_fail():
    other = TRACEPARENT.replace("5b8a", "5b8b").replace(PARENT, PARENT[::-1])
    inherits(seen(tp(TRACEPARENT.replace(PARENT, PARENT[::-1]))))
    restarts(seen(tp(other)))
    for check, headers in [(inherits, [tp(TRACEPARENT)]), (inherits, [tp(other)]),
                           (restarts, [tp(TRACEPARENT)]),
                           (restarts, [tp(other), "tracestate: k=v"])]:
        with pytest.raises(AssertionError):
            check(seen(*headers))
    assert seen(tp(TRACEPARENT), "tracestate: a=  1 ,", "tracestate: , b=2").members() == [
        ("a", "  1"), ("b", "2")]


def test_a_service_without_us_sends_no_context(upstream):
    service = Service("threaded", harness.bare_env())
    try:
        with pytest.raises(AssertionError, match="0 traceparent"):
            through(service, upstream, [tp(TRACEPARENT)])
    finally:
        service.stop()
