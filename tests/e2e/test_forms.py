# SPDX-License-Identifier: Apache-2.0
"""Spans in files, on standard output, on the console and for Zipkin; several of them at once."""
import base64
import collections
import glob
import http.server
import json
import os
import random
import re
import resource
import signal
import subprocess
import threading
import time

import pytest
from google.protobuf import json_format

import harness
import receiver as receiving
import test_spool
from harness import end, program, run
from receiver import Answer
from test_export import client, operations
from test_spool import Counts, each_once, files

DEAD = "http://127.0.0.1:9"
IDS = ("traceId", "spanId", "parentSpanId")


def unhexed(item, key=None):
    """OTLP's exception undone: protobuf's own mapping has ids in base64."""
    if isinstance(item, dict):
        return {k: unhexed(v, k) for k, v in item.items()}
    if isinstance(item, list):
        return [unhexed(v, key) for v in item]
    return base64.b64encode(bytes.fromhex(item)).decode() if key in IDS else item


def said(result):
    """Lines of ours, but the one that sums up at the end."""
    return [line for line in result.err.splitlines() if " spans were dropped: " not in line]


class Lines:
    """What stands in lines of OTLP JSON, as strictly seen as what a collector gets."""

    def __init__(self):
        self.spans, self.seen, self.torn, self.n = [], set(), 0, 0

    def add(self, text):
        assert "\r" not in text
        lines = text.split("\n")
        self.torn += lines[-1] != ""
        for line in lines[:-1]:
            if line:
                self.line(line)
        return self

    def line(self, line):
        try:
            item = json.loads(line)
        except ValueError:
            self.torn += 1
            return
        assert list(item) == ["resourceSpans"] and len(line) < 1 << 20
        request = json_format.ParseDict(unhexed(item),
                                        receiving.load_proto().ExportTraceServiceRequest())
        self.n += 1
        self.spans += receiving.walk(request, self.seen, self.n)

    def files(self, *paths):
        for path in paths:
            with open(path, encoding="utf-8", newline="") as f:
                self.add(f.read())
        return self


def written(pattern):
    return Lines().files(*sorted(glob.glob(str(pattern))))


@pytest.fixture
def counts(tmp_path):
    return Counts(tmp_path / "counts")


@pytest.fixture
def spool(tmp_path):
    os.makedirs(tmp_path / "spool")
    return str(tmp_path / "spool")


@pytest.fixture
def file_env(tmp_path, spool):
    """Nothing but a file: no collector at all."""
    def env(where, **more):
        return harness.shim_env(DEAD, AUTOTRACE_FILE=str(tmp_path / where),
                                AUTOTRACE_SPOOL_DIR=spool, **more)
    return env


# ---- files ----

def test_a_file_holds_what_the_program_did(file_env, echo, tmp_path):
    r = run(client(echo, 3, 20), file_env("spans.jsonl")).ok()
    n = operations(r)
    got = written(tmp_path / "spans.jsonl")
    assert each_once(got.spans) == n == r.total("exported") and got.torn == 0
    assert r.total("requests") == 0 and r.total("fields_lost") == 0 and r.err == ""
    assert collections.Counter(s.name for s in got.spans)["send"] > 0
    assert os.stat(tmp_path / "spans.jsonl").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("made", [True, False], ids=["there", "made"])
def test_a_directory_holds_a_file_for_each_process(file_env, echo, tmp_path, made):
    if made:
        os.makedirs(tmp_path / "d")
    where = "d" if made else "d/"
    n = 0
    for i in range(3):
        env = file_env(where, OTEL_SERVICE_NAME=f"shop/{i}")
        env["AUTOTRACE_FILE"] = str(tmp_path) + "/" + where
        n += operations(run(client(echo, 1, 3), env).ok())
    names = sorted(os.listdir(tmp_path / "d"))
    assert len(names) == 3
    assert all(re.fullmatch(r"shop_\d-\d+-[0-9a-f]{8}\.jsonl", name) for name in names), names
    got = written(tmp_path / "d" / "*")
    assert each_once(got.spans) == n
    assert {s.resource["service.name"] for s in got.spans} == {f"shop/{i}" for i in range(3)}


def test_the_name_is_that_of_where_the_program_began(file_env, tmp_path, echo):
    env = file_env("x", OTEL_BSP_SCHEDULE_DELAY="60000")
    env["AUTOTRACE_FILE"] = "relative.jsonl"
    r = run(["sh", "-c", 'cd / && exec "$@"', "sh"] + client(echo, 1, 1), env, cwd=str(tmp_path))
    assert r.rc == 0
    # the shell began there; the program it became began in /
    assert not (tmp_path / "relative.jsonl").exists() or written(tmp_path / "relative.jsonl")
    r = run(client(echo, 1, 1), env, cwd=str(tmp_path)).ok()
    assert len(written(tmp_path / "relative.jsonl").spans) == operations(r)


def several(env, echo, tmp_path, how_many, rounds):
    """Programs at the same time: what they did, and the sums of their counters."""
    errs = [open(tmp_path / f"err{i}", "w+b") for i in range(how_many)]
    ps = [subprocess.Popen(client(echo, 2, rounds), env=env, stdout=subprocess.PIPE, stderr=err,
                           start_new_session=True) for err in errs]
    n, sums = 0, collections.Counter()
    for p, err in zip(ps, errs):
        out, _ = p.communicate(timeout=30 * harness.SLOW)
        assert p.returncode == 0
        did = json.loads(out)
        n += did["connects"] + did["sends"] + did["receives"] + did["queries"]
        with err:
            err.seek(0)
            for counters in harness.Result([], 0, b"", err.read(), 0).stats.values():
                sums.update(counters)
    assert sums["recorded"] == n == sums["exported"] + sums["left"] + sums["unsent"]
    if not harness.SAN:
        assert sums["exported"] == n, "in time"
    return sums["exported"]


