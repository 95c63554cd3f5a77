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
    assert [(c.attrs.get("db.response.affected_rows"), c.attrs.get("db.response.returned_rows"))
            for c in copies] == [(2, None), (None, 5)]
    assert copies[0].attrs["autotrace.bytes_sent"] == len("7\tseven\n8\teight\n")
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
