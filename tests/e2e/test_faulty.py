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
"""
import collections
import json
import os
import re
import signal
import subprocess
import tempfile
import time

import pytest

import faulty as f
import harness
from faulty import Certificates, Faulty, answer, answered, leave, message, say
from harness import B, ROOT, program, run

TAKEN, AGAIN, REFUSED, PART, KEPT = "taken", "again", "refused", "part", "kept"

THREADS, ROUNDS = 2, 10
N = THREADS * (1 + 2 * ROUNDS)  # connects, sends, receives

# A response of 4 MiB, in a buffer that doubles, besides what a good answer costs.
MEMORY = 16 << 20

# says: in our line on stderr.  gap: seconds before the second request.  lines: ours, at most.
# env: options; those that this build does not have skip the row.
Row = collections.namedtuple("Row", "name script outcome why rejected says gap env lines tls",
                             defaults=(0, "", 0, {}, 2, None))

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
    for status in (400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416,
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
              env={"AUTOTRACE_EXIT_TIMEOUT": "500"})
    yield Row("status 429, 404", [answer(429), answer(404)], REFUSED, FINAL, says="404")
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
                  env={"AUTOTRACE_EXIT_TIMEOUT": "700"})
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
              {"Content-Type": "application/json"})], TAKEN, OTLP + "the response's type is the request's")
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
    yield Row("hangs", [f.hang] * 9, KEPT, OURS, env={"AUTOTRACE_EXIT_TIMEOUT": "500"})
    yield Row("hangs once", [f.hang], AGAIN, OURS + ", and is sent again",
              env={"OTEL_EXPORTER_OTLP_TIMEOUT": "1000", "AUTOTRACE_EXIT_TIMEOUT": "9000"})
    yield Row("drips for ever", [say(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 5000, piece=1, pause=0.01)] * 9, KEPT,
              OURS, env={"AUTOTRACE_EXIT_TIMEOUT": "700"})


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
    return harness.shim_env(collector.endpoint, **{
        "AUTOTRACE_SPOOL_DIR": spool, "OTEL_BSP_SCHEDULE_DELAY": "2000", "AUTOTRACE_EXIT_TIMEOUT": "5000",
        **more})


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
        assert arrived == N and count["retries"] + (collector.requests > 1) > 0, count
    else:
        assert arrived == 0, "the collector did not take them"
    if row.outcome == REFUSED:
        assert collector.requests == 1 + sum(a in (429, 502, 503, 504) for a in refused_later(row)), count


def refused_later(row):
    """Statuses in the row's name before the last: '429, 404'."""
    return [int(s) for s in re.findall(r"\d{3}", row.name.split("status ")[1])][:-1] \
        if row.name.startswith("status ") else []


def judge(row, collector, ran, bare, good_peak, spool, env):
    r = ran.result
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


@pytest.mark.parametrize("row", HTTP, ids=lambda row: row.name)
def test_http(row, echo, bare, good_peak, spool):
    skip_what_is_not_there(row)
    trap = Faulty()
    collector = Faulty([redirected(play, trap.port) for play in row.script])
    try:
        env = options(collector, spool, **row.env)
        ran = watched(work(echo), env)
        judge(row, collector, ran, bare, good_peak, spool, env)
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
QUICK = {"AUTOTRACE_EXIT_TIMEOUT": "500"}


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


@pytest.mark.parametrize("row", TLS, ids=lambda row: row.name)
def test_tls(row, echo, bare, good_peak, spool, certificates):
    skip_what_is_not_there(row)
    collector = Faulty(row.script, tls=certificates.server(*row.tls))
    try:
        env = options(collector, spool, **with_paths(row.env, certificates))
        ran = watched(work(echo), env)
        assert row.outcome != KEPT or collector.requests == 0, "a head went to nobody we trust"
        if row.outcome == KEPT:  # until somebody puts it in order
            collector.tls = certificates.server("server")
            env["OTEL_EXPORTER_OTLP_CERTIFICATE"] = certificates.path("ca")
            env.pop("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", None)
            env.pop("OTEL_EXPORTER_OTLP_CLIENT_KEY", None)
        judge(row, collector, ran, bare, good_peak + (4 << 20), spool, env)
    finally:
        collector.stop()


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
