# SPDX-License-Identifier: Apache-2.0
"""Ground truth: whose every call is, is known; every parent is right, or there is none.

The oracle (oracle.py) is seen to fail first; then its gateways run bare, so that what
fails preloaded is our doing.  ORACLE_REQUESTS=n and ORACLE_SEED=n for more and others.
"""
import asyncio
import copy
import dataclasses
import itertools
import os
import re
import threading
import time

import pytest

import oracle
from harness import SAN, Result, bare_env
from oracle import Arrived, Sent, always, if_piped, judge, never
from oracle_gates import GATES, ROOM, Gate, run_gate
from oracle_load import Load
from receiver import Span

REQUESTS = int(os.environ.get("ORACLE_REQUESTS") or (200 if SAN else 1500))
SEED = int(os.environ.get("ORACLE_SEED") or 1)


# ---- the judge ----

class World:
    """Three requests with two calls each, and a fourth that was cut off; all as it should be."""

    def __init__(self):
        self.sent, self.arrived, self.spans = [], [], []
        for n in range(1, 5):
            s = Sent(n, f"{n:032x}", f"{n:016x}", "POST", 2, 10, 5, body=b"b%d" % n,
                     answered=n < 4, cut=n == 4, piped=n == 3)
            self.sent.append(s)
            start = n * 1_000_000_000
            server = self.span("SERVER", s.trace, f"5{n:015x}", s.span, start, start + 20_000_000,
                               {"url.path": f"/r/{n}"})
            for k in range(2):
                began = start + 1000 + k * 6_000_000
                client = self.span("CLIENT", s.trace, f"c{k}{n:014x}", server.span, began,
                                   began + 5_500_000,
                                   {"url.full": f"http://127.0.0.1:1/item/{n}.{k}?n=2"})
                self.arrived.append(Arrived(n, k, [f"00-{s.trace}-{client.span}-01"], len(s.body),
                                            oracle.zlib.crc32(s.body), True, "POST",
                                            f"POST /item/{n}.{k} HTTP/1.1\r\n\r\n"))

    def span(self, kind, trace, span, parent, start, end, attrs):
        one = Span("POST", kind, trace, span, parent, start, end,
                   {"http.request.method": "POST", "http.response.status_code": 200, **attrs},
                   "", "", 0x101, "", {}, "libautotrace.http", 1)
        self.spans.append(one)
        return one

    def find(self, kind, where):
        return next(i for i, s in enumerate(self.spans) if s.kind == kind and
                    where in s.attrs.get("url.full", s.attrs.get("url.path")))

    def change(self, kind, where, /, **fields):
        i = self.find(kind, where)
        self.spans[i] = self.spans[i]._replace(**fields)

    def attribute(self, kind, where, **attrs):
        i = self.find(kind, where)
        self.spans[i].attrs.update({k.replace("__", "."): v for k, v in attrs.items()})

    def at(self, n, call):
        return next(a for a in self.arrived if (a.id, a.call) == (n, call))

    def judge(self, may_be_absent=never, head=None):
        return judge(self.sent, self.arrived, self.spans, may_be_absent, head)


def make_root(world, n, call, trace="f" * 32):
    """As if the tracer had found no parent for this call."""
    world.change("CLIENT", f"/{n}.{call}", parent="", trace=trace)
    span = world.spans[world.find("CLIENT", f"/{n}.{call}")].span
    world.at(n, call).traceparents = [f"00-{trace}-{span}-01"]


def test_a_right_world_is_right():
    v = World().judge()
    assert not v.faults, v.report()
    assert (v.requests, v.cut, v.servers, v.clients) == (3, 1, 4, 8)
    assert (v.right, v.absent, v.wrong, v.cut_right, v.cut_absent) == (6, 0, 0, 2, 0)
    other = World()
    other.span("CLIENT", "e" * 32, "e" * 16, "", 1, 2, {}).attrs.clear()
    assert not other.judge().faults, "spans that are not HTTP's are nobody's business here"


def wrong_parent(w):
    """Call 1.0 has the SERVER span of request 2 above it, in its own trace or the other's."""
    w.change("CLIENT", "/1.0", parent=w.spans[w.find("SERVER", "/2")].span)


