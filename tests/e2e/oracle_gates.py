# SPDX-License-Identifier: Apache-2.0
"""The oracle's gateways: how each is started, loaded, and what may be asked of it.

By hand:	B=build /usr/bin/python3 tests/e2e/oracle_gates.py [-b] [-p] [-n REQUESTS] [-s SEED]
		[NAME...]

runs those whose name begins with a NAME, preloaded or (-b) bare, and prints a line each.
-p: plain requests only, none pipelined, slow or cut off.
"""
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import harness
import oracle
from harness import ROOT, SAN, SLOW, bare_env, end, free_port, listening, program, wait_for
from oracle import always, if_piped, never
from oracle_load import Load

SERVICES = os.path.join(ROOT, "tests", "e2e", "services")
PYTHON = "/usr/bin/python3"  # the pyenv shim is a shell script


def c_head(upstream):
    """The head that gate.c sends for a call."""
    def head(s, call):
        length = f"Content-Length: {len(s.body)}\r\n" if s.method == "POST" else ""
        return f"{s.method} /item/{s.id}.{call}?{s.query} HTTP/1.1\r\n" \
            f"Host: 127.0.0.1:{upstream}\r\n{length}User-Agent: gate\r\n\r\n"
    return head


class Running:
    """A program that says where it listens, and something at its end."""

    def __init__(self, argv, env):
        self.argv = argv
        self.dir = tempfile.mkdtemp(prefix="atr-gate.")
        self.out = open(os.path.join(self.dir, "out"), "wb+")
        self.err = open(os.path.join(self.dir, "err"), "wb+")
        self.process = subprocess.Popen(argv, env=env, stdout=self.out, stderr=self.err,
                                        start_new_session=True, preexec_fn=harness.die_with_us)
        self.port = None
        try:
            wait_for(self.ready, " ".join(argv))
        except AssertionError as e:
            result = self.stop()
            raise AssertionError(f"{e}\n{result.raw_err.decode(errors='replace')}") from e

    def text(self):
        with open(self.out.name, encoding="utf-8") as f:
            return f.read()

    def ready(self):
        assert self.process.poll() is None, f"{self.argv} ended: {self.process.returncode}"
        match = re.search(r"^listening on 127\.0\.0\.1:(\d+)$", self.text(), re.M)
        self.port = match and int(match[1])
        return match

    def counts(self):
        """Sums (in_flight: the maximum) of what its processes counted."""
        total = {}
        for line in self.text().splitlines():
            if line.startswith("{"):
                for key, n in json.loads(line).items():
                    total[key] = max(total.get(key, 0), n) if key == "in_flight" \
                        else total.get(key, 0) + n
        return total

    def stop(self):
        end(self.process, wait=5 * SLOW)
        self.counted = self.counts()
        self.err.seek(0)
        result = harness.Result(self.argv, self.process.returncode, b"", self.err.read(), 0)
        self.out.close()
        self.err.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        return result


class Upstream(Running):
    """Never preloaded.  What arrived is known after stop()."""

    def __init__(self):
        self.records = tempfile.mkstemp(prefix="atr-upstream.")
        os.close(self.records[0])
        super().__init__([program("http-upstream"), self.records[1]], bare_env())
        self.arrived = None

    def stop(self):
        result = super().stop()
        with open(self.records[1], encoding="ascii") as f:
            self.arrived = oracle.arrivals(f)
        os.unlink(self.records[1])
        return result


