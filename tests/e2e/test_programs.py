# SPDX-License-Identifier: Apache-2.0
"""Programs everyone has: the same output, and true spans."""
import collections
import functools
import http.server
import os
import re
import subprocess
import threading
import time

import pytest

import harness
from harness import bare_env, end, free_port, listening, run, wait_for
from spans import counted, golden


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """python's http.server over a directory."""
    root = tmp_path_factory.mktemp("web")
    (root / "a.txt").write_bytes(b"hello\n")
    (root / "big.bin").write_bytes(os.urandom(1 << 20))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                             functools.partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    server.port, server.root = server.server_address[1], root
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def moved(spans, name, key):
    return sum(s.attrs.get(key, 0) for s in spans if s.name == name)


def http_spans(spans, kind):
    return [s for s in spans if s.kind == kind and "http.request.method" in s.attrs]


def over_tcp(spans):
    return [s for s in spans if s.attrs.get("network.peer.address") == "127.0.0.1"]


def test_curl(receiver, shim, web):
    url = f"http://127.0.0.1:{web.port}/a.txt"
    argv = ["curl", "-sS", "-w", "%{http_code} %{size_download}\n", url]
    bare = run(argv, bare_env()).ok()
    r = run(argv, shim()).ok()
    assert (r.out, r.err) == (bare.out, "") and r.out == b"hello\n200 6\n"
    spans = receiver.wait(r.total("exported"))
    assert sorted((s.kind, s.name) for s in spans) == [
        ("CLIENT", "GET"), ("INTERNAL", f"socket connect 127.0.0.1:{web.port}")]
    assert {s.attrs["network.peer.port"] for s in spans} == {web.port}
    get, = http_spans(spans, "CLIENT")
    assert (get.attrs["url.full"], get.attrs["http.response.status_code"]) == (url, 200)


def test_curl_fetches_a_megabyte(receiver, shim, web, tmp_path):
    out = tmp_path / "out"
    url = f"http://127.0.0.1:{web.port}/big.bin"
    r = run(["curl", "-sS", "-o", str(out), "-w", "%{size_request} %{size_header}", url],
            shim(AUTOTRACE_SOCKET_SPANS="all")).ok()
    request, header = map(int, r.out.split())
    assert out.read_bytes() == (web.root / "big.bin").read_bytes()
    spans = receiver.wait(r.total("exported"))
    assert moved(spans, "recv", "autotrace.bytes_received") == header + (1 << 20), "each byte once"
    sends = [s for s in over_tcp(spans) if s.name == "send"]
    assert [s.attrs["autotrace.bytes_sent"] for s in sends] == [request], "what curl sent, not we"
    get, = http_spans(spans, "CLIENT")
    first = min((s for s in over_tcp(spans) if s.name == "recv"), key=lambda s: s.start)
    assert sends[0].parent == first.parent == get.span, "the response's head ends the span"
    assert get.start <= sends[0].start <= sends[0].end <= get.end <= first.end


@pytest.mark.parametrize("argv, code", [
    (["curl", "-sS", "http://127.0.0.1:9/"], 7),
    (["curl", "-sS", "--max-time", "2", "http://no-such-host.invalid/"], 6)])
def test_curl_fails_as_it_does_bare(receiver, shim, argv, code):
    bare, r = run(argv, bare_env()), run(argv, shim())
    assert (r.rc, r.out) == (bare.rc, bare.out) and r.rc == code

    def timeless(text):
        return re.sub(r"after \d+ ms", "after N ms", text)
    assert timeless(r.err) == timeless(bare.raw_err.decode())
    if code == 7:
        span, = [s for s in receiver.wait(1) if s.name.endswith("127.0.0.1:9")]
        assert span.status == "ERROR" and span.attrs["error.type"] == "connection_refused"


