# SPDX-License-Identifier: Apache-2.0
"""Running programs bare and preloaded, and the servers they talk to."""
import atexit
import ctypes
import functools
import glob
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time

from receiver import ROOT

B = os.path.abspath(os.path.join(ROOT, os.environ.get("B") or "build"))
SAN = os.environ.get("SAN", "")
SHIM = os.path.join(B, "libautotrace.so")
PROGRAMS = os.path.join(B, "tests", "e2e", "programs")
SOURCES = os.path.join(ROOT, "tests", "e2e", "programs")
SLOW = 3 if SAN else 1  # every limit is multiplied by this
MAX_OUTPUT = 64 << 20


@functools.lru_cache(None)
def own_dir(name):
    """A directory beside the programs that no other run of tests uses."""
    path = os.path.join(PROGRAMS, f"{name}.{os.getpid()}")
    os.makedirs(path, exist_ok=True)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def compiled(name, *args):
    """Build programs/special/<name>.c with args."""
    path = os.path.join(own_dir("special"), name.replace(".c", ""))
    path += ".so" if "-shared" in args else ""
    subprocess.run(["gcc", "-O1", "-g", "-Wall", "-D_GNU_SOURCE", "-o", path,
                    os.path.join(SOURCES, "special", name), *args], check=True, timeout=60)
    return path


def sanitizer_runtimes():
    """They must come before us in LD_PRELOAD, or they refuse to start."""
    libs = {"address": "libasan.so", "thread": "libtsan.so", "undefined": "libubsan.so"}
    found = []
    for name in SAN.split(","):
        if name in libs:
            path = subprocess.run(["gcc", "-print-file-name=" + libs[name]], check=True,
                                  capture_output=True, text=True, timeout=10).stdout.strip()
            found.append(os.path.realpath(path))
    if found:
        found.append(compiled("first.c", "-shared", "-fPIC", "-Wl,-z,initfirst"))
    return found


RUNTIMES = sanitizer_runtimes()
REPORTS = os.path.join(own_dir("reports"), "report") if RUNTIMES else os.devnull


def sanitizer_reports():
    """What the sanitizers wrote since the last call."""
    text = ""
    for path in glob.glob(REPORTS + ".*"):
        with open(path, encoding="utf-8", errors="replace") as f:
            text += f.read()
        os.unlink(path)
    return text


