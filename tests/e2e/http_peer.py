# SPDX-License-Identifier: Apache-2.0
"""The other end of HTTP, without a tracer: it remembers every byte it was sent.

Peer and Asker talk to programs/http-split.c; Origin is a server for ordinary
clients, Asking a client for ordinary servers, Tunnel a proxy for CONNECT.
"""
import collections
import http.server
import os
import re
import socket
import socketserver
import subprocess
import threading
import time
import urllib.parse

import harness

TRACEPARENT = re.compile(rb"traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\r\n")
INSERTED = 13 + 55 + 2  # its length
VALUE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
EMPTY_LINE = re.compile(rb"\n(\r?\n)")
FIRST_LINE = re.compile(rb"[!-~]+ [!-~]+ HTTP/1\.[01]\r?\n")
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


# ---- reading messages


def field(head, name):
    m = re.search(rb"^" + name + rb"[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r?$", head, re.I | re.M)
    return m and m.group(1)


def chunked_end(data, at):
    """Behind the last chunk and the trailers of a body that begins at `at`, or None."""
    while True:
        line = data.find(b"\n", at)
        if line < 0:
            return None
        size = int(re.match(rb"[0-9A-Fa-f]+", data[at:line]).group(), 16)
        at = line + 1
        if size == 0:
            break
        at += size
        if len(data) <= at:
            return None
        at = data.find(b"\n", at) + 1
        if at == 0:
            return None
    m = re.compile(rb"\r?\n").match(data, at) or EMPTY_LINE.search(data, at)
    return m and m.end()


def request_at(data, at):
    """Of the request that begins at `at`: offsets (empty line, its end, end), or None.

    ValueError where none begins.
    """
    while data[at:at + 1] in (b"\r", b"\n"):
        at += 1
    if b"\n" in data[at:] and not FIRST_LINE.match(data, at):
        raise ValueError("no request line")
    m = EMPTY_LINE.search(data, at)
    if not m:
        return None
    empty, body = m.start(1), m.end(1)
    head = data[at:empty]
    if b"chunked" in (field(head, b"transfer-encoding") or b"").lower():
        end = chunked_end(data, body)
    else:
        end = body + int(field(head, b"content-length") or 0)
    if end is None or end > len(data):
        return None
    return empty, body, end


def requests_of(data):
    """Every request in data, as request_at(); what is no whole request is left out."""
    found, at = [], 0
    while at < len(data):
        one = request_at(data, at)
        if not one:
            break
        found.append(one)
        at = one[2]
    return found


def inserted(sent, received, where):
    """`received` must be `sent` with one traceparent line at each offset of `where`.

    Returns them, (trace, span, flags) each.  AssertionError says what else was there.
    """
    at, read, found = 0, 0, []
    for offset in list(where) + [len(sent)]:
        piece = sent[at:offset]
        got = received[read:read + len(piece)]
        assert got == piece, f"at {at}: {difference(piece, got)}"
        at, read = offset, read + len(piece)
        if len(found) == len(where):
            break
        m = TRACEPARENT.match(received, read)
        assert m, f"at {offset}: no traceparent but {bytes(received[read:read + 80])!r}"
        trace, span, flags = (g.decode() for g in m.groups())
        assert int(trace, 16) and int(span, 16), f"zero ids: {m.group()!r}"
        found.append((trace, span, flags))
        read = m.end()
    assert read == len(received), f"behind the end: {bytes(received[read:read + 80])!r}"
    return found


def difference(a, b):
    i = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return f"byte {i} of {len(a)}: wanted {bytes(a[i:i + 60])!r}, came {bytes(b[i:i + 60])!r}"


# ---- for programs/http-split.c


class Peer:
    """Takes one connection after the other and remembers every byte.

    `scripts`, one a connection: a list of (length, answers): when that many bytes have
    come in all, that many answers are sent.  `slow`: at most that many bytes are read at
    a time, with a pause between two reads.
    """

    def __init__(self, scripts, path=None, slow=0):
        self.records, self.scripts, self.slow = [], scripts, slow
        self.error = None
        self.listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        if slow and not path:
            # Without a small segment a small buffer makes loopback wait for its probe timer.
            self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        if slow:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.listener.bind(path or ("127.0.0.1", 0))
        self.listener.listen(64)
        self.listener.settimeout(0.2)
        self.address = path or str(self.listener.getsockname()[1])
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.stopping.is_set():
            try:
                conn, _ = self.listener.accept()
            except OSError:
                continue
            with conn:
                conn.settimeout(5 * harness.SLOW)
                data = bytearray()
                try:
                    self.converse(conn, data, list(self.scripts[len(self.records)]))
                except Exception as e:  # told by stop(): this is a thread
                    self.error = e
                self.records.append(bytes(data))
            if self.error:
                return

    def converse(self, conn, data, script):
        while True:
            chunk = conn.recv(self.slow or 1 << 20)
            if not chunk:
                return
            if self.slow:
                time.sleep(0.0003)
            data += chunk
            while script and len(data) >= script[0][0]:
                answers = script.pop(0)[1]
                if answers:
                    conn.sendall(ANSWER * answers)

    def stop(self):
        self.stopping.set()
        self.thread.join(5)
        self.listener.close()