def wrong_trace(w):
    wrong_parent(w)
    w.change("CLIENT", "/1.0", trace=f"{2:032x}")
    w.at(1, 0).traceparents = [f"00-{2:032x}-{w.spans[w.find('CLIENT', '/1.0')].span}-01"]


def right_span_wrong_trace_id(w):
    w.at(1, 0).traceparents = [w.at(1, 0).traceparents[0].replace(f"{1:032x}", f"{2:032x}")]


def swapped(w):
    a, b = w.at(1, 0), w.at(2, 0)
    a.traceparents, b.traceparents = b.traceparents, a.traceparents


def siblings_swapped(w):
    a, b = w.at(1, 0), w.at(1, 1)
    a.traceparents, b.traceparents = b.traceparents, a.traceparents


def sibling_above(w):
    w.change("CLIENT", "/1.1", parent=w.spans[w.find("CLIENT", "/1.0")].span)


def passed_on(w):
    w.at(1, 0).traceparents = [f"00-{1:032x}-{1:016x}-01"]


def of_no_span(w):
    w.at(1, 0).traceparents = [f"00-{1:032x}-{'9' * 16}-01"]


def of_the_server_span(w):
    w.at(1, 0).traceparents = [f"00-{1:032x}-{w.spans[w.find('SERVER', '/1')].span}-01"]


def root_in_anothers_trace(w):
    make_root(w, 1, 0, f"{2:032x}")


def root_in_its_own_trace(w):
    make_root(w, 1, 0, f"{1:032x}")


def began_too_late(w):
    w.change("CLIENT", "/1.0", start=1_030_000_000, end=1_040_000_000)


def began_too_early(w):
    w.change("CLIENT", "/1.0", start=999_999_999)


def unsampled(w):
    w.at(1, 0).traceparents = [w.at(1, 0).traceparents[0][:-1] + "0"]


def malformed(w):
    w.at(1, 0).traceparents = [w.at(1, 0).traceparents[0] + "-"]


def upper_case(w):
    w.at(1, 0).traceparents = [w.at(1, 0).traceparents[0].replace("c", "C")]


def wrong_when_cut(w):
    w.change("CLIENT", "/4.0", parent=w.spans[w.find("SERVER", "/2")].span)


def parent_was_not_exported(w):
    w.change("CLIENT", "/1.0", parent="7" * 16)


@pytest.mark.parametrize("may_be_absent", [never, always], ids=lambda f: f.__name__)
@pytest.mark.parametrize("spoil", [
    wrong_parent, wrong_trace, right_span_wrong_trace_id, swapped, siblings_swapped, sibling_above,
    passed_on, of_no_span, of_the_server_span, root_in_anothers_trace, root_in_its_own_trace,
    began_too_late, began_too_early, unsampled, malformed, upper_case, wrong_when_cut,
    parent_was_not_exported], ids=lambda f: f.__name__)
def test_a_wrong_parent_is_wrong_wherever_one_may_be_absent(spoil, may_be_absent):
    w = World()
    spoil(w)
    v = w.judge(may_be_absent)
    assert v.kinds["WRONG PARENT"] == v.wrong == (2 if "swapped" in spoil.__name__ else 1), \
        v.report()


@pytest.mark.parametrize("n, fault", [(0, "traceparents"), (2, "traceparents")])
def test_exactly_one_traceparent_arrives(n, fault):
    w = World()
    w.at(2, 1).traceparents *= n
    v = w.judge(always)
    assert v.kinds == {fault: 1} and v.wrong == 1


def test_a_root_is_absent_and_only_right_where_it_may_be():
    w = World()
    make_root(w, 1, 0)
    v = w.judge()
    assert (v.right, v.absent, v.wrong, dict(v.kinds)) == (5, 1, 0, {"no parent": 1})
    assert not w.judge(always).faults
    assert w.judge(if_piped).kinds == {"no parent": 1}
    w = World()
    make_root(w, 3, 0)
    assert not w.judge(if_piped).faults
    w = World()
    make_root(w, 4, 0)
    v = w.judge()
    assert not v.faults and (v.absent, v.cut_absent) == (0, 1)


def test_only_a_request_that_was_not_wholly_sent_may_arrive_with_another_body():
    w = World()
    w.at(4, 0).crc = 1
    assert w.judge().kinds == {"altered body": 1}
    w.sent[3].torn = True
    assert not w.judge().faults


