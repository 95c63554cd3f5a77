# SPDX-License-Identifier: Apache-2.0
"""AUTOTRACE_SQLCOMMENTER: the server's own log names the span, and nothing else is different."""
import json
import os
import re

import pytest

import pglog
from fixtures import server
from harness import bare_env, program, run
from receiver import ROOT
from test_postgres import queries, without_dialling

logged = server(pglog.logging_postgres)

PYTHON = "/usr/bin/python3"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
COMMENTED = ("PQexec", "PQexecParams", "PQsendQuery", "PQsendQueryParams")
ON = {"AUTOTRACE_SQLCOMMENTER": "true"}
with open(os.path.join(ROOT, "docs", "operations.md"), encoding="utf-8") as docs:
    WORDS = re.search(r"whose statements are none of `([A-Z\s]+)`", docs.read())[1].split()
LISTED = re.compile(rf"[\s;(]*({'|'.join(WORDS)})\b", re.I)
ANY_COMMENT = re.compile(r" /\*traceparent=[^*]*\*/")


def ids(asked):
    return [(a.comment[1], a.comment[2]) for a in asked if a.comment]


def test_every_libpq_call(receiver, shim, logged):
    """Of each call that is meant, and of no other, the log has the ids of the very span."""
    bare = run([program("pg-client")], bare_env(**logged.env())).ok()
    r = run([program("pg-client")],
            shim(PGAPPNAME="commented", **ON, **logged.env())).ok()
    assert r.out == bare.out and r.err == bare.raw_err.decode()
    did = [json.loads(one) for one in r.out.decode().splitlines()]
    receiver.wait(r.total("exported"))
    spans = without_dialling(receiver.spans)
    assert len(spans) == len(did)
    told = [i for session in pglog.sessions(logged, "commented") for i in ids(session)]
    wanted = {(s.trace, s.span): one["sqlstate"] != "" for one, s in zip(did, spans)
              if one["call"] in COMMENTED and LISTED.match(one["sql"])}
    assert len(told) == len(set(told)) and set(told) <= set(wanted)
    assert {i for i, surely in wanted.items() if surely} <= set(told), "all but of a lost connection"
    assert len(told) > 10
    assert not any("traceparent" in s.attrs.get("db.query.text", "") for s in spans)
    assert r.total("not_commented") == 0


def psycopg2(code, env):
    return run([PYTHON, "-c", "import json, psycopg2\nc = psycopg2.connect('')\n"
                "c.autocommit = True\nk = c.cursor()\n" + code], env)


def test_a_statement_sees_itself(receiver, shim, logged):
    code = "k.execute('SELECT query, current_query() FROM pg_stat_activity" \
        " WHERE pid = pg_backend_pid()')\nprint(json.dumps(k.fetchone()))"
    r = psycopg2(code, shim(**ON, **logged.env())).ok()
    activity, current = json.loads(r.out)
    span, = queries(receiver.wait(2))
    m = pglog.COMMENT.search(activity)
    assert m and (m[1], m[2]) == (span.trace, span.span) and activity == current
    assert m[3] == f"{span.flags & 3:02x}" and span.flags & 1