class NginxGate:
    """nginx as a reverse proxy: one call per request, with the target as it came."""

    def __init__(self, upstream, env, workers):
        self.dir = tempfile.mkdtemp(prefix="atr-nginx.")
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        with open(self.dir + "/nginx.conf", "w", encoding="ascii") as f:
            f.write(f"""
daemon off;
{'user nobody nogroup;' if os.geteuid() == 0 else ''}
worker_processes {workers};
pid {self.dir}/pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
	access_log off;
	keepalive_requests 100000000;
	client_body_temp_path {self.dir}/t1;
	proxy_temp_path {self.dir}/t2;
	fastcgi_temp_path {self.dir}/t3;
	uwsgi_temp_path {self.dir}/t4;
	scgi_temp_path {self.dir}/t5;
	upstream far {{ server 127.0.0.1:{upstream}; keepalive 16; }}
	server {{
		listen 127.0.0.1:{self.port} backlog=1024;
		location / {{
			proxy_pass http://far;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_next_upstream off;
		}}
	}}
}}
""")
        self.err = open(os.path.join(self.dir, "err"), "wb+")
        self.argv = ["nginx", "-p", self.dir, "-c", self.dir + "/nginx.conf", "-e", "stderr"]
        self.process = subprocess.Popen(self.argv, env=env, stdout=subprocess.DEVNULL,
                                        stderr=self.err, start_new_session=True,
                                        preexec_fn=harness.die_with_us)
        self.counted = {}
        try:
            wait_for(lambda: listening(self.port), "nginx")
        except AssertionError:
            self.stop()
            raise

    def stop(self):
        end(self.process, harness.signal.SIGQUIT, 10 * SLOW)
        self.err.seek(0)
        result = harness.Result(self.argv, self.process.returncode, b"", self.err.read(), 0)
        self.err.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        return result


@dataclasses.dataclass
class Gate:
    name: str
    start: object                  # (upstream's port, environment) -> something to stop()
    absent: object = never         # which requests' calls may lack a parent; wrong never
    load: dict = dataclasses.field(default_factory=dict)
    plain_c: bool = True           # sends exactly the head that gate.c makes
    least: float = 0               # the share of calls whose parent must be known all the same
    in_flight: int = 0             # so many requests were being worked on at once, at least
    loop: dict = None              # an event loop: where it has certainty, is this not in the load


def c_gate(name, *words):
    return lambda upstream, env: Running([program(name), str(upstream), *words], env)


def epoll(*words, absent=never):
    load = {"connections": 230, "salvo": 20 if "limited" in words else 150 * SLOW}
    return Gate("epoll-" + "-".join(w.replace("=", "") for w in words),
                c_gate("http-epoll", *words), absent, load,
                in_flight=0 if "workers=2" in words else 150 if SAN else 200,
                loop={"piped": 0} if absent is never else None)


def python(kind, **load):
    return Gate("python-" + kind,
                lambda upstream, env: Running(
                    [PYTHON, "-u", SERVICES + "/gate.py", str(upstream), kind], env),
                load=load, plain_c=False)


def node(moment, reuse, absent):
    # Timers of node's own are due now and then: what is called then has no parent.
    direct = absent is never
    return Gate(f"node-{moment}-{reuse}",
                lambda upstream, env: Running(
                    ["node", SERVICES + "/gate.js", str(upstream), moment, reuse], env),
                always, {"connections": 64}, plain_c=False, least=0.9 if direct else 0,
                loop={"piped": 0, "cut": 0} if direct else None)


def nginx(workers):
    # The answer is the upstream's, as it is.
    return Gate(f"nginx-{workers}", lambda upstream, env: NginxGate(upstream, env, workers),
                load={"connections": 64, "calls": (1,), "answer": oracle.Sent.call_bodies},
                plain_c=False)


# Every span is wanted: room for all of a short, hard load.
ROOM = {"AUTOTRACE_RING_SIZE": str(2 << 20), "OTEL_BSP_MAX_QUEUE_SIZE": "100000"}

# Where a parent may be absent, and why:
#   pool-whole  the thread that calls is tied to the request by nothing libc sees
#   deferred    all requests are read before the first is worked off
#   timer       the call is made when nothing of its request is read or written
#   limited     a call is made when the answer to another request's call is read
#   node        after a pause (a timer, setImmediate(), a file) that nothing libc sees ends
#   pipelining  a loop may work on several requests of a connection at once, or begin one
#               while it still writes the answer to another: nobody can tell from outside.
#               So loops are tried without it, and with it once more, absent allowed.
#   cut off     a request that node reads and then gives up, unanswered, looks like one
#               that it has put off, as long as it is open: the same.
GATES = [
    Gate("threads", c_gate("http-threads"), load={"connections": 48}),
    Gate("pool", c_gate("http-pool", "16"), load={"connections": 64}),
    Gate("pool-whole", c_gate("http-pool", "16", "whole"), always, {"connections": 64}),
    Gate("prefork", c_gate("http-prefork", "12"), load={"connections": 12}),
    epoll("level", "keep"),
    epoll("level", "new"),
    epoll("edge", "keep"),
    epoll("edge", "new"),
    epoll("oneshot", "keep"),
    epoll("exclusive", "keep", "workers=2"),
    epoll("poll", "keep"),
    epoll("ppoll", "new"),
    epoll("select", "keep"),
    epoll("pselect", "new"),
    epoll("level", "keep", "limited", absent=always),
    epoll("level", "keep", "deferred", absent=always),
    epoll("level", "new", "deferred", absent=always),
    epoll("edge", "keep", "deferred", absent=always),
    epoll("level", "keep", "timer", absent=always),
    epoll("level", "new", "timer", absent=always),
    epoll("poll", "keep", "timer", absent=always),
    nginx(1),
    nginx(2),
    python("threads", connections=24),
    python("single", connections=4, most=25, delays=(0, 0, 1, 2)),
    node("direct", "new", never),
    node("direct", "keep", never),
    node("direct", "limited", always),
    node("timeout", "new", always),
    node("timeout", "keep", always),
    node("immediate", "new", always),
    node("immediate", "keep", always),
    node("fs", "new", always),
    node("fs", "keep", always),
]


