# SPDX-License-Identifier: Apache-2.0
"""libpq: the queries the server saw are the spans we sent."""
import json
import os
import shutil

import pytest

import harness
from harness import bare_env, compiled, program, run
from spans import golden, tree


def queries(spans):
    return [s for s in sorted(spans, key=lambda s: s.start)
            if s.attrs.get("db.system.name") == "postgresql"
            and s.attrs.get("db.operation.name") != "connect"]


def connects(spans):
    return [s for s in sorted(spans, key=lambda s: s.start)
            if s.attrs.get("db.operation.name") == "connect"]


def without_dialling(spans):
    """Without the "socket connect" below each connection that is made."""
    ids = {s.span: s for s in spans}
    for s in spans:
        if s.name.startswith("socket connect"):
            assert ids[s.parent].attrs["db.operation.name"] == "connect", s
    return sorted((s for s in spans if not s.name.startswith("socket connect")),
                  key=lambda s: s.start)


def test_every_libpq_call(receiver, shim, postgres):
    bare = run([program("pg-client")], bare_env(**postgres.env())).ok()
    r = run([program("pg-client")], shim(**postgres.env())).ok()
    assert r.out == bare.out and r.err == bare.raw_err.decode()
    did = [json.loads(one) for one in r.out.decode().splitlines()]
    receiver.wait(r.total("exported"))
    spans = without_dialling(receiver.spans)
    assert len(spans) == len(did), "none lost, none invented"
    for one, span in zip(did, spans):
        what = (one, span)
        attrs = span.attrs
        assert span.kind == "CLIENT" and attrs["db.system.name"] == "postgresql", what
        if one["sql"] == "connect":
            assert attrs["db.operation.name"] == "connect", what
            assert (span.status == "ERROR") == (one["sqlstate"] == "failed"), what
        else:
            if one["call"] == "PQexec of NULL":
                assert span.status == "ERROR" and "server.address" not in attrs, what
                continue
            assert attrs["server.address"] == "127.0.0.1", what
            assert attrs["server.port"] == postgres.port, what
            assert attrs["db.namespace"] == "postgres", what
            state = one["sqlstate"]
            if state is None:
                assert span.status == "" and "error.type" not in attrs, what
                assert "db.response.status_code" not in attrs, what
            elif state:
                assert span.status == "ERROR" and attrs["error.type"] == state, what
                assert attrs["db.response.status_code"] == state, what
            else:  # no SQLSTATE: a connection that is gone
                assert span.status == "ERROR" and attrs["error.type"], what
            if one["as_is"] and one["sql"]:
                assert attrs["db.query.text"] == one["sql"], what
            if one["sql"] in ("", "not sql at all") and one["call"] == "PQexec":
                assert "db.query.summary" not in attrs, what
                assert span.name == "postgres", what  # db.namespace comes before db.system.name
            else:
                assert span.name == attrs["db.query.summary"], what
            if not one["as_is"]:
                assert not any(secret in attrs.get("db.query.text", "")
                               for secret in ("secret", "7", "'x'", "after")), what
    golden(tree(receiver.spans, [(postgres.dir, "<dir>")]), "pg-client")


@pytest.mark.parametrize("spans", ["auto", "all", "none"])
def test_raw_spans_below_queries(receiver, shim, postgres, spans):
    r = run([program("threads-client"), "pg", "1", "5"],
            shim(AUTOTRACE_SOCKET_SPANS=spans, **postgres.env())).ok()
    assert json.loads(r.out)["queries"] == 5
    found = receiver.spans
    asked = queries(found)
    assert len([q for q in asked if not q.parent]) == 5
    ids = {s.span: s for s in found}
    raw = [s for s in found if s.name in ("send", "recv")]
    if spans == "all":
        by_parent = {}
        for s in raw:
            if not s.parent:
                continue  # Terminate, sent by PQfinish
            by_parent.setdefault(s.parent, []).append(s.name)
            outer = ids[s.parent]
            assert outer.trace == s.trace and outer.start <= s.start <= s.end <= outer.end
        for q in asked:
            names = by_parent[q.span]
            assert names.count("send") == 1 and names.count("recv") >= 1
    else:
        assert not raw
    if spans == "none":
        assert len(found) == 1 + 5, "not even a socket connect"


def test_unix_socket(receiver, shim, postgres):
    env = dict(postgres.env(), PGHOST=postgres.dir)
    run([program("threads-client"), "pg", "1", "1"], shim(**env)).ok()
    golden(tree(receiver.wait(2), [(postgres.dir, "<dir>"), (str(postgres.port), "<port>")]),
           "pg-unix")


