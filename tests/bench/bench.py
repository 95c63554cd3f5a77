#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What tracing costs: ratios of paired, interleaved runs against bare.

    bare       without us
    off        loaded, OTEL_SDK_DISABLED=true
    unsampled  loaded, OTEL_TRACES_SAMPLER=always_off
    full       every operation recorded, every batch POSTed to a sink

Everything (driver, program, server, sink, our thread) runs on one CPU, so that a
ratio is one of CPU cost and our thread is charged to us in full.  Each run of a
mode is divided by the mean of the bare runs before and after it; the table shows
the median of these ratios and its 95 % interval (order statistics).

    PAIRS=5     pairs per mode and workload (20 and more for differences below 5 %)
    ONLY=pq     workloads whose name contains this
    CPU=1       the CPU; none = not pinned
    SECONDS=0.5 rough length of one run
"""
import math
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

import harness  # noqa: E402

PAIRS = int(os.environ.get("PAIRS") or 5)
ONLY = os.environ.get("ONLY", "")
SECONDS = float(os.environ.get("SECONDS") or 0.5)
CPU = os.environ.get("CPU", str(min(1, (os.cpu_count() or 1) - 1)))
MODES = ["off", "unsampled", "full"]
LIMIT = 40  # seconds any one run may take


def pin():
    if CPU != "none":
        os.sched_setaffinity(0, {int(CPU)})


def build(name, *libs):
    out = os.path.join(harness.B, "tests", "bench", name)
    source = os.path.join(HERE, "programs", name + ".c")
    os.makedirs(os.path.dirname(out), exist_ok=True)
    newest = max(map(os.path.getmtime, [source, os.path.join(HERE, "programs", "loopback.h")]))
    if not os.path.exists(out) or os.path.getmtime(out) < newest:
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-Wall", "-o", out, source,
                        "-I/usr/include/postgresql", *libs], check=True, timeout=60)
    return out


class Helper:
    """A server of ours that prints its port."""

    def __init__(self, *argv):
        self.process = subprocess.Popen(argv, env=harness.bare_env(), stdout=subprocess.PIPE,
                                        start_new_session=True)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        harness.end(self.process)
        self.process.stdout.close()


class Sink(Helper):
    def __init__(self, *port):
        self.dir = tempfile.mkdtemp(prefix="atr-bench.")
        self.counts = os.path.join(self.dir, "counts")
        super().__init__(build("sink"), self.counts, *map(str, port))
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def requests(self):
        with open(self.counts, "rb") as f:
            return struct.unpack("QQ", f.read(16))

    def stop(self):
        super().stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def environment(mode, sink, **more):
    if mode == "bare":
        return harness.bare_env(**more)
    env = harness.shim_env(sink.endpoint, OTEL_BSP_SCHEDULE_DELAY=None, AUTOTRACE_ABORT_ON_BUG=None,
                           AUTOTRACE_EXIT_TIMEOUT="3000", **more)
    if mode == "off":
        env["OTEL_SDK_DISABLED"] = "true"
    env["OTEL_TRACES_SAMPLER"] = "always_off" if mode == "unsampled" else "always_on"
    return env


class Workload:
    """measure(mode) -> operations per second."""
    name = unit = ""

    def __init__(self, sink):
        self.sink = sink
        self.recorded = self.lost = 0

    def start(self):
        pass

    def stop(self):
        pass

    def note(self, err):
        stats = harness.Result([], 0, b"", err, 0)
        self.recorded += stats.total("recorded")
        self.lost += sum(stats.total(c) for c in ("ring_full", "queue_full", "no_memory", "failed", "unsent",
                                                  "rejected"))

    def once(self, argv, env):
        r = harness.run(argv, env, timeout=LIMIT).ok()
        self.note(r.raw_err)
        return float(r.out.split()[-1])


class Echo(Workload):
    name, unit = "TCP echo, 1 byte", "round trips/s"

    def start(self):
        self.server = Helper(build("echo-server"))
        self.client = build("echo-client")
        self.n = int(self.once([self.client, str(self.server.port), "5000"],
                               harness.bare_env()) * SECONDS)

    def measure(self, mode):
        return self.once([self.client, str(self.server.port), str(self.n)],
                         environment(mode, self.sink))

    def stop(self):
        self.server.stop()


class Http(Echo):
    name, unit = "HTTP client, keep-alive", "requests/s"

    def start(self):
        self.server = Helper(build("http-server"))
        self.client = build("http-client")
        self.n = int(self.once([self.client, str(self.server.port), "5000"],
                               harness.bare_env()) * SECONDS)


class Pq(Workload):
    name, unit = "PQexec(SELECT 1)", "queries/s"

    def start(self):
        self.server = harness.Postgres()
        self.client = build("pq-loop", "-lpq")
        self.env = dict(self.server.env(), PGOPTIONS="-c log_statement=none")
        self.n = int(self.once([self.client, "3000"], harness.bare_env(**self.env)) * SECONDS)

    def measure(self, mode):
        return self.once([self.client, str(self.n)], environment(mode, self.sink, **self.env))

    def stop(self):
        self.server.stop()


class PgBench(Workload):
    name, unit = "pgbench -S -c 1", "transactions/s"
    arguments = ["-S", "-c", "1"]

    def start(self):
        self.server = harness.Postgres()
        self.env = dict(self.server.env(), PGOPTIONS="-c log_statement=none")
        self.pgbench = self.server.bindir + "/pgbench"
        harness.run([self.pgbench, "-i", "-q", "-s", "1"], harness.bare_env(**self.env),
                    timeout=LIMIT).ok()
        self.n = 2000
        self.n = int(self.measure("bare") * SECONDS)

    def measure(self, mode):
        r = harness.run([self.pgbench, "-n", *self.arguments, "-t", str(self.n)],
                        environment(mode, self.sink, **self.env), timeout=LIMIT).ok()
        self.note(r.raw_err)
        return float(re.search(rb"tps = ([\d.]+)", r.out).group(1))

    def stop(self):
        self.server.stop()


class Servers(Workload):
    """The server is what is traced: one per mode, all alive, asked in turn."""

    def start(self):
        self.servers = {}
        for mode in ["bare"] + MODES:
            self.servers[mode] = self.server(environment(mode, self.sink))

    def stop(self):
        for server in self.servers.values():
            self.note(server.stop())


class Nginx(Servers):
    name, unit, server = "nginx, wrk -c 16", "requests/s", harness.Nginx

    def measure(self, mode):
        r = harness.run(["wrk", "-t1", "-c16", f"-d{max(1, round(SECONDS))}s",
                         f"http://127.0.0.1:{self.servers[mode].port}/index.html"],
                        harness.bare_env(), timeout=LIMIT).ok()
        assert b"Non-2xx" not in r.out, r.out
        return float(re.search(rb"Requests/sec:\s*([\d.]+)", r.out).group(1))


class Proxy(harness.Nginx):
    """nginx before another, which is never traced."""

    def __init__(self, env):
        self.behind = harness.Nginx()
        super().__init__(env)

    def servers(self):
        return (f"upstream u {{ server 127.0.0.1:{self.behind.port}; keepalive 16; }}"
                f" server {{ listen 127.0.0.1:{self.port}; location / {{ proxy_pass http://u;"
                ' proxy_http_version 1.1; proxy_set_header Connection ""; } }')

    def stop(self):
        self.behind.stop()
        return super().stop()


class Proxied(Nginx):
    name, server = "nginx before nginx, wrk -c 16", Proxy


class Redis(Servers):
    name, unit, server = "redis-benchmark get -c 16", "requests/s", harness.Redis

    def measure(self, mode):
        r = harness.run(["redis-benchmark", "-p", str(self.servers[mode].port), "-t", "get", "-c",
                         "16", "-n", str(int(50000 * SECONDS)), "--csv"], harness.bare_env(),
                        timeout=LIMIT).ok()
        return float(re.search(rb'"GET","([\d.]+)"', r.out).group(1))


class Spawn(Workload):
    name, unit = "exec of /bin/true", "programs/s"

    def start(self):
        self.loop = build("spawn-loop")
        self.n = int(1000 * SECONDS)

    def measure(self, mode):
        env = environment(mode, self.sink)
        env["AUTOTRACE_DEBUG"] = ""
        preload = env.pop("LD_PRELOAD", "")
        return self.once([self.loop, str(self.n), preload], env)


WORKLOADS = {"echo": Echo, "http": Http, "pq": Pq, "pgbench": PgBench, "nginx": Nginx, "proxy": Proxied,
             "redis": Redis, "exec": Spawn}
NEEDS = {"nginx": ["nginx", "wrk"], "proxy": ["nginx", "wrk"], "redis": ["redis-server", "redis-benchmark"],
         "pq": ["pg_config"], "pgbench": ["pg_config"]}


def interval(values):
    """A ~95 % interval of the median by order statistics (all of it below 6 values)."""
    values, n, k = sorted(values), len(values), 0
    while n >= 6 and 2 * sum(math.comb(n, i) for i in range(k + 2)) / 2**n < 0.05 \
            and k + 1 < n // 2:
        k += 1
    return values[k], values[n - 1 - k]


def median(values):
    values, n = sorted(values), len(values)
    return (values[(n - 1) // 2] + values[n // 2]) / 2


def pairs_of(workload):
    """{mode: [(rate, bare rate)]}, modes in shuffled order, a bare run between any two."""
    found = {mode: [] for mode in MODES}
    workload.measure("bare")  # to warm up
    before = workload.measure("bare")
    for _ in range(PAIRS):
        for mode in random.sample(MODES, len(MODES)):
            rate = workload.measure(mode)
            after = workload.measure("bare")
            found[mode].append((rate, (before + after) / 2))
            before = after
    return found


def report(workload, found, seconds):
    bare = median([b for pairs in found.values() for _, b in pairs])
    print(f"\n{workload.name}: bare {bare:,.0f} {workload.unit}  ({seconds:.0f} s)")
    for mode, pairs in found.items():
        ratios = [rate / b for rate, b in pairs]
        added = [1e6 / rate - 1e6 / b for rate, b in pairs]
        low, high = interval(ratios)
        print(f"    {mode:10} {median(ratios):6.3f}  [{low:.3f} .. {high:.3f}]"
              f"   {median(added):+9.2f} us per operation")
    if workload.recorded:
        print(f"    spans recorded {workload.recorded:,}, not delivered {workload.lost:,}")
    sys.stdout.flush()


def instructions(argv, env, out):
    """User-space instructions of a run: (main thread, all threads)."""
    for old in os.listdir(out):
        os.unlink(os.path.join(out, old))
    harness.run(["valgrind", "--tool=callgrind", "-q", "--separate-threads=yes",
                 f"--callgrind-out-file={out}/cg", *argv], env, timeout=LIMIT).ok()
    totals = {}
    for name in os.listdir(out):
        with open(os.path.join(out, name), encoding="utf-8", errors="replace") as f:
            m = re.findall(r"^(?:totals|summary): (\d+)", f.read(), re.M)
        totals[name] = int(m[-1]) if m else 0
    threads = {k: v for k, v in totals.items() if re.search(r"-\d+$", k)}
    main = threads.get("cg-01", totals.get("cg", 0))
    return main, sum(threads.values()) or main


def count_instructions(sink):
    if not shutil.which("valgrind"):
        print("\ninstruction counts: skipped, no valgrind")
        return
    print("\nUser-space instructions per operation (callgrind; by the difference of two runs)")
    print(f"    {'':34}{'program thread':>16}{'all threads':>14}")
    few, many = 500, 2500
    for name in "pq", "echo", "http":
        workload = WORKLOADS[name](sink)
        with tempfile.TemporaryDirectory(prefix="atr-callgrind.") as out:
            workload.start()
            try:
                base = None
                for mode in ["bare"] + MODES:
                    env = environment(mode, sink, **getattr(workload, "env", {}))
                    argv = [workload.client] + (
                        [str(workload.server.port)] if name != "pq" else [])
                    try:
                        a = instructions(argv + [str(few)], env, out)
                        b = instructions(argv + [str(many)], env, out)
                    except AssertionError as e:
                        print(f"    {workload.name + ', ' + mode:34}  failed: "
                              f"{str(e).splitlines()[0][:100]}")
                        continue
                    per = [(y - x) / (many - few) for x, y in zip(a, b)]
                    base = base or per
                    print(f"    {workload.name + ', ' + mode:34}{per[0]:10,.0f} {per[0] - base[0]:+6,.0f}"
                          f"{per[1]:8,.0f} {per[1] - base[1]:+6,.0f}")
                    sys.stdout.flush()
            finally:
                workload.stop()


def spool_bytes(directory):
    """What the files of a spool take up."""
    return sum(os.stat(os.path.join(at, name)).st_blocks * 512
               for at, _, names in os.walk(directory) for name in names)


def memory_of(argv, env, spool):
    """kB resident when all threads have worked and a second later; kB in the spool then."""
    with subprocess.Popen(argv, env=dict(env, AUTOTRACE_SPOOL_DIR=spool),
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
        first = int(p.stdout.readline().split()[0])
        spooled = spool_bytes(spool) // 1024
        later = int(p.stdout.readline().split()[0])
        p.wait(LIMIT)
    return first, later, spooled


def resident(sink):
    """Memory that is added to a program whose threads have all recorded something."""
    print("\nMemory of N threads that live, kB: resident, added to bare (200 socket calls each; a"
          " second later); in the spool")
    print(f"    {'threads':>10}{'bare':>12}{'off':>12}{'full':>12}{'a second later':>17}"
          f"{'added per thread':>19}{'spool':>12}")
    program = build("threads", "-pthread")
    with tempfile.TemporaryDirectory(prefix="atr-spool.", dir="/dev/shm") as spool:
        for n in 1, 64, 1000:
            found = {mode: memory_of([program, str(n)], environment(mode, sink), spool)
                     for mode in ("bare", "off", "full")}
            bare = found["bare"][0]
            full, later, spooled = found["full"]
            print(f"    {n:10}{bare:12,}{found['off'][0] - bare:+12,}{full - bare:+12,}"
                  f"{later - bare:+17,}{(full - bare) / n:19,.1f}{spooled:12,}")
            sys.stdout.flush()


# ---- the exporter

class GrpcSink:
    """Takes every call over HTTP/2 and answers that all is well; understands no more than that."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.counted = [0, 0]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                with self.listener.accept()[0] as s:
                    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.talk(s, s.makefile("rb"))
            except (OSError, ValueError):
                if self.listener.fileno() < 0:
                    return

    @staticmethod
    def frame(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def talk(self, s, f):
        f.read(24)  # the preface
        # SETTINGS_INITIAL_WINDOW_SIZE 2^31 - 1, and as much for the connection.
        s.sendall(self.frame(4, 0, 0, struct.pack(">HI", 4, 2**31 - 1))
                  + self.frame(8, 0, 0, struct.pack(">I", 2**31 - 1 - 65535)))
        while head := f.read(9):
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big")
            f.read(length)
            if kind == 4 and not flags & 1:
                s.sendall(self.frame(4, 1, 0))
            elif kind == 6 and not flags & 1:
                s.sendall(self.frame(6, 1, 0, bytes(8)))
            elif kind == 0 and length:
                self.counted[1] += length
                s.sendall(self.frame(8, 0, 0, struct.pack(">I", length)))
            if kind in (0, 1) and flags & 1:
                self.counted[0] += 1
                literal = lambda k, v: b"\0" + bytes([len(k)]) + k + bytes([len(v)]) + v  # noqa: E731
                s.sendall(self.frame(1, 4, stream, b"\x88" + literal(b"content-type", b"application/grpc"))
                          + self.frame(0, 0, stream, bytes(5))
                          + self.frame(1, 5, stream, literal(b"grpc-status", b"0")))

    def requests(self):
        return tuple(self.counted)

    def stop(self):
        self.listener.close()


def background_thread(pid):
    """CPU seconds of our thread."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii", errors="replace") as f:
            if f.read().strip() != "autotrace":
                continue
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            return int(f.read().split()[0]) / 1e9
    return 0.0


def at_rest(counts, seconds=1.5):
    """When it first and last changed: it has not for so long; at most LIMIT seconds."""
    before, first, last = counts(), None, time.monotonic()
    end = last + LIMIT
    while time.monotonic() < min(end, last + seconds if first else end):
        time.sleep(0.002)
        now = counts()
        if now != before:
            last = time.monotonic()
            first, before = first or last, now
    return first or last, last


class Held:
    """An HTTP client that made a request, and makes n more when it is told to: a span each."""

    def __init__(self, port, n, env):
        self.err = tempfile.TemporaryFile()
        self.process = subprocess.Popen([build("http-client"), str(port), str(n), "hold"], env=env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err,
                                        start_new_session=True)

    def go(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self):
        """Its counters."""
        self.process.stdin.close()
        try:
            self.process.wait(LIMIT)
        finally:
            harness.end(self.process)
            self.process.stdout.close()
        self.err.seek(0)
        with self.err:
            return harness.Result([], 0, b"", self.err.read(), 0)


PROTOCOLS = ["http/protobuf", "http/json", "grpc"]


def protocols():
    """Those that this build has."""
    with open(os.path.join(HERE, "..", "..", "preload", "config.def"), encoding="utf-8") as f:
        words = re.search(r"ENUM\(PROTOCOL,(.*?)\)\)", f.read(), re.S).group(1)
    return [p for p in PROTOCOLS if f'"{p}"' in words]


def exported(protocol, compression, n, server):
    """(CPU seconds of our thread, spans, body bytes, batches), and what was lost."""
    sink = GrpcSink() if protocol == "grpc" else Sink()
    try:
        env = environment("full", sink, OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
                          OTEL_EXPORTER_OTLP_COMPRESSION=compression, AUTOTRACE_RING_SIZE="67108864")
        env["OTEL_BSP_SCHEDULE_DELAY"] = "100"
        client = Held(server.port, n, env)
        at_rest(sink.requests, 0.5)
        start = background_thread(client.process.pid)  # loading libraries is no span's
        before = sink.requests()
        client.go()
        at_rest(sink.requests, 0.5)
        used = background_thread(client.process.pid) - start
        requests, size = (y - x for x, y in zip(before, sink.requests()))
        stats = client.end()
        return used, stats.total("exported"), size, requests, stats.total("ring_full") + stats.total("queue_full")
    finally:
        sink.stop()


def exporter():
    """What a span costs once it is in the ring: naming, limits, encoding, sending."""
    n = int(100000 * SECONDS)
    server = Helper(build("http-server"))
    print("\nThe background thread, spans of an HTTP client: CPU time per span, how many that makes for one"
          f" CPU, bytes on the wire per span\n    {'':24}{'us per span':>12}{'spans/s':>12}{'bytes':>8}{'batches':>9}{'lost':>8}")
    try:
        for protocol in PROTOCOLS:
            for compression in "none", "gzip":
                if protocol not in protocols():
                    print(f"    {protocol + ', ' + compression:24}   skipped: not in this build")
                    continue
                runs = sorted(exported(protocol, compression, n, server) for _ in range(3))
                used, spans, size, requests, lost = runs[1]  # by CPU time
                if not spans:
                    print(f"    {protocol + ', ' + compression:24}   failed: nothing was taken")
                    continue
                print(f"    {protocol + ', ' + compression:24}{1e6 * used / spans:12.2f}{spans / used:12,.0f}"
                      f"{size / spans:8.0f}{requests:9,}{lost:8,}")
                sys.stdout.flush()
        catch_up(server, n)
        exporter_instructions(server)
    finally:
        server.stop()


def catch_up(server, n):
    """Nobody listens while they are made; then somebody does."""
    port = harness.free_port()
    env = harness.shim_env(f"http://127.0.0.1:{port}", AUTOTRACE_ABORT_ON_BUG=None,
                           AUTOTRACE_RING_SIZE="67108864", AUTOTRACE_EXIT_TIMEOUT="3000")
    client = Held(server.port, n, env)
    client.go()
    time.sleep(1)
    sink, began = Sink(port), time.monotonic()
    try:
        first, last = at_rest(sink.requests, 3)
        stats = client.end()
    finally:
        sink.stop()
    spans = stats.total("exported")
    print(f"    after an outage: {spans:,} of {stats.total('recorded'):,} spans in {last - first:.2f} s, "
          f"{spans / max(last - first, 0.001):,.0f}/s; the first {first - began:.1f} s after the collector was back")
    sys.stdout.flush()


def exporter_instructions(server):
    """The same by callgrind, which no noise disturbs."""
    if not shutil.which("valgrind"):
        print("    instructions per span: skipped, no valgrind")
        return
    for protocol in protocols():
        for compression in "none", "gzip":
            sink = GrpcSink() if protocol == "grpc" else Sink()
            env = environment("full", sink, OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
                              OTEL_EXPORTER_OTLP_COMPRESSION=compression)
            try:
                with tempfile.TemporaryDirectory(prefix="atr-callgrind.") as out:
                    a, b = (instructions([build("http-client"), str(server.port), str(m)], env, out)
                            for m in (1000, 5000))
                print(f"    {protocol + ', ' + compression:24}{(b[1] - b[0] - a[1] + a[0]) / 4000:12,.0f} instructions per span")
                sys.stdout.flush()
            except AssertionError as e:
                print(f"    {protocol + ', ' + compression:24}   failed: {str(e).splitlines()[0][:100]}")
            finally:
                sink.stop()


def main():
    if not os.path.exists(harness.SHIM):
        sys.exit(f"{harness.SHIM} is not built")
    random.seed(os.environ.get("SEED"))
    pin()
    print(f"{PAIRS} pairs per line, CPU {CPU}, ratio to bare: median [95 % interval], 1.000 = free")
    sink = Sink()
    try:
        for name, workload_class in WORKLOADS.items():
            missing = [n for n in NEEDS.get(name, []) if not shutil.which(n)]
            if ONLY not in name or missing:
                if missing:
                    print(f"\n{workload_class.name}: skipped, no {', '.join(missing)}")
                continue
            workload, began = workload_class(sink), time.monotonic()
            before = sink.requests()
            try:
                workload.start()
                found = pairs_of(workload)
            except (AssertionError, OSError) as e:
                print(f"\n{workload.name}: failed: {str(e)[:500]}")
                continue
            finally:
                try:
                    workload.stop()
                except AttributeError:
                    pass  # it never started
            report(workload, found, time.monotonic() - began)
            requests, size = (y - x for x, y in zip(before, sink.requests()))
            if requests:
                print(f"    {requests:,} batches, {size / 1e6:,.1f} MB, taken by the sink")
        if ONLY in "exporter":
            exporter()
        if ONLY in "instructions":
            count_instructions(sink)
        if ONLY in "memory":
            resident(sink)
    finally:
        sink.stop()


if __name__ == "__main__":
    main()