TEXTS = [
    "SELECT 1", "SELECT 1;", "SELECT 1 ;\n\n", "", ";", " ; ; ", "-- nothing", "/**/", "SELECT 1 -- x",
    "SELECT 1 --", "/* x */ SELECT 1", "SELECT 1 /* /* */ */", "SELECT 1 /*", "SELECT 1 /* /* */", "SELECT 'a",
    "SELECT 'it''s'", "SELECT 'it''s", "SELECT E'\\'--'", "SELECT E'a' -- c\n 'b'", "SELECT E'\\'", "SELECT 'a'\n'b'",
    "SELECT $$a$$", "SELECT $$a", "SELECT $t$ $$ /* ' $t$", "SELECT $t$ $$ /* ' $T$", "SELECT U&'\\0041'",
    "SELECT U&\"\\0041\" FROM (SELECT 1 AS \"A\") t", "SELECT \"a", "SELECT 1 AS \"a\"\"/*\"", "SELECT '/*', '--'",
    "SELECT 1; SELECT 2", "SELECT 1; SELECT 2;", "SELECT 1; SELECT", "SELECT 1; nonsense", "; SELECT 3",
    "SELECT (", "SELECT ( ", "SELECT 1 +", "SELECT 1 + ;", "SELEC 1", "SELECT nonsense",
    "SELECT 1 FROM\nnonsense\nWHERE x", "SELECT 1/0", "SELECT 2*-+1", "SELECT 5--1", "SELECT 5---1\n", "SELECT 5 - -1",
    "SELECT 1e-5, .5, 1.e1, 0x1, 1_0", "SELECT 1a", "SELECT 1E'\\'", "SELECT B'01', X'0F', N'n'", "SELECT B'\\'",
    "SELECT true AND false", "SELECT ARRAY[1,2][1:2]", "SELECT 1 AS a$$b$$", "SELECT 1 AS a$b",
    "SELECT '{\"a\":1}'::jsonb ?| ARRAY['a']", "SELECT '1'::int4 OPERATOR(pg_catalog.+) 1", "SELECT @-1", "SELECT |/ 4.0",
    "(SELECT 1)", "((SELECT 1) UNION ALL (SELECT 2));", "VALUES (1), (2)", "WITH x AS (SELECT 1) TABLE x",
    "EXPLAIN (COSTS off) SELECT 1", "SHOW server_version_num", "SET search_path = public", "BEGIN", "SELECT 1",
    "SAVEPOINT s", "SELECT 1/0", "ROLLBACK TO s", "DECLARE x CURSOR FOR SELECT 7", "FETCH x", "CLOSE x", "COMMIT",
    "PREPARE p AS SELECT $1::int + 1", "EXECUTE p(1)", "EXECUTE q", "DEALLOCATE p",
    "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%traceparent%'",
    "CREATE TEMP TABLE t (a int)", "INSERT INTO t SELECT generate_series(1, 3)", "UPDATE t SET a = a + 1 RETURNING a",
    "DELETE FROM t WHERE a > 3", "SELECT a FROM t ORDER BY a", "CREATE TEMP VIEW v AS SELECT a, '--' FROM t",
    "SELECT pg_get_viewdef('v'::regclass)", "DO $$ BEGIN RAISE NOTICE '--'; END $$", "DO $$ BEGIN RAISE 'x'; END",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END", "SELECT pg_temp.f()",
    "CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN nothing; END'", "SELECT pg_temp.g()",
    "SELECT prosrc FROM pg_proc WHERE proname IN ('f', 'g')", "SELECT 'gr\u00f6\u00dfe'", "SELECT 1 AS gr\u00f6\u00dfe",
    "LISTEN x", "NOTIFY x, '--'", "UNLISTEN *", "VACUUM t", "LOCK TABLE t", "COPY t FROM '/nonexistent'", "GRANT SELECT",
    "SET standard_conforming_strings = off", "SELECT 'it\\'s'", "SELECT 'it\\'", "SELECT '\\\\'", "SELECT 'a\\' -- ', '",
    "SELECT E'\\\\'", "SELECT U&'x'", "SET standard_conforming_strings = on", "SELECT 'it\\'", "SELECT 'it\\'s'",
    "DISCARD ALL", "SELECT '" + "x" * 63000 + "'", "SELECT '" + "x" * 64100 + "'", "SELECT '" + "x" * 70000 + "'",
]

RUN = """
for text in json.loads(open(0).read()):
    try:
        k.execute(text)
        rows = k.fetchall() if k.description else None
        print(text[:80], [d[0] for d in k.description or ()], rows, k.statusmessage, k.rowcount)
    except psycopg2.Error as e:
        print(text[:80], type(e), e, getattr(e, "pgcode", None), e.diag.statement_position,
              e.diag.message_primary)
print("".join(c.notices))
"""


def odd_texts(env):
    return run([PYTHON, "-c", "import json, psycopg2\nc = psycopg2.connect('')\n"
                "c.autocommit = True\nk = c.cursor()\n" + RUN], env, stdin=json.dumps(TEXTS).encode())


QUOTED = re.compile(r"^(.*LINE \d+: )(.*)\n( *)\^$", re.M)


def same_places(text):
    """libpq quotes some 60 columns around the position.  What stands at it is left, and of the
    one position that moves, the end of the text, nothing."""
    def place(m):
        at = re.match(r"\w+|.?", m[2][len(m[3]) - len(m[1]):])[0]
        return f"{m[1]}<{at}>"
    return re.sub(r"(at end of input\n.*\n .* )\d+ (?=syntax)", r"\1", QUOTED.sub(place, text))


def test_odd_texts(receiver, shim, logged):
    bare = odd_texts(bare_env(PGAPPNAME="odd-bare", **logged.env())).ok()
    r = odd_texts(shim(PGAPPNAME="odd", **ON, **logged.env())).ok()
    was, now = bare.out.decode(), r.out.decode()
    assert "traceparent" in now and was != now, "errors quote the text"
    assert ANY_COMMENT.sub("", same_places(now)) == same_places(was)
    asked, before = pglog.statements(logged, "odd"), pglog.statements(logged, "odd-bare")
    assert [(a.kind, a.text, a.state) for a in asked] == [(a.kind, a.text, a.state) for a in before]
    assert not ids(before)
    spans = queries(receiver.wait(r.total("exported")))
    by_id = {(s.trace, s.span): s for s in spans}
    assert len(ids(asked)) == len(set(ids(asked))) and set(ids(asked)) <= set(by_id)
    for a in asked:
        if a.comment:
            span = by_id[a.comment[1], a.comment[2]]
            assert LISTED.match(a.text), a
            assert (span.status == "ERROR") == (a.state != "00000"), a
        else:
            assert not LISTED.match(a.text) or re.search(r"--|/\*|['\"$]|" + "x" * 60000, a.text), a
    assert r.total("not_commented") == 2


