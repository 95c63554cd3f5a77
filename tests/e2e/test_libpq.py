# SPDX-License-Identifier: Apache-2.0
"""libpq, one program per group of calls.

Two truths for each: what libpq told the program (a JSON line per span that must be
there, in order), and what the server's log says it was sent.
"""
import glob
import json
import os
import re
import subprocess
import sys
import zipfile

import pytest

import harness
from harness import bare_env, compiled, program, run
from spans import golden, tree

VERBOSE = "-c log_error_verbosity=verbose"
# What the server does not log as a statement.
UNLOGGED = ("PREPARE ", "DESCRIBE", "CLOSE ")


def environment(postgres, app, **more):
    return dict(postgres.env(), PGAPPNAME=app, PGOPTIONS=VERBOSE, **more)


def logged(postgres, app):
    """[(text, SQLSTATE or None)] of what the server was sent, in order."""
    found, pending = [], None
    with open(postgres.log, encoding="utf-8", errors="replace") as f:
        lines = f.read().splitlines()
    for one in lines:
        m = re.match(r"\[(.*?)\] ([A-Z]+):  (?:([0-9A-Z]{5}): )?(.*)", one)
        if not m or m.group(1) != app:
            continue
        kind, state, text = m.groups()[1:]
        if kind == "LOG":
            sent = re.match(r"(?:statement|execute [^:]*): (.*)", text)
            if sent:
                found.append([sent.group(1), None])
        elif kind in ("ERROR", "FATAL"):
            pending = state
        elif kind == "STATEMENT" and pending:
            if not found or found[-1][0] != text or found[-1][1]:
                found.append([text, None])  # it failed before it was executed
            found[-1][1] = pending
            pending = None
    return [tuple(one) for one in found]


def mask(sql):
    """As the spans have it, for the statements of these programs."""
    sql = re.sub(r"\$\$.*?\$\$", "?", sql)
    return re.sub(r"'(?:[^']|'')*'|(?<![\w$])\d+\b", "?", sql)


def connected(spans):
    return sorted((s for s in spans if not s.name.startswith("socket connect")),
                  key=lambda s: s.start)


def statements(spans):
    return [s for s in connected(spans) if "db.query.text" in s.attrs]


def compare(said, span):
    what, attrs = (said, span), span.attrs
    assert span.name == said["name"], what
    assert span.kind == "CLIENT" and attrs["db.system.name"] == "postgresql", what
    assert attrs.get("db.response.returned_rows") == said["returned"], what
    assert attrs.get("db.response.affected_rows") == said["affected"], what
    assert attrs.get("db.postgresql.copy.rows") == said["copied"], what
    assert attrs.get("db.postgresql.transaction.status") == said["transaction"], what
    assert not any("SECRET" in str(v) for v in list(attrs.values()) + [span.message]), what
    state, error = said["state"], said["error"]
    if error == "":  # only a warning
        assert attrs["db.response.status_code"] == state and not span.status, what
    elif state:
        assert span.status == "ERROR" and attrs["error.type"] == state, what
        assert attrs["db.response.status_code"] == state, what
    elif error:
        assert span.status == "ERROR" and error in ("?", attrs["error.type"]), what
    else:
        assert not span.status and "error.type" not in attrs, what
        assert "db.response.status_code" not in attrs, what


def both(receiver, shim, env, argv, timeout=30, **more):
    """Bare and preloaded do the same; the spans are what the program says. -> its lines."""
    bare = run(argv, bare_env(**dict(env, PGAPPNAME="bare")), timeout=timeout).ok()
    r = run(argv, shim(**env, AUTOTRACE_RING_SIZE="8388608", OTEL_BSP_MAX_QUEUE_SIZE="16384", **more),
            timeout=timeout).ok()
    assert (r.out, r.err) == (bare.out, bare.raw_err.decode())
    lines = r.out.decode().splitlines()
    said = [json.loads(one) for one in lines if one.startswith("{")]
    receiver.wait(r.total("exported"))
    assert r.total("recorded") == r.total("exported")
    assert r.total("not_followed") == r.total("ring_full") == 0
    return lines, said


