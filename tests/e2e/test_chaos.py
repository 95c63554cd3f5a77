# SPDX-License-Identifier: Apache-2.0
"""A server whose processes are killed while its collector comes and goes loses no span.

CHAOS=seconds (60).  What was served is counted by the server itself, in memory that
outlives its processes: each request that was answered whole must be a span, once.
"""
import os
import random
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

import harness
from harness import SLOW, bare_env, program, run
from receiver import load_proto

SECONDS = float(os.environ.get("CHAOS") or 60)
OPS = 60000
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT,
           signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
           signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE, signal.SIGSYS]


class Way:
    """The way to the collector, which can be gone.

    A request is handed on when all of it is there, so what is cut off here was not taken by
    anybody.  (One whose answer is lost is sent again, as OTLP has it, and would come twice; a
    collector that hangs is in test_spool.py.)

    What had come here whole when it was cut off is in `dropped`: its sender's kernel has got rid
    of it, and a sender killed before it learns of the cut is taken to have sent it (docs/design.md,
    "Once").
    """

    def __init__(self, receiver):
        self.to = receiver.port
        self.port = harness.free_port()
        self.state, self.listener = "up", None
        self.lock, self.over = threading.Lock(), False
        self.states, self.dropped = {}, []
        self.set("up")
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def set(self, state):
        """up; down: refuses; cut: ends what is under way, and what comes, before it is whole."""
        with self.lock:
            self.states[state] = self.states.get(state, 0) + 1
            listens = state != "down"
            if listens and not self.listener:
                self.listener = socket.socket()
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.listener.bind(("127.0.0.1", self.port))
                self.listener.listen(64)
            elif not listens and self.listener:
                self.refuse_waiting()
                self.listener.close()
                self.listener = None
            self.state = state

    def refuse_waiting(self):
        """Who is connected and not accepted yet may have sent all it had."""
        self.listener.settimeout(0)
        try:
            while True:
                s, _ = self.listener.accept()
                self.cut(s, b"")
                s.close()
        except OSError:
            pass

    def accept(self):
        while not self.over:
            listener = self.listener
            try:
                if not listener or not select.select([listener], [], [], 0.05)[0]:
                    time.sleep(0.01)
                    continue
                s, _ = listener.accept()
            except (OSError, ValueError):
                continue
            threading.Thread(target=self.carry, args=(s,), daemon=True).start()

    @staticmethod
    def body(got):
        """The body of a request that is there whole, or None."""
        head, sep, body = got.partition(b"\r\n\r\n")
        length = [int(line.split(b":")[1]) for line in head.split(b"\r\n")
                  if line.lower().startswith(b"content-length:")]
        return body if sep and len(body) >= (length or [0])[0] else None

    def cut(self, s, got):
        s.settimeout(0)
        try:
            while more := s.recv(65536):
                got += more
        except OSError:
            pass
        body = self.body(got)
        if body:
            self.dropped.append(body)

    def whole_request(self, s):
        got = b""
        while True:
            if self.state == "cut":
                self.cut(s, got)
                return None
            if self.body(got) is not None:
                return got
            if b"100-continue" in got and got.endswith(b"\r\n\r\n"):
                s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            more = s.recv(65536)
            if not more:
                return None
            got += more

    def carry(self, s):
        s.settimeout(20)
        try:
            while True:
                request = self.whole_request(s)
                if request is None:
                    break
                with socket.create_connection(("127.0.0.1", self.to), 20) as up:
                    up.sendall(request)
                    answer = b""
                    while b"\r\n\r\n" not in answer:
                        answer += up.recv(65536) or b"\r\n\r\n"
                    head, _, body = answer.partition(b"\r\n\r\n")
                    length = [int(line.split(b":")[1]) for line in head.split(b"\r\n")
                              if line.lower().startswith(b"content-length:")]
                    while len(body) < (length or [0])[0]:
                        body += up.recv(65536) or b" " * length[0]
                s.sendall(head + b"\r\n\r\n" + body)
        except OSError:
            pass
        s.close()

    def stop(self):
        self.set("down")
        self.over = True
        self.thread.join(5)