def test_python_serves_and_is_traced(receiver, shim, tmp_path):
    """The server's side, of a server in Python: SERVER spans on accepted connections."""
    port = free_port()
    (tmp_path / "f").write_bytes(b"x" * 5000)
    server = subprocess.Popen(["/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1",
                               "-d", str(tmp_path), str(port)], env=shim(),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True, preexec_fn=harness.die_with_us)
    try:
        wait_for(lambda: listening(port), "http.server")
        for path in ("f", "f", "f", "missing", "f", "f"):
            r = run(["curl", "-sS", f"http://127.0.0.1:{port}/{path}"], bare_env()).ok()
            assert path == "missing" or r.out == b"x" * 5000
        wait_for(lambda: len(receiver.spans) >= 7, "6 requests and an accept")
        time.sleep(0.4)
    finally:
        end(server, 2)
    assert all(s.kind == "SERVER" for s in receiver.spans)
    served = [(s.name, s.attrs["url.path"], s.attrs["http.response.status_code"], s.status)
              for s in sorted(http_spans(receiver.spans, "SERVER"), key=lambda s: s.start)]
    assert served == 3 * [("GET", "/f", 200, "")] + [("GET", "/missing", 404, "")] \
        + 2 * [("GET", "/f", 200, "")]
    # A connection on which nothing was said is what it was: accepted.
    others = [s.name for s in receiver.spans if s not in http_spans(receiver.spans, "SERVER")]
    assert others == ["accept"]


@pytest.mark.parametrize("tool", ["nc", "socat"])
def test_nc_and_socat(receiver, shim, echo, tool):
    argv = {"nc": ["nc", "-N", "127.0.0.1", str(echo.port)],
            "socat": ["socat", "-t1", "-", f"TCP:127.0.0.1:{echo.port}"]}[tool]
    text = b"to be echoed\n"
    bare = run(argv, bare_env(), stdin=text).ok()
    r = run(argv, shim(), stdin=text).ok()
    assert r.out == bare.out == text and r.err == ""
    receiver.wait(3)
    golden(counted(receiver.spans), tool)


@pytest.mark.parametrize("tool", ["nc", "socat"])
def test_udp(receiver, shim, udp_echo, tool):
    argv = {"nc": ["nc", "-u", "-w1", "127.0.0.1", str(udp_echo.port)],
            "socat": ["socat", "-t0.5", "-", f"UDP:127.0.0.1:{udp_echo.port}"]}[tool]
    r = run(argv, shim(), stdin=b"datagram\n").ok()
    assert r.out == b"datagram\n"
    spans = [s for s in receiver.wait(2) if s.name in ("send", "recv")]
    assert sorted((s.name, s.attrs["network.transport"]) for s in spans) == [
        ("recv", "udp"), ("send", "udp")]
    assert {s.attrs["network.peer.port"] for s in spans} == {udp_echo.port}


def redis_commands():
    return b"".join(b"SET key:%d value%d\nGET key:%d\n" % (i, i, i) for i in range(50)) \
        + b"DEL key:1\nLRANGE nothing 0 -1\nNOSUCHCOMMAND\n"


def test_redis_cli(receiver, shim, redis):
    argv = ["redis-cli", "-p", str(redis.port)]
    bare = run(argv, bare_env(), stdin=redis_commands()).ok()
    r = run(argv, shim(), stdin=redis_commands()).ok()
    assert (r.out, r.err) == (bare.out, bare.raw_err.decode())
    spans = [s for s in receiver.wait(103 * 2) if s.attrs.get("network.peer.port") == redis.port]
    sends = [s for s in spans if s.name == "send"]
    assert len(sends) >= 103, "one write per command"
    assert all(s.kind == "CLIENT" for s in sends)
    assert r.total("ring_full") == 0 and r.total("recorded") == len(receiver.spans)


