# SPDX-License-Identifier: Apache-2.0
"""Whatever ends a process, its spans arrive, each once, after a drain."""
import fcntl
import glob
import os
import random
import resource
import signal
import struct
import subprocess
import threading
import time

import pytest

import harness
from harness import B, bare_env, end, program, run
from receiver import Answer

ENDS = {"return": 7, "exit": 7, "_exit": 7, "quick_exit": 7, "exit_group": 7, "exec": 7, "orphan": 7,
        "abort": -signal.SIGABRT, "SIGSEGV": -signal.SIGSEGV, "SIGTERM": -signal.SIGTERM,
        "SIGKILL": -signal.SIGKILL}


class Counts:
    """Two words in shared memory: operations begun and ended."""

    def __init__(self, path):
        self.path = str(path)
        with open(path, "wb") as f:
            f.write(bytes(4096))

    def __call__(self):
        with open(self.path, "rb") as f:
            return struct.unpack("QQ", f.read(16))


@pytest.fixture
def counts(tmp_path):
    return Counts(tmp_path / "counts")


@pytest.fixture
def spool(tmp_path):
    """A spool of this test's own."""
    os.makedirs(tmp_path / "spool")
    return str(tmp_path / "spool")


def files(spool):
    return glob.glob(spool + "/autotrace-*/*")


def drain(receiver, spool, **more):
    env = bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, AUTOTRACE_SPOOL_DIR=spool)
    env.update(more)
    return run([os.path.join(B, "autotrace"), "drain"], env, timeout=30)


def each_once(spans):
    ids = [(s.trace, s.span) for s in spans]
    assert len(set(ids)) == len(ids), "a span came twice"
    return len(ids)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("n", [1, 700])
def test_every_end_ships_everything_once(receiver, shim, spool, counts, how, n):
    if how == "SIGSEGV" and harness.SAN:
        pytest.skip("the sanitizers handle that signal themselves")
    r = run([program("doomed"), how, counts.path, str(n)], shim(AUTOTRACE_SPOOL_DIR=spool))
    assert r.rc == ENDS[how], r.raw_err
    if how == "orphan":
        harness.wait_for(lambda: counts()[1] == 2 * n, "the child")
        time.sleep(0.2)
    begun, ended = counts()
    assert begun == ended > 0
    d = drain(receiver, spool)
    assert d.rc == 0, d.raw_err
    assert each_once(receiver.wait(ended)) == ended
    assert {s.resource["service.name"] for s in receiver.spans} == {"e2e"}
    assert files(spool) == [], "a file without spans goes"