def remove(kind, where):
    def spoil(w):
        del w.spans[w.find(kind, where)]
    return spoil


def repeat(kind, where):
    def spoil(w):
        w.spans.append(w.spans[w.find(kind, where)]._replace(span="d" * 16))
    return spoil


def change(kind, where, /, **fields):
    return lambda w: w.change(kind, where, **fields)


def attribute(kind, where, /, **attrs):
    return lambda w: w.attribute(kind, where, **attrs)


def arrived(n, call, /, **fields):
    def spoil(w):
        for key, value in fields.items():
            setattr(w.at(n, call), key, value)
    return spoil


def arrived_twice(w):
    w.arrived.append(copy.copy(w.at(1, 0)))


def did_not_arrive(w):
    w.arrived.remove(w.at(1, 0))


def unanswered(w):
    w.sent[0].answered = False


@pytest.mark.parametrize("spoil, kind", [
    (remove("SERVER", "/1"), "SERVER spans"), (repeat("SERVER", "/1"), "SERVER spans"),
    (repeat("SERVER", "/4"), "SERVER spans"),
    (remove("CLIENT", "/1.0"), "CLIENT spans"), (repeat("CLIENT", "/1.0"), "CLIENT spans"),
    (repeat("CLIENT", "/4.0"), "CLIENT spans"),
    (change("SERVER", "/1", parent=""), "SERVER parent"),
    (change("SERVER", "/1", parent=f"{2:016x}"), "SERVER parent"),
    (change("SERVER", "/1", trace=f"{2:032x}"), "SERVER parent"),
    (change("SERVER", "/4", trace=f"{2:032x}"), "SERVER parent"),
    (change("SERVER", "/1", end=1_007_000_000), "too short"),
    (change("CLIENT", "/1.0", end=1_001_000_000), "too short"),
    (change("CLIENT", "/1.0", status="ERROR"), "status"),
    (attribute("CLIENT", "/1.0", http__response__status_code=500), "status"),
    (attribute("SERVER", "/1", http__response__status_code=None), "status"),
    (attribute("SERVER", "/1", url__path="/r/77"), "stray span"),
    (attribute("SERVER", "/1", url__path="/other"), "stray span"),
    (attribute("CLIENT", "/1.0", url__full="http://127.0.0.1:1/item/1.2"), "stray span"),
    (attribute("CLIENT", "/1.0", url__full="http://127.0.0.1:1/item/77.0"), "stray span"),
    (change("CLIENT", "/1.0", kind="INTERNAL"), "stray span"),
    (arrived(1, 0, crc=1), "altered body"), (arrived(1, 0, length=1), "altered body"),
    (arrived(1, 0, method="GET"), "altered body"), (arrived(1, 0, whole=False), "arrivals"),
    (arrived(1, 0, call=7), "stray arrival"), (arrived(1, 0, id=77), "stray arrival"),
    (arrived_twice, "arrivals"), (did_not_arrive, "arrivals"), (unanswered, "not answered"),
])
def test_every_other_fault_is_found(spoil, kind):
    w = World()
    spoil(w)
    v = w.judge(always)
    assert v.kinds[kind] >= 1, v.report()
    assert kind in "\n".join(v.faults)


@pytest.mark.parametrize("lines, good", [
    ("traceparent: 00-x\r\n", True), ("TraceParent: 00-x\r\ntracestate: a=b\r\n", True),
    ("x-other: 1\r\n", False), ("\r\n", False), ("traceparent: 00-x\r\n y\r\n", False)])
def test_a_head_may_only_gain_trace_headers(lines, good):
    w = World()
    for one in w.arrived:
        one.head = f"POST /item/{one.id}.{one.call} HTTP/1.1\r\n{lines}\r\n"
    v = w.judge(head=lambda s, call: f"POST /item/{s.id}.{call} HTTP/1.1\r\n\r\n")
    assert v.kinds == ({} if good else {"altered head": len(w.arrived)})


