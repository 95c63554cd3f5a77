# SPDX-License-Identifier: Apache-2.0
"""A collector with every fault there is: a row each, with what must become of the batch and why.

A program of threads makes connections, sends and receives, and counts them
itself.  Its spans go to faulty.py, which first does what the row says and from
then on is well.  Whatever happens there, the program's output, status and time
are those of a bare run, its memory stays bounded, and each span is somewhere:
at the collector once, counted as rejected, or left in the spool.

TAKEN    the first request was good
AGAIN    a request failed and may be repeated: all spans arrive in the end, each once
REFUSED  the answer is final: counted as rejected, said, not sent again
PART     some were rejected: counted, said if there is something to say, not sent again
KEPT     the collector is no use now: nothing is lost, `autotrace drain` brings it, each once
A row with several of these names what no text decides.
"""
import collections
import concurrent.futures
import os
import re
import signal
import subprocess
import tempfile
import time

import pytest

import faulty as f
import faulty_grpc as g
import harness
import http2
import otlp_json
from faulty import Certificates, Faulty, answer, answered, leave, message, say
from harness import B, ROOT, program, run
from receiver import Violation

TAKEN, AGAIN, REFUSED, PART, KEPT = "taken", "again", "refused", "part", "kept"

THREADS, ROUNDS = 2, 10
N = THREADS * (1 + 2 * ROUNDS)  # connects, sends, receives

# A response of 4 MiB, in a buffer that doubles, besides what a good answer costs.
MEMORY = 16 << 20

# says: in our line on stderr.  gap: seconds before the second request.  lines: ours, at most.
# env: options; those that this build does not have skip the row.
# requests: how many a REFUSED row takes.
Row = collections.namedtuple("Row", "name script outcome why rejected says gap env lines tls requests",
                             defaults=(0, "", 0, {}, 2, None, 1))

OTLP = "OTLP specification, "
RETRYABLE = OTLP + "Failures: 429, 502, 503 and 504 are retryable"
FINAL = OTLP + "Failures: every other 4xx and 5xx MUST NOT be retried"
SUCCESS = OTLP + "Full Success: 200 (we take every 2xx)"
PARTIAL = OTLP + "Partial Success: MUST NOT be retried"
LOST = OTLP + "OTLP/HTTP Connection: no response is retried, with backoff"
THROTTLED = OTLP + "OTLP/HTTP Throttling: Retry-After is honoured"
LARGE = OTLP + "responses: more than 4 MiB is an error that is not retried"
RFC9110 = "RFC 9110, "
RFC9112 = "RFC 9112, "
RFC9113 = "RFC 9113, "
OPEN = "no text decides; nothing is lost or doubled"
SPLIT = "docs/operations.md: a batch too large is sent in halves"
OURS = "docs/operations.md: what nobody took stays in the spool"

BIG = b"x" * (1 << 20)


def statuses():
    for status in 200, 201, 202, 203, 206, 226, 299:
        yield Row(f"status {status}", [answer(status)], TAKEN, SUCCESS)
    for status in 204, 205:
        yield Row(f"status {status}", [say(answered(status, headers={"Content-Type": None,
                  "Content-Length": None if status == 204 else 0}), take=True)], TAKEN,
                  SUCCESS + "; RFC 9110 15.3.5: no body")
    for status in 300, 304, 305, 306:
        yield Row(f"status {status}", [answer(status)], REFUSED, FINAL + "; nor is a 3xx a success",
                  says=str(status))
    for status in (400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 414, 415, 416,
                   417, 418, 421, 422, 423, 424, 425, 426, 428, 431, 451, 499,
                   500, 501, 505, 506, 507, 508, 510, 511, 520, 521, 522, 524, 525, 530, 599):
        yield Row(f"status {status}", [answer(status)], REFUSED, FINAL, says=str(status))
    for status in 429, 502, 503, 504:
        yield Row(f"status {status}", [answer(status)], AGAIN, RETRYABLE, gap=0.7)
    yield Row("status 600", [answer(600)], REFUSED, RFC9110 + "15: no class of its own", says="600")
    yield Row("status 999", [answer(999)], REFUSED, RFC9110 + "15: no class of its own", says="999")
    yield Row("status 503 four times", [answer(503)] * 2 + [answer(429), answer(502)], AGAIN, RETRYABLE,
              env={"AUTOTRACE_EXIT_TIMEOUT": "20000", "OTEL_EXPORTER_OTLP_TIMEOUT": "20000"})
    yield Row("status 503 for ever", [answer(503)] * 50, KEPT, OURS, says="503",
              env={"AUTOTRACE_EXIT_TIMEOUT": "1000"})
    yield Row("status 413", [answer(413)], AGAIN, SPLIT)
    yield Row("status 413 for ever", [answer(413)] * 500, REFUSED, SPLIT + ", down to one span", says="413",
              requests=None)
    too_large = b"http: request body too large"
    yield Row("status 400, too large", [answer(400, b"\x08\x03\x12" + bytes([len(too_large)]) + too_large)], AGAIN,
              SPLIT + "; the Collector says so by 400")
    yield Row("status 400, too large, for ever", [answer(400, too_large, {"Content-Type": "text/plain"})] * 500,
              REFUSED, SPLIT + ", down to one span", says="HTTP 400, http: request body too large; such", requests=None)
    yield Row("status 429, 404", [answer(429), answer(404)], REFUSED, FINAL, says="404", requests=2)
    yield Row("its own words", [answer(400, b"\x08\x03\x12\x0cno such tree")], REFUSED,
              OTLP + "Failures: the body is a google.rpc.Status", says="no such tree")
    yield Row("its own words as text", [answer(400, b"begone\x1b[2J\nsecond", {"Content-Type": "text/plain"})],
              REFUSED, "what comes from outside does not write on a terminal as it likes",
              says=r"begone\x1b[2J")
    yield Row("its own words, a megabyte", [answer(400, b"\x08\x03\x12\x80\x80\x40" + BIG)], REFUSED,
              "a line on stderr has an end", says="400")
    yield Row("its own words, broken", [answer(400, b"\x08\x03\x12\x7fshort")], REFUSED, FINAL, says="400")


def retry_after():
    for name, value, gap in (("seconds", "2", 1.95), ("zero", "0", 0.7), ("a date", lambda: f.http_date(2.5), 1.4),
                             ("a date gone by", lambda: f.http_date(-3600), 0.7), ("no number", "soon", 0.7),
                             ("negative", "-5", 0.7), ("empty", "", 0.7), ("a fraction", "1.5", 0.7),
                             ("twice", "1\r\nRetry-After: 2", 0.7)):
        def throttle(talk, value=value):
            return answered(503, headers={"Retry-After": value() if callable(value) else value})
        yield Row("Retry-After " + name, [say(throttle)], AGAIN, THROTTLED, gap=gap)
    for name, value in (("an hour", "3600"), ("huge", "99999999999999999999999999"),
                        ("a far date", "Fri, 31 Dec 2199 23:59:59 GMT")):
        yield Row("Retry-After " + name, [answer(503, headers={"Retry-After": value})] * 9, KEPT,
                  THROTTLED + ", but no longer than the batch's time", says="503",
                  env={"AUTOTRACE_EXIT_TIMEOUT": "1500"})
    yield Row("Retry-After with 500", [answer(500, headers={"Retry-After": "1"})], REFUSED, FINAL,
              says="500")
    yield Row("Retry-After with 200", [answer(200, headers={"Retry-After": "9"})], TAKEN, SUCCESS)