class Load:
    """Requests, each with a number of its own."""

    def __init__(self, port, threads=4):
        self.port, self.next, self.over = port, 0, False
        self.lock = threading.Lock()
        self.answered = 0
        self.threads = [threading.Thread(target=self.ask, daemon=True) for _ in range(threads)]
        for t in self.threads:
            t.start()

    def ask(self):
        while not self.over:
            with self.lock:
                n, self.next = self.next, self.next + 1
            if n >= OPS:
                return
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                    s.settimeout(5)
                    s.sendall(b"GET /op/%d HTTP/1.1\r\nHost: h\r\n\r\n" % n)
                    got = s.recv(4096)
                    self.answered += got.startswith(b"HTTP/1.1 204")
            except OSError:
                pass
            time.sleep(0.004)

    def stop(self):
        self.over = True
        for t in self.threads:
            t.join(15)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(one) for one in f.read().split()]


def chaos(seconds, server, way):
    """Kills and cuts; -> how often."""
    dice, killed = random.Random(int(os.environ.get("SEED") or time.time_ns())), 0
    until, next_way = time.monotonic() + seconds, time.monotonic() + 2
    while time.monotonic() < until:
        pids = children(server.pid)
        if pids:
            try:
                os.kill(dice.choice(pids), dice.choice(SIGNALS))
                killed += 1
            except ProcessLookupError:
                pass
        if time.monotonic() >= next_way:
            way.set("up" if way.state != "up" else dice.choice(["down", "cut"]))
            next_way = time.monotonic() + dice.uniform(0.5, 4)
        time.sleep(dice.uniform(0.05, 0.6))
    return killed


def numbers(spans):
    """Of the requests that these spans are about, as often as they come."""
    paths = ({a.key: a.value.string_value for a in s.attributes}.get("url.path", "")
             for s in spans if s.kind == 2)
    return [int(path[4:]) for path in paths if path.startswith("/op/")]


def dropped_numbers(way):
    found = set()
    for body in way.dropped:
        request = load_proto().ExportTraceServiceRequest()
        request.ParseFromString(body)
        found.update(n for rs in request.resource_spans for ss in rs.scope_spans for n in numbers(ss.spans))
    return found


def test_nothing_is_lost_and_nothing_comes_twice(receiver, shim, tmp_path):
    if harness.SAN:
        pytest.skip("a sanitizer's runtime takes the signals that end a program here")
    ops, spool = tmp_path / "ops", tmp_path / "spool"
    ops.write_bytes(bytes(OPS))
    spool.mkdir()
    way = Way(receiver)
    env = dict(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{way.port}",
               AUTOTRACE_SPOOL_DIR=str(spool), OTEL_BSP_SCHEDULE_DELAY="200",
               OTEL_EXPORTER_OTLP_TIMEOUT="3000", AUTOTRACE_SOCKET_SPANS="none",
               OTEL_BSP_MAX_QUEUE_SIZE="20000", AUTOTRACE_DEBUG=None)
    server = subprocess.Popen([program("chaos-server"), str(ops), "4", "3"], env=shim(**env),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
    try:
        load = Load(int(server.stdout.readline()))
        killed = chaos(SECONDS, server, way)
        load.stop()
        way.set("up")
        server.stdin.close()
        assert server.wait(20 * SLOW) == 0
    finally:
        harness.end(server)
    drain = run([os.path.join(harness.B, "autotrace"), "drain"],
                bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
                         AUTOTRACE_SPOOL_DIR=str(spool)), timeout=60)
    way.stop()
    assert drain.rc == 0, drain.raw_err
    done = ops.read_bytes()
    whole = {n for n in range(OPS) if done[n] == 2}
    begun = {n for n in range(OPS) if done[n] == 1}
    came = {}
    for s in receiver.spans:
        if s.kind == "SERVER" and s.attrs.get("url.path", "").startswith("/op/"):
            n = int(s.attrs["url.path"][4:])
            came[n] = came.get(n, 0) + 1
    print(f"{killed} processes killed, {dict(way.states)}; {len(whole)} answered, "
          f"{len(begun)} cut off, {len(came)} spans; drained: {drain.raw_err.decode().strip()}")
    assert killed > SECONDS / 2 and len(whole) > 20 * SECONDS, "it was under load"
    assert not [n for n, times in came.items() if times > 1], "a span came twice"
    lost = whole - set(came)
    print(f"{len(way.dropped)} batches had arrived when they were cut off, {len(lost)} spans of them lost")
    assert not lost - dropped_numbers(way), f"lost {sorted(lost)[:20]}"
    # A request that was read, but not answered, may have ended with its process or not.
    assert not set(came) - whole - begun