def matches_log(postgres, app, spans, known=True):
    """Spans are statements: in order, no more, no less, with the server's own SQLSTATE."""
    sent = logged(postgres, app)
    asked = [s for s in statements(spans) if not s.name.startswith(UNLOGGED)
             and s.attrs.get("error.type") not in ("pipeline_aborted", "_OTHER")]
    if not known:  # "EXECUTE" of something nobody prepared has no text, and fails
        sent = [one for one in sent if one[1] != "26000"]
    assert [mask(s.attrs["db.query.text"]) for s in asked] == [mask(text) for text, _ in sent]
    for span, (_, state) in zip(asked, sent):
        if state != "57014" and span.attrs.get("error.type") not in ("cancelled", "connection_lost"):
            assert span.attrs.get("error.type") == state, span


def in_order(said, spans):
    assert [s.name for s in spans] == [one["name"] for one in said]
    for one, span in zip(said, spans):
        compare(one, span)


def test_pipelines(receiver, shim, postgres):
    env = environment(postgres, "pg-pipeline")
    _, said = both(receiver, shim, env, [program("pg-pipeline")])
    spans = connected(receiver.spans)
    in_order(said, spans)
    assert len(said) > 1200
    sent = [one for one in logged(postgres, "pg-pipeline")]
    # what the server parsed in vain it logs, if at all, as part of the error
    asked = [s for s in statements(spans) if not s.name.startswith(UNLOGGED)
             and s.attrs.get("error.type") not in ("pipeline_aborted", "_OTHER")]
    sent = [one for one in sent if one[1] not in ("26000", "42P05")]
    assert [mask(s.attrs["db.query.text"]) for s in asked] == [mask(t) for t, _ in sent]
    assert [s.attrs.get("error.type") for s in asked] == [state for _, state in sent]
    few = [s for s in receiver.spans if not s.attrs.get("db.query.text", "").endswith("AS many")]
    golden(tree(few), "pg-pipeline")


def test_copy(receiver, shim, postgres):
    env = environment(postgres, "pg-copy")
    lines, said = both(receiver, shim, env, [program("pg-copy")])
    spans = connected(receiver.spans)
    in_order(said, spans)
    moved = [int(one.split()[1]) for one in lines if one.startswith("bytes")]
    copies = [s for s in spans if "db.postgresql.copy.bytes" in s.attrs]
    assert [s.attrs["db.postgresql.copy.bytes"] for s in copies] == moved
    assert len(moved) == 9 and max(moved) > 7000
    matches_log(postgres, "pg-copy", spans)
    golden(tree(receiver.spans), "pg-copy")


def test_objects(receiver, shim, postgres, tmp_path):
    env = environment(postgres, "pg-objects")
    _, said = both(receiver, shim, env, [program("pg-objects"), str(tmp_path / "object")])
    spans = connected(receiver.spans)
    in_order(said, spans)
    functions = [s for s in spans if "db.stored_procedure.name" in s.attrs]
    assert len(functions) == 22 and all(s.name == s.attrs["db.stored_procedure.name"]
                                        for s in functions)
    golden(tree(receiver.spans), "pg-objects")


def test_transactions_warnings_and_prepared_statements(receiver, shim, postgres):
    env = environment(postgres, "pg-session")
    _, said = both(receiver, shim, env, [program("pg-session")])
    spans = connected(receiver.spans)
    in_order(said, spans)
    golden(tree(receiver.spans), "pg-session")


PAST_US = """
#include <libpq-fe.h>
#include <dlfcn.h>
static inline void *past_us(const char *name)
{
	static void *libpq;

	libpq = libpq ? libpq : dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
	return dlsym(libpq, name);
}
"""