class Outcome:
    """What came of a gateway under load; ok() fails with all that was wrong."""

    def __init__(self, gate, load, verdict, result, counted, violations):
        self.gate, self.load, self.verdict = gate, load, verdict
        self.result, self.counted, self.violations = result, counted, violations

    def line(self):
        bodies = "all bodies right" if not self.load.faults else f"{len(self.load.faults)} faults"
        return f"{self.gate.name}: {self.verdict.line()}; {bodies}, " \
            f"{self.counted.get('in_flight', '?')} in flight, {self.load.seconds:.1f} s"

    def ok(self):
        faults = self.violations[:5] + self.load.faults
        if self.verdict.faults:
            faults.append(self.verdict.report())
        if self.result.rc != 0:
            faults.append(f"exit {self.result.rc}")
        if self.counted.get("in_flight", 0) < self.gate.in_flight:
            faults.append(f"{self.counted} in flight, {self.gate.in_flight} were wanted")
        err = self.result.raw_err.decode(errors="replace")[-4000:]
        assert not faults, "\n".join([self.line(), *map(str, faults[:20]), err])


def run_gate(gate, env, receiver=None, requests=1500, seed=1, **more):
    """A load through the gateway; judged, with spans if there is a receiver."""
    upstream = Upstream()
    try:
        running = gate.start(upstream.port, env)
        try:
            load = Load(running.port, requests, seed=seed, patience=20 * SLOW,
                        **{**gate.load, **more})
            load.run(60 * SLOW)
            if receiver:
                time.sleep(0.7 * SLOW)  # what is still done for those who were cut off
        finally:
            result = running.stop()
    finally:
        upstream.stop()
    spans = None
    if receiver:
        spans = receiver.wait(result.total("exported"), 5 * SLOW)
    verdict = oracle.judge(load.sent, upstream.arrived, spans, gate.absent,
                           c_head(upstream.port) if gate.plain_c else None)
    return Outcome(gate, load, verdict, result, running.counted,
                   receiver.violations if receiver else [])


def main(argv):
    import argparse
    from receiver import Receiver
    parser = argparse.ArgumentParser()
    parser.add_argument("-b", "--bare", action="store_true")
    parser.add_argument("-p", "--plain", action="store_true")
    parser.add_argument("-n", "--requests", type=int, default=300 if SAN else 1500)
    parser.add_argument("-s", "--seed", type=int, default=1)
    parser.add_argument("name", nargs="*")
    options = parser.parse_args(argv)
    bad = 0
    for gate in GATES:
        if options.name and not any(gate.name.startswith(n) for n in options.name):
            continue
        receiver = None if options.bare else Receiver()
        env = bare_env() if options.bare else harness.shim_env(receiver.endpoint, **ROOM)
        try:
            more = {"piped": 0, "slow": 0, "cut": 0} if options.plain else {}
            outcome = run_gate(gate, env, receiver, options.requests, options.seed, **more)
            print(outcome.line(), flush=True)
            outcome.ok()
        except AssertionError as e:
            bad += 1
            print(f"FAIL {gate.name}: {e}", flush=True)
        finally:
            if receiver:
                receiver.stop()
    return bad != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
