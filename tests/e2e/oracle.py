# SPDX-License-Identifier: Apache-2.0
"""The ground-truth oracle: who asked what, what arrived, and what the spans say.

A load of requests, each with a trace id of its own, goes through a gateway (the program
under test) that makes calls to an upstream for each.  The client knows what it sent and
the upstream what it got; both tell requests apart by a number in the target, never by a
trace header.  So it is known, without the tracer's help, whose every call is:

    Sent       a request of the client: its number, trace, span, what became of it
    Arrived    a request at the upstream: its number, call and every traceparent line
    Span       what the tracer exported (receiver.py)

judge() holds the three against each other.
"""
import collections
import dataclasses
import json
import re
import zlib

TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
NUMBER = re.compile(r"/(?:r/(\d+)|item/(\d+)\.(\d+))(?:\?|\Z)")
SLACK = 2_000_000  # ns by which clocks of two processes, read at their leisure, may differ


# ---- bodies that follow from their name ----

def make_pattern():
    """What http-upstream.c makes: noise, and now and then what looks like a message."""
    x, out = 1, bytearray()
    for _ in range(65536):
        x = (x * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        out.append(33 + (x >> 33) % 94)
    trap = b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    for i in range(0, 65536 - 1000, 1000):
        out[i:i + len(trap)] = trap
    return bytes(out)


PATTERN = make_pattern()
LONG = PATTERN * 6


def body(key, size):
    key = key.encode()
    at = zlib.crc32(key) % 60000
    return (key + b":" + LONG[at:at + size])[:size]


# ---- what is known ----

@dataclasses.dataclass
class Sent:
    id: int
    trace: str
    span: str
    method: str = "GET"
    calls: int = 0
    size: int = 0         # of each answer of the upstream
    delay: int = 0        # ms, of each answer of the upstream
    query: str = ""
    body: bytes = b""
    cut: bool = False     # the connection was closed before the answer was whole
    torn: bool = False    # and before the request itself was wholly sent
    piped: bool = False   # sent together with others on its connection
    answered: bool = False

    def call_bodies(self):
        return b"".join(body(f"{self.id}.{k}", self.size) for k in range(self.calls))

    def answer_line(self):
        return b"%d %s %d %d %08x\n" % (self.id, self.method.encode(), self.calls, len(self.body),
                                        zlib.crc32(self.body))

    def answer(self):
        """What a gateway answers (programs/gate/gate.h)."""
        return self.answer_line() + self.call_bodies()


@dataclasses.dataclass
class Arrived:
    id: int
    call: int
    traceparents: list
    length: int = 0       # of the body
    crc: int = 0
    whole: bool = True
    method: str = "GET"
    head: str = ""        # as it came


def arrivals(lines):
    """Out of what http-upstream wrote."""
    found = []
    for text in lines:
        record = json.loads(text)
        first, *fields = record["head"].split("\r\n")
        number = NUMBER.search(first.split(" ")[1] if " " in first else "")
        if not number:
            number = collections.defaultdict(lambda: -1)
        of_client = number[1]
        found.append(Arrived(
            int(of_client or number[2]), 0 if of_client else int(number[3]),
            [f.split(":", 1)[1].strip() for f in fields if f.lower().startswith("traceparent:")],
            record["length"], record["crc"], record["whole"], first.split(" ")[0], record["head"]))
    return found


# ---- what may lack a parent ----

def never(_sent):
    return False


def if_piped(sent):
    return sent.piped


def always(_sent):
    return True


class Verdict:
    """Counts, and every fault in words."""

    def __init__(self):
        self.requests = self.cut = self.servers = self.clients = 0
        self.right = self.absent = self.wrong = self.cut_right = self.cut_absent = 0
        self.faults = []
        self.kinds = collections.Counter()

    def fault(self, kind, text):
        self.kinds[kind] += 1
        if self.kinds[kind] <= 5:
            self.faults.append(f"{kind}: {text}")

    def line(self):
        cut = f"; cut {self.cut}: right {self.cut_right}, absent {self.cut_absent}" \
            if self.cut else ""
        return f"{self.requests} requests, {self.servers} SERVER, {self.clients} CLIENT, " \
            f"right {self.right}, absent {self.absent}, wrong {self.wrong}{cut}"

    def report(self):
        return "\n  ".join([self.line(), str(dict(self.kinds)), *self.faults])


def http_spans(spans, verdict):
    """SERVER spans by request number, CLIENT spans by (number, call)."""
    servers, clients = collections.defaultdict(list), collections.defaultdict(list)
    for span in spans:
        if "http.request.method" not in span.attrs:
            continue
        where = span.attrs.get("url.full" if span.kind == "CLIENT" else "url.path", "")
        number = NUMBER.search(where)
        if not number or span.kind not in ("SERVER", "CLIENT"):
            verdict.fault("stray span", f"{span.kind} {span.name} {span.attrs}")
        elif span.kind == "SERVER":
            servers[int(number[1] or -1)].append(span)
        elif number[1]:
            clients[int(number[1]), 0].append(span)
        else:
            clients[int(number[2]), int(number[3])].append(span)
    return servers, clients


class Judge:
    def __init__(self, sent, arrived, spans, may_be_absent=never, head=None):
        self.verdict = Verdict()
        self.sent = {s.id: s for s in sent}
        assert len(self.sent) == len(sent), "request numbers repeat"
        self.arrived = collections.defaultdict(list)
        for one in arrived:
            self.arrived[one.id, one.call].append(one)
        self.spans = spans
        self.may_be_absent = may_be_absent
        self.head = head
        self.traced = spans is not None
        self.servers, self.clients = http_spans(spans or [], self.verdict)
        self.by_span = {s.span: s for s in spans or []}
        self.traces = {s.trace: s for s in sent}

    def judge(self):
        for s in self.sent.values():
            self.verdict.requests += not s.cut
            self.verdict.cut += s.cut
            if not s.cut and not s.answered:
                self.verdict.fault("not answered", f"request {s.id}")
            self.at_upstream(s)
            if self.traced:
                self.server_spans(s)
                self.client_spans(s)
        known = self.sent.keys()
        for n in set(self.servers) - known:
            self.verdict.fault("stray span", f"SERVER of {n}, which nobody sent")
        for n, call in self.clients:
            if n not in known or call >= self.sent[n].calls:
                self.verdict.fault("stray span", f"CLIENT of {n}.{call}, which nobody sent")
        for (n, call), many in self.arrived.items():
            if n not in known or call >= self.sent[n].calls:
                self.verdict.fault("stray arrival", many[0].head[:200])
            for one in many:
                self.arrival(one)
        return self.verdict

    def at_upstream(self, s):
        """Every call arrived once, unaltered."""
        for call in range(s.calls):
            many = self.arrived[s.id, call]
            if len(many) > 1 or (not many and not s.cut):
                self.verdict.fault("arrivals", f"call {s.id}.{call} arrived {len(many)} times")
            for one in many:
                if not one.whole:
                    if not s.cut:
                        self.verdict.fault("arrivals", f"a part only of {s.id}.{call}")
                elif s.torn:
                    pass  # Python's server takes a head that ends with the connection for whole
                elif (one.method, one.length, one.crc) != (s.method, len(s.body),
                                                           zlib.crc32(s.body)):
                    self.verdict.fault("altered body", f"of call {s.id}.{call}: {one.head!r}")
                elif self.head:
                    self.unaltered_head(s, one)

    def unaltered_head(self, s, one):
        """The head is the program's, with our lines at its end."""
        ours = re.sub(r"(?im)^(?:traceparent|tracestate|baggage):.*\r\n", "", one.head)
        wanted = self.head(s, one.call)
        if ours != wanted:
            self.verdict.fault("altered head", f"{one.head!r} instead of {wanted!r}")

    def server_spans(self, s):
        spans = self.servers[s.id]
        self.verdict.servers += len(spans)
        if len(spans) > 1 or (not spans and not s.cut):
            self.verdict.fault("SERVER spans", f"{len(spans)} of request {s.id}"
                               + " (cut)" * s.cut)
        for span in spans:
            if (span.trace, span.parent) != (s.trace, s.span):
                self.verdict.fault(
                    "SERVER parent", f"of {s.id} is {span.trace}-{span.parent}, "
                    f"sent was {s.trace}-{s.span}{self.whose(span.trace)}")
            if not s.cut:
                self.took(span, s.delay * s.calls, f"SERVER of {s.id}")
                self.succeeded(span, s.id)

    def client_spans(self, s):
        for call in range(s.calls):
            spans = self.clients[s.id, call]
            self.verdict.clients += len(spans)
            if len(spans) > 1 or (not spans and not s.cut):
                self.verdict.fault("CLIENT spans", f"{len(spans)} of call {s.id}.{call}"
                                   + " (cut)" * s.cut)
            for span in spans:
                if not s.cut:
                    self.took(span, s.delay, f"CLIENT of {s.id}.{call}")
                    self.succeeded(span, f"{s.id}.{call}")

    def took(self, span, least, what):
        if span.end - span.start + SLACK < least * 1_000_000:
            self.verdict.fault("too short", f"{what}: {(span.end - span.start) / 1e6:.3f} ms, "
                               f"the upstream took {least}")

    def succeeded(self, span, what):
        status = span.attrs.get("http.response.status_code")
        if status != 200 or span.status:
            self.verdict.fault("status", f"{span.kind} of {what}: {status} {span.status} "
                               f"{span.attrs.get('error.type', '')}")

    def whose(self, trace):
        other = self.traces.get(trace)
        return f" (the trace of {other.id})" if other else ""

    def arrival(self, one):
        """Which parent did this call bring: right, absent (a root), or wrong?"""
        s = self.sent.get(one.id)
        if not self.traced or not one.whole or not s:
            return
        verdict = self.verdict
        what = f"call {one.id}.{one.call}" + " (piped)" * s.piped + " (cut)" * s.cut
        if len(one.traceparents) != 1:
            verdict.wrong += 1
            verdict.fault("traceparents", f"{what} brought {len(one.traceparents)}")
            return
        why = self.wrongness(s, one)
        if why is None:
            verdict.right += not s.cut
            verdict.cut_right += s.cut
        elif why == "":
            verdict.absent += not s.cut
            verdict.cut_absent += s.cut
            if not s.cut and not self.may_be_absent(s):
                verdict.fault("no parent", f"{what} is a root")
        else:
            verdict.wrong += 1
            verdict.fault("WRONG PARENT", f"{what}: {why}")

    def wrongness(self, s, one):
        """None: right.  "": a root.  Else why it is wrong."""
        match = TRACEPARENT.match(one.traceparents[0])
        if not match:
            return f"malformed {one.traceparents[0]!r}"
        trace, parent, flags = match.groups()
        span = self.by_span.get(parent)
        if span is None or span.kind != "CLIENT":
            if parent == s.span:
                return "the client's own span id, passed on"
            return f"{parent} is {'no span' if span is None else span.kind}{self.whose(trace)}"
        if span not in self.clients[one.id, one.call]:
            return f"is the span of another call: {span.attrs.get('url.full')}"
        if span.trace != trace:
            return f"trace {trace} arrived, the span has {span.trace}"
        if not int(flags, 16) & 1:
            return f"a recorded span, but flags {flags}"
        if not span.parent:
            return "a root in the trace of a request" + self.whose(trace) \
                if trace in self.traces else ""
        if span.trace != s.trace:
            return f"in trace {span.trace}{self.whose(span.trace)}, not {s.trace}"
        above = self.by_span.get(span.parent)
        if above is None or above not in self.servers[s.id]:
            return f"its parent {span.parent} is " + (
                "nothing that was exported" if above is None else
                f"{above.kind} {above.attrs.get('url.path', above.name)}")
        if not above.start <= span.start <= above.end:
            return "began when its parent was not open"
        return None


def judge(sent, arrived, spans, may_be_absent=never, head=None):
    """spans=None: the gateway ran bare; only bodies and arrivals are judged."""
    return Judge(sent, arrived, spans, may_be_absent, head).judge()