def test_records_are_read_as_they_are_written():
    first, second = oracle.arrivals([
        '{"conn": 0, "whole": true, "length": 3, "crc": 7, "head": "POST /item/12.3?n=4 HTTP/1.1'
        '\\u000d\\u000aHost: x\\u000d\\u000aTraceparent:  00-a \\u000d\\u000atraceparent: b'
        '\\u000d\\u000a\\u000d\\u000a"}',
        '{"conn": 1, "whole": false, "length": 0, "crc": 0, "head": "GET /r/5"}'])
    assert (first.id, first.call, first.traceparents, first.length, first.crc, first.whole,
            first.method) == (12, 3, ["00-a", "b"], 3, 7, True, "POST")
    assert (second.id, second.call, second.traceparents, second.whole) == (5, 0, [], False)


# ---- the client ----

class Server:
    """Answers as a gateway does, out of what the client itself knows; spoil() alters that."""

    def __init__(self, spoil=lambda s, answer: answer):
        self.spoil, self.load = spoil, None
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                s = self.load.sent[int(re.search(r"/r/(\d+)", head)[1])]
                if "chunked" in head:
                    while size := int(await reader.readline(), 16):
                        await reader.readexactly(size + 2)
                    await reader.readline()
                else:
                    await reader.readexactly(int((re.search(r"Content-Length: (\d+)", head)
                                                  or "00")[1]))
                content = self.spoil(s, s.answer())
                if content is None:
                    break
                writer.write(content if content.startswith(b"HTTP/") else
                             b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                             % (len(content), content))
        except (asyncio.IncompleteReadError, OSError, ValueError):
            pass
        writer.close()

    def under(self, **load):
        self.load = Load(self.port, 300, connections=8, **load)
        self.load.run(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        return self.load


def test_the_client_takes_right_answers():
    load = Server().under()
    assert not load.faults and len(load.sent) == 300
    assert all(s.answered or s.cut for s in load.sent)
    assert sum(s.cut for s in load.sent) < 60 < 200 < sum(s.answered for s in load.sent)
    assert sum(s.piped for s in load.sent) > 50 and sum(s.method == "POST" for s in load.sent) > 50
    assert len({s.trace for s in load.sent}) == len({s.span for s in load.sent}) == 300


def flipped(_s, answer):
    return answer[:-1] + bytes([answer[-1] ^ 1])


def shortened(_s, answer):
    return answer[:-1]


def lengthened(_s, answer):
    return answer + b"x"


def of_another(s, _answer):
    return Sent(s.id + 1, "", "", s.method, s.calls, s.size, body=s.body).answer()


def refused(_s, _answer):
    return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"


def traced(_s, answer):
    return b"HTTP/1.1 200 OK\r\nTraceparent: 00\r\nContent-Length: %d\r\n\r\n%s" % (
        len(answer), answer)


def unfinished(_s, answer):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer) + 1, answer)


def closed(_s, _answer):
    return None


@pytest.mark.parametrize("spoil", [flipped, shortened, lengthened, of_another, refused, traced,
                                   unfinished, closed], ids=lambda f: f.__name__)
def test_the_client_finds_every_altered_answer(spoil):
    """The answer to one request in the middle is altered; it and nothing before is found."""
    chosen = []

    def one(s, answer):
        if not chosen and s.id > 150 and not s.cut and not s.piped:
            chosen.append(s.id)
        return spoil(s, answer) if s.id in chosen else answer
    load = Server(one).under(cut=0, patience=1)
    assert chosen and [f for f in load.faults if f.startswith(f"request {chosen[0]} ")]
    assert len(load.faults) == 1 and not load.sent[chosen[0]].answered


def test_a_body_follows_from_its_name():
    assert oracle.body("7.1", 6) == b"7.1:" + oracle.body("7.1", 6)[4:]
    assert len(oracle.body("7.1", 200000)) == 200000
    assert oracle.body("7.1", 500)[10:] != oracle.body("7.2", 500)[10:]


# ---- the whole of it, with a tracer that is known ----

