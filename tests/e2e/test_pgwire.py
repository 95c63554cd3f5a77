# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL by protocol code of the program's own: what the server logged are the spans."""
import glob
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading

import pytest

import harness
from harness import SLOW, bare_env, run
from test_postgres import queries

PYTHON = "/usr/bin/python3"
HERE = os.path.dirname(os.path.abspath(__file__))
DRIVERS = os.path.join(HERE, "services", "pgwire")


# ---- what comes from elsewhere


def fetched(argv, cwd, what):
    """Run a package manager, within a limit; skip when it cannot get what is wanted."""
    try:
        r = subprocess.run(argv, cwd=cwd, env=bare_env(HOME=os.path.expanduser("~")), timeout=240,
                           capture_output=True, check=False)
        why = r.stderr.decode(errors="replace").strip().splitlines()[-1:] if r.returncode else None
    except (OSError, subprocess.TimeoutExpired) as e:
        why = [str(e)]
    if why is not None:
        pytest.skip(f"{what} cannot be had: {' '.join(why)[:200]}")
    return cwd


@pytest.fixture(scope="session")
def pypi(tmp_path_factory):
    return fetched([PYTHON, "-m", "pip", "install", "-q", "--no-input", "--target", ".",
                    "pg8000==1.31.*", "asyncpg==0.30.*"],
                   str(tmp_path_factory.mktemp("pypi")), "pg8000 and asyncpg from PyPI")


@pytest.fixture(scope="session")
def npm(tmp_path_factory):
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("there is no node, or no npm")
    return fetched(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "pg@8"],
                   str(tmp_path_factory.mktemp("npm")), "pg from npm")


JDBC = "https://repo1.maven.org/maven2/org/postgresql/postgresql/42.7.4/postgresql-42.7.4.jar"


@pytest.fixture(scope="session")
def jdbc(tmp_path_factory):
    if not shutil.which("java"):
        pytest.skip("there is no java")
    return fetched(["curl", "-sSf", "--max-time", "120", "-o", "postgresql.jar", JDBC],
                   str(tmp_path_factory.mktemp("jdbc")), "the JDBC driver from Maven Central")


# ---- the server's word


LOGGED = re.compile(r"^\[(.*?)\] (LOG|ERROR|STATEMENT|DETAIL|FATAL|WARNING|HINT): +(.*)$")


class Log:
    """What the server was sent from now on, by whom it may be."""

    def __init__(self, postgres):
        self.path = postgres.log
        self.at = os.path.getsize(postgres.log)

    def statements(self):
        """Their texts in order.  What fails before it is executed is named by its error only."""
        found, whole = [], None
        with open(self.path, encoding="utf-8", errors="replace") as f:
            f.seek(self.at)
            for one in f:
                m = LOGGED.match(one.rstrip("\n"))
                if not m:
                    if found and whole:
                        found[-1] += "\n" + one.strip("\n\t")
                    continue
                text = re.match(r"(?:statement|execute [^:]*): (.*)", m.group(3))
                whole = m.group(2) == "LOG" and text
                if whole:
                    found.append(text.group(1))
                elif m.group(2) == "STATEMENT" and found[-1:] != [m.group(3)]:
                    found.append(m.group(3))
        return found

    def errors(self):
        with open(self.path, encoding="utf-8", errors="replace") as f:
            f.seek(self.at)
            return [m.group(3) for m in map(LOGGED.match, f) if m and m.group(2) == "ERROR"]


def masked(text):
    """Texts that differ in nothing but literals are alike."""
    text = re.sub(r"'(?:[^']|'')*'", "?", text)
    return re.sub(r"(?<![\w$\"])-?\d+(?:\.\d+)?", "?", " ".join(text.split()))


def executed(spans):
    """What was only prepared is none of them, unless it failed then."""
    return [s for s in queries(spans)
            if not s.name.startswith(("PREPARE", "DESCRIBE")) or s.status == "ERROR"]


