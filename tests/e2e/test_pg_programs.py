# SPDX-License-Identifier: Apache-2.0
"""Real clients of PostgreSQL: what they print is what they print without us, with or without
comments in their SQL; and their spans are what the server says it was asked, session by
session, in order, no more and no less."""
import itertools
import os
import re
import shutil
import subprocess

import pytest

import harness
import pglog
from fixtures import server
from harness import bare_env, run
from test_postgres import connects, queries
from test_sqlcommenter import ANY_COMMENT, LISTED, same_places

# Function calls (PQfn: large objects), descriptions and pipelines have spans, too.
FULL = True

logged = server(pglog.logging_postgres)
SCRIPTS = os.path.join(harness.SOURCES, "pg")
RUNS = ("bare", "traced", "commented")


def tool(logged, name):
    return os.path.join(logged.bindir, name)


@pytest.fixture
def job(logged, receiver, shim, tmp_path):
    return Job(logged, receiver, shim, tmp_path)


class Job:
    """One program, run bare, traced, and traced with comments; each in a database and a
    directory of its own."""

    def __init__(self, postgres, receiver, shim, directory):
        self.postgres, self.receiver, self.shim = postgres, receiver, shim
        self.directory = directory
        self.seen = 0
        self.results = {}

    def admin(self, *commands):
        argv = [tool(self.postgres, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        run(argv + [a for c in commands for a in ("-c", c)], bare_env(**self.postgres.env())).ok()

    def env(self, how, name):
        more = dict(self.postgres.env(), PGDATABASE="job", PGAPPNAME=name, PGTZ="UTC")
        if how == "bare":
            return bare_env(**more)
        return self.shim(AUTOTRACE_SQLCOMMENTER="true" if how == "commented" else "false", **more)

    def run(self, name, argv, files=(), prepare="SELECT 1", **how_to):
        """For each of the runs: its result, and its spans held to the log.  argv may be a
        function of the directory."""
        for how in RUNS:
            app = f"{name}-{how}"
            cwd = self.directory / app
            cwd.mkdir()
            assert not pglog.sessions(self.postgres, app), "a name of its own"
            for file, content in dict(files).items():
                (cwd / file).write_bytes(content)
            self.admin("DROP DATABASE IF EXISTS job", "CREATE DATABASE job")
            if prepare:
                run([tool(self.postgres, "psql"), "-X", "-q", "-d", "job", "-v", "ON_ERROR_STOP=1",
                     "-c", prepare], bare_env(**self.postgres.env())).ok()
            r = run(argv(str(cwd)) if callable(argv) else argv, self.env(how, app), cwd=str(cwd),
                    timeout=40, **how_to)
            r.app, r.cwd = app, cwd
            r.asked = pglog.sessions(self.postgres, app)
            r.spans = []
            if how != "bare":
                self.receiver.wait(self.seen + r.total("exported"), 5)
                r.spans = self.receiver.spans[self.seen:]
                self.seen = len(self.receiver.spans)
                assert r.total("ring_full") == 0 and len(r.spans) == r.total("exported")
            self.results[how] = r
        return [self.results[how] for how in RUNS]

    def alike(self, clean=lambda text: text):
        """The same output and status; and the server was asked the same."""
        bare = self.results["bare"]
        for how in RUNS[1:]:
            r = self.results[how]
            assert r.rc == bare.rc, (r.out, r.raw_err)
            for what, was, now in (("stdout", bare.out.decode(), r.out.decode()),
                                   ("stderr", bare.raw_err.decode(), r.err)):
                if how == "commented":
                    was, now = (ANY_COMMENT.sub("", same_places(t)) for t in (was, now))
                assert_same_lines(clean(now), clean(was), f"{r.app}: {what}")

    def held_to_the_log(self, describes=(), skipped=0):
        for how in RUNS[1:]:
            r = self.results[how]
            compare([with_descriptions(s, describes) for s in r.asked], r, how, skipped)


def assert_same_lines(now, was, what):
    for a, b in itertools.zip_longest(now.splitlines(), was.splitlines()):
        assert a == b, what


def with_descriptions(asked, names):
    """The log is silent about them: each follows the preparation of one of these names."""
    found = []
    for a in asked:
        found.append(a)
        if a.kind == "prepare" and a.name in names and a.state == "00000":
            d = pglog.Asked("describe", a.text, a.name)
            found.append(d)
    return found


NOT_YET = ("function", "describe")


def compare(sessions, r, how, skipped=0):
    """Every session's statements are the next spans of one thread.  skipped: so many the server
    had no need to look at, in a pipeline that had failed."""
    spans = queries(r.spans)
    if FULL:
        aborted = [s for s in spans if s.attrs.get("error.type") == "pipeline_aborted"]
        assert len(aborted) == skipped
        spans = [s for s in spans if s not in aborted]
    else:
        sessions = [[a for a in s if a.kind not in NOT_YET] for s in sessions]
    threads = {}
    for s in spans:
        threads.setdefault(s.attrs["thread.id"], []).append(s)
    for asked in sessions:
        tried = [difference(asked, mine) for mine in threads.values()]
        for mine, (n, wrong) in zip(threads.values(), tried):
            if not wrong:
                del mine[:n]
                break
        else:
            raise AssertionError((r.app, max(tried, key=lambda t: t[0], default=asked)))
    assert not any(threads.values()), (r.app, [s.name for t in threads.values() for s in t])
    for a in (a for s in sessions for a in s):
        if a.kind == "refused" and how == "commented":
            continue  # the log does not tell what it was
        due = how == "commented" and a.kind in ("simple", "params") and LISTED.match(a.text) and \
            not (FULL and a.text.startswith(BEFORE_LARGE_OBJECTS))
        assert bool(a.comment) == bool(due and not has_comment(a.text)), a
    assert len(connects(r.spans)) >= len([s for s in sessions if s])


def difference(asked, spans):
    """How many of the spans are what was asked, and the first place where they are not."""
    at = n = 0
    while at < len(asked) and n < len(spans):
        took = large_object(asked[at:], spans[n]) if FULL else 0
        took = took or is_it(asked[at], spans[n])
        if not took:
            break
        at, n = at + took, n + 1
    if at == len(asked):
        return n, None
    return n, (asked[at], spans[n]._asdict() if n < len(spans) else "no span")


# What libpq asks the server for on behalf of one call.
BEFORE_LARGE_OBJECTS = "select proname, oid from pg_catalog.pg_proc where proname in ('lo_open'"
LARGE_OBJECT = {"lo_read": "loread", "lo_write": "lowrite", "lo_import": "lo_creat lo_open(?: lowrite)* lo_close",
                "lo_export": "lo_open(?: loread)+ lo_close"}


def large_object(asked, span):
    """How many of the functions asked for are the one call of the span; 0: it is none."""
    if span.name[:3] != "lo_":
        return 0
    before = int(asked[0].text.startswith(BEFORE_LARGE_OBJECTS))
    functions = list(itertools.takewhile(lambda a: a.kind == "function", asked[before:]))
    names = " ".join(re.match(r'"(\w+)"', a.text)[1] for a in functions)
    m = re.match(LARGE_OBJECT.get(span.name, span.name) + r"\b", names)
    n = len(m[0].split()) if m else 0
    states = {a.state for a in functions[:n]} - {"00000"}
    if states != {s for s in [span.attrs.get("db.response.status_code")] if s}:
        return 0
    return n and before + n


LITERAL = re.compile(r"--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'"
                     r"|\"(?:[^\"]|\"\")*\"|\$\d+|(?<![\w$])\d[\w.]*|\b(?:true|false)\b", re.S | re.I)


def has_comment(text):
    return any(m[0].startswith(("--", "/*")) for m in LITERAL.finditer(text))


def skeleton(text):
    """What is left of a text without comments, literals, parameters and signs."""
    text = LITERAL.sub(lambda m: m[0] if m[0][0] == '"' else "", text)
    return re.sub(r"\b[bBxXnN](?=\W|$)|[Uu]&|[^\w\"]", "", text)


def first_word(text):
    m = re.match(r"(?:\s|--[^\n]*\n|/\*.*?\*/|[(;])*(\w*)", text, re.S)
    return m[1].upper()


def is_it(asked, span):
    code = span.attrs.get("db.response.status_code", "00000")
    if asked.state != "00000":
        if (code, span.status) != (asked.state, "ERROR"):
            return False
    elif span.status or code not in (asked.warnings if FULL and asked.warnings else ("00000",)):
        return False
    if asked.comment and asked.comment[2] != span.span:
        return False
    if asked.kind in NOT_YET or not asked.text:
        return True
    words = ["PREPARE"] if asked.kind == "prepare" else [first_word(asked.text)]
    if asked.kind == "refused":
        words.append("PREPARE")  # the log does not tell
    if "db.query.summary" not in span.attrs:
        if span.name != span.attrs["db.namespace"] or (words[0] and asked.state != "42601"):
            return False
    elif words[0] != "WITH" and span.name.split()[0].upper() not in words:
        return False
    text = span.attrs.get("db.query.text", "")
    if "\\" in asked.text or len(text) >= 8190:
        return True
    return skeleton(text.replace("?", "")) == skeleton(asked.text)


# ---- psql ----

def timeless(text):
    text = re.sub(r"\w{3} \w{3} +\d+ [\d:]{8} \d{4} \(every", "<when> (every", text)
    text = re.sub(r"(lo_\w+) \d{5}", r"\1 <oid>", text)
    return re.sub(r"PID \d+", "PID <pid>", text)


def test_psql(job, logged):
    script = os.path.join(SCRIPTS, "script.sql")
    results = job.run("psql", [tool(logged, "psql"), "-X", "-f", script],
                      {"more": b"40\n41\n42\n", "included": b"SELECT 'included';\nSELECT 1/0;\n"})
    job.alike(timeless)
    for r in results:
        statements = [a for s in r.asked for a in s]
        assert len(statements) >= 250 and len(r.asked) == 2
        assert len({a.state for a in statements}) >= 20, "of many a kind of error"
        for file in ("copied", "written", "exported"):
            assert (r.cwd / file).read_bytes() == (results[0].cwd / file).read_bytes() != b""
    job.held_to_the_log(describes=("<unnamed>",))


def test_the_comparison_can_fail(job, logged):
    commands = ["SELECT 1 AS a", "SELECT 2 AS b", "SELECT 1/0", "BEGIN", "SELECT c FROM (VALUES (1)) t (c)"]
    job.run("can-fail", [tool(logged, "psql"), "-X"] + [a for c in commands for a in ("-c", c)])
    r = job.results["commented"]
    asked = r.asked
    compare(asked, r, "commented")
    kept = queries(r.spans)
    assert len(kept) == 5

    def attrs(i, **more):
        more = {k.replace("_", "."): v for k, v in more.items()}
        return kept[:i] + [kept[i]._replace(attrs={**kept[i].attrs, **more})] + kept[i + 1:]
    spoilt = {
        "one lost": kept[1:], "one more": kept + kept[:1], "another's id": [kept[0]._replace(
            span=kept[1].span)] + kept[1:],
        "another thread's": attrs(2, thread_id=1), "no error": kept[:2] + [kept[2]._replace(
            status="")] + kept[3:],
        "an error": [kept[0]._replace(status="ERROR")] + kept[1:],
        "another text": attrs(0, db_query_text="SELECT ? AS b"),
        "another name": [kept[0]._replace(name="DELETE")] + kept[1:],
        "out of order": [kept[1]._replace(start=kept[0].start), kept[0]._replace(start=kept[1].start)]
        + kept[2:],
    }
    dialled = [s for s in r.spans if s not in kept]
    r.spans = dialled + kept
    compare(asked, r, "commented")
    for what, spans in spoilt.items():
        r.spans = dialled + spans
        with pytest.raises(AssertionError):
            compare(asked, r, "commented")
            pytest.fail("not noticed: " + what)


# ---- PostgreSQL's own tools ----

def sql(name):
    with open(os.path.join(SCRIPTS, name), encoding="utf-8") as f:
        return f.read()


def same_key(logged):
    """Newer ones put a random key into a plain dump."""
    known = subprocess.run([tool(logged, "pg_dump"), "--help"], capture_output=True, check=True,
                           timeout=10).stdout
    return " --restrict-key=same" if b"--restrict-key" in known else ""


def test_pg_dump(job, logged):
    bare, *_ = job.run("pg_dump", (tool(logged, "pg_dump") + same_key(logged)).split(),
                       prepare=sql("dumped.sql"))
    assert bare.rc == 0 and b"name 500" in bare.out and b"a large object" not in bare.raw_err
    job.alike()
    job.held_to_the_log()


@pytest.mark.parametrize("form,jobs", [("custom", 1), ("directory", 2)])
def test_pg_restore(job, logged, form, jobs):
    """Dumped, taken away and restored, a database is dumped as it was."""
    dump, restore, key = tool(logged, "pg_dump"), tool(logged, "pg_restore"), same_key(logged)
    script = f"{dump}{key} >before && {dump} -F{form[0]} -j{jobs} -f kept &&" \
        f" {restore}{key} -f - kept >text && {restore} --clean --if-exists -j{jobs} -d job kept &&" \
        f" {dump}{key} >after && cat after"
    results = job.run("pg_restore-" + form, ["sh", "-c", script], prepare=sql("dumped.sql"))
    for r in results:
        assert r.rc == 0, r.raw_err
        before, after, text = ((r.cwd / f).read_bytes() for f in ("before", "after", "text"))
        assert before == after and text.count(b"\n") > 1000
        assert len(r.asked) >= (4 if jobs == 1 else 8), "sessions"
    job.alike()
    job.held_to_the_log(describes=("",))


def no_times(text):
    text = re.sub(r"(latency|tps|time|elapsed|remaining|vacuum|keys|tables|generate|done in)([^\n]*)",
                  lambda m: m[1] + re.sub(r"[\d.]+", "N", m[2]), text)
    return text.split("of 100000")[0] if "of 100000" in text else text


COUNTS = "CREATE TABLE counts (id int, n int); INSERT INTO counts SELECT i, 0 FROM generate_series(1, 10) i"


def bench(job, logged, mode, script):
    results = job.run(f"{script}-{mode}", [
        tool(logged, "pgbench"), "-n", "-M", mode, "-f", os.path.join(SCRIPTS, script), "-c2", "-j2",
        "-t5"], prepare=COUNTS)
    for r in results:
        assert r.rc == 0 and b"10/10" in r.out, (r.out, r.raw_err)
    job.alike(no_times)
    return results


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(job, logged, mode):
    for r in bench(job, logged, mode, "bench.sql"):
        statements = [a for s in r.asked for a in s]
        assert len([a for a in statements if a.kind != "prepare"]) == 2 * 5 * 6
        if mode == "prepared":
            # no comment outlives its span
            assert not any(a.comment for a in statements)
    job.held_to_the_log()


def test_pgbench_fills_its_tables(job, logged):
    job.run("pgbench-i", [tool(logged, "pgbench"), "-i", "-q", "-I", "dtgvpf"])
    job.alike(no_times)
    job.held_to_the_log()


@pytest.mark.parametrize("mode", ["extended", "prepared"])
def test_pgbench_pipeline(job, logged, mode):
    results = bench(job, logged, mode, "pipeline.sql")
    pipelined(job, results, 2 * 5 * 5)


def pipelined(job, results, in_pipelines, skipped=0):
    """in_pipelines: at least so many statements."""
    if FULL:
        job.held_to_the_log(skipped=skipped)
        return
    for r in results[1:]:
        total = sum(map(len, r.asked))
        assert r.total("not_followed") >= in_pipelines, "each is counted"
        assert len(queries(r.spans)) < total
        told = [a.comment[2] for s in r.asked for a in s if a.comment]
        assert set(told) <= {s.span for s in r.spans}, "of what is no span nobody is told"


# ---- libraries of other languages ----

def has(command, *probe):
    """A reason to skip, or None."""
    if not shutil.which(command[0]):
        return f"there is no {command[0]}"
    if subprocess.run([*command, *probe], capture_output=True, check=False, timeout=20).returncode:
        return f"{command[0]} cannot {probe[-1]}"
    return None


PYTHON = "/usr/bin/python3"
LANGUAGES = {
    "psycopg2": ([PYTHON], ["-c", "import psycopg2"], "psycopg.py", ()),
    "DBD-Pg": (["perl"], ["-MDBD::Pg", "-e", "1"], "dbd.pl", ()),
    "pgsql": (["php"], ["-r", "pg_query(...);"], "pgsql.php", ()),
    "pdo_pgsql": (["php"], ["-r", "exit(!in_array('pgsql', PDO::getAvailableDrivers()));"],
                  "pdo.php", ()),
    "ruby-pg": (["ruby"], ["-e", "require 'pg'"], "ruby.rb", ("by a",)),
}


def interpreter(name):
    command, probe, script, describes = LANGUAGES[name]
    why = has(command, *probe)
    if why:
        pytest.skip(why)
    if command[0] == "php" and harness.SAN:
        pytest.skip("a sanitizer ends what opens a library RTLD_DEEPBIND, as PHP does")
    return command, script, describes


@pytest.mark.parametrize("name", LANGUAGES)
def test_language(job, name):
    command, script, describes = interpreter(name)
    results = job.run(name, command + [os.path.join(SCRIPTS, script)])
    assert results[0].rc == 0, (results[0].out, results[0].raw_err)
    job.alike()
    job.held_to_the_log(describes)


def test_ruby_pipeline(job):
    command, _, _ = interpreter("ruby-pg")
    results = job.run("ruby-pipeline", command + [os.path.join(SCRIPTS, "pipeline.rb")])
    assert results[0].rc == 0, results[0].raw_err
    job.alike()
    pipelined(job, results, 4, skipped=1)