@pytest.mark.parametrize("collector", ["dead", "hanging"])
@pytest.mark.parametrize("how", ["return", "_exit", "exec", "SIGKILL"])
def test_what_a_sick_collector_did_not_take_comes_later(receiver, shim, spool, counts, how, collector):
    more = {}
    if collector == "dead":
        more["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    else:
        receiver.script += [Answer("hang")] * 3
    r = run([program("doomed"), how, counts.path, "100"],
            shim(AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_EXIT_TIMEOUT=None, **more))
    assert r.rc == ENDS[how] and r.seconds < 1.5 * harness.SLOW
    assert not receiver.spans and files(spool)
    receiver.script.clear()
    assert drain(receiver, spool).rc == 0
    assert each_once(receiver.wait(100)) == 100


def test_a_short_program_says_where_its_spans_are(shim, spool, echo):
    """And once, though its flush and its end both find nobody."""
    r = run([program("threads-client"), "echo", "1", "3", str(echo.port)],
            shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{harness.free_port()}")).ok()
    n, lines = r.total("left"), r.err.strip().split("\n")
    assert n > 0 and len(lines) == 1, r.err
    assert f"; {n} spans are left in {spool}/" in lines[0]


def test_killed_in_the_middle(receiver, shim, spool, counts):
    """kill -9 at any moment, with threads that record and a sender that sends."""
    rng = random.Random(7)
    env = shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_BSP_SCHEDULE_DELAY="10")
    for _ in range(30):
        p = subprocess.Popen([program("doomed"), "never", counts.path, "0", "3"], env=env,
                             stdout=subprocess.DEVNULL, start_new_session=True)
        time.sleep(rng.random() * 0.15 * harness.SLOW)
        end(p, signal.SIGKILL)
    d = drain(receiver, spool)
    assert d.rc == 0, d.raw_err
    begun, ended = counts()
    n = each_once(receiver.wait(ended))
    assert ended <= n <= begun and ended > 100
    assert files(spool) == []


def test_the_next_program_sends_what_the_last_one_left(receiver, shim, spool, counts):
    env = shim(AUTOTRACE_SPOOL_DIR=spool)
    r = run([program("doomed"), "SIGKILL", counts.path, "3"], dict(env, OTEL_SERVICE_NAME="dead"))
    assert r.rc == -signal.SIGKILL and not receiver.spans
    r = run([program("doomed"), "return", counts.path, "2"], env)
    assert r.total("adopted") == 3 and r.total("exported") == r.total("recorded") == 2
    assert each_once(receiver.wait(5)) == 5
    assert sorted(s.resource["service.name"] for s in receiver.spans) == ["dead"] * 3 + ["e2e"] * 2
    dead, = {s.resource["service.instance.id"] for s in receiver.spans
             if s.resource["service.name"] == "dead"}
    assert dead and files(spool) == []


def test_a_sibling_sends_it_within_an_interval(receiver, shim, spool, counts):
    env = shim(AUTOTRACE_SPOOL_DIR=spool)
    p = subprocess.Popen([program("doomed"), "never", counts.path, "0"], env=env,
                         stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        receiver.wait(1)
        r = run([program("doomed"), "SIGKILL", counts.path, "40"], dict(env, OTEL_SERVICE_NAME="dead"))
        assert r.rc == -signal.SIGKILL
        harness.wait_for(lambda: sum(s.resource["service.name"] == "dead"
                                     for s in receiver.spans) == 40, "the sibling", 5)
    finally:
        end(p)
    assert each_once(receiver.spans)


def test_only_the_same_destination_is_adopted(receiver, shim, spool, counts):
    """Spans meant for one collector are not another's to have."""
    env = shim(AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_EXIT_TIMEOUT=None)
    run([program("doomed"), "return", counts.path, "3"],
        dict(env, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9"))
    run([program("doomed"), "return", counts.path, "2"], env)
    assert len(receiver.wait(2)) == 2 and len(files(spool)) == 1
    assert drain(receiver, spool).rc == 0, "who asks for it gets all"
    assert each_once(receiver.wait(5)) == 5


def test_what_is_refused_stays_until_it_is_not(receiver, shim, spool, counts):
    """A wrong URL, a wrong key: the next one may be right."""
    for name in ("first", "second"):
        run([program("doomed"), "SIGKILL", counts.path, "3"],
            shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_SERVICE_NAME=name, OTEL_EXPORTER_OTLP_HEADERS=f"for={name}"))
    for status in (401, 404):
        receiver.script += [Answer(status)] * 2
        d = drain(receiver, spool)
        assert d.rc == 1 and "left where they are" in d.err and "sent" not in d.err, d.err
        assert len(files(spool)) == 2 and not receiver.script
    receiver.script += [Answer(403)]
    d = drain(receiver, spool)
    assert d.rc == 1 and len({s.resource["service.name"] for s in receiver.wait(3)}) == 1
    receiver.script += [Answer(400)]
    d = drain(receiver, spool)
    assert d.rc == 0 and "they are dropped" in d.err and "3 spans were not taken" in d.err and not files(spool)
    assert len(receiver.spans) == 3


def test_one_that_is_refused_does_not_keep_others_waiting(receiver, shim, spool, counts):
    env = shim(AUTOTRACE_SPOOL_DIR=spool)
    for name in ("first", "second"):
        receiver.script += [Answer(403)] * (name == "second")  # which would have taken the first one's
        run([program("doomed"), "SIGKILL", counts.path, "3"], dict(env, OTEL_SERVICE_NAME=name))
        receiver.script.clear()
    assert len(files(spool)) == 2
    receiver.script += [None, Answer(403)]  # its own batch comes first
    r = run([program("doomed"), "return", counts.path, "2"], env)
    assert r.total("adopted") == 3 and r.total("adopted_refused") == r.total("rejected") == 0
    assert len({s.resource["service.name"] for s in receiver.wait(5)}) == 2
    assert drain(receiver, spool).rc == 0 and each_once(receiver.wait(8)) == 8


@pytest.mark.skipif(bool(harness.SAN), reason="autotrace run does not put a sanitizer's runtime first")
@pytest.mark.parametrize("exporter", ["console", "otlp/stdout"])
def test_what_would_have_been_printed_waits(spool, counts, exporter):
    """The process that `autotrace run` leaves behind has nowhere to print to."""
    tool = os.path.join(B, "autotrace")
    env = bare_env(AUTOTRACE_SPOOL_DIR=spool, OTEL_TRACES_EXPORTER=exporter, OTEL_SERVICE_NAME="e2e")
    r = run([tool, "run", "--", program("doomed"), "SIGKILL", counts.path, "3"], env)
    assert r.rc == -signal.SIGKILL and "send" not in r.err
    time.sleep(0.3 * harness.SLOW)
    assert len(files(spool)) == 1
    r = run([tool, "drain", "--exporter", "console"], env)
    assert r.rc == 0 and r.out.count(b"CLIENT send") == 3 and b"e2e[" in r.out and not files(spool)


def test_drain_says_how_it_went(receiver, shim, spool, counts):
    tool = os.path.join(B, "autotrace")
    env = bare_env(AUTOTRACE_SPOOL_DIR=spool, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert run([tool, "drain"], env).rc == 0, "nothing is left where nothing is"
    run([program("doomed"), "SIGKILL", counts.path, "3"], shim(AUTOTRACE_SPOOL_DIR=spool))
    r = run([tool, "drain"], env)
    assert r.rc == 1 and b"127.0.0.1:9" in r.raw_err and r.seconds < 3 * harness.SLOW
    assert len(files(spool)) == 1
    assert run([tool, "drain", "--same"], dict(env, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:8")).rc == 0
    r = run([tool, "drain", "--exporter", "console"], env)
    assert r.rc == 0 and r.out.count(b"CLIENT send") == 3 and b"e2e[" in r.out and not files(spool)
    assert run([tool, "drain", "--all"], env).rc == 125
    d = run([tool, "drain", "it"], env)
    assert d.rc == 1 and "it: No such file" in d.err
    assert run([tool, "drain", "--help"], env).ok().out.startswith(b"usage: autotrace drain")


def test_drain_says_what_it_cannot_look_into(receiver, shim, spool, counts):
    run([program("doomed"), "SIGKILL", counts.path, "3"], shim(AUTOTRACE_SPOOL_DIR=spool))
    path, = files(spool)
    os.chmod(os.path.dirname(path), 0o755)
    d = drain(receiver, spool)
    assert d.rc == 1 and d.err.startswith(f"autotrace: {os.path.dirname(path)}: ") and "0700" in d.err
    os.chmod(os.path.dirname(path), 0o700)
    d = drain(receiver, os.path.relpath(spool))
    assert d.rc == 1 and f'AUTOTRACE_SPOOL_DIR="{os.path.relpath(spool)}"' in d.err
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        d = drain(receiver, spool)
    assert d.rc == 1 and d.err == f"autotrace: {path}: somebody else is at it\n"
    assert files(spool) == [path] and not receiver.spans


def test_drain_waits_for_who_is_just_done(receiver, shim, spool, counts):
    run([program("doomed"), "SIGKILL", counts.path, "3"], shim(AUTOTRACE_SPOOL_DIR=spool))
    with open(files(spool)[0], "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        t = threading.Timer(0.2, lambda: fcntl.flock(other, fcntl.LOCK_UN))
        t.start()
        d = drain(receiver, spool)
        t.join()
    assert d.rc == 0 and each_once(receiver.wait(3)) == 3 and not files(spool), d.err


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"])
def test_a_drain_without_a_limit_has_time_for_another_attempt(receiver, shim, spool, counts, name):
    """0 is no limit; the one for traces counts."""
    run([program("doomed"), "SIGKILL", counts.path, "3"], shim(AUTOTRACE_SPOOL_DIR=spool))
    receiver.script += [Answer("close")]
    more = {} if name == "OTEL_EXPORTER_OTLP_TIMEOUT" else {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    d = drain(receiver, spool, **{name: "0"}, **more)
    assert d.rc == 0 and each_once(receiver.wait(3)) == 3 and not files(spool), d.err


def test_watch_says_the_same_once(spool):
    os.mkdir(os.path.join(spool, f"autotrace-{os.getuid()}"))
    os.chmod(os.path.join(spool, f"autotrace-{os.getuid()}"), 0o755)
    p = subprocess.Popen([os.path.join(harness.B, "autotrace"), "drain", "--watch"], stderr=subprocess.PIPE, text=True,
                         env=bare_env(AUTOTRACE_SPOOL_DIR=spool, OTEL_BSP_SCHEDULE_DELAY="20"))
    line = p.stderr.readline()
    time.sleep(0.3)
    p.terminate()
    _, rest = p.communicate(timeout=10)
    assert "it is not ours alone" in line and "ours alone" not in rest and p.returncode == 1


def test_watch_goes_on_until_it_is_told(receiver, shim, spool, counts):
    env = bare_env(AUTOTRACE_SPOOL_DIR=spool, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
                   OTEL_BSP_SCHEDULE_DELAY="50")
    p = subprocess.Popen([os.path.join(B, "autotrace"), "drain", "--watch"], env=env,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for i in range(1, 4):
            run([program("doomed"), "SIGKILL", counts.path, "3"], shim(AUTOTRACE_SPOOL_DIR=spool))
            assert each_once(receiver.wait(3 * i)) == 3 * i
        p.send_signal(signal.SIGTERM)
        assert p.wait(5 * harness.SLOW) == 0
    finally:
        end(p)


def stopped_at(receiver, shim, spool, counts, sig, *more, by=()):
    """A drain that is told to stop while its answer is under way: its exit status, and what it said."""
    run([program("doomed"), "SIGKILL", counts.path, "3"], shim(AUTOTRACE_SPOOL_DIR=spool))
    env = bare_env(AUTOTRACE_SPOOL_DIR=spool, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    p = subprocess.Popen([*by, os.path.join(B, "autotrace"), "drain", *more], env=env,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        harness.wait_for(lambda: receiver.requests, "the request")
        p.send_signal(sig)
        return p.wait(5 * harness.SLOW), p.stderr.read().decode()
    finally:
        p.stderr.close()
        end(p)


@pytest.mark.parametrize("more", [[], ["--watch"]])
def test_what_is_told_to_stop_waits_for_the_answer(receiver, shim, spool, counts, more):
    """Not to be sent again by the next who drains."""
    receiver.script.append(Answer("late"))
    rc, err = stopped_at(receiver, shim, spool, counts, signal.SIGTERM, *more)
    assert rc == 0, err
    assert drain(receiver, spool).rc == 0 and files(spool) == []
    assert each_once(receiver.spans) == 3


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_told_to_stop_keeps_what_is_not_taken(receiver, shim, spool, counts, sig):
    """All of it was on its way, and counted as sent; the answer says otherwise."""
    receiver.script += [Answer(503, after=0.3)] * 3
    rc, err = stopped_at(receiver, shim, spool, counts, sig)
    assert rc == 1 and "told to stop" in err and len(files(spool)) == 1, err
    receiver.script.clear()
    assert drain(receiver, spool).rc == 0 and files(spool) == []
    assert each_once(receiver.wait(3)) == 3


@pytest.mark.parametrize("by, rc", [([], 1), (["/usr/bin/env", "--ignore-signal=TERM"], 0)], ids=["told", "ignored"])
def test_what_is_told_to_stop_begins_nothing(receiver, shim, spool, counts, by, rc):
    """But who was started with the signal ignored goes on."""
    run([program("doomed"), "SIGKILL", counts.path, "3"], shim(AUTOTRACE_SPOOL_DIR=spool))
    receiver.script.append(Answer("late"))
    assert stopped_at(receiver, shim, spool, counts, signal.SIGTERM, by=by)[0] == rc
    assert len(files(spool)) == rc and each_once(receiver.spans) == 6 - 3 * rc


def test_the_living_are_left_alone(receiver, shim, spool, counts):
    p = subprocess.Popen([program("doomed"), "never", counts.path, "0"],
                         env=shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_BSP_SCHEDULE_DELAY="60000",
                                  AUTOTRACE_RING_SIZE="16777216"),
                         stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        harness.wait_for(lambda: counts()[1] > 20, "spans")
        assert drain(receiver, spool).rc == 0 and not receiver.spans and len(files(spool)) == 1
    finally:
        end(p, signal.SIGKILL)
    assert drain(receiver, spool).rc == 0
    begun, ended = counts()
    assert ended <= each_once(receiver.wait(ended)) <= begun


def test_parents_and_children_once_each(receiver, shim, spool, counts):
    """One child after another, each with a file of its own, and none left."""
    n = 100 if harness.SAN else 400
    r = run([program("doomed"), "children", counts.path, str(n)], shim(AUTOTRACE_SPOOL_DIR=spool),
            timeout=60)
    assert r.rc == 7 and counts() == (n, n)
    assert each_once(receiver.wait(n)) == n and files(spool) == []


def no_directory(spool):
    os.rmdir(spool)


def a_file_in_its_place(spool):
    os.rmdir(spool)
    with open(spool, "w", encoding="ascii"):
        pass


def a_link(spool):
    os.makedirs(spool + ".other", 0o700)
    os.symlink(spool + ".other", f"{spool}/autotrace-{os.geteuid()}")


def open_to_others(spool):
    os.makedirs(f"{spool}/autotrace-{os.geteuid()}")
    os.chmod(f"{spool}/autotrace-{os.geteuid()}", 0o777)


def no_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))


@pytest.mark.parametrize("trouble", [no_directory, a_file_in_its_place, a_link, open_to_others],
                         ids=lambda t: t.__name__)
def test_no_directory_means_memory_and_is_said_once(receiver, shim, spool, counts, trouble):
    trouble(spool)
    r = run([program("doomed"), "children", counts.path, "3"], shim(AUTOTRACE_SPOOL_DIR=spool))
    assert r.rc == 7 and r.err.count("no spool file in") == 3, "once in each process"
    r = run([program("doomed"), "return", counts.path, "50", "4"], shim(AUTOTRACE_SPOOL_DIR=spool))
    assert r.rc == 7 and r.err.count("no spool file in") == 1 and len(r.err.splitlines()) == 1
    assert r.total("exported") == 200 and each_once(receiver.wait(203)) == 203
    assert not files(spool) and not glob.glob(spool + ".other/*")


@pytest.mark.parametrize("limit", [no_file_size, few_descriptors], ids=lambda t: t.__name__)
def test_limits_are_no_trouble(receiver, shim, spool, counts, limit):
    if harness.SAN and limit is no_file_size:
        pytest.skip("a sanitizer cannot write its report")
    done = subprocess.run([program("doomed"), "_exit", counts.path, "50"], preexec_fn=limit, timeout=60,
                          env=shim(AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_DEBUG=None, OTEL_LOG_LEVEL="none"),
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 7 and done.stderr == b""
    assert each_once(receiver.wait(50)) == 50 and not files(spool)


def test_descriptors_are_what_they_were(shim, spool):
    """While files are made, mapped and unlinked by 20 threads at a time."""
    code = ("import os, socket, threading\n"
            "to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); to.bind(('127.0.0.1', 0))\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "seen = set(); stop = threading.Event()\n"
            "def look():\n"
            "    while not stop.is_set():\n"
            "        d = os.dup(0); seen.add(d); os.close(d)\n"
            "def send():\n"
            "    for _ in range(20): s.sendto(b'x', to.getsockname())\n"
            "t = threading.Thread(target=look); t.start()\n"
            "for _ in range(5):\n"
            "    them = [threading.Thread(target=send) for _ in range(20)]\n"
            "    [x.start() for x in them]; [x.join() for x in them]\n"
            "stop.set(); t.join(); print(sorted(seen))\n")
    argv = ["/usr/bin/python3", "-c", code]
    # glibc reads how many processors there are when so many threads want memory.
    more = {"MALLOC_ARENA_MAX": "1"}
    r = run(argv, shim(AUTOTRACE_SPOOL_DIR=spool, **more)).ok()
    assert r.out == run(argv, bare_env(**more)).ok().out
    assert r.total("recorded") + r.total("ring_full") + r.total("queue_full") == 2000


def test_all_files_together_are_bounded(receiver, shim, spool, counts):
    """With nobody to take anything; afterwards all of it is there but what was dropped."""
    env = shim(AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_SPOOL_MAX_BYTES="1000000", AUTOTRACE_EXIT_TIMEOUT="0",
               OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    in_memory = 0
    for _ in range(40):
        r = run([program("doomed"), "exit_group", counts.path, "20"], env)
        assert r.rc == 7
        in_memory += "the spool is full" in r.err
    used = sum(os.stat(f).st_blocks * 512 for f in files(spool))
    assert 800000 < used <= 1000000 and 0 < in_memory < 40
    assert drain(receiver, spool).rc == 0 and not files(spool)
    assert each_once(receiver.spans) == 20 * (40 - in_memory)


def test_spoilt_files_are_skipped(receiver, shim, spool, counts):
    rng = random.Random(3)
    env = shim(AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_EXIT_TIMEOUT="0",
               OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    for _ in range(10):
        assert run([program("doomed"), "exit_group", counts.path, "100"], env).rc == 7
    for i, path in enumerate(files(spool)):
        size = os.path.getsize(path)
        with open(path, "r+b") as f:
            if i == 0:
                f.truncate(1000)
            elif i == 1:
                f.truncate(16384 + 4096 + 5000)
            else:  # a byte in the middle of the records
                f.seek(16384 + 4096 + 20 + rng.randrange(5000))
                byte = f.read(1)
                f.seek(-1, os.SEEK_CUR)
                f.write(bytes([byte[0] ^ 0x40]))
        assert size
    d = drain(receiver, spool)
    assert d.rc == 0 and b"could not be read and were skipped" in d.raw_err
    n = each_once(receiver.wait(8))
    assert 300 < n < 1000 and not files(spool)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk_is_no_sigbus(receiver, shim, spool, counts):
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no mount namespace can be had here")
    room = 150 * 1024  # a file with one ring that cannot grow to its end
    script = (f"mount -t tmpfs -o size={room} none {spool} && exec \"$@\"")
    r = run(["unshare", "-m", "sh", "-c", script, "sh", program("doomed"), "return", counts.path, "3000", "3"],
            shim(AUTOTRACE_SPOOL_DIR=spool))
    assert r.rc == 7, r.raw_err
    assert r.total("recorded") + r.total("ring_full") + r.total("queue_full") == 9000 and r.total("bugs") == 0
    assert each_once(receiver.wait(r.total("exported"))) == r.total("exported") > 100


@pytest.mark.skipif(bool(harness.SAN), reason="autotrace run does not put a sanitizer's runtime first")
def test_autotrace_run_sends_what_its_program_left(receiver, spool, counts):
    env = bare_env(AUTOTRACE_SPOOL_DIR=spool, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    began = time.monotonic()
    r = run([os.path.join(B, "autotrace"), "run", "--service", "left", "--",
             program("doomed"), "SIGKILL", counts.path, "5"], env)
    assert r.rc == -signal.SIGKILL and time.monotonic() - began < 5 * harness.SLOW, r.raw_err
    assert each_once(receiver.wait(5)) == 5
    assert {s.resource["service.name"] for s in receiver.spans} == {"left"}
    harness.wait_for(lambda: not files(spool), "the file to go")
