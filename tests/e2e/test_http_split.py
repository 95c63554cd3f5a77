# SPDX-License-Identifier: Apache-2.0
"""Messages cut at every byte: what arrives, and what the program is told it sent.

programs/http-split.c sends them; its peer is ours and has every byte it was sent.
A request of a client gets exactly one traceparent line before the empty line of its
head; whatever else arrives as it was handed over.
"""
import json
import os
import random
import re

import pytest

import harness
from harness import bare_env, compiled, program, run
from http_peer import ANSWER, INSERTED, Asker, Peer, inserted, request_at, requests_of
from receiver import ROOT

CALLS = ["send", "sendto", "sendmsg", "sendmmsg", "write", "writev"]
VECTORS = os.path.join(ROOT, "tests", "vectors", "http1")
SAMPLED_OFF = {"OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_EXPORTER": "none"}
ROOM = {"AUTOTRACE_RING_SIZE": str(16 << 20), "OTEL_BSP_MAX_QUEUE_SIZE": "100000"}
OWN = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ASK = b"GET /split HTTP/1.1\r\nHost: h\r\n\r\n"
MOST = 4096  # of a longer message not every byte is a cut


class Message:
    """What to send, and what must become of it when a client sends it."""

    def __init__(self, name, data, heads=(), ok=True, close=False, response=False, ask=ASK):
        self.name, self.data, self.ok, self.close = name, data, ok, close
        self.heads = [empty for _, empty in heads]  # offsets of the empty lines of requests
        # A head that has a traceparent of the program's own gets no other.
        self.where = [empty for at, empty in heads
                      if b"\ntraceparent" not in data[at:empty].lower()]
        self.answered = len(self.heads) if ok else 0
        # CR at the start of a line is where the head ends.  Comes no LF, it is malformed; but
        # who is handed the CR alone must pass it on before that can be known.
        found = None if ok or self.heads else re.search(rb"\n(?=\r[^\n])", data)
        self.doubt = [found.end()] if found else []
        self.response, self.ask = response, ask  # ask: the request a response answers

    def cuts(self):
        """Every place to cut, or of a long message those around the lines that matter."""
        n = len(self.data)
        near = {p for h in self.heads or [n] for p in range(h - 8, h + 9)}
        step = n // 60 if n > MOST else harness.SLOW * (1 if self.ok else 2)
        wanted = set(range(1, n, step)) | near | {n - 1}
        return sorted(p for p in wanted if 0 < p < n)


def own(name, data, ok=True):
    """A message made here, read by the peer's simple reader."""
    response = data.startswith(b"HTTP/")
    heads, at = [], 0
    for empty, _, end in requests_of(data) if ok and not response else []:
        heads.append((at, empty))
        at = end
    assert not heads or at == len(data), f"{name} goes on behind its end"
    assert heads or response or not ok, f"{name} is no request"
    return Message(name, data, heads, ok, b"\r\nConnection: close\r\n" in data, response)


def head(first, *lines, body=b""):
    return "\r\n".join((first,) + lines).encode() + b"\r\n\r\n" + body


