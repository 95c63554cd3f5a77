# SPDX-License-Identifier: Apache-2.0
"""A plain service that knows nothing of tracing: POST [{"url": ...}, ...] and it calls each
url in turn, then answers.  Of each: "method" (GET), "headers" of its own, and "pass", names of
headers that are handed on as they came.

    relay.py PORT [--single | --fork | --fork-late]

One thread a connection; one for all; one process a connection; one that reads all requests
and has each answered by a child.
"""
import http.client
import http.server
import json
import os
import signal
import socketserver
import sys
import urllib.parse


def call(url, method, headers):
    to = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(to.hostname, to.port or 80, timeout=10)
    try:
        path = to.path + ("?" + to.query if to.query else "")
        connection.request(method, path, headers=headers)
        return connection.getresponse().read()
    finally:
        connection.close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "--fork-late" in sys.argv:
            self.close_connection = True
            if os.fork():
                return
        for one in json.loads(body or b"[]"):
            headers = dict(one.get("headers", {}))
            headers.update((name, self.headers[name]) for name in one.get("pass", [])
                           if name in self.headers)
            call(one["url"], one.get("method", "GET"), headers)
        answer = b'{"done": true}\n'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Served-By", "relay")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        if "--fork-late" in sys.argv:
            os._exit(0)


class Forking(socketserver.ForkingMixIn, http.server.HTTPServer):
    pass


class Late(http.server.HTTPServer):
    def shutdown_request(self, request):
        self.close_request(request)  # the child's connection goes on


def main():
    server = http.server.ThreadingHTTPServer
    if "--single" in sys.argv:
        server = http.server.HTTPServer
    elif "--fork" in sys.argv:
        server = Forking
    elif "--fork-late" in sys.argv:
        server = Late
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server.request_queue_size = 64
    try:
        server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