class Client:
    def __init__(self, receiver, shim, postgres):
        self.receiver, self.shim, self.postgres = receiver, shim, postgres

    def traced(self, argv, timeout=60, **more):
        """Bare and traced: the same output, and a span for each statement that was logged."""
        env = dict(self.postgres.env(), **more)
        log = Log(self.postgres)
        bare = run(argv, bare_env(**env), timeout=timeout).ok()
        sent_bare = [masked(t) for t in log.statements()]
        log = Log(self.postgres)
        r = run(argv, self.shim(**env), timeout=timeout).ok()
        assert r.out == bare.out
        assert r.err == bare.raw_err.decode()
        sent = log.statements()
        assert [masked(t) for t in sent] == sent_bare
        self.receiver.wait(r.total("exported"))
        assert not r.total("not_followed") and not r.total("ring_full"), r.stats
        spans = executed(self.receiver.spans)
        spans = [s for s in spans if s.attrs.get("error.type") != "pipeline_aborted"]
        assert [masked(s.attrs.get("db.query.text", "")) for s in spans] == \
            [masked(t) for t in sent]
        for text, span in zip(sent, spans):
            if "$1" in text:
                assert span.attrs["db.query.text"] == text
        failed = [s for s in spans if s.status == "ERROR"]
        assert len(failed) == len(log.errors())
        for s in queries(self.receiver.spans):
            assert s.kind == "CLIENT" and s.attrs["db.namespace"] == "postgres", s
            assert s.attrs["server.address"] == s.attrs["network.peer.address"] == "127.0.0.1", s
            assert s.attrs["server.port"] == s.attrs["network.peer.port"] == self.postgres.port, s
            assert s.attrs["network.transport"] == "tcp", s
        raw = [s for s in self.receiver.spans if s.name in ("send", "recv")]
        assert not [s for s in raw if s.kind != "INTERNAL"]  # asyncio's own pair
        return self.receiver.spans


@pytest.fixture
def client(receiver, shim, postgres):
    return Client(receiver, shim, postgres)


def named(spans, name):
    return [s for s in spans if s.name == name]


# ---- drivers


def test_pg8000(client, pypi):
    spans = client.traced([PYTHON, DRIVERS + "/pg8000_client.py"], PYTHONPATH=pypi)
    connects = named(spans, "connect postgres")
    assert [c.attrs["db.operation.name"] for c in connects] == ["connect"] * 2
    assert not [c for c in connects if c.status]
    copies = named(spans, "COPY t8")
    assert [c.attrs.get("db.postgresql.copy.rows") for c in copies] == [2, 5]
    assert copies[0].attrs["db.postgresql.copy.bytes"] == len("7\tseven\n8\teight\n")
    update, = named(spans, "UPDATE t8")
    assert (update.attrs["db.response.affected_rows"], update.attrs["db.response.returned_rows"],
            update.attrs["db.postgresql.transaction.status"]) == (2, 2, "in_transaction")
    assert [s.attrs["db.response.returned_rows"] for s in named(spans, "SELECT t8")] == [1, 1, 0]


def test_asyncpg(client, pypi):
    spans = client.traced([PYTHON, DRIVERS + "/asyncpg_client.py"], PYTHONPATH=pypi)
    assert len(named(spans, "INSERT ta")) == 50, "pipelined, a span each"
    update, = named(spans, "UPDATE ta")
    assert update.attrs["db.response.affected_rows"] == 50
    rolled_back, = named(spans, "ROLLBACK")
    assert "db.postgresql.transaction.status" not in rolled_back.attrs
    states = [s.attrs.get("db.postgresql.transaction.status") for s in named(spans, "SELECT")]
    assert "failed" in states
    fetches = [s.attrs["db.response.returned_rows"] for s in named(spans, "SELECT ta")
               if "$1" in s.attrs["db.query.text"]]
    assert sum(fetches) == 45 and len(fetches) == 3, "a span for each time the cursor is read"


def test_node_pg(client, npm):
    if harness.SAN:
        pytest.skip("node does not run under a sanitizer")
    spans = client.traced(["node", DRIVERS + "/node_client.js"], NODE_PATH=npm + "/node_modules")
    assert len(named(spans, "connect postgres")) == 2
    assert named(spans, "LISTEN NOTIFY") or named(spans, "LISTEN news NOTIFY news"), \
        "two statements in one query are one span"


def test_jdbc(client, jdbc):
    if harness.SAN:
        pytest.skip("java does not run under a sanitizer")
    spans = client.traced(["java", "-XX:+UseSerialGC", "-Xshare:auto", "-cp",
                           jdbc + "/postgresql.jar", DRIVERS + "/JdbcClient.java"])
    assert len(named(spans, "connect postgres")) == 1
    inserts = [s for s in spans if s.name == "INSERT tj"]
    assert len([s for s in inserts if not s.status]) == 41
    assert [s.attrs["error.type"] for s in inserts if s.status] == ["22012", "pipeline_aborted"]
    fetches = [s.attrs["db.response.returned_rows"] for s in named(spans, "SELECT tj")]
    assert fetches == [10, 10, 10, 5]


# ---- one connection, in detail


def startup(user="postgres", database="postgres"):
    body = struct.pack(">I", 3 << 16) + \
        b"".join(w.encode() + b"\0" for w in ("user", user, "database", database)) + b"\0"
    return struct.pack(">I", len(body) + 4) + body


def message(kind, body=b""):
    return kind + struct.pack(">I", len(body) + 4) + body