SCRIPT = """SELECT nonsense;
SELECT 1,
  nonsense
  FROM nowhere;
INSERT INTO pg_class SELECT 1 FROM;
SELECT 1/0;
\\echo :SQLSTATE
\\set VERBOSITY verbose
SELECT pg_catalog.nonsense(1);
SELECT 'ä', nonsense;
DO $$ BEGIN PERFORM nonsense(); END $$;
"""


def test_psql_shows_errors_as_before(receiver, shim, logged):
    argv = [os.path.join(logged.bindir, "psql"), "-X"]
    bare = run(argv, bare_env(**logged.env()), stdin=SCRIPT.encode())
    r = run(argv, shim(**ON, **logged.env()), stdin=SCRIPT.encode())
    assert r.rc == bare.rc and r.out == bare.out
    was = bare.raw_err.decode()
    assert was.count("LINE ") == 6 and "<nonsense>" in same_places(was)
    assert same_places(r.err) == same_places(was) and r.err.count("/*trace") == 5


def test_the_replication_protocol_knows_no_comments(receiver, shim, logged):
    """pg_receivewal asks for IDENTIFY_SYSTEM, SHOW wal_segment_size, CREATE_REPLICATION_SLOT..."""
    tool = os.path.join(logged.bindir, "pg_receivewal")
    for act in ("--create-slot", "--drop-slot"):
        r = run([tool, act, "--slot", "commented"], shim(**ON, **logged.env()))
        assert (r.rc, r.err) == (0, ""), r.raw_err
    psql = [os.path.join(logged.bindir, "psql"), "-X", "-At", "dbname=postgres replication=database"]
    commands = ["-c", "SHOW wal_level", "-c", "SELECT 5", "-c", "IDENTIFY_SYSTEM"]
    bare = run(psql + commands, bare_env(**logged.env())).ok()
    r = run(psql + commands, shim(**ON, **logged.env())).ok()
    assert r.out.split(b"|")[0] == bare.out.split(b"|")[0] and b"5\n" in r.out


ONE = "k.execute('SELECT 1')"


def told(logged, name):
    found = pglog.statements(logged, name)
    assert [a.text for a in found] == ["SELECT 1"]
    return found[0].comment


def test_whose_ids(receiver, shim, logged):
    def comment(name, **more):
        psycopg2(ONE, shim(PGAPPNAME=name, **{**ON, **more}, **logged.env())).ok()
        return told(logged, name)
    parent = f"00-{TRACE}-{PARENT}-01"
    m = comment("ids-state", TRACEPARENT=parent, TRACESTATE="congo=t61,rojo=a--b/*'x")
    span, = queries(receiver.wait(2))
    assert m[1] == TRACE and m[2] == span.span and span.parent == PARENT and m[3] == "01"
    assert m[4] == "congo%3Dt61%2Crojo%3Da-%2Db%2F%2A%27x"
    m = comment("ids-unsampled", TRACEPARENT=parent[:-2] + "00")
    assert m[1] == TRACE and m[2] != PARENT and m[3] == "00" and not m[4]
    assert not comment("ids-roots-off", OTEL_TRACES_SAMPLER="always_off")
    assert not comment("ids-none", OTEL_PROPAGATORS="none")
    assert not comment("ids-off", AUTOTRACE_SQLCOMMENTER="false")
    assert not comment("ids-default", AUTOTRACE_SQLCOMMENTER=None)
    assert not comment("ids-disabled", OTEL_SDK_DISABLED="true")
    assert not comment("ids-exporter-none", OTEL_TRACES_EXPORTER="none")
    m = comment("ids-passed-on", OTEL_TRACES_EXPORTER="none", TRACEPARENT=parent)
    assert m[1] == TRACE and m[3] == "01"


def test_the_checks_see_a_difference(logged):
    """The log's reader tells statements apart, and finds what a session was asked."""
    run([os.path.join(logged.bindir, "psql"), "-X"], bare_env(PGAPPNAME="reader", **logged.env()),
        stdin=b"SELECT 1,\n\t2 /*traceparent='00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01'*/;\n"
        b"SELECT (;);\nSELECT 1/0;\nSELECT $1 \\gdesc\n\\lo_unlink 77\n")
    found = pglog.statements(logged, "reader")
    assert [(a.kind, a.state) for a in found] == [
        ("simple", "00000"), ("refused", "42601"), ("simple", "22012"), ("prepare", "00000"),
        ("simple", "00000"), ("simple", "00000"), ("simple", "00000"), ("function", "42704"),
        ("simple", "00000")], found
    assert found[0].text.startswith("SELECT 1,\n\t2 /*trace") and not found[0].comment
