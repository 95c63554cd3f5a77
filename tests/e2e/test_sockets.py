# SPDX-License-Identifier: Apache-2.0
"""Raw socket calls: behaviour untouched, and each operation one span."""
import collections
import socket

import pytest

import harness
from harness import bare_env, compiled, program, run
from spans import counted, golden, line, tree

CASES = ["tcp4", "tcp6", "unix", "udp", "errors", "numbers", "fortify", "bad"]


@pytest.mark.parametrize("endpoint", ["up", "closed", "disabled", "all", "none"])
def test_every_call_returns_what_it_returns_bare(receiver, shim, endpoint):
    bare = run([program("sockets")], bare_env()).ok()
    more = {"up": {}, "closed": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
                       "OTEL_LOG_LEVEL": "none"},
            "disabled": {"OTEL_SDK_DISABLED": "true"},
            "all": {"AUTOTRACE_SOCKET_SPANS": "all"},
            "none": {"AUTOTRACE_SOCKET_SPANS": "none"}}[endpoint]
    traced = run([program("sockets")], shim(AUTOTRACE_DEBUG=None, **more)).ok()
    assert traced.out.decode().splitlines() == bare.out.decode().splitlines()
    assert traced.raw_err == bare.raw_err


def read_truth(path):
    """name transport role bytes error -> Counter; '?' is left open."""
    return [tuple(one.split()) for one in path.read_text().splitlines()]


def as_truth(span):
    a = span.attrs
    if span.name.startswith("socket connect"):
        name, moved = "connect", 0
    else:
        name = span.name
        moved = a.get("autotrace.bytes_sent", a.get("autotrace.bytes_received", 0))
    assert (span.status == "ERROR") == ("error.type" in a), line(span)
    return (name, a["network.transport"], span.kind, str(moved), a.get("error.type", "-"))


@pytest.mark.parametrize("case", [c for c in CASES if c != "bad"])
def test_spans_are_the_operations(receiver, shim, tmp_path, case):
    truth = tmp_path / "truth"
    r = run([program("sockets"), case], shim(TRUTH=str(truth))).ok()
    did = read_truth(truth)
    wanted = [t for t in did if t[0] != "dgram-connect"]
    # connect() of a datagram socket talks to nobody: a span of it is neither asked for nor wrong
    optional = [("connect",) + t[1:] for t in did if t[0] == "dgram-connect"]
    found = [as_truth(s) for s in receiver.wait(len(wanted))]

    def without_role(operations):
        return collections.Counter(o[:2] + o[3:] for o in operations)
    assert without_role(found) - without_role(wanted) - without_role(optional) == {}, "invented"
    assert without_role(wanted) - without_role(found) == {}, "lost"
    roles = collections.Counter(t for t in wanted if t[2] != "?")
    assert roles - collections.Counter(found) == {}, "another kind"
    assert r.total("ring_full") == r.total("bugs") == 0
    assert r.total("exported") == len(found) == r.total("recorded")


@pytest.mark.parametrize("case", CASES)
def test_spans_as_text(receiver, shim, case):
    run([program("sockets"), case], shim()).ok()
    pid = [s.resource["process.pid"] for s in receiver.spans][:1]
    golden(tree(receiver.spans, [(f".{pid[0]}" if pid else "-", ".<pid>")]), "sockets-" + case)


def test_no_raw_spans_when_none_are_wanted(receiver, shim):
    run([program("sockets")], shim(AUTOTRACE_SOCKET_SPANS="none")).ok()
    assert not [s for s in receiver.spans if s.name in ("send", "recv", "accept")]


def test_connect_lasts_until_it_is_established(receiver, shim, tmp_path):
    """A full backlog delays the connection; the span shows it, though connect() came back."""
    with socket.socket() as l:
        l.bind(("127.0.0.1", 0))
        l.listen(4)
        code = ("import socket, select, time\n"
                "s = socket.socket(); s.setblocking(False)\n"
                f"assert s.connect_ex(('127.0.0.1', {l.getsockname()[1]})) in (0, 115)\n"
                "select.select([], [s], [], 2)\n"
                "assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0\n")
        run(["/usr/bin/python3", "-c", code], shim()).ok()
    span, = receiver.wait(1)
    assert span.name.startswith("socket connect 127.0.0.1:") and span.kind == "INTERNAL"
    assert 0 < span.end - span.start < 1e9


def test_no_plt(receiver, shim):
    bare = run([program("noplt")], bare_env()).ok()
    traced = run([program("noplt")], shim()).ok()
    assert traced.out == bare.out
    wanted = collections.Counter()
    for i, n in enumerate(bare.out.split()):
        wanted[("recv" if i % 2 else "send", int(n))] += 1
    spans = receiver.wait(8)
    assert wanted == collections.Counter(
        (s.name, s.attrs.get("autotrace.bytes_sent", s.attrs.get("autotrace.bytes_received")))
        for s in spans)


def test_sockets_before_our_constructor(receiver, shim):
    lib = compiled("libearly.c", "-shared", "-fPIC")
    exe = compiled("early.c", lib, "-Wl,-rpath," + lib.rsplit("/", 1)[0])
    bare = run([exe], bare_env()).ok()
    traced = run([exe], shim()).ok()
    assert traced.out == bare.out
    assert traced.err == ""


def test_stdio_closes_a_socket_behind_our_back(receiver, shim, echo):
    other = harness.TcpEcho()
    try:
        argv = [program("fclose"), str(echo.port), str(other.port)]
        bare = run(argv, bare_env()).ok()
        traced = run(argv, shim()).ok()
    finally:
        other.stop()
    assert traced.out == bare.out
    golden(counted(receiver.spans, [(f":{echo.port}", ":<first>"), (f":{other.port}", ":<second>")]),
           "fclose")
    for span in receiver.spans:
        if span.name in ("send", "recv"):
            if span.attrs["network.transport"] == "tcp":
                assert span.attrs["network.peer.port"] == other.port
                assert span.attrs.get("autotrace.bytes_sent", 7) == 7


def test_fd_numbers_are_untouched(shim, echo):
    """/proc/self/fd after work and while the exporter thread lives."""
    code = ("import os, socket, time\n"
            f"s = socket.create_connection(('127.0.0.1', {echo.port}))\n"
            "s.sendall(b'x'); s.recv(1); time.sleep(0.4)\n"
            "print(sorted(os.listdir('/proc/self/fd'), key=int))\n"
            "print(s.fileno(), os.open('/dev/null', os.O_RDONLY))\n")
    bare = run(["/usr/bin/python3", "-c", code], bare_env()).ok()
    traced = run(["/usr/bin/python3", "-c", code], shim()).ok()
    assert traced.out == bare.out