# argv: port, then what is sent as hex, "+" after what is answered before more is sent
RAW = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.settimeout(10)
got = b""
try:
    for part in sys.argv[2:]:
        s.sendall(bytes.fromhex(part))
        got += s.recv(1 << 20)
    s.shutdown(socket.SHUT_WR)
    while True:
        more = s.recv(1 << 16)
        if not more:
            break
        got += more
except OSError as e:
    print(type(e).__name__)
print(got.hex())
"""


class Says:
    """A server that answers each recv() with the next of its answers, whatever was asked."""

    def __init__(self, *answers):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(8)
        self.socket.settimeout(30 * SLOW)
        self.port = self.socket.getsockname()[1]
        self.answers = answers
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            while True:
                with self.socket.accept()[0] as c:
                    c.settimeout(10 * SLOW)
                    for answer in self.answers:
                        if not c.recv(65536):
                            break
                        c.sendall(answer)
        except OSError:
            return

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(10)


def raw(receiver, shim, answers, *sent):
    """The same bare and traced against a server that says these; the result and the spans."""
    s = Says(*answers)
    try:
        argv = [PYTHON, "-c", RAW, str(s.port)] + [part.hex() for part in sent]
        bare = run(argv, bare_env()).ok()
        r = run(argv, shim()).ok()
    finally:
        s.stop()
    assert r.out == bare.out and r.err == bare.raw_err.decode()
    receiver.wait(r.total("exported"))
    return r, receiver.spans


SSL = bytes.fromhex("0000000804d2162f")
READY = message(b"R", b"\0\0\0\0") + message(b"Z", b"I")


def test_encryption_that_is_granted(receiver, shim):
    hello = bytes.fromhex("16030100050100000100")
    r, spans = raw(receiver, shim, [b"S", hello], SSL, hello)
    assert not queries(spans) and not [s for s in spans if "db.system.name" in s.attrs]
    assert r.total("not_followed") == 1
    sent = [s.attrs["autotrace.bytes_sent"] for s in spans if s.name == "send"]
    assert sent == [len(hello)], "what is encrypted is the program's own affair"


HOSTILE = {
    "another protocol": b"HTTP/1.1 200 OK\r\n\r\n",
    "a negative length": b"D\xff\xff\xff\xff\0\1",
    "a length of nothing": b"D\0\0\0\0",
    "a length too short": b"Z\0\0\0\4",
    "a huge row": b"D\x3f\xff\xff\xff\0\1" + b"x" * 100000,
    "a row nobody asked for": message(b"T", b"\0\0") + message(b"1") + message(b"2"),
    "answers without end": message(b"C", b"SELECT 1\0") * 10000,
    "many that are ready": message(b"Z", b"I") * 1000,
    "a start of its own": startup(),
    "nothing but noise": bytes(range(256)) * 50,
    "an error without an end": message(b"E", b"SERROR\0C"),
    "half a message": b"T\0\0",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_server(receiver, shim, what):
    r, spans = raw(receiver, shim, [READY, HOSTILE[what]], startup(),
                   message(b"Q", b"SELECT a FROM t\0"))
    assert not r.total("bugs")
    assert len(queries(spans)) + r.total("not_followed") <= 1
    for s in queries(spans):
        assert s.name == "SELECT t" and (s.status or what == "many that are ready"), s


@pytest.mark.parametrize("spans", ["all", "none"])
def test_raw_spans_below_statements(receiver, shim, postgres, pypi, spans):
    code = "import os, pg8000.native as p; e = os.environ\n" \
        "c = p.Connection(e['PGUSER'], host=e['PGHOST'], port=int(e['PGPORT']))\n" \
        "for i in range(3): c.run('SELECT 1')\n"
    r = run([PYTHON, "-c", code], shim(AUTOTRACE_SOCKET_SPANS=spans, PYTHONPATH=pypi,
                                       **postgres.env())).ok()
    found = receiver.wait(r.total("exported"))
    asked = queries(found)
    assert len(asked) == 3
    single = [s for s in found if s.name in ("send", "recv")]
    if spans == "none":
        assert not single
        return
    ids = {s.span for s in asked}
    below = [s for s in single if s.parent in ids]
    assert [s.name for s in below].count("send") == 3
    assert [s.name for s in below].count("recv") >= 3


def test_a_unix_socket(receiver, shim, postgres, pypi):
    code = "import os, pg8000.native as p; e = os.environ\n" \
        "c = p.Connection(e['PGUSER'], unix_sock=e['SOCK']); print(c.run('SELECT 1'))\n"
    sock = f"{postgres.dir}/.s.PGSQL.{postgres.port}"
    r = run([PYTHON, "-c", code], shim(SOCK=sock, PYTHONPATH=pypi, **postgres.env())).ok()
    query, = queries(receiver.wait(r.total("exported")))
    assert query.attrs["server.address"] == query.attrs["network.peer.address"] == sock
    assert query.attrs["network.transport"] == "unix" and "server.port" not in query.attrs
    assert query.attrs["db.namespace"] == "postgres", "the user's name, where none is given"


CANCEL = """
import asyncio, os, asyncpg
async def main():
    e = os.environ
    c = await asyncpg.connect(user=e["PGUSER"], host=e["PGHOST"], port=int(e["PGPORT"]),
                              database="postgres", ssl="disable")
    try:
        await asyncio.wait_for(c.execute("SELECT pg_sleep(30)"), 0.5)
    except asyncio.TimeoutError:
        print("cancelled")
    print(await c.fetchval("SELECT 1"))
    await c.close()