class Asker:
    """A client that goes through conversations, one connection each, and remembers.

    A conversation is a list of (request, length of the response).
    """

    def __init__(self, address, conversations):
        self.address, self.conversations = address, conversations
        self.records, self.error = [], None
        self.thread = threading.Thread(target=self.go, daemon=True)
        self.thread.start()

    def connect(self):
        until = time.monotonic() + 10 * harness.SLOW
        while True:
            s = socket.socket(socket.AF_UNIX if self.address[0] == "/" else socket.AF_INET)
            s.settimeout(30 * harness.SLOW)
            try:
                s.connect(self.address if self.address[0] == "/" else
                          ("127.0.0.1", int(self.address)))
                return s
            except OSError:
                s.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def go(self):
        try:
            for conversation in self.conversations:
                with self.connect() as s:
                    self.records.append(self.converse(s, conversation))
        except Exception as e:  # told by stop(): this is a thread
            self.error = e

    @staticmethod
    def converse(s, conversation):
        data, wanted = bytearray(), 0
        for request, length in conversation:
            s.sendall(request)
            wanted += length
            while len(data) < wanted:
                chunk = s.recv(1 << 20)
                if not chunk:
                    return bytes(data)
                data += chunk
        while True:
            chunk = s.recv(1 << 20)
            if not chunk:
                return bytes(data)
            data += chunk

    def stop(self):
        self.thread.join(10 * harness.SLOW)


# ---- for ordinary clients

Request = collections.namedtuple("Request", "method target version headers body status peer")


def traceparents(request):
    """The ids in each traceparent field that came: (trace, span, flags), or the text."""
    found = []
    for name, value in request.headers:
        if name.lower() == "traceparent":
            m = VALUE.fullmatch(value)
            found.append(m.groups() if m else value)
    return found


def without_context(request):
    """What must be the same with and without a tracer."""
    headers = [h for h in request.headers if h[0].lower() != "traceparent"]
    return request._replace(headers=headers, peer=None)


class Origin:
    """An HTTP/1.1 server with a log of what really came.

    /echo gives a body back, /status/N answers N, /redirect/PATH sends to /PATH, /slow
    waits, /chunked is chunked, /close ends with the connection, /git/ is git's smart
    protocol; all else are files of `root`.
    """

    def __init__(self, root=None):
        self.root, self.log, self.lock = root, [], threading.Lock()
        self.active = self.came = 0
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 30
            server_version, sys_version = "Origin", ""

            def log_message(self, *args):
                pass

            def send_response(self, code, message=None):
                self.status = code
                super().send_response(code, message)

            def end_headers(self):
                if self.request_version == "HTTP/1.0" and not self.close_connection:
                    self.send_header("Connection", "keep-alive")
                super().end_headers()

            def date_time_string(self, timestamp=None):
                return super().date_time_string(0 if timestamp is None else timestamp)

            def body(self):
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                data = b""
                while True:
                    size = int(self.rfile.readline().split(b";")[0], 16)
                    data += self.rfile.read(size)
                    self.rfile.readline()
                    if size == 0:
                        return data

            def handle_one(self):
                self.status, body = 0, b""
                with origin.lock:
                    origin.active += 1
                    origin.came = turn = origin.came + 1
                try:
                    body = self.body()
                    # An absolute target came to us as to a proxy.
                    self.route(urllib.parse.urlsplit(self.path).path, body)
                finally:
                    with origin.lock:
                        origin.active -= 1
                        origin.log.append((turn, Request(
                            self.command, self.path, self.request_version, self.headers.items(),
                            body, self.status, self.client_address)))

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = \
                do_PROPFIND = handle_one

            def answer(self, status, body=b"", *headers):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if status not in (204, 304):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD" and status not in (204, 304):
                    self.wfile.write(body)

            def route(self, path, body):
                if path == "/echo":
                    self.answer(201 if self.command == "PUT" else 200, body)
                elif path.startswith("/status/"):
                    self.answer(int(path[8:]), b"as you wish\n")
                elif path.startswith("/redirect/"):
                    self.answer(302, b"", ("Location", "/" + path[10:]))
                elif path == "/slow":
                    time.sleep(0.1)
                    self.answer(200, b"at last\n")
                elif path == "/chunked":
                    self.send_response(200)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"5\r\nhello\r\n1;x=y\r\n\n\r\n0\r\nX-Trailer: t\r\n\r\n")
                elif path == "/close":
                    self.close_connection = True
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(b"until the end\n")
                elif path.startswith("/git/"):
                    self.git(body)
                else:
                    self.file(path)

            def file(self, path):
                name = os.path.normpath(os.path.join(origin.root or "/nonexistent",
                                                     urllib.parse.unquote(path).lstrip("/")))
                if not origin.root or not name.startswith(origin.root) or not os.path.isfile(name):
                    self.answer(404, b"not here\n")
                    return
                with open(name, "rb") as f:
                    self.answer(200, f.read(), ("Content-Type", "application/octet-stream"))

            def git(self, body):
                target = urllib.parse.urlsplit(self.path)
                env = harness.bare_env(
                    GIT_PROJECT_ROOT=origin.root, GIT_HTTP_EXPORT_ALL="1",
                    PATH_INFO=target.path[4:], QUERY_STRING=target.query,
                    REQUEST_METHOD=self.command, REMOTE_ADDR="127.0.0.1",
                    CONTENT_TYPE=self.headers.get("Content-Type", ""),
                    CONTENT_LENGTH=str(len(body)),
                    HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""),
                    GIT_PROTOCOL=self.headers.get("Git-Protocol", ""),
                    GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory",
                    GIT_CONFIG_VALUE_0="*")
                out = subprocess.run(["git", "http-backend"], env=env, input=body,
                                     capture_output=True, timeout=30, check=True).stdout
                head, _, content = out.partition(b"\r\n\r\n")
                headers = [tuple(h.decode().split(": ", 1)) for h in head.split(b"\r\n")]
                status = next((int(v[:3]) for n, v in headers if n == "Status"), 200)
                self.answer(status, content, *[h for h in headers if h[0] != "Status"])

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # a client that went away; the test counts

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def take(self, n=0):
        """The log until now, which begins anew; waits for n: an answer goes out before its line."""
        until = time.monotonic() + 2
        while len(self.log) < n and time.monotonic() < until:
            time.sleep(0.002)
        with self.lock:
            log, self.log = self.log, []
        # In the order they came in: the next one may be on another connection, and written first.
        return [r for _, r in sorted(log, key=lambda entry: entry[0])]

    def quiet(self):
        """Is nobody being answered?"""
        return not self.active

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


