# SPDX-License-Identifier: Apache-2.0
"""A plain service that knows nothing of tracing: POST [{"url": ..., "arguments": ...}, ...]
and it POSTs each one's arguments to its url, one after the other, then answers.

    w3c_service.py PORT [--threaded]
"""
import http.client
import http.server
import json
import sys
import urllib.parse


def call(url, arguments):
    to = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(to.hostname, to.port or 80, timeout=10)
    try:
        path = to.path + ("?" + to.query if to.query else "")
        connection.request("POST", path, json.dumps(arguments),
                           {"Content-Type": "application/json"})
        return connection.getresponse().read()
    finally:
        connection.close()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for one in json.loads(body or b"[]"):
            call(one["url"], one["arguments"])
        answer = b'{"done": true}\n'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def main():
    threaded = "--threaded" in sys.argv
    server = http.server.ThreadingHTTPServer if threaded else http.server.HTTPServer
    server.request_queue_size = 64
    server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