def successes():
    for name, rejected, text, counted in (("some", 5, "too many", 5), ("all", N, "none of them", N),
                                          ("more than there were", 2**62, "ha", N), ("none", 0, "", 0),
                                          ("a warning", 0, "be careful", 0), ("less than none", -1, "odd", 0),
                                          ("not a word", 3, "", 3)):
        yield Row("partial success: " + name, [answer(200, message(rejected, text))], PART, PARTIAL,
                  rejected=counted, says=text)
    yield Row("partial success: a megabyte of words", [answer(200, message(1, "w" * len(BIG)))], PART,
              PARTIAL + "; a line on stderr has an end", rejected=1, says="www")
    yield Row("partial success: bytes that are no text", [answer(200, b"\x0a\x08\x08\x02\x12\x04a\xff\x1bb")], PART,
              PARTIAL, rejected=2, says="a")
    yield Row("partial success: cut off", [answer(200, message(7, "word")[:-2])], TAKEN,
              SUCCESS + ": a response nobody can read takes nothing back")
    yield Row("unknown fields", [answer(200, b"\xfa\x01\x03abc\x98\x06\x01")], TAKEN, "protobuf: unknown fields")
    yield Row("invalid protobuf", [answer(200, b"\xff" * 99)], TAKEN, SUCCESS)
    yield Row("text/html", [answer(200, b"<html>welcome", {"Content-Type": "text/html"})], TAKEN, SUCCESS)
    yield Row("json for protobuf", [answer(200, b'{"partialSuccess":{"rejectedSpans":"4"}}',
              {"Content-Type": "application/json"})], PART, OTLP + "the response's type should be the request's; it is "
              "read as what it says it is", rejected=4)
    yield Row("no content type", [answer(200, message(2, "x"), {"Content-Type": None})], PART, PARTIAL,
              rejected=2, says="x")
    yield Row("content type with a parameter", [answer(200, message(2, "x"),
              {"Content-Type": "Application/X-Protobuf; charset=binary"})], PART,
              RFC9110 + "8.3.1: case-insensitive", rejected=2, says="x")
    yield Row("no length, close", [say(answered(200, message(1, "y"), {"Content-Length": None}), True, "close")],
              PART, RFC9112 + "6.3", rejected=1, says="y")
    yield Row("chunked", [say(answered(200, b"", {"Content-Length": None, "Transfer-Encoding": "chunked"})
              + b"%x\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(message(1, "z")), message(1, "z")), True)],
              PART, RFC9112 + "7.1", rejected=1, says="z")
    yield Row("gzip that was not asked for", [answer(200, b"\x1f\x8b\x08" + b"\0" * 90,
              {"Content-Encoding": "gzip"})], TAKEN, SUCCESS)
    yield Row("slow bytes", [say(answered(200, message(1, "slow")), True, piece=1, pause=0.005)], PART,
              PARTIAL, rejected=1, says="slow")
    yield Row("reads slowly", [f.slow_reader(64, 0.002)], TAKEN, SUCCESS)
    yield Row("HTTP/1.0", [say(answered(200, version="HTTP/1.0"), True, "close")], TAKEN, RFC9112 + "2.3")
    yield Row("100 first", [say(b"HTTP/1.1 100 Continue\r\n\r\n" + answered(200), True)], TAKEN,
              RFC9110 + "15.2: any number of 1xx may come first")
    yield Row("103 first", [say(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 20 + answered(200), True)], TAKEN,
              RFC9110 + "15.2: any number of 1xx may come first")
    yield Row("closes behind the answer", [say(answered(200), True, "close")], TAKEN, SUCCESS)
    yield Row("resets behind the answer", [say(answered(200, headers={"Connection": "close"}), True,
              "wait_for_their_end")], TAKEN, SUCCESS)


def sizes():
    huge = {"Content-Length": 64 << 20}
    chunk = b"100000\r\n" + BIG + b"\r\n"
    yield Row("4 MiB", [say(answered(200, bytes(4 << 20)), True)], TAKEN, LARGE)
    yield Row("4 MiB and a byte", [say(answered(200, bytes((4 << 20) + 1)), False)], REFUSED, LARGE, says="4 MiB")
    yield Row("64 MiB", [f.endless(answered(200, b"", huge), BIG)], REFUSED, LARGE, says="4 MiB")
    yield Row("chunked without end", [f.endless(answered(200, b"", {"Content-Length": None,
              "Transfer-Encoding": "chunked"}), chunk)], REFUSED, LARGE, says="4 MiB")
    yield Row("64 MiB of a 503", [f.endless(answered(503, b"", huge), BIG)], REFUSED, LARGE, says="4 MiB")
    yield Row("header without end", [f.endless(b"HTTP/1.1 200 OK\r\nX: ", BIG)], AGAIN,
              LOST + "; a head without end is none")
    yield Row("headers without end", [f.endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10000)], AGAIN,
              LOST + "; a head without end is none")
    yield Row("1xx without end", [f.endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 10000)], AGAIN,
              LOST + "; a head without end is none")