def build_past_us(name, tmp_path):
    """The program with all its calls of libpq by dlsym(handle), so that no hook is called."""
    with open("/usr/include/postgresql/libpq-fe.h", encoding="utf-8") as f:
        declared = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    calls = sorted(set(re.findall(r"\b((?:PQ|lo_)\w+)\(", declared)))
    (tmp_path / "past-us.h").write_text(PAST_US + "".join(
        f'#define {one}(...) ((__typeof__(&{one}))past_us("{one}"))(__VA_ARGS__)\n'
        for one in calls))
    out = str(tmp_path / name)
    subprocess.run(["gcc", "-g", "-D_GNU_SOURCE", "-I/usr/include/postgresql", "-o", out,
                    "-include", str(tmp_path / "past-us.h"),
                    os.path.join(harness.SOURCES, name + ".c")], check=True, timeout=60)
    return out


@pytest.mark.parametrize("name", ["pg-session", "pg-copy", "pg-pipeline"])
def test_the_bytes_say_the_same_as_the_calls(receiver, shim, postgres, tmp_path, name):
    """Where no call is seen the wire is: what the program was told must be in those spans, too."""
    _, said = both(receiver, shim, environment(postgres, name), [build_past_us(name, tmp_path)])
    if name == "pg-pipeline":
        del said[-2]  # a call that libpq refused: nothing was sent
        del said[3]   # prepared and executed in one go is one statement
    for one in said:  # PQexec() hands out the last result of several
        if one["name"] == "INSERT t INSERT t DELETE t":
            one["affected"] += 2
    spans = connected(receiver.spans)
    assert [s.name for s in spans] == [one["name"] for one in said]
    for one, span in zip(said, spans):
        if one["error"] != "cancelled":  # the server may have said all of it, unread
            compare(one, span)


@pytest.mark.parametrize("leave", ["exit", "_exit"])
def test_waiting_cancelling_and_giving_up(receiver, shim, postgres, tmp_path, leave):
    service = tmp_path / "services"
    service.write_text(f"[here]\nhost=127.0.0.1\nport={postgres.port}\ndbname=postgres\n")
    env = environment(postgres, "pg-async-" + leave, PGSERVICEFILE=str(service))
    if leave == "_exit":
        env["LEAVE_BY__EXIT"] = "1"
    _, said = both(receiver, shim, env, [program("pg-async")])
    spans = connected(receiver.spans)
    assert len(spans) == len(said)

    def key(name):
        return name.split()[0] == "cancel"  # beside the statement, not behind it
    for which in (True, False):
        ours = [s for s in spans if key(s.name) == which]
        in_order([one for one in said if key(one["name"]) == which], ours)
    refused, = [s for s in spans if s.message]
    assert "Connection refused" in refused.message and refused.attrs["server.port"] == 1
    if leave == "exit":
        golden(tree(receiver.spans), "pg-async")


def test_sixteen_threads(receiver, shim, postgres):
    rounds = 3 if harness.SAN else 10
    argv = [program("pg-threads"), str(rounds)]
    env = dict(postgres.env(), PGOPTIONS=VERBOSE)
    mark = os.path.getsize(postgres.log)
    r = run(argv, shim(**env), timeout=60).ok()
    receiver.wait(r.total("exported"))
    assert r.total("not_followed") == r.total("ring_full") == 0
    by_thread = {}
    for s in connected(receiver.spans):
        by_thread.setdefault(s.attrs["thread.id"], []).append(s)
    assert len(by_thread) == 16
    assert mark < os.path.getsize(postgres.log)
    found = set()
    for spans in by_thread.values():
        name = re.search(r"AS t(\d+)_", spans[2].attrs["db.query.text"]).group(1)
        found.add(name)
        assert [s.name for s in spans[:2]] == ["connect postgres", "PREPARE SELECT"]
        asked, sent = spans[2:], logged(postgres, "pgt-" + name)
        assert len(sent) == rounds * 12
        assert [mask(s.attrs["db.query.text"]) for s in asked] == [mask(t) for t, _ in sent]
        assert [s.attrs.get("error.type") for s in asked] == [state for _, state in sent]
    assert len(found) == 16