class TracedGate:
    """A gateway on an event loop that makes its spans itself.

    truth: every request has a context of its own.  latest: the parent is the request that
    was read last, which is what a tracer takes that only looks at the thread.
    """

    def __init__(self, upstream, how):
        self.upstream, self.how, self.spans, self.latest = upstream, how, [], None
        self.counted, self.ids, self.tasks = {}, itertools.count(1), set()
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.serve, "127.0.0.1", 0, limit=1 << 20))
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def span(self, kind, method, trace, parent, key, where):
        return Span(method, kind, trace, f"{next(self.ids):016x}", parent, time.time_ns(), 0,
                    {"http.request.method": method, "http.response.status_code": 200,
                     key: where}, "", "", 0x101, "", {}, "test", 1)

    def ended(self, span):
        self.spans.append(span._replace(end=time.time_ns()))

    async def content(self, reader, head):
        if "Transfer-Encoding" in head:
            content = b""
            while size := int(await reader.readline(), 16):
                content += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            return content
        return await reader.readexactly(int((re.search(r"Content-Length: (\d+)", head) or "00")[1]))

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())  # or it may be collected while it waits
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, number, query = re.match(r"(\w+) /r/(\d+)\?(\S+)", head).groups()
                trace, parent = re.search(r"(?i)traceparent: 00-(\w+)-(\w+)-", head).groups()
                span = self.latest = self.span("SERVER", method, trace, parent, "url.path",
                                               "/r/" + number)
                try:
                    content = await self.content(reader, head)
                    s = Sent(int(number), "", "", method, int(re.search(r"n=(\d)", query)[1]),
                             body=content)
                    parts = [await self.call(s, k, query, span) for k in range(s.calls)]
                    answer = s.answer_line() + b"".join(parts)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                                 % (len(answer), answer))
                    await writer.drain()
                finally:
                    self.ended(span)
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.close()

    async def call(self, s, k, query, server):
        target = f"/item/{s.id}.{k}?{query}"
        above = server if self.how == "truth" else self.latest
        span = self.span("CLIENT", s.method, above.trace, above.span, "url.full",
                         f"http://127.0.0.1:{self.upstream}{target}")
        length = f"Content-Length: {len(s.body)}\r\n" if s.method == "POST" else ""
        text = f"{s.method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.upstream}\r\n{length}" \
            f"User-Agent: gate\r\ntraceparent: 00-{span.trace}-{span.span}-01\r\n\r\n"
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            writer.write(text.encode() + s.body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            content = await (self.content(reader, head) if re.search("Content-L|Transfer-E", head)
                             else reader.read(-1))
            writer.close()
        finally:
            self.ended(span)
        return content

    def stop(self):
        async def end():
            self.server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        return Result([], 0, b"", b"", 0)


@pytest.mark.parametrize("how", ["truth", "latest"])
def test_a_load_tells_a_true_tracer_from_one_that_only_looks_at_the_thread(how):
    made = []

    def start(upstream, _env):
        made.append(TracedGate(upstream, how))
        return made[0]

    class Spans:
        violations = []

        @staticmethod
        def wait(*_):
            return made[0].spans
    outcome = run_gate(Gate(how, start), {}, Spans, 600, SEED)
    v = outcome.verdict
    if how == "truth":
        outcome.ok()
        assert v.right > 500 and not v.absent
    else:
        assert v.wrong > 100 and v.kinds.keys() <= {"WRONG PARENT"}, v.report()
        assert "(the trace of" in v.report()


# ---- the gateways ----

@pytest.mark.parametrize("gate", GATES, ids=lambda g: g.name)
def test_bare(gate):
    """What the gateways do without us: bodies and counts are right, parents nobody asks for."""
    run_gate(gate, bare_env(), requests=300 if gate.in_flight else 120, seed=SEED + 1).ok()


def not_sanitized(gate):
    if SAN and gate.name.startswith("node"):
        pytest.skip("node does not run under a sanitizer")


@pytest.mark.parametrize("gate", GATES, ids=lambda g: g.name)
def test_traced(receiver, shim, gate):
    not_sanitized(gate)
    outcome = run_gate(gate, shim(**ROOM), receiver, REQUESTS, SEED,
                       **(gate.loop or {}))
    print(outcome.line())
    outcome.ok()
    verdict = outcome.verdict
    assert verdict.right >= gate.least * (verdict.right + verdict.absent), outcome.line()


@pytest.mark.parametrize("gate", [g for g in GATES if g.loop], ids=lambda g: g.name)
def test_traced_pipelined(receiver, shim, gate):
    """A loop that gets several requests at once has no certainty, and says so by roots."""
    not_sanitized(gate)
    gate = dataclasses.replace(gate, absent=always)
    outcome = run_gate(gate, shim(**ROOM), receiver, REQUESTS, SEED + 2)
    print(outcome.line())
    outcome.ok()