@pytest.mark.parametrize("host", ["localhost", "::1"])
def test_names_and_ipv6(receiver, shim, postgres, host):
    run([program("threads-client"), "pg", "1", "1"], shim(**dict(postgres.env(), PGHOST=host))).ok()
    query, = queries(receiver.wait(2))
    assert query.attrs["server.address"] == host
    if host == "::1":
        assert query.attrs.get("network.type", "ipv6") == "ipv6"


SCRIPT = """SELECT 1;
SELECT relname FROM pg_class WHERE relname = 'pg_type' AND oid > 5;
BEGIN;
CREATE TEMP TABLE t (a int);
INSERT INTO t SELECT generate_series(1, 1000);
COMMIT;
SELECT * FROM t;
SELECT nonsense;
\\d t
UPDATE t SET a = a + 1;
COPY t TO STDOUT;
SELECT count(*) FROM t \\gset
SELECT 1 \\; SELECT 2;
"""


def test_psql(receiver, shim, postgres):
    psql = os.path.join(postgres.bindir, "psql")
    argv = [psql, "-X", "-q"]
    bare = run(argv, bare_env(PGAPPNAME="psql-bare", **postgres.env()), stdin=SCRIPT.encode())
    r = run(argv, shim(PGAPPNAME="psql-traced", **postgres.env()), stdin=SCRIPT.encode())
    assert (r.rc, r.out, r.err) == (bare.rc, bare.out, bare.raw_err.decode())
    sent = postgres.statements("psql-traced")
    assert sent == postgres.statements("psql-bare")
    # one simple query may hold several statements, and the server logs it as one
    spans = queries(receiver.wait(len(sent) + 1))
    assert len(spans) == len(sent), (sent, [s.attrs.get("db.query.text") for s in spans])
    assert len(connects(receiver.spans)) == 1
    assert len(without_dialling(receiver.spans)) == len(sent) + 1, "nothing but the connection and the queries"
    for text, span in zip(sent, spans):
        assert span.name.split()[0] == text.lstrip().split()[0].rstrip(";"), (text, span.name)
        assert (span.status == "ERROR") == ("nonsense" in text)
    assert r.total("ring_full") == 0


PSYCOPG = """
import psycopg2
c = psycopg2.connect("")
k = c.cursor()
k.execute("SELECT relname FROM pg_class WHERE relname = %s", ("pg_type",))
assert k.fetchall() == [("pg_type",)]
try:
    k.execute("SELECT 1/0")
except psycopg2.errors.DivisionByZero as e:
    print(e.pgcode)
c.rollback()
k.executemany("SELECT %s", [(1,), (2,), (3,)])
c.commit()
c.close()
print("done")
"""


def test_python_and_psycopg2(receiver, shim, postgres):
    argv = ["/usr/bin/python3", "-c", PSYCOPG]
    bare = run(argv, bare_env(**postgres.env())).ok()
    r = run(argv, shim(PGAPPNAME="psycopg2", **postgres.env())).ok()
    assert r.out == bare.out and r.err == bare.raw_err.decode()
    sent = postgres.statements("psycopg2")
    assert len(sent) == 9  # BEGIN, SELECT, SELECT, ROLLBACK, BEGIN, 3 SELECT, COMMIT
    spans = queries(receiver.wait(len(sent) + 1))
    assert [s.name.split()[0] for s in spans] == [t.split()[0] for t in sent]
    assert [s.attrs.get("db.response.status_code") for s in spans if s.status] == ["22012"]
    golden(tree(receiver.spans), "psycopg2")


def test_two_libpqs_in_plugins(receiver, shim, postgres, tmp_path):
    """Two objects that both define PQexec, loaded RTLD_LOCAL: each caller gets its own."""
    libpq = os.path.realpath(next(
        os.path.join(d, "libpq.so.5") for d in ("/usr/lib/x86_64-linux-gnu",
                                                "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
                                                "/usr/lib")
        if os.path.exists(os.path.join(d, "libpq.so.5"))))
    other = tmp_path / "libpq.so.6"  # the same library under another soname
    with open(libpq, "rb") as f:
        other.write_bytes(f.read().replace(b"libpq.so.5\0", b"libpq.so.6\0"))
    first = compiled("pgplugin.c", "-shared", "-fPIC", "-I/usr/include/postgresql", "-lpq")
    shutil.copy(first, tmp_path / "first.so")
    second = compiled("pgplugin.c", "-shared", "-fPIC", "-I/usr/include/postgresql", str(other),
                      "-Wl,-rpath," + str(tmp_path))
    shutil.copy(second, tmp_path / "second.so")
    argv = [program("plugins"), str(tmp_path / "first.so"), str(tmp_path / "second.so")]
    bare = run(argv, bare_env(**postgres.env())).ok()
    assert bare.out.split() == [b"1.0", b"2.0", b"1.1", b"2.1"]
    r = run(argv, shim(PGAPPNAME="plugins", **postgres.env())).ok()
    assert r.out == bare.out and r.err == ""
    spans = queries(receiver.wait(8))
    assert [s.name for s in spans] == ["SELECT pg_class"] * 4
    assert len(without_dialling(receiver.spans)) == 8 and len(postgres.statements("plugins")) == 4