def test_many_processes_share_a_file(file_env, echo, tmp_path):
    n = several(file_env("shared.jsonl", OTEL_BSP_SCHEDULE_DELAY="10"), echo, tmp_path, 6, 150)
    got = written(tmp_path / "shared.jsonl")
    assert got.torn == 0 and each_once(got.spans) == n


def test_a_file_that_grows_is_rotated_and_the_oldest_goes(file_env, echo, tmp_path):
    env = file_env("r.jsonl", AUTOTRACE_FILE_MAX_BYTES="65536", AUTOTRACE_FILE_MAX_FILES="3",
                   OTEL_BSP_MAX_EXPORT_BATCH_SIZE="20")
    r = run(client(echo, 2, 100), env).ok()
    names = sorted(os.listdir(tmp_path))
    assert [n for n in names if n.startswith("r.jsonl")] == ["r.jsonl", "r.jsonl.1", "r.jsonl.2"]
    sizes = [os.path.getsize(tmp_path / n) for n in names if n.startswith("r.jsonl")]
    assert max(sizes) <= 65536 < sum(sizes)
    got = written(tmp_path / "r.jsonl*")
    n = each_once(got.spans)
    assert got.torn == 0 and 0 < n < operations(r) == r.total("exported")


def test_rotation_loses_nothing_while_there_is_room(file_env, echo, tmp_path):
    env = file_env("r.jsonl", AUTOTRACE_FILE_MAX_BYTES="65536", AUTOTRACE_FILE_MAX_FILES="1000",
                   OTEL_BSP_MAX_EXPORT_BATCH_SIZE="20", OTEL_BSP_SCHEDULE_DELAY="10")
    n = several(env, echo, tmp_path, 4, 100)
    assert len(glob.glob(str(tmp_path / "r.jsonl.*"))) > 3
    got = written(tmp_path / "r.jsonl*")
    assert got.torn == 0 and each_once(got.spans) == n


def test_a_file_that_is_taken_away_is_made_again(file_env, counts, tmp_path):
    path = tmp_path / "spans.jsonl"
    env = file_env("spans.jsonl", OTEL_BSP_SCHEDULE_DELAY="20")
    p = subprocess.Popen([program("doomed"), "never", counts.path, "0", "1"], env=env,
                         stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        harness.wait_for(lambda: path.exists() and path.stat().st_size, "the file")
        os.rename(path, tmp_path / "old.jsonl")
        harness.wait_for(lambda: path.exists() and path.stat().st_size, "another file")
        os.unlink(path)
        harness.wait_for(lambda: path.exists() and path.stat().st_size, "a third file")
    finally:
        end(p, signal.SIGTERM)
    assert each_once(written(tmp_path / "old.jsonl").spans) > 0


def limited():
    resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))