class Tunnel:
    """A proxy that knows CONNECT only; remembers each head, and what went through up."""

    def __init__(self):
        self.heads, self.up = [], []
        tunnel = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.settimeout(20)
                data = b""
                while b"\r\n\r\n" not in data:
                    chunk = self.request.recv(65536)
                    if not chunk:
                        return
                    data += chunk
                head, _, rest = data.partition(b"\r\n\r\n")
                tunnel.heads.append(head)
                host, port = head.split()[1].decode().rsplit(":", 1)
                with socket.create_connection((host, int(port)), 10) as s:
                    self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    s.sendall(rest)
                    back = threading.Thread(target=self.pump, args=(s, self.request, None))
                    back.start()
                    went = [rest]
                    self.pump(self.request, s, went)
                    back.join(10)
                    tunnel.up.append(b"".join(went))

            @staticmethod
            def pump(a, b, went):
                try:
                    while True:
                        data = a.recv(65536)
                        if went is not None:
                            went.append(data)
                        if not data:
                            b.shutdown(socket.SHUT_WR)
                            return
                        b.sendall(data)
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


# ---- for ordinary servers

Response = collections.namedtuple("Response", "status headers body")


def response_from(f, head_only=False):
    """The next final response of a binary file of a connection."""
    while True:
        line = f.readline()
        assert re.match(rb"HTTP/1\.[01] \d{3}", line), f"no response: {line!r}"
        status, headers = int(line[9:12]), []
        while True:
            line = f.readline()
            assert line, "the head ended with the connection"
            if line in (b"\r\n", b"\n"):
                break
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        if status >= 200:
            break
    fields = dict(headers)
    if head_only or status in (204, 304):
        body = b""
    elif "chunked" in fields.get("transfer-encoding", ""):
        body = b""
        while True:
            size = int(f.readline().split(b";")[0], 16)
            body += f.read(size)
            while f.readline().strip() and size == 0:
                pass
            if size == 0:
                break
    elif "content-length" in fields:
        body = f.read(int(fields["content-length"]))
        assert len(body) == int(fields["content-length"]), "a body cut short"
    else:
        body = f.read()
    return Response(status, headers, body)


class Asking:
    """One connection to a server: ask one after the other, or all at once."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10 * harness.SLOW)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()
        self.socket.close()

    def ask(self, *requests):
        """Sends them in one piece; the responses in order."""
        self.socket.sendall(b"".join(requests))
        return [response_from(self.file, r.startswith(b"HEAD ")) for r in requests]


def request(method, target, headers=(), body=b"", version="1.1"):
    """Bytes of a request; a header is a whole line, or (name, value)."""
    lines = [f"{method} {target} HTTP/{version}"] + [
        h if isinstance(h, str) else f"{h[0]}: {h[1]}" for h in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