@pytest.mark.parametrize("scope", ["global", "local"])
def test_a_libpq_that_comes_and_goes(receiver, shim, postgres, scope):
    if "thread" in harness.SAN:
        pytest.skip("ThreadSanitizer does not see the loader's lock, and takes its memory for a race")
    plugin = compiled("pgplugin.c", "-shared", "-fPIC", "-I/usr/include/postgresql", "-lpq")
    argv = [compiled("pg-reload.c", "-ldl"), scope, "4", plugin]
    bare = run(argv, bare_env(**postgres.env())).ok()
    r = run(argv, shim(**postgres.env())).ok()
    assert (r.out, r.err) == (bare.out, "") and bare.out == b"well\n"
    assert [s.name for s in queries(receiver.wait(8))] == ["SELECT"] * 4


def test_a_plugin_opened_again_and_again(shim):
    if harness.SAN:
        pytest.skip("a sanitizer's dlopen() takes too long for so many")
    plugin = compiled("pgplugin.c", "-shared", "-fPIC", "-I/usr/include/postgresql", "-lpq")
    argv = [compiled("pg-reload.c", "-ldl"), "local", "17000", plugin]
    r = run(argv, shim(PGHOST="/nowhere", OTEL_TRACES_SAMPLER="always_off"), timeout=60).ok()
    assert r.out == b"no connection to the server\n\n", "of all of them"


def test_who_was_bound_to_a_libpq_stays_with_it(shim, tmp_path):
    """One in a plugin's own scope, then another in the global one."""
    plugins = []
    for name in ("A", "B"):
        libpq = compiled("lo-plugin.c", "-shared", "-fPIC", "-DLIKE_LIBPQ=" + name,
                         f"-Wl,-soname,libpq{name}.so", "-Wl,-Bsymbolic")
        shutil.copy(libpq, tmp_path / f"libpq{name}.so")
        plugin = compiled("lo-plugin.c", "-shared", "-fPIC", "-DUSES_IT", "-Wl,-z,now",
                          str(tmp_path / f"libpq{name}.so"), "-Wl,-rpath," + str(tmp_path))
        shutil.copy(plugin, tmp_path / f"{name}.so")
        plugins.append(str(tmp_path / f"{name}.so"))
    argv = [compiled("pg-reload.c", "-ldl"), "turns", *plugins]
    bare = run(argv, bare_env()).ok()
    assert run(argv, shim()).ok().out == bare.out == b"A B A B\n"


def test_functions_called_lo_of_a_plugin_are_its_own(shim):
    plugin = compiled("lo-plugin.c", "-shared", "-fPIC")
    argv = [compiled("pg-reload.c", "-ldl"), "local", "1", plugin]
    bare = run(argv, bare_env()).ok()
    assert run(argv, shim()).ok().out == bare.out == b"S86\n"


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("traceparent", [None, f"00-{TRACE}-{PARENT}-01"])
def test_who_is_whose_parent(receiver, shim, postgres, traceparent):
    if "thread" in harness.SAN:
        pytest.skip("libtsan hands our pthread_create its own start: ours runs before TSan is ready")
    run([program("context")], shim(TRACEPARENT=traceparent, **postgres.env())).ok()
    receiver.wait(11)
    spans = without_dialling(receiver.spans)
    golden(tree(receiver.spans), "context")
    roots = [s for s in spans if s.parent == (PARENT if traceparent else "")]
    assert len(roots) == 3 + 1 + 1 + 1, "three connects, DO, SELECT, the late thread"
    if traceparent:
        assert {s.trace for s in spans} == {TRACE}
        assert all(s.flags == 0x301 for s in roots)
    else:
        assert len({s.trace for s in roots}) == 6
    outer, = [s for s in spans if s.name.startswith("DO")]
    children = [s for s in spans if s.parent == outer.span]
    assert len(children) == 2, "the query in the callback, and its thread's"
    assert all(s.trace == outer.trace and outer.start <= s.start <= s.end <= outer.end
               and s.flags & 0x300 == 0x100 for s in children)


def test_a_dead_server(receiver, shim, postgres):
    env = dict(postgres.env(), PGPORT="1")
    bare = run([os.path.join(postgres.bindir, "psql"), "-X", "-c", "SELECT 1"], bare_env(**env))
    r = run([os.path.join(postgres.bindir, "psql"), "-X", "-c", "SELECT 1"], shim(**env))
    assert (r.rc, r.out, r.err) == (bare.rc, bare.out, bare.raw_err.decode())
    span, = connects(receiver.wait(1))
    assert span.status == "ERROR" and span.attrs["error.type"]
    assert span.name == "connect postgres"