def losses():
    for how in "close", "reset":
        for phase in "accept", "head", "body", "sent", "status line", "answer head", "answer body":
            yield Row(f"{how}: {phase}", [leave(phase, how)], AGAIN,
                      LOST + " (RFC 9112 8: an answer cut off is incomplete)", gap=0)
    for name, bytes_ in (("nothing but noise", b"\x00\x01\x02\xff" * 500), ("SSH", b"SSH-2.0-x\r\n"),
                         ("HTTP/2", bytes.fromhex("000000040000000000")), ("HTTP/0.9", b"hello\n"),
                         ("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
                         ("no number", b"HTTP/1.1 OK\r\n\r\n")):
        yield Row("answers " + name, [say(bytes_, then="close")], AGAIN, LOST + ": that is none")
    yield Row("speaks first", [f.raw_at_accept(b"220 mail.example ESMTP\r\n")], AGAIN, LOST)
    yield Row("bad chunk", [say(answered(200, b"", {"Content-Length": None, "Transfer-Encoding": "chunked"})
              + b"zz\r\nxx\r\n", then="close")], AGAIN, LOST + "; RFC 9112 8")
    yield Row("chunks cut off", [say(answered(200, b"", {"Content-Length": None, "Transfer-Encoding": "chunked"})
              + b"40\r\nxx", then="close")], AGAIN, LOST + "; RFC 9112 8")
    yield Row("no length that could be", [say(answered(200, b"", {"Content-Length": "-3"}), then="close")],
              AGAIN, LOST + "; RFC 9112 6.3")
    yield Row("hangs", [f.hang] * 9, KEPT, OURS, env={"AUTOTRACE_EXIT_TIMEOUT": "1000"})
    yield Row("hangs once", [f.hang], AGAIN, OURS + ", and is sent again",
              env={"OTEL_EXPORTER_OTLP_TIMEOUT": "1000", "AUTOTRACE_EXIT_TIMEOUT": "9000"})
    yield Row("drips for ever", [say(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 5000, piece=1, pause=0.01)] * 9, KEPT,
              OURS, env={"AUTOTRACE_EXIT_TIMEOUT": "1500"})


def dead_ends():
    for status in 301, 302, 303, 307, 308:
        yield Row(f"redirect {status}", [answer(status, headers={"Location": "http://127.0.0.1:{trap}/v1/traces"})],
                  REFUSED, FINAL + "; spans go nowhere that the operator did not name", says=str(status))
    yield Row("asks for a password", [answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})], REFUSED,
              FINAL, says="401")
    yield Row("asks for a proxy's password", [answer(407, headers={"Proxy-Authenticate": "NTLM"})], REFUSED,
              FINAL, says="407")
    yield Row("switches protocols", [say(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
              then="close")], AGAIN, RFC9110 + "15.2.2: not without being asked; no final answer")
    yield Row("sets cookies, HSTS, Alt-Svc", [answer(200, headers={"Set-Cookie": "a=b", "Strict-Transport-Security":
              "max-age=9", "Alt-Svc": 'h2="127.0.0.1:1"', "Refresh": "0"})], TAKEN, SUCCESS)


HTTP = [*statuses(), *retry_after(), *successes(), *sizes(), *losses(), *dead_ends()]


# ---- what this build has ----

def table(path=os.path.join(ROOT, "preload", "config.def")):
    with open(path, encoding="utf-8") as file:
        return file.read()


def has_option(name):
    return f'"{name}"' in table()


def has_protocol(name):
    words = re.search(r"^ENUM\(PROTOCOL,(.*?)\)\)", table(), re.M | re.S).group(1)
    return f'"{name}"' in words


def has_exporter(name):
    words = re.search(r"^ENUM\(EXPORTER,(.*?)\)\)", table(), re.M | re.S)
    return f'"{name}"' in (words.group(1) if words else table())


# ---- one row ----