def bare_env(**more):
    """An environment without a trace of us."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("OTEL_", "AUTOTRACE_", "PG", "LD_"))
           and k not in ("TRACEPARENT", "TRACESTATE", "B", "SAN", "http_proxy", "HTTP_PROXY")}
    env["LC_ALL"] = "C"
    env["NO_PROXY"] = "*"
    env.update(more)
    return env


@functools.lru_cache(None)
def spool_dir():
    """Of these tests alone; nginx's workers are nobody."""
    path = tempfile.mkdtemp(prefix="atr-spool.", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    os.chmod(path, 0o1777)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def shim_env(endpoint, shim=SHIM, **more):
    env = bare_env(
        LD_PRELOAD=" ".join(RUNTIMES + [shim]),
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_SERVICE_NAME="e2e",
        OTEL_BSP_SCHEDULE_DELAY="200",
        AUTOTRACE_EXIT_TIMEOUT=str(2000 * SLOW),
        AUTOTRACE_ABORT_ON_BUG="true",
        AUTOTRACE_SPOOL_DIR=spool_dir(),
        AUTOTRACE_DEBUG="stats")
    if RUNTIMES:
        os.chmod(os.path.dirname(REPORTS), 0o1777)  # nginx's workers are nobody
        log = ":log_path=" + REPORTS  # our thread has an fd table of its own: no fd 2 in it
        env["ASAN_OPTIONS"] = "detect_leaks=0:detect_odr_violation=0" + log
        env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1" + log
        env["TSAN_OPTIONS"] = "report_signal_unsafe=0:exitcode=66:atexit_sleep_ms=0" \
            ":die_after_fork=0:suppressions=" + os.path.join(ROOT, "tests/e2e/tsan.supp") + log
    for key, value in more.items():
        if value is None:
            env.pop(key, None)
        else:
            env[key] = value
    return env


STATS = re.compile(r"^autotrace\[(\d+)\]: stats (.*)\n?", re.M)


class Result:
    def __init__(self, argv, rc, out, err, seconds):
        self.argv, self.rc, self.out, self.raw_err, self.seconds = argv, rc, out, err, seconds
        self.stats = {}
        for pid, pairs in STATS.findall(err.decode("utf-8", "replace")):
            self.stats[int(pid)] = {k: int(v) for k, v in
                                    (p.split("=", 1) for p in pairs.split() if "=" in p)}
        self.err = STATS.sub("", err.decode("utf-8", "replace"))

    def total(self, counter):
        return sum(s.get(counter, 0) for s in self.stats.values())

    def ok(self):
        assert self.rc == 0, f"{self.argv}: exit {self.rc}\n{self.out.decode(errors='replace')}" \
            f"\n{self.raw_err.decode(errors='replace')}"
        return self


def end(process, sig=signal.SIGTERM, wait=5):
    """End a process we started, and what it started, by its own id."""
    if process.poll() is None:
        process.send_signal(sig)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait(5)


def run(argv, env, timeout=20, stdin=b"", cwd=None, **popen):
    """Run to the end, within a limit; output goes through files, so it cannot block."""
    timeout *= SLOW
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, \
            tempfile.TemporaryFile() as inp:
        inp.write(stdin)
        inp.seek(0)
        began = time.monotonic()
        process = subprocess.Popen(argv, env=env, stdin=inp, stdout=out, stderr=err, cwd=cwd,
                                   start_new_session=True, **popen)
        try:
            process.wait(timeout)
            late = False
        except subprocess.TimeoutExpired:
            late = True
        seconds = time.monotonic() - began
        end(process, signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        result = Result(argv, process.returncode, out.read(MAX_OUTPUT), err.read(MAX_OUTPUT),
                        seconds)
    assert not late, f"{argv} still ran after {timeout} s\n{result.raw_err[-4000:]}"
    return result


def program(name):
    path = os.path.join(PROGRAMS, name)
    assert os.path.exists(path), f"{path} is not built: make B={os.path.relpath(B, ROOT)} e2e"
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(test, what, timeout=10):
    until = time.monotonic() + timeout * SLOW
    while time.monotonic() < until:
        if test():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain for " + what)


def listening(port, family=socket.AF_INET, address="127.0.0.1"):
    with socket.socket(family) as s:
        s.settimeout(1)
        return s.connect_ex((address, port)) == 0


def die_with_us():
    """For preexec_fn: a server ends when the tests are killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


def as_user(name):
    return ["setpriv", "--pdeathsig", "INT", "--reuid", name, "--regid", name, "--clear-groups"] \
        if os.geteuid() == 0 else []


# Sends a byte as often as it is told, a line each time.
PAIRS = """
import os, socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
c = socket.create_connection(s.getsockname()); a = s.accept()[0]
for line in sys.stdin:
    for _ in range(int(line)):
        c.send(b"x")
    print("did", flush=True)
"""


class Sender:
    """A traced program that sends as often as it is told: a span each."""

    def __init__(self, env, argv=("/usr/bin/python3", "-c", PAIRS)):
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, start_new_session=True)
        self.pid = self.process.pid

    def send(self, n):
        self.process.stdin.write(b"%d\n" % n)
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"did\n"

    def finish(self):
        """Let it end by itself; its exit status."""
        self.process.stdin.close()
        return self.process.wait(20 * SLOW)

    def stop(self, sig=signal.SIGKILL):
        end(self.process, sig)
        self.process.stdin.close()
        self.process.stdout.close()


class Postgres:
    """A throwaway PostgreSQL that logs every statement it is sent."""

    def __init__(self, tls=False, settings=(), server_env=None, hba=None):
        self.dir = tempfile.mkdtemp(prefix="atr-pg.")
        self.port = free_port()
        self.log = os.path.join(self.dir, "log")
        self.user = "postgres"
        who = as_user("postgres")
        if who:
            shutil.chown(self.dir, "postgres", "postgres")
        bindir = subprocess.run(["pg_config", "--bindir"], check=True, capture_output=True,
                                text=True, timeout=10).stdout.strip()
        self.bindir = bindir
        data = os.path.join(self.dir, "data")
        env = bare_env()
        subprocess.run(who + [bindir + "/initdb", "-D", data, "-A", "trust", "-U", "postgres",
                              "--no-sync", "--no-locale", "-E", "UTF8"], check=True, env=env,
                       cwd="/", stdout=subprocess.DEVNULL, timeout=60)
        if hba:
            with open(data + "/pg_hba.conf", "w", encoding="utf-8") as f:
                f.write(hba)
        self.log_file = open(self.log, "ab")
        options = self.certificate(who) if tls else []
        self.process = subprocess.Popen(
            who + [bindir + "/postgres", "-D", data, "-p", str(self.port), "-k", self.dir,
                   "-c", "listen_addresses=127.0.0.1,::1", "-c", "log_statement=all",
                   "-c", "log_line_prefix=[%a] ", "-c", "fsync=off", "-c", "shared_buffers=16MB",
                   "-c", "max_connections=60"] + options
            + [a for s in settings for a in ("-c", s)],
            env=server_env or env, cwd="/", stdout=self.log_file, stderr=self.log_file,
            start_new_session=True)
        try:
            wait_for(self.ready, "PostgreSQL", 20)
        except AssertionError:
            self.stop()
            raise

    def certificate(self, who):
        key, crt = self.dir + "/key.pem", self.dir + "/crt.pem"
        subprocess.run(who + ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                              "-subj", "/CN=localhost", "-keyout", key, "-out", crt],
                       check=True, env=bare_env(), cwd="/", capture_output=True, timeout=60)
        os.chmod(key, 0o600)
        return ["-c", "ssl=on", "-c", "ssl_cert_file=" + crt, "-c", "ssl_key_file=" + key]

    def ready(self):
        return subprocess.run([self.bindir + "/pg_isready", "-q", "-h", "127.0.0.1", "-p",
                               str(self.port)], env=bare_env(), timeout=10,
                              check=False).returncode == 0

    def env(self):
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "postgres",
                "PGDATABASE": "postgres", "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}

    def statements(self, application):
        """What the server says this application sent, in order."""
        found = []
        with open(self.log, encoding="utf-8", errors="replace") as f:
            for one in f:
                m = re.match(r"\[(.*?)\] LOG:  (?:statement|execute [^:]*): (.*)", one)
                if m and m.group(1) == application:
                    found.append(m.group(2))
        return found

    def stop(self):
        end(self.process, signal.SIGINT, 10)
        self.log_file.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Redis:
    def __init__(self, env=None):
        self.dir = tempfile.mkdtemp(prefix="atr-redis.")
        self.port = free_port()
        self.err = open(os.path.join(self.dir, "err"), "wb+")
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--daemonize", "no", "--dir", self.dir,
             "--unixsocket", self.dir + "/sock", "--io-threads", "1"],
            env=env or bare_env(), stdout=subprocess.DEVNULL, stderr=self.err,
            start_new_session=True, preexec_fn=die_with_us)
        try:
            wait_for(lambda: os.path.exists(self.dir + "/sock") and listening(self.port),
                     "redis-server")
        except AssertionError:
            self.stop()
            raise

    def stop(self):
        """End it; what it wrote to stderr."""
        end(self.process, signal.SIGTERM, 10)
        self.err.seek(0)
        err = self.err.read()
        self.err.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        return err


class Nginx:
    """Serves its directory; everything in a temporary prefix."""

    def __init__(self, env=None, files=None):
        self.dir = tempfile.mkdtemp(prefix="atr-nginx.")
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        for name, content in (files or {"index.html": b"hello from nginx\n"}).items():
            with open(os.path.join(self.dir, name), "wb") as f:
                f.write(content)
        with open(self.dir + "/nginx.conf", "w", encoding="ascii") as f:
            f.write(f"""
daemon off;
{'user nobody nogroup;' if os.geteuid() == 0 else ''}
worker_processes 1;
pid {self.dir}/pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
	access_log off;
	sendfile on;
	keepalive_requests 100000000;
	client_body_temp_path {self.dir}/t1;
	proxy_temp_path {self.dir}/t2;
	fastcgi_temp_path {self.dir}/t3;
	uwsgi_temp_path {self.dir}/t4;
	scgi_temp_path {self.dir}/t5;
	{self.servers()}
}}
""")
        self.err = open(os.path.join(self.dir, "err"), "wb+")
        self.process = subprocess.Popen(
            ["nginx", "-p", self.dir, "-c", self.dir + "/nginx.conf", "-e", "stderr"],
            env=env or bare_env(), stdout=subprocess.DEVNULL, stderr=self.err,
            start_new_session=True, preexec_fn=die_with_us)
        try:
            wait_for(lambda: listening(self.port), "nginx")
        except AssertionError:
            self.stop()
            raise

    def servers(self):
        return f"server {{ listen 127.0.0.1:{self.port}; root {self.dir}; }}"

    def stop(self):
        """Graceful end; what it wrote to stderr."""
        end(self.process, signal.SIGQUIT, 10)
        self.err.seek(0)
        err = self.err.read()
        self.err.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        return err


class TcpEcho:
    def __init__(self, family=socket.AF_INET, address="127.0.0.1"):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while True:
                    try:
                        data = self.request.recv(65536)
                        if not data:
                            return
                        self.request.sendall(data)
                    except OSError:
                        return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            address_family = family
            request_queue_size = 64

        self.server = Server((address, 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


class UdpEcho:
    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.2)
        self.port = self.socket.getsockname()[1]
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.done.is_set():
            try:
                data, peer = self.socket.recvfrom(65536)
                self.socket.sendto(data, peer)
            except OSError:
                continue

    def stop(self):
        self.done.set()
        self.thread.join(5)
        self.socket.close()
