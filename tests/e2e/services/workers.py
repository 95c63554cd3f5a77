# SPDX-License-Identifier: Apache-2.0
"""workers.py PORT UPSTREAM KIND: a threaded HTTP server whose work is done by other processes,
started when there is something to do: GET /N makes one of them GET UPSTREAM/echo?N.

KIND: fork, spawn, forkserver (pools of 4); pipe (one program that reads what to do); each (a
program for each request).
"""
import concurrent.futures
import http.server
import multiprocessing
import subprocess
import sys
import threading
import urllib.parse
import urllib.request

PROGRAM = """
import sys, urllib.request
for line in sys.stdin:
    urllib.request.urlopen(line.strip(), timeout=10).read()
    print("done", flush=True)
"""


def fetch(url):
    return urllib.request.urlopen(url, timeout=10).read()


def start_program():
    return subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock, program, pool = threading.Lock(), None, None

    def log_message(self, *args):
        pass

    def by_program(self, url):
        with self.lock:
            program = Handler.program = Handler.program or start_program()
            program.stdin.write(url + "\n")
            program.stdin.flush()
            program.stdout.readline()

    def do_GET(self):
        url = f"{sys.argv[2]}/echo?{urllib.parse.urlsplit(self.path).path[1:]}"
        if sys.argv[3] == "each":
            start_program().communicate(url + "\n", timeout=20)
        elif sys.argv[3] == "pipe":
            self.by_program(url)
        else:
            self.pool.submit(fetch, url).result(20)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    if sys.argv[3] not in ("pipe", "each"):
        Handler.pool = concurrent.futures.ProcessPoolExecutor(
            4, mp_context=multiprocessing.get_context(sys.argv[3]))
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