def psycopg_libpq(tmp):
    """A libpq 17 for a Debian that has 15: the one that psycopg's wheel brings along."""
    done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps",
                           "--only-binary", ":all:", "-d", str(tmp), "psycopg-binary==3.2.9"],
                          capture_output=True, text=True, timeout=120, check=False)
    wheels = glob.glob(str(tmp / "*.whl"))
    if done.returncode or not wheels:
        pytest.skip("no psycopg-binary wheel to be had: " + (done.stderr.strip() or "?")[-200:])
    with zipfile.ZipFile(wheels[0]) as z:
        z.extractall(tmp)
    found = glob.glob(str(tmp / "psycopg_binary.libs" / "libpq-*.so.5*"))
    if not found:
        pytest.skip("the psycopg-binary wheel has no libpq")
    return found[0]


def test_libpq_17(receiver, shim, postgres, tmp_path):
    if harness.SAN:
        pytest.skip("the wheel's own OpenSSL and Kerberos do not run under a sanitizer")
    libpq = psycopg_libpq(tmp_path)
    argv = [compiled("pg-17.c", "-I/usr/include/postgresql", libpq, "-Wl,--allow-shlib-undefined",
                     "-Wl,-rpath," + os.path.dirname(libpq))]
    _, said = both(receiver, shim, environment(postgres, "pg-17"), argv)
    spans = connected(receiver.spans)
    assert len(spans) == len(said)

    def key(name):
        return name.split()[0] == "cancel"
    for which in (True, False):
        ours = [s for s in spans if key(s.name) == which]
        in_order([one for one in said if key(one["name"]) == which], ours)
    golden(tree(receiver.spans), "pg-17")


@pytest.fixture(name="tls")
def tls_fixture(tmp_path):
    """A PostgreSQL that speaks TLS as well."""
    server = harness.Postgres(tls=True)
    yield server
    server.stop()


def test_tls_is_negotiated_inside_the_connect_span(receiver, shim, tls):
    env = dict(tls.env(), PGSSLMODE="require")
    argv = [program("threads-client"), "pg", "1", "3"]
    r = run(argv, shim(AUTOTRACE_SOCKET_SPANS="all", **env)).ok()
    receiver.wait(r.total("exported"))
    connect, = [s for s in receiver.spans if s.name == "connect postgres"]
    below = sorted((s for s in receiver.spans if s.parent == connect.span), key=lambda s: s.start)
    assert [s.name for s in below].count("socket connect 127.0.0.1:%d" % tls.port) == 1
    assert len([s for s in below if s.name == "send"]) >= 3, "SSLRequest, hello, startup"
    assert all(connect.start <= s.start <= s.end <= connect.end for s in below)
    asked = [s for s in receiver.spans if "db.query.text" in s.attrs]
    assert len(asked) == 3 and not any(s.status for s in asked)


@pytest.mark.parametrize("name", ["pg-copy", "pg-pipeline"])
def test_raw_spans_below_what_is_awaited(receiver, shim, postgres, name):
    """A pipeline, COPY and PQconsumeInput: what libpq reads and writes has a statement."""
    r = run([program(name)], shim(AUTOTRACE_SOCKET_SPANS="all", AUTOTRACE_RING_SIZE="8388608",
                                  OTEL_BSP_MAX_QUEUE_SIZE="16384", **environment(postgres, "raw"))).ok()
    receiver.wait(r.total("exported"))
    ids = {s.span: s for s in receiver.spans}
    raw = [s for s in receiver.spans if s.name in ("send", "recv")]
    assert len(raw) > 30
    # Nobody's are: Terminate; what the old PQendcopy() sends; a synchronisation point, and what
    # is read while it is awaited.
    nobodys = [s for s in raw if s.parent not in ids]
    assert len(nobodys) <= (3 if name == "pg-copy" else 10), nobodys
    assert all(s.attrs.get("autotrace.bytes_sent", 0) < 64 for s in nobodys), nobodys