def peak(pid):
    """VmHWM in bytes, 0 when it is gone (or not yet the program)."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            found = re.search(r"^VmHWM:\s*(\d+) kB", file.read(), re.M)
    except OSError:
        return 0
    return int(found.group(1)) << 10 if found else 0


Ran = collections.namedtuple("Ran", "result peak")


def watched(argv, env, timeout=30):
    """run(), and the most memory the program had, looked at every few milliseconds."""
    timeout *= harness.SLOW
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   start_new_session=True)
        most = 0
        while process.poll() is None and time.monotonic() - began < timeout:
            most = max(most, peak(process.pid))
            time.sleep(0.004)
        seconds, late = time.monotonic() - began, process.poll() is None
        harness.end(process, signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        result = harness.Result(argv, process.returncode, out.read(), err.read(), seconds)
    assert not late, f"{argv} still ran after {timeout} s\n{result.raw_err[-4000:]}"
    return Ran(result, most)


def work(echo, rounds=ROUNDS):
    return [program("threads-client"), "echo", str(THREADS), str(rounds), str(echo.port)]


@pytest.fixture(scope="module")
def bare(echo):
    return run(work(echo), harness.bare_env()).ok()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(str(tmp_path_factory.mktemp("certificates")))


@pytest.fixture
def spool(tmp_path):
    os.makedirs(tmp_path / "spool")
    return str(tmp_path / "spool")


def options(collector, spool, **more):
    env = harness.shim_env(collector.endpoint, **{
        "AUTOTRACE_SPOOL_DIR": spool, "OTEL_BSP_SCHEDULE_DELAY": "2000", "AUTOTRACE_EXIT_TIMEOUT": "5000",
        **more})
    env["AUTOTRACE_EXIT_TIMEOUT"] = str(int(env["AUTOTRACE_EXIT_TIMEOUT"]) * harness.SLOW)
    return env


@pytest.fixture(scope="module")
def good_peak(echo, tmp_path_factory):
    """What a run takes whose collector is well."""
    collector = Faulty()
    try:
        ran = watched(work(echo), options(collector, str(tmp_path_factory.mktemp("spool"))))
    finally:
        collector.stop()
    assert len(collector.spans) == N and not collector.violations
    assert ran.peak > 1 << 20
    return ran.peak


def drain(collector, spool, env):
    own = {k: v for k, v in env.items() if k not in ("LD_PRELOAD", "AUTOTRACE_DEBUG")}
    own["AUTOTRACE_EXIT_TIMEOUT"] = "5000"
    return run([os.path.join(B, "autotrace"), "drain"], own, timeout=30)


def each_once(spans):
    ids = {(s.trace, s.span) for s in spans}
    assert len(ids) == len(spans), "a span came twice"
    return len(spans)


def verdict(row, r, collector):
    """What became of the batch, by our counters and by what the collector has."""
    count = {name: r.total(name) for name in
             ("recorded", "exported", "rejected", "left", "failed", "unsent", "requests", "retries")}
    assert count["recorded"] == N and count["failed"] == count["unsent"] == 0, count
    arrived = each_once(collector.spans)
    want = {TAKEN: (N, 0, 0), AGAIN: (N, 0, 0), REFUSED: (0, N, 0), KEPT: (0, 0, N),
            PART: (N - row.rejected, row.rejected, 0)}[row.outcome]
    assert (count["exported"], count["rejected"], count["left"]) == want, (count, r.err)
    if row.outcome in (TAKEN, PART):
        assert arrived == N and collector.requests == 1 and count["retries"] == 0, count
    elif row.outcome == AGAIN:
        # libcurl itself repeats what a server says it did not look at (RFC 9113 8.7).
        assert arrived == N and max(count["requests"], collector.requests) > 1, count
    else:
        assert arrived == 0, "the collector did not take them"
    if row.outcome == REFUSED:
        assert row.requests in (None, collector.requests), count


def decided(row, r):
    """A row that allows several outcomes, as the one it was by our own counters."""
    if isinstance(row.outcome, str):
        return row
    rejected = r.total("rejected")
    was = KEPT if r.total("left") else REFUSED if rejected == N else PART if rejected else \
        AGAIN if r.total("requests") > 1 else TAKEN
    assert was in row.outcome, r.raw_err
    return row._replace(outcome=was, rejected=row.rejected if was == PART else 0)


def judge(row, collector, ran, bare, good_peak, spool, env):
    r = ran.result
    row = decided(row, r)
    assert r.rc == bare.rc and r.out == bare.out, "the program noticed"
    patience = int(env["AUTOTRACE_EXIT_TIMEOUT"]) / 1000
    assert r.seconds < bare.seconds + patience + 1.0 * harness.SLOW
    verdict(row, r, collector)
    lines = r.err.splitlines()
    assert all(re.match(r"autotrace\[\d+\]: ", line) for line in lines) and len(lines) <= row.lines, r.err
    assert all(len(line) < 1000 and line.isprintable() for line in lines), r.err
    assert row.says in r.err, r.err
    if row.outcome in (REFUSED, KEPT) or row.rejected:
        assert lines, "spans that do not arrive are spoken of"
    if row.outcome == TAKEN:
        assert not lines, r.err
    if row.gap and row.outcome == AGAIN:
        gap = collector.request_times[1] - collector.request_times[0]
        assert gap > row.gap, f"tried again after {gap:.2f} s"
    if not harness.SAN:
        assert ran.peak < good_peak + MEMORY, f"{ran.peak >> 10} KiB, {good_peak >> 10} KiB when all is well"
    if row.outcome == KEPT:
        collector.script.clear()
        assert drain(collector, spool, env).rc == 0
        assert each_once(collector.wait(N)) == N, "what was kept arrives"
    assert not collector.violations, collector.violations[:3]


def skip_what_is_not_there(row):
    for name, value in row.env.items():
        if not has_option(name):
            pytest.skip(f"this build has no {name}")
        if name.endswith("PROTOCOL") and not has_protocol(value):
            pytest.skip(f"this build does not speak {value}")


def play_http(row, at):
    skip_what_is_not_there(row)
    trap = Faulty()
    collector = Faulty([redirected(play, trap.port) for play in row.script])
    try:
        env = options(collector, at.spool, **row.env)
        ran = watched(work(at.echo), env)
        judge(row, collector, ran, at.bare, at.good_peak, at.spool, env)
        assert trap.connections == 0, "spans went where nobody sent them"
    finally:
        collector.stop()
        trap.stop()


def redirected(play, port):
    """{trap} in what is said is the port of a server that nobody may call."""
    def wrapped(talk):
        say_, talk.say = talk.say, lambda data, *more: say_(data.replace(b"{trap}", b"%d" % port), *more)
        try:
            play(talk)
        finally:
            talk.say = say_
    wrapped.of_connection = getattr(play, "of_connection", False)
    return wrapped


# ---- TLS ----

# Paths are of Certificates: {ca} is ca.pem, {client.key} the key of client.pem.
CA = {"OTEL_EXPORTER_OTLP_CERTIFICATE": "{ca}"}
QUICK = {"AUTOTRACE_EXIT_TIMEOUT": "1000"}


def client(name, key=None):
    return {**CA, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "{%s}" % name,
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": "{%s.key}" % (key or name)}


RFC9325 = "RFC 9325 and RFC 6125: nothing goes to whom we cannot verify"
MUTUAL = "OTLP exporter specification: Client certificate, Client key"
TLS = [
    Row("good", [], TAKEN, "OTLP exporter specification: Certificate File", env=CA, tls=("server",)),
    Row("gzip", [], TAKEN, "OTLP exporter specification: Certificate File", tls=("server",),
        env={**CA, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}),
    Row("a CA for traces", [], TAKEN, "OTLP exporter specification: the variable for traces wins", tls=("server",),
        env={"OTEL_EXPORTER_OTLP_CERTIFICATE": "{stranger}", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "{ca}"}),
    Row("no CA named", [], KEPT, RFC9325, env={**QUICK, "OTEL_EXPORTER_OTLP_CERTIFICATE": ""}, tls=("server",),
        says="certificate"),
    Row("signed by another", [], KEPT, RFC9325, env={**CA, **QUICK}, tls=("strange",), says="certificate"),
    Row("expired", [], KEPT, RFC9325, env={**CA, **QUICK}, tls=("expired",), says="expired"),
    Row("not yet valid", [], KEPT, RFC9325, env={**CA, **QUICK}, tls=("future",), says="not yet valid"),
    Row("another name", [], KEPT, RFC9325, env={**CA, **QUICK}, tls=("other-name",), says="name"),
    Row("client certificate", [], TAKEN, MUTUAL, env=client("client"), tls=("server", "ca")),
    Row("client certificate for traces", [], TAKEN, MUTUAL, tls=("server", "ca"),
        env={"OTEL_EXPORTER_OTLP_CERTIFICATE": "{ca}", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE": "{client}",
             "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "{client.key}"}),
    Row("client certificate wanted, none given", [], KEPT, MUTUAL, env={**CA, **QUICK}, tls=("server", "ca")),
    Row("client certificate of another CA", [], KEPT, MUTUAL, env={**client("strange-client"), **QUICK},
        tls=("server", "ca")),
    Row("client certificate with another's key", [], KEPT, MUTUAL, env={**client("client", "server"), **QUICK},
        tls=("server", "ca")),
    Row("no such CA file", [], KEPT, RFC9325 + "; never without", tls=("server",),
        env={**QUICK, "OTEL_EXPORTER_OTLP_CERTIFICATE": "{no-such}"}),
    Row("a CA file of noise", [], KEPT, RFC9325 + "; never without", tls=("server",),
        env={**QUICK, "OTEL_EXPORTER_OTLP_CERTIFICATE": "{ca.key}"}),
    Row("noise for a handshake", [f.raw_at_accept(b"\x00\x01\x02\xff" * 500)], AGAIN, LOST, env=CA, tls=("server",)),
    Row("HTTP for a handshake", [f.raw_at_accept(answered(400))], AGAIN, LOST, env=CA, tls=("server",)),
    Row("an alert for a handshake", [f.raw_at_accept(b"\x15\x03\x01\x00\x02\x02\x28")], AGAIN, LOST, env=CA,
        tls=("server",)),
    Row("handshake closed", [leave("accept", "close")], AGAIN, LOST, env=CA, tls=("server",)),
    Row("handshake reset", [leave("accept", "reset")], AGAIN, LOST, env=CA, tls=("server",)),
    Row("handshake never answered", [f.of_connection(lambda talk: talk.wait_for_their_end())] * 9, KEPT, OURS,
        env={**CA, **QUICK}, tls=("server",)),
    Row("reset in the answer", [leave("answer body", "reset")], AGAIN, LOST, env=CA, tls=("server",)),
    Row("closed in the answer", [leave("answer body", "close")], AGAIN, LOST, env=CA, tls=("server",)),
    Row("status 503", [answer(503)], AGAIN, RETRYABLE, env=CA, tls=("server",)),
]


def with_paths(env, certificates):
    def path(m):
        return certificates.path(m.group(1), "") if m.group(1).endswith(".key") else certificates.path(m.group(1))
    return {k: re.sub(r"\{([\w.-]+)\}", path, v) for k, v in env.items()}


def put_in_order(row, collector, env, certificates, alpn=()):
    """As an operator would, in the end: so that what was kept can be drained."""
    if row.outcome == KEPT:
        collector.tls = certificates.server("server", alpn=alpn)
        env["OTEL_EXPORTER_OTLP_CERTIFICATE"] = certificates.path("ca")
        env.pop("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", None)
        env.pop("OTEL_EXPORTER_OTLP_CLIENT_KEY", None)


def play_tls(row, at):
    skip_what_is_not_there(row)
    collector = Faulty(row.script, tls=at.certificates.server(*row.tls))
    try:
        env = options(collector, at.spool, **with_paths(row.env, at.certificates))
        ran = watched(work(at.echo), env)
        assert row.outcome != KEPT or collector.requests == 0, "a head went to nobody we trust"
        put_in_order(row, collector, env, at.certificates)
        judge(row, collector, ran, at.bare, at.good_peak + (4 << 20), at.spool, env)
    finally:
        collector.stop()


# ---- OTLP/JSON ----

AS_JSON = {"Content-Type": "application/json"}


def in_json(text, outcome, why, name, status=200, **more):
    body = text if isinstance(text, bytes) else text.encode("utf-8")
    return Row(name, [answer(status, body, AS_JSON)], outcome, why, **more)


JSON = [
    Row("good", [], TAKEN, SUCCESS),
    Row("gzip", [], TAKEN, SUCCESS, env={"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}),
    in_json("{}", TAKEN, SUCCESS, "empty object"),
    in_json('{"partialSuccess":{}}', TAKEN, SUCCESS, "empty partial success"),
    in_json('{"partialSuccess":{"rejectedSpans":"5","errorMessage":"too \\u00fcgly"}}', PART, PARTIAL, "partial success",
            rejected=5, says="gly"),
    in_json(' {\n"partialSuccess" : { "errorMessage":"n", "rejectedSpans" : 5 } }', PART, PARTIAL,
            "partial success, a number", rejected=5),
    in_json('{"partialSuccess":{"rejectedSpans":"99999999999999999999999"}}', (PART, TAKEN), OPEN, "a number too large",
            rejected=N),
    in_json('{"partialSuccess":{"rejectedSpans":"-1","errorMessage":"odd"}}', PART, PARTIAL, "less than none", says="odd"),
    in_json('{"partialSuccess":{"errorMessage":"\\u001b[2J\\nsecond"}}', PART, "what comes from outside does not "
            "write on a terminal as it likes", "words that move the cursor"),
    in_json('{"partialSuccess":{"rejectedSpans":"5"', (PART, TAKEN), OPEN, "cut off", rejected=5),
    in_json("[" * 100000, TAKEN, SUCCESS, "a hundred thousand brackets"),
    in_json('{"a":' * 100000, TAKEN, SUCCESS, "a hundred thousand objects"),
    in_json("\xff\xfe\0{}", TAKEN, SUCCESS, "no JSON"),
    in_json('{"code":3,"message":"no such tree"}', REFUSED, FINAL, "its own words", 400, says="no such tree"),
    in_json('{"message":{"deep":[1,2]}}', REFUSED, FINAL, "words that are none", 400, says="400"),
    in_json("{}", AGAIN, RETRYABLE, "status 503", 503, gap=0.7),
    Row("lost in the answer", [leave("answer body", "reset")], AGAIN, LOST),
]


def play_json(row, at):
    if not has_protocol("http/json"):
        pytest.skip("this build does not speak http/json")
    collector = Faulty(row.script)
    try:
        env = options(collector, at.spool, **{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", **row.env})
        ran = watched(work(at.echo), env)
        judge(row, collector, ran, at.bare, at.good_peak, at.spool, env)
        assert collector.request_headers[0]["content-type"] == "application/json"
    finally:
        collector.stop()


# ---- gRPC ----

STATUS = "OTLP specification, OTLP/gRPC Response: the retryable codes"
CALL = "gRPC over HTTP/2: "
MAPPED = "gRPC, HTTP to gRPC status mapping: "
RETRYABLE_CODES = (1, 4, 10, 11, 14, 15)
THROTTLE = "OTLP specification, OTLP/gRPC Throttling: RetryInfo"
UNSAID = "verdict.c: no call that failed has a message"


def grpc_statuses():
    for code in range(1, 18):
        outcome = AGAIN if code in RETRYABLE_CODES else REFUSED
        for name, play in ("trailers only", g.trailers_only), ("in trailers", g.grpc_answer):
            yield Row(f"{name}: {code}", [play(code, "so it is")], outcome, STATUS, gap=0.7,
                      says="so it is" if outcome == REFUSED else "")
    yield Row("8 with RetryInfo", [g.trailers_only(8, "", g.details(8, retry=(1, 0)))], AGAIN, THROTTLE, gap=0.95)
    yield Row("8 with RetryInfo, a fraction", [g.trailers_only(8, "", g.details(8, retry=(1, 500000000)))], AGAIN,
              THROTTLE, gap=1.4)
    yield Row("8 with RetryInfo of nothing", [g.trailers_only(8, "", g.details(8, retry=(0, 0)))], AGAIN, THROTTLE)
    yield Row("8 with other details", [g.trailers_only(8, "", g.details(8, other=True))], REFUSED, THROTTLE)
    yield Row("8 with several details", [g.trailers_only(8, "", g.details(8, "busy", (1, 0), other=True))], AGAIN,
              THROTTLE, gap=0.95)
    yield Row("8 with details unpadded", [g.trailers_only(8, "", g.details(8, "!", (1, 0), padding=False))], AGAIN,
              CALL + "binary headers MUST be accepted without padding", gap=0.95)
    yield Row("8 with details that are none", [g.trailers_only(8, "", "!!!not base64!!!")], REFUSED, THROTTLE)
    yield Row("8 with details cut off", [g.trailers_only(8, "", g.details(8, "text", (9, 0))[:20])], REFUSED, THROTTLE)
    yield Row("14 with RetryInfo", [g.trailers_only(14, "", g.details(14, retry=(2, 0)))], AGAIN, THROTTLE, gap=1.95)
    yield Row("14 with RetryInfo in trailers", [g.grpc_answer(14, "", None, g.details(14, retry=(2, 0)))], AGAIN,
              THROTTLE, gap=1.95)
    yield Row("14 with RetryInfo of an hour", [g.trailers_only(14, "", g.details(14, retry=(3600, 0)))] * 9, KEPT,
              THROTTLE + ", but no longer than the batch's time", env={"AUTOTRACE_EXIT_TIMEOUT": "1500"})
    yield Row("14 with RetryInfo of 300000 years", [g.trailers_only(14, "", g.details(14, retry=(1 << 62, 0)))] * 9,
              KEPT, THROTTLE + ", but no longer than the batch's time", env={"AUTOTRACE_EXIT_TIMEOUT": "1500"})
    yield Row("14 with RetryInfo below nothing", [g.trailers_only(14, "", g.details(14, retry=(-5, 0)))], AGAIN,
              THROTTLE, gap=0.7)
    yield Row("3 with RetryInfo", [g.trailers_only(3, "", g.details(3, retry=(1, 0)))], REFUSED, STATUS)
    yield Row("14 for ever", [g.trailers_only(14)] * 50, KEPT, OURS, env={"AUTOTRACE_EXIT_TIMEOUT": "1000"})
    yield Row("14, then 3", [g.trailers_only(14), g.trailers_only(3, "no")], REFUSED, STATUS, says="no",
              requests=2)


def grpc_answers():
    yield Row("good", [], TAKEN, "OTLP specification, OTLP/gRPC Full Success")
    yield Row("gzip", [], TAKEN, CALL + "Message-Encoding", env={"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"})
    yield Row("application/grpc+proto", [g.grpc_answer(0, fields=[(":status", "200"),
              ("content-type", "application/grpc+proto")])], TAKEN, CALL + "Content-Type")
    for name, rejected, text, counted in (("some", 5, "too many", 5), ("all", N, "none of them", N),
                                          ("more than there were", 2**62, "ha", N), ("a warning", 0, "careful", 0)):
        yield Row("partial success: " + name, [g.grpc_answer(0, body=message(rejected, text))], PART, PARTIAL,
                  rejected=counted, says=text)
    yield Row("trailers only: 0", [g.steps(("fields", g.GRPC + [("grpc-status", "0")], True), take=True)],
              TAKEN, CALL + "status 0 is success")
    yield Row("no message", [g.grpc_answer(0, raw=b"")], TAKEN, CALL + "status 0 is success")
    yield Row("invalid protobuf", [g.grpc_answer(0, body=b"\xff" * 30)], TAKEN, SUCCESS)
    yield Row("a message cut off", [g.grpc_answer(0, raw=http2.message(b"abc", length=99))], TAKEN, SUCCESS)
    yield Row("a message of 4 GiB, it says", [g.grpc_answer(0, raw=http2.message(b"abc", length=2**32 - 1))], TAKEN,
              SUCCESS + "; nothing is allocated by another's word")
    yield Row("two messages", [g.grpc_answer(0, raw=http2.message(message(1, "a")) + http2.message(message(2, "b")))],
              (PART, TAKEN), OPEN, rejected=1)
    yield Row("a compressed message", [g.grpc_answer(0, raw=http2.message(b"\x1f\x8bxx", compressed=1))], TAKEN,
              SUCCESS + ": a response nobody can read takes nothing back")
    yield Row("more than 4 MiB", [g.grpc_answer(0, take=False, raw=http2.message(bytes(5 << 20)))], REFUSED, LARGE,
              says="4 MiB")
    yield Row("words in percent", [g.grpc_answer(3, "100% \x1b[2J\nsecond \u00fc")], REFUSED,
              CALL + "Percent-Encoded; what comes from outside does not write on a terminal as it likes", says="100%")
    yield Row("words that no header can have", [g.grpc_answer(3, b"\x1b[2J\nsecond")], (REFUSED, AGAIN),
              RFC9113 + "8.2.1; " + OPEN)
    yield Row("words of 60 KB", [g.grpc_answer(3, "w" * 15000)], REFUSED, "a line on stderr has an end", says="ww")
    yield Row("unknown headers", [g.grpc_answer(0, fields=g.GRPC + [("x", "y")], more=[("x-bin", "AA==")])], TAKEN,
              CALL + "Custom-Metadata")
    yield Row("100 first", [g.steps(("fields", [(":status", "103")]), ("fields", g.GRPC), ("data",
              http2.message(message())), ("trailers", 0), take=True)], TAKEN, RFC9110 + "15.2")
    yield Row("slowly", [g.steps(("fields", g.GRPC), 0.2, ("data", http2.message(message())), 0.2, ("trailers", 0),
              take=True)], TAKEN, SUCCESS)
    yield Row("byte by byte", [g.steps(("fields", g.GRPC), *(("data", bytes([b])) for b in http2.message(
              message(1, "x"))), ("trailers", 0), take=True)], PART, PARTIAL, rejected=1, says="x")
    # What comes without a status.
    yield Row("no status", [g.grpc_answer(None, body=message(), take=True)], TAKEN, UNSAID)
    yield Row("no trailers", [g.steps(("fields", g.GRPC), ("data", http2.message(message()), True), take=True)], TAKEN,
              UNSAID)
    yield Row("no status, no message", [g.steps(("fields", g.GRPC, True))], AGAIN, LOST + ": this is none")
    yield Row("no end", [g.steps(("fields", g.GRPC), ("data", http2.message(message())))] * 9, KEPT, OURS,
              env={"AUTOTRACE_EXIT_TIMEOUT": "1000"})
    yield Row("status that is no number", [g.grpc_answer("zero", body=message())], (REFUSED, AGAIN),
              CALL + "then it is UNKNOWN; " + OPEN)
    yield Row("status that is empty", [g.grpc_answer("", body=message())], (REFUSED, AGAIN),
              CALL + "then it is UNKNOWN; " + OPEN)
    yield Row("status 4294967296", [g.grpc_answer(1 << 32, body=message())], (REFUSED, AGAIN),
              CALL + "then it is UNKNOWN; " + OPEN)
    for status in 400, 401, 403, 404, 405, 415, 500, 501, 301, 307:
        yield Row(f"HTTP {status}", [g.steps(("fields", [(":status", str(status)), ("location", "/elsewhere")], True))],
                  REFUSED, MAPPED + "none that is retryable", says=str(status))
    for status in 429, 502, 503, 504:
        yield Row(f"HTTP {status}", [g.steps(("fields", [(":status", str(status))], True))], AGAIN,
                  MAPPED + "UNAVAILABLE", gap=0.7)
    yield Row("HTTP 503 with status 3", [g.trailers_only(3, "no", fields=[(":status", "503")])], (REFUSED, AGAIN), OPEN)
    yield Row("text/html", [g.steps(("fields", [(":status", "200"), ("content-type", "text/html")]),
              ("data", b"<html>welcome", True))], (REFUSED, AGAIN), CALL + "Content-Type; then it is UNKNOWN; " + OPEN)


def grpc_losses():
    for how in "close", "reset":
        for phase in "accept", "preface", "settings", "head", "sent", "answer head", "half a frame", "message":
            yield Row(f"{how}: {phase}", [g.leave_grpc(phase, how)], AGAIN, LOST)
    for code in range(14):
        retry = code in (g.REFUSED_STREAM, g.CANCEL)
        yield Row(f"RST_STREAM {code}", [g.rst(code)], AGAIN if retry else (AGAIN, REFUSED),
                  CALL + ("Errors: UNAVAILABLE, CANCELLED" if retry else "Errors; " + OPEN))
    yield Row("RST_STREAM behind headers", [g.rst(g.INTERNAL_ERROR, [lambda t: t.fields(g.GRPC)])], (AGAIN, REFUSED),
              CALL + "Errors; " + OPEN)
    yield Row("RST_STREAM behind a 400", [g.steps(("fields", [(":status", "400")]), ("rst", g.INTERNAL_ERROR))], REFUSED,
              MAPPED + "INTERNAL; what was said before counts", says="400")
    yield Row("RST_STREAM behind a 503", [g.steps(("fields", [(":status", "503"), ("retry-after", "2")]),
              ("rst", g.INTERNAL_ERROR))], AGAIN, MAPPED + "UNAVAILABLE; what was said before counts", gap=1.7)
    yield Row("RST_STREAM before the body", [g.unread(g.rst(g.REFUSED_STREAM))], AGAIN, CALL + "Errors: UNAVAILABLE")
    yield Row("RST_STREAM behind the status", [g.steps(("fields", g.GRPC), ("data", http2.message(message())),
              ("trailers", 0), ("rst", 0), take=True)], TAKEN, RFC9113 + "8.1")
    yield Row("GOAWAY first", [g.early(g.steps(("preface",), ("goaway", 0), 0.1, ("close",)))], AGAIN, RFC9113 + "6.8")
    yield Row("GOAWAY, not this one", [g.steps(("goaway", 0), 0.1, ("close",))], AGAIN, RFC9113 + "6.8")
    yield Row("GOAWAY, this one still", [g.steps(("goaway", 1), ("fields", g.GRPC), ("data", http2.message(message())),
              ("trailers", 0), 0.1, ("close",), take=True)], TAKEN, RFC9113 + "6.8: up to the last stream it answers")
    yield Row("GOAWAY, announced", [g.steps(("goaway", 2**31 - 1), ("fields", g.GRPC), ("data", http2.message(message())),
              ("trailers", 0), ("goaway", 1), take=True)], TAKEN, RFC9113 + "6.8")
    yield Row("GOAWAY, this one still, and in part", [g.steps(("goaway", 1), ("fields", g.GRPC), ("data",
              http2.message(message(4, "late"))), ("trailers", 0), take=True)], PART, PARTIAL, rejected=4, says="late")
    yield Row("GOAWAY, this one fails", [g.steps(("goaway", 1), ("fields", g.GRPC), ("trailers", 14))], AGAIN, STATUS)
    yield Row("GOAWAY behind the answer", [g.steps(("fields", g.GRPC), ("data", http2.message(message())),
              ("trailers", 0), ("goaway", 1), ("close",), take=True)], TAKEN, RFC9113 + "6.8")
    yield Row("GOAWAY, calm down", [g.steps(("goaway", 0, g.ENHANCE_YOUR_CALM, b"too_many_pings"), 0.1, ("close",))],
              AGAIN, RFC9113 + "6.8")
    yield Row("HTTP/1.1", [g.early(lambda t: (t.say(answered(400)), time.sleep(0.05), t.close()))], AGAIN, LOST)
    yield Row("noise", [g.early(lambda t: (t.say(b"\xff" * 999), time.sleep(0.05), t.close()))], AGAIN, LOST)
    yield Row("bad HPACK", [g.raw((http2.HEADERS, http2.END_HEADERS, None, b"\xff\xff\xff\xff\xff"))], AGAIN, LOST)
    yield Row("a frame too large", [g.raw((http2.DATA, 0, None, bytes(1 << 20)))], AGAIN, LOST)
    yield Row("DATA before HEADERS", [g.raw((http2.DATA, 0, None, b"abc"), then="close")], AGAIN, LOST)
    yield Row("a stream nobody opened", [g.raw((http2.HEADERS, http2.END_HEADERS, 77, b"\x88"), then="close")], AGAIN,
              LOST)
    yield Row("PUSH_PROMISE", [g.raw((http2.PUSH_PROMISE, http2.END_HEADERS, None, b"\0\0\0\2\x88"), then="close")],
              AGAIN, LOST)
    yield Row("unknown frames", [lambda t: (t.say(http2.frame(0x42, 0xff, t.stream, b"?") * 50),
              g.grpc_answer(0)(t))], TAKEN, RFC9113 + "4.1: ignored")
    yield Row("many SETTINGS and PINGs", [lambda t: (t.say((http2.frame(http2.SETTINGS) + http2.frame(http2.PING,
              payload=bytes(8))) * 200), g.grpc_answer(0)(t))], TAKEN, RFC9113 + "6.5, 6.7")
    yield Row("a small window", [g.early(g.steps(("preface", [(4, 100)]))), ], TAKEN, RFC9113 + "6.9")
    yield Row("no window at first", [g.early(g.steps(("preface", [(4, 0)]), 0.3, ("say", http2.frame(
              http2.SETTINGS, payload=b"\0\4\0\1\0\0"))))], TAKEN, RFC9113 + "6.9.2")
    yield Row("no streams", [g.early(g.steps(("preface", [(3, 0)])))] * 9, (KEPT, TAKEN),
              RFC9113 + "6.5.2, unless it was sent before", env={"AUTOTRACE_EXIT_TIMEOUT": "1000"})
    yield Row("hangs", [g.steps(("wait_for_their_end",))] * 9, KEPT, OURS, env={"AUTOTRACE_EXIT_TIMEOUT": "1000"})
    yield Row("never a preface", [g.early(g.steps(("wait_for_their_end",)))] * 9, KEPT, OURS,
              env={"AUTOTRACE_EXIT_TIMEOUT": "1000"})
    yield Row("headers without end", [g.endless_headers], AGAIN, LOST + "; a head without end is none")
    yield Row("headers of 200 KB", [g.grpc_answer(0, fields=g.GRPC + [("x%d" % i, "y" * 1000) for i in range(12)])],
              TAKEN, SUCCESS)


GRPC = [*grpc_statuses(), *grpc_answers(), *grpc_losses()] if http2.hpack else []
GRPC_TLS = [row for row in TLS if row.script == []]


def needs_grpc():
    if not http2.hpack:
        pytest.skip("no python3-hpack")
    if not has_protocol("grpc"):
        pytest.skip("this build does not speak grpc")


def play_grpc(row, at):
    needs_grpc()
    collector = Faulty(row.script, peer=g.grpc_peer)
    try:
        env = options(collector, at.spool, **{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **row.env})
        ran = watched(work(at.echo), env)
        judge(row, collector, ran, at.bare, at.good_peak, at.spool, env)
    finally:
        collector.stop()


def play_grpc_tls(row, at):
    needs_grpc()
    skip_what_is_not_there(row)
    collector = Faulty(row.script, tls=at.certificates.server(*row.tls, alpn=["h2"]), peer=g.grpc_peer)
    try:
        env = options(collector, at.spool, **with_paths({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **row.env}, at.certificates))
        ran = watched(work(at.echo), env)
        assert row.outcome != KEPT or collector.requests == 0, "a head went to nobody we trust"
        put_in_order(row, collector, env, at.certificates, alpn=["h2"])
        judge(row, collector, ran, at.bare, at.good_peak + (4 << 20), at.spool, env)
    finally:
        collector.stop()


# ---- the rows, several at a time ----

At = collections.namedtuple("At", "echo bare good_peak certificates spool")
PLAYS = {"test_http": play_http, "test_tls": play_tls, "test_json": play_json, "test_grpc": play_grpc,
         "test_grpc_tls": play_grpc_tls}
AT_A_TIME = 4  # most of a row is waiting for the second attempt


@pytest.fixture(scope="module")
def played(request, echo, bare, good_peak, certificates, tmp_path_factory):
    """played(row): its verdict.  All rows that are to be run are under way from the first one on."""
    folder = tmp_path_factory.mktemp("rows")
    verdicts = {}
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        for number, item in enumerate(request.session.items):
            if item.module is request.module and item.originalname in PLAYS:
                spool, row = folder / str(number), item.callspec.params["row"]
                os.makedirs(spool)
                verdicts[item.originalname, row.name] = pool.submit(
                    PLAYS[item.originalname], row, At(echo, bare, good_peak, certificates, str(spool)))
        yield lambda test, row: verdicts[test, row.name].result(120 * harness.SLOW)
        for verdict in verdicts.values():
            verdict.cancel()
    reports = harness.sanitizer_reports()
    assert not reports, reports[:6000]


def some(rows):
    """All; with a sanitizer, which takes its time, one for each reason."""
    return list({(row.outcome, row.why): row for row in rows}.values()) if harness.SAN else rows


@pytest.mark.parametrize("row", some(HTTP), ids=lambda row: row.name)
def test_http(row, played):
    played("test_http", row)


@pytest.mark.parametrize("row", some(TLS), ids=lambda row: row.name)
def test_tls(row, played):
    played("test_tls", row)


@pytest.mark.parametrize("row", some(JSON), ids=lambda row: row.name)
def test_json(row, played):
    played("test_json", row)


@pytest.mark.parametrize("row", some(GRPC), ids=lambda row: row.name)
def test_grpc(row, played):
    played("test_grpc", row)


@pytest.mark.parametrize("row", some(GRPC_TLS), ids=lambda row: row.name)
def test_grpc_tls(row, played):
    played("test_grpc_tls", row)


# ---- several batches ----

EACH = N // 3  # spans of one batch
SEVERAL = [
    ("closed between batches", [say(answered(200), True, "close")] * 2, 0, 3,
     RFC9112 + "9.3: a connection may be closed at any time"),
    ("reset between batches", [say(answered(200, headers={"X": "y"}), True, "reset_soon")] * 2, 0, 3,
     RFC9112 + "9.3: a connection may be closed at any time"),
    ("an answer too many", [say(answered(200) + answered(400), True)], 0, 3,
     RFC9112 + "9.2: what nobody asked for is not the answer of the next"),
    ("the middle one is refused", [answer(200), answer(400)], EACH, 3, FINAL),
    ("the middle one is throttled", [answer(200), answer(429)], 0, 4, RETRYABLE),
    ("the first is lost", [leave("sent", "reset")], 0, 4, LOST),
    ("the last is rejected in part", [answer(200), answer(200), answer(200, message(5, "why"))], 5, 3, PARTIAL),
    ("one fault after another", [answer(503), answer(200), leave("body", "close"), leave("accept", "reset"),
                                 answer(404), leave("answer body", "close"), answer(502)], EACH, None,
     "all of them together"),
]


@pytest.mark.parametrize("name,script,rejected,requests,why", SEVERAL, ids=[row[0] for row in SEVERAL])
def test_several_batches(name, script, rejected, requests, why, echo, bare, spool):
    collector = Faulty(script)
    try:
        r = run(work(echo), options(collector, spool, OTEL_BSP_MAX_EXPORT_BATCH_SIZE=str(EACH),
                                    AUTOTRACE_EXIT_TIMEOUT="20000"), timeout=40).ok()
        assert r.out == bare.out
        assert (r.total("exported"), r.total("rejected"), r.total("left")) == (N - rejected, rejected, 0), r.err
        partial = rejected % EACH  # these the collector has, and says it has not
        assert each_once(collector.spans) == N - rejected + partial
        assert requests in (None, collector.requests), why
        assert not collector.violations
    finally:
        collector.stop()


# ---- the judge ----

@pytest.mark.parametrize("row", [
    Row("a loss", [say(answered(200))], TAKEN, "said it took them"),
    Row("a double", [say(answered(503), take=True)], AGAIN, "took them and said no"),
    Row("refused for taken", [answer(400)], TAKEN, ""),
    Row("taken for refused", [answer(200)], REFUSED, ""),
    Row("another count", [answer(200, message(2, "x"))], PART, "", rejected=3),
    Row("other words", [answer(400)], REFUSED, "", says="it rains"),
    Row("too early", [answer(503)], AGAIN, "", gap=3),
    Row("a line too many", [answer(400)], REFUSED, "", lines=0),
], ids=lambda row: row.name)
def test_the_judge_can_fail(row, echo, bare, good_peak, spool):
    collector = Faulty(row.script)
    try:
        env = options(collector, spool)
        ran = watched(work(echo), env)
        with pytest.raises(AssertionError):
            judge(row, collector, ran, bare, good_peak, spool, env)
    finally:
        collector.stop()


def test_the_judge_sees_memory_time_and_status(echo, bare, good_peak, spool):
    row = Row("good", [], TAKEN, "")
    collector = Faulty()
    try:
        env = options(collector, spool)
        ran = watched(work(echo), env)
        judge(row, collector, ran, bare, good_peak, spool, env)
        r = ran.result
        for worse in (Ran(r, ran.peak + 2 * MEMORY),
                      Ran(harness.Result(r.argv, 1, r.out, r.raw_err, r.seconds), ran.peak),
                      Ran(harness.Result(r.argv, 0, r.out + b"x", r.raw_err, r.seconds), ran.peak),
                      Ran(harness.Result(r.argv, 0, r.out, r.raw_err, r.seconds + 60), ran.peak)):
            if worse.peak > ran.peak and harness.SAN:
                continue
            with pytest.raises(AssertionError):
                judge(row, collector, worse, bare, good_peak, spool, env)
    finally:
        collector.stop()


@pytest.mark.parametrize("text,why", [
    ('{"resource_spans":[]}', "lowerCamelCase"), ('{"resourceSpans":[],"resourceSpans":[]}', "twice"),
    ('{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"AAAAAAAAAAAAAAAAAAAAAA=="}]}]}]}', "hexadecimal"),
    ('{"resourceSpans":[{"scopeSpans":[{"spans":[{"spanId":"0a0b"}]}]}]}', "spanId"),
    ('{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_CLIENT"}]}]}]}', "not a number"),
    ('{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"soon"}]}]}]}', "no OTLP/JSON"),
    ('{"resourceSpans":[{"news":1}]}', "no OTLP/JSON"), ('{"resourceSpans":[', "no OTLP/JSON"),
])
def test_the_reader_of_json_can_fail(text, why):
    with pytest.raises(Violation, match=why):
        otlp_json.to_binary(text.encode("utf-8"))
    assert otlp_json.to_binary(b'{"resourceSpans":[]}') == b""