def long_head(n):
    lines = [f"X-{i}: {'v' * 90}" for i in range(n // 100)]
    return head("GET /long HTTP/1.1", "Host: h", *lines)


OWN_MESSAGES = [
    own("plain", ASK),
    own("three in a row",
        head("GET /1 HTTP/1.1", "Host: h")
        + head("POST /2 HTTP/1.1", "Host: h", "Content-Length: 4", body=b"\r\n\r\n")
        + head("GET /3 HTTP/1.1", "Host: h", "Connection: close")),
    own("one of three has a traceparent",
        head("GET /1 HTTP/1.1", "Host: h")
        + head("GET /2 HTTP/1.1", "TraceParent: " + OWN.decode(), "Host: h")
        + head("GET /3 HTTP/1.1", "Host: h")),
    own("its own traceparent, first",
        head("GET /own HTTP/1.1", "traceparent: " + OWN.decode(), "Host: h")),
    own("its own traceparent, last",
        head("GET /own HTTP/1.1", "Host: h", "traceparent: " + OWN.decode())),
    own("a traceparent in the body",
        head("POST /b HTTP/1.1", "Host: h", "Content-Length: 70",
             body=b"traceparent: " + OWN + b"\r\n")),
    own("a traceparent in the target", head("GET /?traceparent:%20" + OWN.decode() + " HTTP/1.1",
                                            "Host: h", "X: traceparent: " + OWN.decode())),
    own("no HTTP", b"EHLO h\r\nMAIL FROM:<a@b>\r\n\r\n", ok=False),
    own("one byte", b"G", ok=False),
    own("a head without its end", b"GET / HTTP/1.1\r\nHost: h\r\n", ok=False),
]

BIG = [
    own("a long head", long_head(40000)),
    own("a long body", head("POST /big HTTP/1.1", "Host: h", "Content-Length: 150000",
                            body=ASK * 4687 + b"x" * 16)),
    own("many short ones", ASK * 400),
    own("no HTTP, and long", b"\r\n\r\nGET" * 20000, ok=False),
]


def vector(entry):
    with open(os.path.join(VECTORS, entry["file"]), "rb") as f:
        data = f.read()
    messages = entry["messages"]
    heads = []
    for m in messages if entry["kind"] == "request" else []:
        end = m["at"] + m["head"]
        heads.append((m["at"], end - (2 if data[:end].endswith(b"\r\n") else 1)))
    final = entry["rest"] or any(m["close"] or m["framing"] == "close" or m["upgrade"] or
                                 m.get("method") == "CONNECT" for m in messages)
    to = [m["to"] for m in messages if "to" in m][-1:] or ["GET"]
    ask = head(f"{to[0]} {'h:443' if to[0] == 'CONNECT' else '/'} HTTP/1.1", "Host: h")
    return Message(entry["file"], data, heads, entry["ok"], final, entry["kind"] == "response", ask)


def vectors():
    """The corpus that the parser's tests read too."""
    with open(os.path.join(VECTORS, "index.json"), encoding="utf-8") as f:
        return [vector(entry) for entry in json.load(f)]


MESSAGES = OWN_MESSAGES + vectors()
# What is no response may well be a request: not for clients.
SENT = [m for m in MESSAGES if m.ok or not m.response]
SHORT = [m for m in SENT if len(m.data) <= MOST]


# ---- plans


class Plans:
    """Connections to be made by one run of the program, and what must come of them."""

    def __init__(self, seed=1):
        self.lines, self.messages, self.index, self.expected = [], [], {}, []
        self.random = random.Random(seed)

    def add(self, messages, cuts, call="send", mode="b", options="-", sndbuf=0, client=True):
        exchanges, sent, where, doubt, name, script = [], b"", [], [], [], []
        for m in messages:
            number = self.index.setdefault(m.data, len(self.messages))
            if number == len(self.messages):
                self.messages.append(m.data)
            other = m.answered * len(ANSWER) if client else len(m.ask)
            exchanges.append(f"{number}:{other}")
            where += [len(sent) + w for w in m.where]
            doubt += m.doubt
            sent += m.data
            script.append((len(sent), len(where), m.answered))
            name.append(m.name)
        line = f"{call} {mode} {sndbuf} {options} {self.random.randrange(1 << 30)} {cuts} " \
            + ";".join(exchanges)
        self.lines.append(line)
        self.expected.append((f"{' + '.join(name)} [{line}]", sent, where if client else [],
                              doubt if client and cuts != "none" else [], script))

    def scripts(self, traced):
        """When the peer is to answer: a traced client's requests are longer."""
        return [[(n + traced * inserts * INSERTED, answers) for n, inserts, answers in script]
                for *_, script in self.expected]

    def wanted(self):
        """How many lines are to be inserted in all."""
        return sum(len(where) for _, _, where, *_ in self.expected)

    def write(self, tmp_path):
        with open(tmp_path / "messages", "wb") as f:
            for m in self.messages:
                f.write(b"%d\n" % len(m) + m)
        (tmp_path / "plans").write_text("\n".join(self.lines) + "\n")
        return [str(tmp_path / "messages"), str(tmp_path / "plans")]

    def check(self, records, traced):
        """Everything arrived, and nothing else; the ids that were inserted."""
        found = []
        for (name, sent, where, doubt, _), received in zip(self.expected, records):
            try:
                if traced and doubt and received != sent:
                    inserted(sent, received, where + doubt)
                else:
                    found += inserted(sent, received, where if traced else [])
            except AssertionError as e:
                raise AssertionError(f"{name}: {e}") from None
        assert len({span for _, span, _ in found}) == len(found), "a span id twice"
        return found


def finish(plans, r, end, traced):
    """What the program tells, and the ids that were inserted.

    First the bytes: a peer that waits for bytes that never come explains little.
    """
    try:
        found = plans.check(end.records, traced)
    except AssertionError as e:
        raise AssertionError(f"{e}\nexit {r.rc} {r.out[-300:]} {r.raw_err[:600]}") from None
    assert not end.error, f"the peer: {end.error}"
    assert r.out, f"exit {r.rc}: {r.raw_err[-2000:].decode(errors='replace')}"
    did = json.loads(r.out)
    assert did["illegal"] == 0 and r.rc == 0, did["first"]
    assert len(end.records) == len(plans.lines), f"{len(end.records)} of {len(plans.lines)}"
    return did, found


def as_client(plans, env, tmp_path, traced=True, path=None, slow=0):
    """One run against a peer: (what the program tells, ids inserted, the result)."""
    peer = Peer(plans.scripts(traced), path and str(tmp_path / path), slow)
    try:
        r = run([program("http-split"), "client", peer.address] + plans.write(tmp_path), env, 30)
    finally:
        peer.stop()
        if path:
            os.unlink(tmp_path / path)
    return finish(plans, r, peer, traced) + (r,)


def as_server(plans, conversations, env, tmp_path):
    address = str(harness.free_port())
    asker = Asker(address, conversations)
    try:
        r = run([program("http-split"), "server", address] + plans.write(tmp_path), env, 30)
    finally:
        asker.stop()
    return finish(plans, r, asker, False)[0], r


def exactly_as_bare(did, bare):
    """Where nothing is left to chance, every single return value is the same."""
    assert (did["returns"], did["read"]) == (bare["returns"], bare["read"])
    assert (did["calls"], did["short"]) == (bare["calls"], bare["short"])


def only(**env):
    """These tests look at bytes; spans would be too many."""
    return {**SAMPLED_OFF, **env}


# ---- the checker can fail


def doctored():
    line = b"traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-03\r\n"
    sent = head("POST / HTTP/1.1", "Host: h", "Content-Length: 4", body=b"\r\n\r\n")
    at = request_at(sent, 0)[0]
    right = sent[:at] + line + sent[at:]
    assert inserted(sent, right, [at]) == [("1" * 32, "2" * 16, "03")]
    assert inserted(sent, sent, []) == []
    yield "nothing inserted", sent, sent, [at]
    yield "inserted where nothing was wanted", sent, right, []
    yield "twice", sent, sent[:at] + line + line + sent[at:], [at]
    yield "in the body", sent, sent[:at + 4] + line + sent[at + 4:], [at]
    yield "behind the empty line", sent, sent[:at + 2] + line + sent[at + 2:], [at]
    yield "one line early", sent, sent[:at - 19] + line + sent[at - 19:], [at]
    yield "a byte lost at the end", sent, right[:-1], [at]
    yield "a byte too many", sent, right + b"x", [at]
    yield "a byte twice", sent, right[:5] + right[4:], [at]
    yield "a byte changed in the body", sent, right[:-1] + b"x", [at]
    yield "upper case", sent, right.replace(line, line.replace(b"1", b"A")), [at]
    yield "zero ids", sent, right.replace(b"1" * 32, b"0" * 32), [at]
    yield "no line end", sent, right.replace(line, line[:-2] + b"\n"), [at]
    yield "another version", sent, right.replace(b": 00-", b": 01-"), [at]


@pytest.mark.parametrize("name, sent, received, where", list(doctored()),
                         ids=lambda v: v if isinstance(v, str) else "")
def test_the_checker_sees(name, sent, received, where):
    with pytest.raises(AssertionError):
        inserted(sent, received, where)


def test_a_program_that_is_told_too_little_is_seen(tmp_path):
    """http-split's own check, behind a kernel that sends short where it may not."""
    lib = compiled("http-short.c", "-shared", "-fPIC")
    plans = Plans()
    plans.add([OWN_MESSAGES[0]], "none")
    with pytest.raises(AssertionError, match="returned"):
        as_client(plans, bare_env(LD_PRELOAD=lib, SHORT="3"), tmp_path, traced=False)


def test_the_corpus_is_what_it_should_be():
    assert sum(m.ok and bool(m.heads) for m in MESSAGES) >= 60
    assert sum(m.ok and m.response for m in MESSAGES) >= 30
    assert sum(not m.ok for m in MESSAGES) >= 60
    for m in MESSAGES:
        assert m.heads or m.response or not m.ok, m.name
        for empty in m.heads:
            assert re.match(rb"\n\r?\n", m.data[empty - 1:]), m.name


# ---- clients


def every_cut(mode):
    """Each message once for each place to cut it, by each call in turn."""
    plans = Plans()
    for i, m in enumerate(SENT):
        # a client that sends responses is no HTTP: a few cuts tell as much
        for k, cut in enumerate(m.cuts()[::7 if m.response else 1]):
            if "bn"[(k + i) & 1] == mode or len(m.data) < 300 and m.ok:
                plans.add([m], f"at:{cut}", CALLS[(i + k) % len(CALLS)], mode)
    return plans


@pytest.mark.parametrize("mode", ["b", "n"])
def test_requests_cut_at_every_byte(shim, tmp_path, mode):
    plans = every_cut(mode)
    bare, _, _ = as_client(plans, bare_env(), tmp_path, traced=False)
    did, found, _ = as_client(plans, shim(**only()), tmp_path)
    exactly_as_bare(did, bare)
    assert len(found) == plans.wanted()


def test_two_cuts_around_the_end_of_the_head(shim, tmp_path):
    plans = Plans()
    for i, m in enumerate(m for m in SHORT if m.ok):
        for empty in m.heads[:1]:
            near = [p for p in range(empty - 3, empty + 4) if 0 < p < len(m.data)]
            for k, a in enumerate(near):
                for b in near[k + 1:]:
                    plans.add([m], f"at:{a},{b}", CALLS[(i + a + b) % len(CALLS)])
    bare, _, _ = as_client(plans, bare_env(), tmp_path, traced=False)
    did, _, _ = as_client(plans, shim(**only()), tmp_path)
    exactly_as_bare(did, bare)


def kept(m, n):
    """n times over one connection, where that goes on."""
    return [m] * (n if m.answered and not m.close else 1)


def pieces():
    """Every byte alone, and random pieces, over connections that are kept."""
    plans = Plans(2)
    for i, m in enumerate(SENT):
        calls = (CALLS + ["mixed"])[i % 7:] + (CALLS + ["mixed"])[:i % 7]
        short = len(m.data) <= MOST
        for call in calls[:2] if short else []:
            plans.add([m], "each", call)
        for call in calls[2:4]:
            plans.add(kept(m, 3), "rand:9" if short else "rand:900", call)
        for call in calls[3:6]:
            plans.add(kept(m, 3), "rand:60" if short else "rand:9000", call, "n", "mdur")
        plans.add(kept(m, 3), "none", calls[6], "b", "u")
    return plans


@pytest.mark.parametrize("path", [None, "socket"], ids=["tcp", "unix"])
def test_requests_in_pieces(shim, tmp_path, path):
    plans = pieces()
    bare, _, _ = as_client(plans, bare_env(), tmp_path, traced=False, path=path)
    did, _, _ = as_client(plans, shim(**only()), tmp_path, path=path)
    exactly_as_bare(did, bare)


def test_a_body_by_sendfile(shim, tmp_path):
    plans = Plans()
    for m in OWN_MESSAGES + BIG:
        heads = requests_of(m.data)[:1] if m.ok else []
        for cut in [body for _, body, _ in heads] or range(1, 9, 3):
            if 0 < cut < len(m.data) and m.answered < 2:
                plans.add([m], f"at:{cut}", "sendfile")
    assert len(plans.lines) > 3
    bare, _, _ = as_client(plans, bare_env(), tmp_path, traced=False)
    did, _, _ = as_client(plans, shim(**only()), tmp_path)
    exactly_as_bare(did, bare)


def test_a_head_partly_by_sendfile_is_left_alone(shim, tmp_path):
    """What comes out of a file we do not see: the head stays as it is, or is right."""
    message = OWN_MESSAGES[0]
    plans = Plans()
    for cut in range(1, len(message.data)):
        plans.add([Message("plain", message.data)], f"at:{cut}", "sendfile")
    peer = Peer(plans.scripts(False))
    try:
        r = run([program("http-split"), "client", peer.address] + plans.write(tmp_path),
                shim(**only()))
    finally:
        peer.stop()
    changed = [received for received in peer.records if received != message.data]
    for received in changed:
        inserted(message.data, received, message.where)
    peer.records = [message.data] * len(peer.records)
    finish(plans, r, peer, False)


def test_what_goes_through_a_tunnel_is_left_alone(shim, tmp_path):
    tunnel = own("a tunnel", head("CONNECT h:80 HTTP/1.1", "Host: h:80"))
    inside = Message("inside", ASK + head("POST / HTTP/1.1", "Content-Length: 1", body=b"x"))
    plans = Plans()
    for k, call in enumerate(CALLS):
        plans.add([tunnel, inside, inside], "rand:20", call, "bn"[k & 1])
    bare, _, _ = as_client(plans, bare_env(), tmp_path, traced=False)
    did, _, _ = as_client(plans, shim(**only()), tmp_path)
    exactly_as_bare(did, bare)


@pytest.mark.parametrize("env, wanted", [
    ({"OTEL_PROPAGATORS": "none"}, 0), ({"OTEL_SDK_DISABLED": "true"}, 0),
    ({"OTEL_PROPAGATORS": "tracecontext"}, 1)], ids=["none", "disabled", "tracecontext"])
def test_propagation_can_be_switched_off(shim, tmp_path, env, wanted):
    plans = Plans()
    for m in OWN_MESSAGES:
        plans.add([m], "rand:30", "mixed")
    _, found, _ = as_client(plans, shim(**only(**env)), tmp_path, traced=bool(wanted))
    assert len(found) == plans.wanted() * wanted


# ---- a peer that is slow, a kernel that has no room


def slow_plans(mode, options):
    plans = Plans(3)
    for m in BIG:
        for call in CALLS + ["mixed"]:
            plans.add([m], "rand:20000", call, mode, options, sndbuf=4608)
    return plans


@pytest.mark.parametrize("mode, options, path", [
    ("b", "-", None), ("n", "-", None), ("b", "d", None), ("n", "m", "socket"),
    ("b", "u", "socket"), ("b", "s", None), ("b", "sd", "socket")],
    ids=["blocking", "nonblocking", "dontwait", "unix", "unix blocking", "signals",
         "unix signals"])
def test_a_peer_that_reads_slowly(shim, tmp_path, mode, options, path):
    plans = slow_plans(mode, options)
    for traced, env in (False, bare_env()), (True, shim(**only())):
        did, _, _ = as_client(plans, env, tmp_path, traced=traced, path=path, slow=4096)
        if mode == "n" or "d" in options:
            assert did["blocked"] and did["short"], "the buffer never was full"
        if "s" in options:
            assert did["short"] + did["interrupted"], "no signal ever came in between"


@pytest.mark.parametrize("most", [1, 5, 40])
@pytest.mark.parametrize("mode", ["b", "n"])
def test_a_kernel_that_takes_a_few_bytes(shim, tmp_path, most, mode):
    lib = compiled("http-short.c", "-shared", "-fPIC")
    plans = Plans(most)
    options = "d" if mode == "n" else "sd"
    for i, m in enumerate(SHORT):
        call = (CALLS + ["mixed"])[(i + most) % 7]
        plans.add([m], "none", call, mode, "-" if mode == "n" else "s")
        if m.ok and most > 1:
            plans.add(kept(m, 2), "rand:30", CALLS[(i + most) % 6], mode, options + "u")
    more = {"SHORT": str(most), "SHORT_EINTR": "1" if mode == "b" else None}
    for traced, env in ((False, bare_env(LD_PRELOAD=" ".join(harness.RUNTIMES))),
                        (True, shim(**only()))):
        env["LD_PRELOAD"] = env.get("LD_PRELOAD", "") + " " + lib
        env.update({k: v for k, v in more.items() if v})
        did, _, _ = as_client(plans, env, tmp_path, traced=traced)
        assert did["short"] > len(plans.lines) and did["blocked"] + did["interrupted"] > 20


# ---- servers


def responses(every):
    plans, conversations = Plans(4), []

    def add(m, *args, **kwargs):
        plans.add([m], *args, client=False, **kwargs)
        conversations.append([(m.ask, len(m.data))])
    for i, m in enumerate(MESSAGES):
        if every:
            # what is no response is one message of many: a few cuts tell as much
            for k, cut in enumerate(m.cuts()[::1 if m.response else 13]):
                add(m, f"at:{cut}", CALLS[(i + k) % len(CALLS)], "bn"[k & 1])
            continue
        calls = (CALLS + ["mixed"])[i % 7:] + (CALLS + ["mixed"])[:i % 7]
        if len(m.data) <= MOST:
            add(m, "each", calls[0], options="r")
        for call in calls[1:4]:
            add(m, "rand:30" if len(m.data) <= MOST else "rand:9000", call, "n", "mdur")
        add(m, f"at:{max(1, len(m.data) // 2)}", "sendfile", options="u")
    return plans, conversations


@pytest.mark.parametrize("every", [True, False], ids=["every byte", "pieces"])
def test_responses(shim, tmp_path, every):
    plans, conversations = responses(every)
    bare, _ = as_server(plans, conversations, bare_env(), tmp_path)
    did, _ = as_server(plans, conversations, shim(**only()), tmp_path)
    exactly_as_bare(did, bare)


def test_big_responses_to_a_slow_kernel(shim, tmp_path):
    plans, conversations = Plans(5), []
    for m in BIG:
        for call, mode, options in zip(CALLS + ["mixed"], "bnbnbnb",
                                       ["-", "m", "s", "u", "d", "-", "s"]):
            plans.add([m], "rand:9000", call, mode, options, sndbuf=4608, client=False)
            conversations.append([(ASK, len(m.data))])
    for env in bare_env(), shim(**only()):
        as_server(plans, conversations, env, tmp_path)


# ---- spans


def http_spans(spans, kind):
    return [s for s in spans if s.kind == kind and "http.request.method" in s.attrs]


def test_each_request_is_a_span_and_carries_its_ids(receiver, shim, tmp_path):
    plans = Plans(6)
    for i, m in enumerate(m for m in SHORT if m.ok or not m.heads + m.doubt):
        for k in range(4):
            plans.add([m], f"rand:{10 + 15 * k}", CALLS[(i + k) % len(CALLS)], "bn"[k & 1])
    _, found, r = as_client(plans, shim(**ROOM), tmp_path)
    assert r.total("ring_full") == r.total("bugs") == 0
    spans = http_spans(receiver.wait(r.total("exported")), "CLIENT")
    ids = {(s.trace, s.span) for s in spans}
    assert {(t, s) for t, s, _ in found} <= ids, "sent, and no span"
    theirs = 4 * sum(len(m.heads) - len(m.where) for m in SHORT if m.ok)
    assert len(spans) == len(found) + theirs, "a span without a request"
    assert sum(s.trace == OWN.decode()[3:35] for s in spans) == 12
    for s in spans:
        assert s.attrs["http.response.status_code"] == 204 and s.status == "", s
    assert {flags for _, _, flags in found} == {"03"}


def test_a_server_counts_each_request_once(receiver, shim, tmp_path):
    plans, conversations = Plans(7), []
    ok = head("HTTP/1.1 200 OK", "Content-Length: 0")
    wanted = 0
    for m in SHORT:
        if not m.answered:
            continue
        answer = Message(f"answer to {m.name}", ok * m.answered, response=True, ask=m.data)
        if b"CONNECT " in m.data:
            continue
        for k in range(4):
            answers = [answer] * (1 if m.close else 3)
            plans.add(answers, "rand:20", "mixed", "bn"[k & 1], "r" if k & 2 else "-", client=False)
            conversations.append([(m.data, len(answer.data))] * len(answers))
            wanted += m.answered * len(answers)
    _, r = as_server(plans, conversations, shim(**ROOM), tmp_path)
    spans = http_spans(receiver.wait(r.total("exported")), "SERVER")
    assert len(spans) == wanted and r.total("ring_full") == 0
    for s in spans:
        assert s.attrs["http.response.status_code"] == 200 and s.status == "", s