TROUBLES = {
    "gone": "no/such/dir/spans.jsonl",
    "a pipe": "pipe",
    "read-only": "locked",
    "limit": "limited.jsonl",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_cannot_be_written_is_said_once_and_left(file_env, echo, tmp_path, spool, trouble):
    if trouble == "read-only":
        if os.geteuid() == 0:
            pytest.skip("root may write everything")
        os.makedirs(tmp_path / "locked", mode=0o500)
    if trouble == "a pipe":
        os.mkfifo(tmp_path / "pipe")
    bare = run(client(echo, 2, 60), harness.bare_env()).ok()
    r = run(client(echo, 2, 60),
            file_env(TROUBLES[trouble], AUTOTRACE_EXIT_TIMEOUT=None, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="20",
                     AUTOTRACE_SPOOL_MAX_BYTES="0"),
            preexec_fn=limited if trouble == "limit" else None).ok()
    assert json.loads(r.out).keys() == json.loads(bare.out).keys()
    n = operations(r)
    assert len(said(r)) == 1 and "AUTOTRACE_FILE: " in r.err and "(error " in r.err
    assert r.total("recorded") == n == r.total("exported") + r.total("left") + r.total("unsent")
    assert (r.total("exported") > 0) == (trouble == "limit"), "up to the limit"
    if trouble == "limit":
        assert len(written(tmp_path / "limited.jsonl").spans) == r.total("exported")


def test_a_disk_that_was_full_gets_all_when_there_is_room(file_env, counts, tmp_path):
    """The directory comes later: until then the spans wait in the rings."""
    path = tmp_path / "later" / "spans.jsonl"
    env = file_env("later/spans.jsonl", OTEL_BSP_SCHEDULE_DELAY="20")
    p = subprocess.Popen([program("doomed"), "never", counts.path, "0", "1"], env=env,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        harness.wait_for(lambda: counts()[1] >= 100, "operations")
        time.sleep(0.3)
        os.makedirs(tmp_path / "later")
        harness.wait_for(lambda: path.exists() and path.stat().st_size, "the file", timeout=20)
        time.sleep(0.3)
    finally:
        end(p, signal.SIGTERM)
    err = p.stderr.read().decode()
    assert "cannot be written (error 2)" in err and "can be written again" in err, err
    assert each_once(written(path).spans) >= 100


FULL = """mount -t tmpfs -o size=96k none "$0" || exit 77
"$@"
status=$?
df -k "$0" >&2
cp "$0"/* "$0".out/ && exit $status"""


@pytest.mark.parametrize("where", ["d/f.jsonl", "d/"])
def test_a_full_disk_keeps_what_fits(file_env, echo, tmp_path, where):
    """A tmpfs of 96 KiB in a name space of its own: a third of what there is to write."""
    os.makedirs(tmp_path / "d")
    os.makedirs(tmp_path / "d.out")
    env = file_env("x", AUTOTRACE_EXIT_TIMEOUT=None, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="20")
    env["AUTOTRACE_FILE"] = str(tmp_path) + "/" + where
    preload = env.pop("LD_PRELOAD")
    r = run(["unshare", "-r", "-m", "sh", "-c", FULL, str(tmp_path / "d"), "env", "LD_PRELOAD=" + preload]
            + client(echo, 2, 60), env)
    if r.rc in (1, 77) and "AUTOTRACE_FILE" not in r.err:
        pytest.skip("no tmpfs can be mounted here: " + r.err.strip()[-200:])
    n = operations(r.ok())
    got = written(tmp_path / "d.out" / "*")
    assert 0 < each_once(got.spans) == r.total("exported") < n
    assert r.total("recorded") == n == r.total("exported") + r.total("left") + r.total("unsent")
    assert r.err.count("cannot be written (error 28)") == 1
    if where == "d/":
        assert got.torn == 0, "a file of its own ends where it was whole"


def test_killed_in_the_middle_of_a_line(file_env, counts, tmp_path, spool):
    """kill -9 at any moment: at most the last line of each is torn, and nothing is there twice."""
    rng = random.Random(11)
    env = file_env("k.jsonl", OTEL_BSP_SCHEDULE_DELAY="10")
    for _ in range(20):
        p = subprocess.Popen([program("doomed"), "never", counts.path, "0", "3"], env=env,
                             stdout=subprocess.DEVNULL, start_new_session=True)
        time.sleep(rng.random() * 0.15 * harness.SLOW)
        end(p, signal.SIGKILL)
    # half a line, as a kill within a write would leave it
    with open(tmp_path / "k.jsonl", "ab") as f:
        f.write(b'{"resourceSpans":[{"reso')
    # what they left, under the same settings, goes where they would have put it
    r = run([os.path.join(harness.B, "autotrace"), "drain", "--same"],
            {k: v for k, v in env.items() if k != "LD_PRELOAD"}, timeout=30)
    assert r.rc == 0, r.raw_err
    begun, ended = counts()
    got = written(tmp_path / "k.jsonl")
    ids = [(s.trace, s.span) for s in got.spans]
    # killed between write() and settling it, a batch is written by the next one as well
    n = len(set(ids))
    assert ended <= n <= begun and ended > 100 and len(ids) - n < n / 20
    assert got.torn == 1 and files(spool) == []


# ---- standard output and console ----

def test_standard_output_only_because_it_was_asked_for(shim, echo):
    r = run(client(echo, 2, 5), shim(OTEL_TRACES_EXPORTER="otlp/stdout")).ok()
    own = [line for line in r.out.decode().split("\n") if not line.startswith('{"resourceSpans"')]
    lines = [line for line in r.out.decode().split("\n") if line.startswith('{"resourceSpans"')]
    got = Lines().add("\n".join(lines) + "\n")
    did = json.loads("".join(own))
    n = did["connects"] + did["sends"] + did["receives"] + did["queries"]
    assert each_once(got.spans) == n == r.total("exported") and got.torn == 0
    assert r.err == ""


@pytest.mark.parametrize("exporter", ["otlp", "console", "none", "zipkin"])
def test_otherwise_standard_output_is_the_programs(shim, echo, exporter):
    r = run(client(echo, 1, 2), shim(OTEL_TRACES_EXPORTER=exporter, AUTOTRACE_CONSOLE="json",
                                     OTEL_EXPORTER_ZIPKIN_ENDPOINT=DEAD))
    assert b"resourceSpans" not in r.out and json.loads(r.out)


def test_a_standard_output_that_is_gone_hurts_nobody(shim, echo):
    r = run(["sh", "-c", 'exec "$@" >&-', "sh"] + client(echo, 1, 2),
            shim(OTEL_TRACES_EXPORTER="otlp/stdout", AUTOTRACE_EXIT_TIMEOUT=None))
    assert r.rc in (0, 1) and r.total("exported") == 0
    assert r.total("recorded") == r.total("left") + r.total("unsent") > 0


def test_the_console_prints_lines_where_they_are_wanted(shim, echo):
    r = run(client(echo, 2, 5), shim(OTEL_TRACES_EXPORTER="console", AUTOTRACE_CONSOLE="json")).ok()
    got = Lines().add(r.err)
    assert each_once(got.spans) == operations(r) == r.total("exported") and got.torn == 0


# ---- several at once ----

def test_a_collector_a_file_and_the_console_get_the_same(receiver, shim, echo, tmp_path):
    r = run(client(echo, 2, 20), shim(OTEL_TRACES_EXPORTER="console,otlp", AUTOTRACE_CONSOLE="json",
                                      AUTOTRACE_FILE=str(tmp_path / "f.jsonl"))).ok()
    n = operations(r)
    assert each_once(receiver.wait(n)) == n == r.total("exported")
    there = {(s.trace, s.span, s.name, s.start, s.end, str(s.attrs)) for s in receiver.spans}
    for got in (written(tmp_path / "f.jsonl"), Lines().add(r.err)):
        assert each_once(got.spans) == n
        assert {(s.trace, s.span, s.name, s.start, s.end, str(s.attrs)) for s in got.spans} == there
    assert r.total("copied") == 2 * n and r.total("copies_lost") == 0


def test_a_dead_collector_keeps_nothing_from_the_file(shim, echo, tmp_path):
    r = run(client(echo, 2, 100), shim(OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=DEAD,
                                       AUTOTRACE_FILE=str(tmp_path / "f.jsonl"),
                                       AUTOTRACE_EXIT_TIMEOUT=None)).ok()
    n = operations(r)
    got = written(tmp_path / "f.jsonl")
    assert each_once(got.spans) == n, "each once, all of them"
    assert r.total("exported") == 0 and r.total("copied") == n
    assert r.total("recorded") == n == r.total("missed") + r.total("left") + r.total("unsent")
    assert len(said(r)) == 1


def test_a_full_disk_keeps_nothing_from_the_collector(receiver, shim, echo, tmp_path):
    r = run(client(echo, 2, 20), shim(OTEL_TRACES_EXPORTER="otlp",
                                      AUTOTRACE_FILE=str(tmp_path / "no" / "such" / "f.jsonl"))).ok()
    n = operations(r)
    assert each_once(receiver.wait(n)) == n == r.total("exported") == r.total("copies_lost")
    assert len(said(r)) == 1 and "cannot be written (error 2)" in r.err


def test_what_a_full_disk_took_is_not_written_again_for_the_collectors_sake(shim, echo, tmp_path):
    """Neither takes a batch, but of each try there are whole lines in the file."""
    code = ("import resource, socket, time\n"
            "full = lambda n: resource.setrlimit(resource.RLIMIT_FSIZE, (n, -1))\n"
            f"s = socket.create_connection(('127.0.0.1', {echo.port}))\n"
            "full(400000)\n"
            "for i in range(450): s.sendall(b'x'); s.recv(1)\n"
            "time.sleep(1); full(-1); time.sleep(1)\n")
    r = run(["/usr/bin/python3", "-c", code],
            shim(OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=DEAD, AUTOTRACE_EXIT_TIMEOUT=None,
                 OTEL_EXPORTER_OTLP_TIMEOUT="200", OTEL_BSP_SCHEDULE_DELAY="300",
                 OTEL_BSP_MAX_EXPORT_BATCH_SIZE="2000", AUTOTRACE_FILE=str(tmp_path / "f.jsonl"))).ok()
    n = each_once(written(tmp_path / "f.jsonl").spans)
    assert "cannot be written (error 27)" in r.err and "can be written again" in r.err
    assert n == 901 == r.total("copied") == r.total("recorded")
    assert n == r.total("missed") + r.total("left") + r.total("unsent")


def test_a_collector_that_comes_back_gets_nothing_twice(receiver, shim, counts, tmp_path):
    """While it is away the file gets all; what it missed then it does not get, what comes later it does."""
    receiver.script += [Answer(503)] * 6
    env = shim(OTEL_TRACES_EXPORTER="otlp", AUTOTRACE_FILE=str(tmp_path / "f.jsonl"),
               OTEL_BSP_SCHEDULE_DELAY="20", OTEL_EXPORTER_OTLP_TIMEOUT="300")
    p = subprocess.Popen([program("doomed"), "never", counts.path, "0", "1"], env=env,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        receiver.wait(20, timeout=30)
    finally:
        end(p, signal.SIGTERM)
    got = written(tmp_path / "f.jsonl")
    assert each_once(receiver.spans) >= 20
    there, here = {(s.trace, s.span) for s in receiver.spans}, {(s.trace, s.span) for s in got.spans}
    assert each_once(got.spans) and len(here & there) > 0


def test_a_reader_that_pauses_gets_each_line_once(receiver, echo, spool):
    """For longer than one write waits, and with more behind it than a pipe takes."""
    env = harness.shim_env(DEAD, OTEL_TRACES_EXPORTER="otlp/stdout", OTEL_BSP_SCHEDULE_DELAY="10",
                           AUTOTRACE_SPOOL_DIR=spool)
    p = subprocess.Popen(client(echo, 1, 200), env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    time.sleep(1.3)
    out = p.communicate(timeout=10)[0].decode()
    lines = [line for line in out.splitlines(True) if line.startswith('{"resourceSpans"')]
    got = Lines().add("".join(lines))
    assert test_spool.drain(receiver, spool).rc == 0
    assert each_once(got.spans + receiver.spans) == 2 * 200 + 1


def test_unknown_exporters_are_named_each_and_the_others_work(receiver, shim, echo):
    r = run(client(echo, 1, 2), shim(OTEL_TRACES_EXPORTER="otlp,jaeger,logging,none")).ok()
    n = operations(r)
    assert len(receiver.wait(n)) == n
    lines = r.err.splitlines()
    assert len(lines) == 3 and '"jaeger"' in lines[0] and '"logging"' in lines[1] and '"none"' in lines[2]


# ---- replay ----

def drain(receiver, *args, **more):
    env = harness.bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **more)
    return run([os.path.join(harness.B, "autotrace"), "drain", *map(str, args)], env, timeout=30)


def test_what_is_in_a_file_can_be_sent_later(receiver, file_env, echo, tmp_path):
    n = 0
    for i in range(3):
        r = run(client(echo, 2, 30), file_env("f.jsonl", OTEL_SERVICE_NAME=f"shop{i}",
                                              OTEL_BSP_SCHEDULE_DELAY="10",
                                              OTEL_BSP_MAX_EXPORT_BATCH_SIZE="13")).ok()
        n += operations(r)
    before = written(tmp_path / "f.jsonl")
    r = drain(receiver, tmp_path / "f.jsonl")
    assert r.rc == 0 and f"{n} spans sent" in r.err, r.err
    key = lambda s: (s.trace, s.span, s.parent, s.name, s.kind, s.start, s.end, str(s.attrs), s.status,
                     s.message, s.flags, s.state, s.scope, str(sorted(s.resource.items())))
    assert each_once(receiver.wait(n)) == n
    assert {key(s) for s in receiver.spans} == {key(s) for s in before.spans}
    assert not [f for f in os.listdir(tmp_path) if f.startswith("f.jsonl")], "the file is gone"
    assert receiver.requests < before.n, "lines of one process go together"
    r = drain(receiver, tmp_path / "f.jsonl")
    assert r.rc == 1 and "No such file" in r.err


def test_a_directory_is_sent_while_programs_write_there(receiver, file_env, counts, tmp_path):
    env = file_env("d/", OTEL_BSP_SCHEDULE_DELAY="10")
    env["AUTOTRACE_FILE"] = str(tmp_path) + "/d/"
    ps = [subprocess.Popen([program("doomed"), "never", counts.path, "0", "1"], env=env,
                           stdout=subprocess.DEVNULL, start_new_session=True) for _ in range(2)]
    try:
        harness.wait_for(lambda: len(glob.glob(str(tmp_path / "d" / "*.jsonl"))) == 2, "two files")
        for _ in range(3):
            assert drain(receiver, tmp_path / "d").rc == 0
            time.sleep(0.05)
    finally:
        for p in ps:
            end(p, signal.SIGSTOP, 0.01)
    r = run([os.path.join(harness.B, "autotrace"), "drain", "--same"],
            {k: v for k, v in env.items() if k != "LD_PRELOAD"}, timeout=30)
    assert r.rc == 0
    assert drain(receiver, tmp_path / "d").rc == 0
    begun, ended = counts()
    ids = [(s.trace, s.span) for s in receiver.wait(ended)]
    n = len(set(ids))
    assert ended <= n <= begun and n > 100 and len(ids) - n < n / 20
    assert os.listdir(tmp_path / "d") == []


def test_what_nobody_takes_stays_and_what_was_taken_does_not_come_again(receiver, file_env, echo, tmp_path):
    r = run(client(echo, 1, 100), file_env("f.jsonl", OTEL_BSP_SCHEDULE_DELAY="5",
                                           OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")).ok()
    n = operations(r)
    whole = (tmp_path / "f.jsonl").read_bytes()
    env = dict(OTEL_BSP_MAX_EXPORT_BATCH_SIZE="20", OTEL_EXPORTER_OTLP_TIMEOUT="500")
    receiver.script += [None] * 3 + [Answer("hang")] * 4
    r = drain(receiver, tmp_path / "f.jsonl", **env)
    assert r.rc == 1
    taken = len(receiver.spans)
    left = (tmp_path / "f.jsonl").read_bytes()
    assert len(left) == len(whole) and 0 < taken < n
    assert 0 < left.count(b"#\"resourceSpans") == left.count(b"#")
    receiver.script.clear()
    r = drain(receiver, tmp_path / "f.jsonl", **env)
    assert r.rc == 0 and each_once(receiver.wait(n)) == n
    assert not (tmp_path / "f.jsonl").exists()


def test_a_drain_that_was_killed_is_gone_on_with(receiver, file_env, echo, tmp_path):
    r = run(client(echo, 1, 100), file_env("f.jsonl", OTEL_BSP_SCHEDULE_DELAY="5",
                                           OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")).ok()
    n = operations(r)
    receiver.script += [None, Answer("hang"), Answer("hang")]
    p = subprocess.Popen([os.path.join(harness.B, "autotrace"), "drain", str(tmp_path / "f.jsonl")],
                         env=harness.bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
                                              OTEL_BSP_MAX_EXPORT_BATCH_SIZE="20"),
                         stderr=subprocess.DEVNULL, start_new_session=True)
    harness.wait_for(lambda: receiver.requests >= 2, "the second request")
    r = drain(receiver, tmp_path / "f.jsonl.draining")
    assert r.rc == 1 and "somebody else" in r.err, "one at a time"
    end(p, signal.SIGKILL)
    receiver.script.clear()
    taken = len(receiver.spans)
    run(client(echo, 1, 3), file_env("f.jsonl")).ok()  # another one of that name
    more = len(written(tmp_path / "f.jsonl").spans)
    r = drain(receiver, tmp_path / "f.jsonl")
    assert r.rc == 0 and 0 < taken < n
    assert each_once(receiver.wait(n + more)) == n + more
    assert not glob.glob(str(tmp_path / "f.jsonl*"))


def test_lines_that_are_none_are_left_and_the_others_sent(receiver, file_env, echo, tmp_path):
    n = operations(run(client(echo, 1, 5), file_env("f.jsonl")).ok())
    good = (tmp_path / "f.jsonl").read_bytes()
    (tmp_path / "f.jsonl").write_bytes(b"hello\n\n# a comment\n" + good + b'{"resourceSpans":[{"reso')
    r = drain(receiver, tmp_path)
    assert r.rc == 0 and "2 lines are no OTLP JSON" in r.err, r.err
    assert each_once(receiver.wait(n)) == n
    left = (tmp_path / "f.jsonl.bad").read_bytes()
    assert left.startswith(b"hello\n\n# a comment\n#") and left.endswith(b'{"reso')
    r = drain(receiver, tmp_path)
    assert r.rc == 0 and r.err == "", "it is not tried again"


def test_a_file_that_is_refused_stays(receiver, file_env, echo, tmp_path):
    n = operations(run(client(echo, 1, 5), file_env("f.jsonl")).ok())
    text = (tmp_path / "f.jsonl").read_bytes()
    for status in (401, 404):
        receiver.script += [Answer(status)]
        r = drain(receiver, tmp_path / "f.jsonl")
        assert r.rc == 1 and "refused" in r.err and "left where they are" in r.err and "sent" not in r.err
        assert (tmp_path / "f.jsonl").read_bytes() == text
    receiver.script += [Answer(400)]
    r = drain(receiver, tmp_path / "f.jsonl")
    assert r.rc == 1 and "1 lines have spans that the collector will not take" in r.err, r.err
    assert f"{n} spans were not taken" in r.err
    assert (tmp_path / "f.jsonl.bad").read_bytes() == text and not receiver.spans


@pytest.mark.parametrize("size", ["512", "4"], ids=["one line", "many lines"])
@pytest.mark.parametrize("status", [401, 400], ids=["refused", "malformed"])
def test_the_half_of_a_batch_that_was_taken_does_not_come_again(receiver, file_env, echo, tmp_path, size, status):
    n = operations(run(client(echo, 1, 21), file_env("f.jsonl", OTEL_BSP_SCHEDULE_DELAY="60000",
                                                     OTEL_BSP_MAX_EXPORT_BATCH_SIZE=size)).ok())
    receiver.script += [Answer(413), None, Answer(status)]
    r = drain(receiver, tmp_path / "f.jsonl")
    assert r.rc == 1 and f"{n // 2} spans sent" in r.err and len(receiver.spans) == n // 2, r.err
    left, = (p for p in tmp_path.iterdir() if p.name.startswith("f.jsonl"))
    assert left.name == ("f.jsonl.bad" if status == 400 else "f.jsonl")
    assert drain(receiver, left).rc == 0 and not left.exists()
    assert each_once(receiver.spans) == n


def test_a_drain_that_is_told_to_stop_waits_for_the_answer(receiver, file_env, echo, tmp_path):
    n = operations(run(client(echo, 1, 5), file_env("f.jsonl")).ok())
    receiver.script.append(Answer("late"))
    p = subprocess.Popen([os.path.join(harness.B, "autotrace"), "drain", str(tmp_path / "f.jsonl")],
                         env=harness.bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint),
                         stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        receiver.wait(n)
        p.send_signal(signal.SIGTERM)
        assert p.wait(5 * harness.SLOW) == 0
    finally:
        end(p)
    assert not (tmp_path / "f.jsonl").exists() and each_once(receiver.spans) == n


def test_files_of_others_are_left_alone(receiver, file_env, echo, tmp_path):
    (tmp_path / "d").mkdir()
    n = operations(run(client(echo, 1, 5), file_env("d/f.jsonl.1")).ok())
    others = {"app.jsonl": '{"level":"info","msg":"up"}\n', "app.jsonl.bak": "{}\n", "app.jsonl~": "{}\n",
              "metrics.jsonl": '{"resourceMetrics":[]}\n', "f.jsonl.1.bad": "{\n", "jsonl": "{}\n"}
    for name, text in others.items():
        (tmp_path / "d" / name).write_text(text)
    r = drain(receiver, tmp_path / "d")
    assert r.rc == 0 and each_once(receiver.wait(n)) == n
    assert {p.name: p.read_text() for p in (tmp_path / "d").iterdir()} == others
    said = [line for line in r.err.splitlines() if "left alone" in line]
    assert len(said) == 2 and any("app.jsonl has no traces" in line for line in said), r.err


def test_what_a_killed_drain_left_beside_another_is_no_trouble(receiver, file_env, echo, tmp_path):
    (tmp_path / "d").mkdir()
    n = operations(run(client(echo, 1, 1), file_env("d/f.jsonl")).ok())
    text = (tmp_path / "d" / "f.jsonl").read_text()
    for i in range(20):  # in whatever order the directory has them
        (tmp_path / "d" / f"g{i}.jsonl").write_text(re.sub('"spanId":"....', f'"spanId":"a1{i:02}', text))
        (tmp_path / "d" / f"g{i}.jsonl.draining").write_text(re.sub('"spanId":"....', f'"spanId":"b1{i:02}', text))
    r = drain(receiver, tmp_path / "d")
    assert r.rc == 0 and each_once(receiver.wait(41 * n)) == 41 * n
    assert r.err == f"autotrace: {41 * n} spans sent\n" and os.listdir(tmp_path / "d") == []


def test_of_a_link_the_file_is_drained_and_of_a_pipe_nothing(receiver, file_env, echo, tmp_path):
    n = operations(run(client(echo, 1, 5), file_env("f.jsonl")).ok())
    text = (tmp_path / "f.jsonl").read_bytes()
    stdin = tmp_path / "stdin"  # as /dev/stdin is
    stdin.symlink_to("/proc/self/fd/0")
    tool = [os.path.join(harness.B, "autotrace"), "drain", str(stdin)]
    env = harness.bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    p = subprocess.run(tool, env=env, input=text, stderr=subprocess.PIPE, timeout=30)
    assert p.returncode == 1 and p.stderr.decode() == f"autotrace: {stdin}: it is no regular file; it is left alone\n"
    with open(tmp_path / "f.jsonl") as f:
        p = subprocess.run(tool, env=env, stdin=f, stderr=subprocess.PIPE, timeout=30)
    assert p.returncode == 0 and each_once(receiver.wait(n)) == n, p.stderr
    assert stdin.is_symlink() and not (tmp_path / "f.jsonl").exists()


def test_a_file_that_cannot_be_marked_is_given_back(receiver, file_env, echo, tmp_path):
    n = operations(run(client(echo, 1, 50), file_env("f.jsonl")).ok())
    text = (tmp_path / "f.jsonl").read_bytes()
    tool = [os.path.join(harness.B, "autotrace"), "drain", str(tmp_path / "f.jsonl")]
    env = harness.bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    p = subprocess.run(tool, env=env, stderr=subprocess.PIPE, timeout=30, preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_FSIZE, (len(text) // 2, resource.RLIM_INFINITY)))
    assert p.returncode == 1 and b"may be sent again: File too large" in p.stderr, p.stderr
    taken = len(receiver.spans)
    assert 0 < taken < n and len((tmp_path / "f.jsonl").read_bytes()) == len(text)
    p = subprocess.run(tool + ["--exporter", "otlp/stdout"], env=env, stdout=subprocess.PIPE, timeout=30)
    again = p.stdout.count(b'"spanId"')
    assert p.returncode == 0 and n - taken <= again <= n - taken + 10, "of one request, at most"


def test_what_drain_does_not_do_with_files_it_says(receiver, tmp_path):
    for option in ("--watch", "--same"):
        r = drain(receiver, option, tmp_path)
        assert r.rc == 125 and option in r.err and r.err.count("\n") == 1


def of_service(name, *spans):
    return {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": name}}]},
            "scopeSpans": [{"scope": {"name": "other"}, "spans": list(spans),
                            "schemaUrl": "https://opentelemetry.io/schemas/1.30.0"}],
            "schemaUrl": "https://opentelemetry.io/schemas/1.30.0"}


def test_others_files_are_sent_too(receiver, tmp_path):
    """As other SDKs write them: several resources in a line, numbers without quotes, unknown members."""
    receiver.others = True
    now = time.time_ns()
    span = {"traceId": "0AF7651916CD43DD8448EB211C80319C", "spanId": "b7ad6b7169203331", "name": "a",
            "kind": 2, "startTimeUnixNano": now - 1000, "endTimeUnixNano": str(now - 5),
            "attributes": [{"key": "n", "value": {"intValue": 5}},
                           {"key": "l", "value": {"arrayValue": {"values": [{"doubleValue": 0.5},
                                                                            {"stringValue": "\u00e4\ud83d\ude00"}]}}},
                           {"key": "y", "value": {"bytesValue": "AP8"}}],
            "status": {}, "links": [], "events": None, "future": {"deep": [1, {"x": None}]}}
    line = {"resourceSpans": [of_service("one", span), of_service("two", dict(span, spanId="b7ad6b7169203332"))]}
    (tmp_path / "o.jsonl").write_text(json.dumps(line) + "\r\n")
    r = drain(receiver, tmp_path / "o.jsonl")
    assert r.rc == 0, r.err
    got = receiver.wait(2)
    assert {s.resource["service.name"] for s in got} == {"one", "two"}
    s = got[0]
    assert s.trace == "0af7651916cd43dd8448eb211c80319c" and s.kind == "SERVER" and s.scope == "other"
    assert s.start == now - 1000 and s.end == now - 5
    assert s.attrs == {"n": 5, "l": [0.5, "\u00e4\U0001f600"], "y": b"\x00\xff"}


def test_the_part_of_others_lines_that_was_taken_does_not_come_again(receiver, tmp_path):
    receiver.others = True
    span = {"traceId": "0af7651916cd43dd8448eb211c80319c", "name": "a", "kind": 1,
            "startTimeUnixNano": time.time_ns() - 1000, "endTimeUnixNano": time.time_ns()}
    line = {"resourceSpans": [of_service(name, *[dict(span, spanId=f"b7ad6b7169203{i}3{k}") for k in range(3)])
                              for i, name in enumerate(["one", "two", "three"])]}
    (tmp_path / "o.jsonl").write_text(json.dumps(line) + "\n")
    receiver.script += [None, Answer(401)]
    assert drain(receiver, tmp_path / "o.jsonl").rc == 1
    assert drain(receiver, tmp_path / "o.jsonl").rc == 0 and not (tmp_path / "o.jsonl").exists()
    assert each_once(receiver.spans) == 9


def test_a_file_can_be_shown(receiver, file_env, echo, tmp_path):
    n = operations(run(client(echo, 1, 2), file_env("f.jsonl")).ok())
    r = drain(receiver, "--exporter", "console", tmp_path / "f.jsonl")
    assert r.rc == 0 and r.out.decode().count("e2e[") > 0 and not receiver.spans
    assert len(re.findall("[├└]─", r.out.decode())) == n


@pytest.mark.parametrize("exporter, closed", [("console", ">&-"), ("otlp/stdout", ">&-"),
                                              ("console", ">/dev/full 2>&-")])
def test_a_file_is_not_opened_as_an_output_that_was_closed(file_env, echo, tmp_path, exporter, closed):
    """Nor are lines of ours written into it: there is nobody who takes what is in it."""
    run(client(echo, 1, 2), file_env("f.jsonl")).ok()
    text = (tmp_path / "f.jsonl").read_text()
    r = run(["sh", "-c", f'exec "$@" {closed}', "sh", os.path.join(harness.B, "autotrace"), "drain",
             "--exporter", exporter, str(tmp_path / "f.jsonl")],
            harness.bare_env())
    assert r.rc == 1 and (tmp_path / "f.jsonl").read_text() == text
    assert ("standard output cannot be written: " in r.err) == (closed == ">&-"), r.err


# ---- Zipkin ----

class Zipkin:
    """Keeps what is posted; the real one is in tests/peers."""

    def __init__(self):
        zipkin = self
        self.spans, self.types, self.script = [], set(), []
        self.most = 1000  # spans that it takes in a request

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = zipkin.script.pop(0) if zipkin.script else 202
                if len(json.loads(body)) > zipkin.most:
                    status = 413
                if status == 202:
                    zipkin.types.add((self.path, self.headers["Content-Type"]))
                    zipkin.spans += json.loads(body)
                words = b"" if status == 202 else b"who are you"
                self.send_response(status)
                self.send_header("Content-Length", str(len(words)))
                self.end_headers()
                self.wfile.write(words)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api/v2/spans"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def zipkin():
    z = Zipkin()
    yield z
    z.stop()


def text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":")) if isinstance(value, (list, dict)) else str(value)


def test_zipkin_gets_what_the_collector_gets(receiver, shim, echo, zipkin):
    zipkin.script += [503]
    r = run(client(echo, 2, 10), shim(OTEL_TRACES_EXPORTER="zipkin,otlp", AUTOTRACE_EXIT_TIMEOUT="9000",
                                      OTEL_EXPORTER_ZIPKIN_ENDPOINT=zipkin.url)).ok()
    n = operations(r)
    assert len(receiver.wait(n)) == n == len(zipkin.spans) == r.total("copied")
    assert zipkin.types == {("/api/v2/spans", "application/json")}
    there = {s["id"]: s for s in zipkin.spans}
    assert len(there) == n
    for s in receiver.spans:
        z = there[s.span]
        assert z["traceId"] == s.trace and z["name"] == s.name
        assert z.get("parentId", "") == (s.parent or "")
        assert z.get("kind", "INTERNAL") == s.kind
        assert z["timestamp"] == s.start // 1000 and z["duration"] == max((s.end - s.start) // 1000, 1)
        assert z["localEndpoint"] == {"serviceName": "e2e"}
        for key, value in s.attrs.items():
            assert z["tags"][key] == text(value), key
        assert z["tags"].get("otel.status_code", "") == s.status
        assert ("error" in z["tags"]) == (s.status == "ERROR")
        assert z["tags"]["otel.scope.name"] == "libautotrace"
        remote = z.get("remoteEndpoint")
        if s.kind == "CLIENT" and "server.address" in s.attrs:
            assert remote["serviceName"] == s.attrs["server.address"]
        elif s.kind == "CLIENT":
            assert remote == {"ipv4": "127.0.0.1", "port": echo.port}
        else:
            assert remote is None


def test_a_zipkin_alone_counts_as_a_collector(shim, echo, zipkin):
    r = run(client(echo, 1, 5), shim(OTEL_TRACES_EXPORTER="zipkin",
                                     OTEL_EXPORTER_ZIPKIN_ENDPOINT=zipkin.url)).ok()
    assert len(zipkin.spans) == operations(r) == r.total("exported")
    zipkin.script += [400]
    r = run(client(echo, 1, 5), shim(OTEL_TRACES_EXPORTER="zipkin",
                                     OTEL_EXPORTER_ZIPKIN_ENDPOINT=zipkin.url)).ok()
    assert r.total("rejected") == operations(r) and "HTTP 400, who are you" in r.err and len(said(r)) == 1
    r = run(client(echo, 1, 5), shim(OTEL_TRACES_EXPORTER="zipkin", AUTOTRACE_EXIT_TIMEOUT=None,
                                     OTEL_EXPORTER_ZIPKIN_ENDPOINT=DEAD)).ok()
    assert r.total("left") == operations(r) and r.seconds < 1.5 * harness.SLOW


def test_a_zipkin_that_takes_no_large_batch_gets_all_in_halves(shim, echo, zipkin):
    zipkin.most = 3
    r = run(client(echo, 1, 10), shim(OTEL_TRACES_EXPORTER="zipkin",
                                      OTEL_EXPORTER_ZIPKIN_ENDPOINT=zipkin.url)).ok()
    assert len({s["id"] for s in zipkin.spans}) == len(zipkin.spans) == operations(r) == r.total("exported")
    assert r.total("split") and not said(r)


def test_what_a_zipkin_did_not_take_is_left_and_taken_later(shim, echo, zipkin, tmp_path):
    to = {"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT": zipkin.url,
          "AUTOTRACE_SPOOL_DIR": str(tmp_path)}
    zipkin.script += [503] * 9
    r = run(client(echo, 1, 5), shim(AUTOTRACE_EXIT_TIMEOUT=None, **to)).ok()
    n = operations(r)
    assert r.total("left") == n and f"HTTP 503, who are you; {n} spans are left in " in r.err
    zipkin.script[:] = []
    run([os.path.join(harness.B, "autotrace"), "drain"], harness.bare_env(**to), timeout=30).ok()
    assert len({s["id"] for s in zipkin.spans}) == len(zipkin.spans) == n