asyncio.run(main())
"""


def test_cancelling(receiver, shim, postgres, pypi):
    r = run([PYTHON, "-c", CANCEL], shim(PYTHONPATH=pypi, **postgres.env())).ok()
    assert r.out == b"cancelled\n1\n"
    spans = receiver.wait(r.total("exported"))
    cancel, = named(spans, "cancel")
    assert cancel.attrs["db.operation.name"] == "cancel" and not cancel.status
    slept = [s for s in queries(spans) if "pg_sleep" in s.attrs.get("db.query.text", "")]
    assert [s.attrs["error.type"] for s in slept] == ["57014"]


# ---- libpq, and its hooks


LIBPQ = """
import ctypes, os, sys
def typed(lib):
    lib.PQconnectdb.restype = lib.PQexec.restype = ctypes.c_void_p
    lib.PQexec.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    lib.PQfinish.argtypes = [ctypes.c_void_p]
    lib.PQresultStatus.argtypes = [ctypes.c_void_p]
    return lib
own = typed(ctypes.CDLL("libpq.so.5", ctypes.RTLD_GLOBAL))  # by dlsym(handle): past the hooks
hooked = typed(ctypes.CDLL(None))
use = {"own": [own], "hooked": [hooked], "mixed": [own, own, hooked, own, hooked]}[sys.argv[1]]
c = use[0].PQconnectdb(b"")
for i in range(5):
    use[i % len(use)].PQexec(c, b"SELECT %d" % i)
own.PQfinish(c)
"""


@pytest.mark.parametrize("how", ["own", "hooked", "mixed"])
def test_libpq_itself_is_never_both(receiver, shim, postgres, how):
    log = Log(postgres)
    r = run([PYTHON, "-c", LIBPQ, how], shim(**postgres.env())).ok()
    spans = receiver.wait(r.total("exported"))
    assert len(log.statements()) == 5
    assert len(queries(spans)) == 5
    assert len(named(spans, "connect postgres")) == 1


# ---- a server, and a request's statements


def test_a_server_is_left_alone(receiver, shim, pypi):
    env = shim(AUTOTRACE_DEBUG=None)
    server = harness.Postgres(server_env=env)
    try:
        argv = [PYTHON, DRIVERS + "/pg8000_client.py"]
        bare = run(argv, bare_env(PYTHONPATH=pypi, **server.env())).ok()
        assert len(bare.out.splitlines()) == 11
    finally:
        server.stop()
    assert not [s for s in receiver.spans if "db.system.name" in s.attrs]


SERVICE = """
import http.server, os, sys, threading, urllib.request
import pg8000.native
e = os.environ
def connect():
    return pg8000.native.Connection(e["PGUSER"], host=e["PGHOST"], port=int(e["PGPORT"]))
kept, lock = connect(), threading.Lock()
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with lock:
            kept.run("SELECT :p::text", p=self.path)
        connect().run("SELECT 'own'")
        self.send_response(204)
        self.end_headers()
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
threading.Thread(target=s.serve_forever, daemon=True).start()
print(s.server_port, flush=True)
sys.stdin.read()
"""


def test_statements_belong_to_the_request(receiver, shim, postgres, pypi):
    with subprocess.Popen([PYTHON, "-c", SERVICE], env=shim(PYTHONPATH=pypi, **postgres.env()),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as service:
        try:
            port = int(service.stdout.readline())
            for i in range(4):
                with socket.create_connection(("127.0.0.1", port), 10) as s:
                    s.sendall(b"GET /%d HTTP/1.0\r\nHost: h\r\n\r\n" % i)
                    while s.recv(4096):
                        pass
            service.stdin.close()
            service.wait(20 * SLOW)
        finally:
            harness.end(service)
    spans = receiver.wait(4 * 4)
    served = [s for s in spans if s.kind == "SERVER" and "url.path" in s.attrs]
    assert len(served) == 4
    for s in served:
        below = [c.name for c in queries(spans) if c.parent == s.span]
        assert below == ["SELECT", "SELECT"], below
        assert [c.parent for c in named(spans, "connect postgres")].count(s.span) == 1
