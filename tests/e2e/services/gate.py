# SPDX-License-Identifier: Apache-2.0
"""gate.py UPSTREAM-PORT threads|single: a gateway (programs/gate/gate.h) in plain Python.

http.server and http.client, as such services are written; connections to the upstream
are new or out of a pool that all threads share.
"""
import http.client
import http.server
import itertools
import json
import signal
import sys
import urllib.parse
import zlib

upstream = int(sys.argv[1])
counter = itertools.count()
served, called = itertools.count(), itertools.count()
idle = []


def call(method, target, content):
    fresh = next(counter) % 3 == 0
    try:
        connection = None if fresh else idle.pop()
    except IndexError:
        connection = None
    if connection is None:
        connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=30)
    connection.request(method, target, content if method == "POST" else None)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200
    if fresh or response.will_close:
        connection.close()
    else:
        idle.append(connection)
    next(called)
    return body


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def log_message(self, *args):
        pass

    def exactly(self, n):
        content = self.rfile.read(n)
        if len(content) != n:
            raise ConnectionError("the client went away")
        return content

    def content(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.exactly(int(self.headers.get("Content-Length", 0)))
        content = b""
        while True:
            size = int(self.rfile.readline(), 16)
            chunk = self.exactly(size + 2)[:-2]
            if not size:
                return content
            content += chunk

    def do_GET(self):
        content = self.content()
        path, query = self.path.split("?", 1)
        number = int(path.removeprefix("/r/"))
        calls = int(urllib.parse.parse_qs(query)["n"][0])
        answer = b"%d %s %d %d %08x\n" % (number, self.command.encode(), calls, len(content),
                                         zlib.crc32(content))
        for k in range(calls):
            answer += call(self.command, f"/item/{number}.{k}?{query}", content)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        next(served)
    do_POST = do_GET


class Threads(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that went away; what it lost, the oracle knows


class Single(http.server.HTTPServer):
    request_queue_size = 128
    handle_error = Threads.handle_error


def main():
    server = {"threads": Threads, "single": Single}[sys.argv[2]](("127.0.0.1", 0), Handler)

    def stop(*_):
        print(json.dumps({"requests": next(served), "calls": next(called)}), flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    print(f"listening on 127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


main()