def test_redis_server(receiver, shim):
    server = harness.Redis(shim())
    try:
        for way in ["-p", str(server.port)], ["-s", server.dir + "/sock"]:
            r = run(["redis-cli"] + way, bare_env(), stdin=redis_commands()).ok()
            assert r.out.count(b"OK\n") == 50
    finally:
        err = server.stop()
    stats = harness.Result([], 0, b"", err, 0)
    assert len(receiver.spans) == stats.total("recorded") == stats.total("exported")
    for transport in "tcp", "unix":
        of = [s for s in receiver.spans if s.attrs["network.transport"] == transport]
        assert sum(s.name == "recv" for s in of) >= 103
        assert sum(s.name == "send" for s in of) >= 103
        assert all(s.kind == "SERVER" for s in of)


def test_nginx(receiver, shim):
    body = os.urandom(100000)
    server = harness.Nginx(shim(), {"small": b"small\n", "big": body})
    requests = 40
    try:
        for _ in range(requests // 4):
            r = run(["curl", "-sS"] + [f"http://127.0.0.1:{server.port}/{f}"
                                       for f in ("small", "big", "small", "nothing-here")],
                    bare_env()).ok()
            assert body in r.out and r.out.count(b"small\n") == 2
    finally:
        err = server.stop()
    stats = harness.Result([], 0, b"", err, 0)
    spans = receiver.wait(stats.total("exported"))
    assert stats.total("recorded") == len(spans) == stats.total("exported")
    got = collections.Counter((s.name, s.attrs["url.path"], s.attrs["http.response.status_code"])
                              for s in http_spans(spans, "SERVER"))
    assert got == {("GET", "/small", 200): requests // 2, ("GET", "/big", 200): requests // 4,
                   ("GET", "/nothing-here", 404): requests // 4}
    assert all(s.kind == "SERVER" and s.status == "" for s in over_tcp(spans))
    # And the connection that looked whether it listens.
    assert [s.name for s in over_tcp(spans) if s not in http_spans(spans, "SERVER")] == ["accept"]


def test_nginx_byte_by_byte(receiver, shim):
    """What AUTOTRACE_SOCKET_SPANS=all shows beside it: every byte, each below its request."""
    body = os.urandom(100000)
    server = harness.Nginx(shim(AUTOTRACE_SOCKET_SPANS="all"), {"small": b"small\n", "big": body})
    try:
        for _ in range(5):
            r = run(["curl", "-sS"] + [f"http://127.0.0.1:{server.port}/{f}"
                                       for f in ("small", "big", "small")], bare_env()).ok()
            assert body in r.out and r.out.count(b"small\n") == 2
    finally:
        err = server.stop()
    stats = harness.Result([], 0, b"", err, 0)
    spans = receiver.wait(stats.total("exported"))
    assert stats.total("recorded") == len(spans) == stats.total("exported")
    requests = {s.span: s for s in http_spans(spans, "SERVER")}
    assert len(requests) == 15
    tcp = [s for s in over_tcp(spans) if s not in requests.values()]
    assert sum(s.name == "accept" and s.status == "" for s in tcp) == 5 + 1
    assert sum(s.name == "recv" and s.status == "" for s in tcp) == 15
    assert 5 * 100000 < moved(tcp, "send", "autotrace.bytes_sent") < 5 * 100000 + 15 * 400
    for s in tcp:
        if s.name != "accept":
            assert s.parent in requests and s.start >= requests[s.parent].start, s


def test_a_shell_script_of_tools(receiver, shim, web):
    script = (f"for i in 1 2 3; do curl -sS http://127.0.0.1:{web.port}/a.txt; done | sort | uniq -c;"
              f" (curl -sS http://127.0.0.1:{web.port}/a.txt & wait); exit 3")
    bare = run(["/bin/bash", "-c", script], bare_env())
    r = run(["/bin/bash", "-c", script], shim())
    assert (r.rc, r.out, r.err) == (3, bare.out, "")
    assert sum(s.name.startswith("socket connect 127.0.0.1") for s in receiver.spans) == 4
