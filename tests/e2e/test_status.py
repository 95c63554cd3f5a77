# SPDX-License-Identifier: Apache-2.0
"""autotrace status against what is known otherwise; and the line at the end of a process."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

import harness
from harness import B, PAIRS, Sender, bare_env, end, program, run, wait_for
from receiver import Answer

AUTOTRACE = os.path.join(B, "autotrace")


def status(*pids, spool=None, **more):
    """What the command says, as Python has it."""
    env = bare_env(**({"AUTOTRACE_SPOOL_DIR": spool} if spool else {}), **more)
    r = run([AUTOTRACE, "status", "--json", *map(str, pids)], env, timeout=30)
    assert r.rc in (0, 1, 2) and r.err == "", r.raw_err
    found = json.loads(r.out)
    assert all(p["why"] for p in found)
    return found


def of(pid, spool=None):
    (one,) = status(pid, spool=spool)
    return one


def codes(one):
    return [w["code"] for w in one["why"]]


@pytest.fixture
def spool(tmp_path):
    return str(tmp_path)


@pytest.fixture
def sender(shim, spool):
    with contextlib.ExitStack() as stack:
        def start(**more):
            s = Sender(shim(AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_SOCKET_SPANS="all", **more))
            stack.callback(s.stop)
            return s
        yield start


def test_counters_are_those_of_the_receiver(receiver, sender, spool):
    s = sender()
    for n in (5, 30, 400):
        s.send(n)
    wait_for(lambda: len(receiver.spans) >= 435, "the spans")
    wait_for(lambda: of(s.pid, spool)["waiting"] == 0, "the answer to the last batch")
    wait_for(lambda: of(s.pid, spool)["counters"]["exported"] == len(receiver.spans), "its counters")
    one = of(s.pid, spool)
    assert one["tracing"] == "on" and one["arriving"] == "ok" and codes(one) == ["ok"]
    assert one["written"] == one["counters"]["recorded"] == len(receiver.spans)
    assert one["counters"]["requests"] == receiver.requests
    assert one["endpoint"] == receiver.endpoint + "/v1/traces"
    assert abs(time.time_ns() - one["accepted_unix_nano"]) < 20e9 and not one["failed_unix_nano"]
    assert one["settings"]["OTEL_SERVICE_NAME"] == "e2e"
    assert [p["pid"] for p in status(spool=spool) if p.get("spool", "").startswith(spool)] == [s.pid]
    screen = run([AUTOTRACE, "status", str(s.pid)], bare_env(AUTOTRACE_SPOOL_DIR=spool)).ok().out.decode()
    assert len(screen.splitlines()) < 40 and f"{one['written']} written" in screen


def test_waiting_spans_are_counted_before_they_are_sent(receiver, sender, spool):
    s = sender(OTEL_BSP_SCHEDULE_DELAY="600000")
    s.send(21)
    one = of(s.pid, spool)
    assert one["waiting"] == one["written"] >= 22 and codes(one) == ["waiting"]
    assert not receiver.spans


def test_the_dead_are_told_of_until_they_are_drained(receiver, sender, spool):
    s = sender(OTEL_BSP_SCHEDULE_DELAY="600000")
    s.send(50)
    before = of(s.pid, spool)["waiting"]
    s.stop(signal.SIGKILL)
    one = of(s.pid, spool)
    assert one["tracing"] == "ended" and codes(one)[0] == "left" and one["waiting"] == before >= 50
    assert [p["waiting"] for p in status(spool=spool) if p["pid"] == s.pid] == [before]
    run([AUTOTRACE, "drain"], bare_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
                                       AUTOTRACE_SPOOL_DIR=spool), timeout=30).ok()
    assert len(receiver.spans) == before
    assert codes(of(s.pid, spool)) == ["no_process"]


def test_who_only_printed_is_printed_by_a_drain(sender, spool):
    s = sender(OTEL_TRACES_EXPORTER="console", OTEL_BSP_SCHEDULE_DELAY="600000")
    s.send(5)
    s.stop(signal.SIGKILL)
    one = of(s.pid, spool)
    assert codes(one) == ["left"] and "'autotrace drain --exporter console'" in one["why"][0]["text"]
    assert one["tracing"] == one["thread"] == "ended"
    r = run([AUTOTRACE, "drain", "--exporter", "console"], bare_env(AUTOTRACE_SPOOL_DIR=spool)).ok()
    assert b"send" in r.out and codes(of(s.pid, spool)) == ["no_process"]


def test_a_part_that_was_asked_for_is_no_fault(sender, spool):
    s = sender(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.5", OTEL_BSP_SCHEDULE_DELAY="600000")
    s.send(50)
    r = run([AUTOTRACE, "status", str(s.pid)], bare_env(AUTOTRACE_SPOOL_DIR=spool))
    assert r.rc == 0 and b"OTEL_TRACES_SAMPLER_ARG=0.5: this part" in r.out


ANSWERS = """
import socket, sys
s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        c = s.accept()[0]; c.recv(65536); c.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"); c.close()
    print("did", flush=True)
"""


@pytest.mark.parametrize("flags, code", [("00", "idle_or_unsampled"), ("01", "waiting")])
def test_a_server_whose_callers_do_not_sample_is_not_called_idle(shim, spool, flags, code):
    if harness.SAN == "thread" and flags == "00":
        pytest.skip("without a file, the sanitizer's runtime is the reason")
    s = Sender(shim(AUTOTRACE_SPOOL_DIR=spool, OTEL_BSP_SCHEDULE_DELAY="600000"), (sys.executable, "-c", ANSWERS))
    try:
        with socket.create_connection(("127.0.0.1", int(s.process.stdout.readline())), 5) as c:
            c.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n"
                      b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-%s\r\n\r\n" % flags.encode())
            s.send(1)
        one = of(s.pid, spool)
        assert codes(one) == [code] and one["arriving"] == "ok"
    finally:
        s.stop()


@pytest.mark.parametrize("what", ["refused", "http", "name"])
def test_the_collectors_own_words(receiver, sender, spool, what):
    more = {}
    if what == "refused":
        more["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://user:secret@127.0.0.1:9"
    elif what == "name":
        more["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://no-such-host.invalid:4318"
    else:
        receiver.script += [Answer(503)] * 100
    s = sender(**more)
    s.send(3)
    wait_for(lambda: of(s.pid, spool).get("error"), "the error", 20)
    one = of(s.pid, spool)
    assert codes(one)[0] == "collector" and one["arriving"] == "none"
    assert one["waiting"] == one["written"] and one["counters"]["exported"] == 0
    words = {"refused": "127.0.0.1 port 9", "http": "HTTP 503", "name": "no-such-host.invalid"}[what]
    assert words in one["why"][0]["text"]
    assert "secret" not in json.dumps(one)


@pytest.mark.parametrize("exporter", ["zipkin", "file"])
def test_who_else_takes_nothing_is_told_of_as_well(sender, spool, exporter):
    more = {"zipkin": {"OTEL_TRACES_EXPORTER": "zipkin",
                       "OTEL_EXPORTER_ZIPKIN_ENDPOINT": "http://127.0.0.1:9/api/v2/spans"},
            "file": {"OTEL_TRACES_EXPORTER": None, "AUTOTRACE_FILE": spool + "/none/f.jsonl"}}[exporter]
    s = sender(**more)
    s.send(3)
    wait_for(lambda: of(s.pid, spool).get("error"), "the error", 20)
    one = of(s.pid, spool)
    assert codes(one)[0] == "collector" and one["arriving"] == "none" and not one["accepted_unix_nano"]
    words = {"zipkin": "127.0.0.1 port 9", "file": "it cannot be written: No such file or directory"}[exporter]
    assert words in one["why"][0]["text"]


def test_of_several_the_one_that_takes_nothing_is_named(receiver, sender, spool):
    s = sender(AUTOTRACE_FILE=spool + "/none/f.jsonl", OTEL_TRACES_EXPORTER="otlp")
    s.send(3)
    wait_for(lambda: codes(of(s.pid, spool)) == ["beside", "copies_lost"], "the reason", 20)
    one = of(s.pid, spool)
    assert one["accepted_unix_nano"] and one["arriving"] == "partly"
    assert "/none/f.jsonl: it cannot be written: No such file or directory" in one["why"][0]["text"]


def test_a_remote_sampler_without_a_backend_is_told(receiver, sender, spool):
    s = sender(OTEL_TRACES_SAMPLER="jaeger_remote",
               OTEL_TRACES_SAMPLER_ARG="endpoint=http://127.0.0.1:9,initialSamplingRate=0.0001")
    s.send(3)
    wait_for(lambda: "from http://127.0.0.1:9" in of(s.pid, spool)["why"][0]["text"], "what its sampler says")
    (one, *_) = of(s.pid, spool)["why"]
    assert one["code"] == "sampler_remote" and "0.0001 of the traces is recorded until" in one["text"]


@pytest.mark.parametrize("settings, code, words", [
    ({"OTEL_TRACES_SAMPLER": "always_off", "AUTOTRACE_KEEP_SLOW_MS": "60000"}, "sampler_kept", "KEEP_SLOW_MS"),
    ({"OTEL_TRACES_SAMPLER": "parentbased_always_off", "AUTOTRACE_KEEP_ERRORS": "1"}, "sampler_parents_only",
     "what was kept"),
    ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, "sampler_parents_only",
     "OTEL_TRACES_SAMPLER_ARG=0"),
])
def test_a_sampler_that_took_nothing_is_told(receiver, sender, spool, settings, code, words):
    s = sender(**settings)
    s.send(3)
    one = of(s.pid, spool)
    assert one["why"][0]["code"] == code and words in one["why"][0]["text"] and "no_file" not in codes(one)


def test_a_refusal_is_told(receiver, sender, spool):
    receiver.script += [Answer(401)]
    s = sender()
    s.send(3)
    wait_for(lambda: of(s.pid, spool)["counters"]["rejected"], "the refusal")
    one = of(s.pid, spool)
    assert {"rejected", "collector"} <= set(codes(one)) and "HTTP 401" in json.dumps(one["why"])


def test_a_full_ring_is_told(receiver, sender, spool):
    s = sender(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", AUTOTRACE_RING_SIZE="65536")
    s.send(3000)
    wait_for(lambda: of(s.pid, spool)["counters"]["ring_full"], "its counters")
    one = of(s.pid, spool)
    assert "ring_full" in codes(one) and "queue_full" not in codes(one) and one["ring_percent"] > 70
    wait_for(lambda: of(s.pid, spool)["counters"]["ring_full"] + of(s.pid, spool)["written"] >= 3000,
             "the last of its counters")


def test_a_shut_gate_is_told(sender, spool):
    s = sender(AUTOTRACE_DEBUG="bug", AUTOTRACE_ABORT_ON_BUG=None)
    s.send(3)
    one = of(s.pid, spool)
    assert one["tracing"] == "off" and codes(one)[0] == "bug" and one["arriving"] == "none"


def test_a_stopped_process_is_told_and_not_disturbed(receiver, sender, spool):
    s = sender()
    s.send(3)
    wait_for(lambda: len(receiver.spans) >= 3, "the spans")
    os.kill(s.pid, signal.SIGSTOP)
    wait_for(lambda: "stopped" in codes(of(s.pid, spool)), "the stop")
    os.kill(s.pid, signal.SIGCONT)
    wait_for(lambda: codes(of(s.pid, spool)) == ["ok"], "it goes on")
    time.sleep(0.2)  # its main thread waits for us again
    before = open(f"/proc/{s.pid}/status", encoding="ascii", errors="replace").read()
    for _ in range(5):
        assert codes(of(s.pid, spool)) == ["ok"]
    after = open(f"/proc/{s.pid}/status", encoding="ascii", errors="replace").read()

    def of_main(text):
        return re.findall(r"^(?:TracerPid|SigPnd|ShdPnd|nonvoluntary_ctxt_switches|voluntary_ctxt_switches):.*",
                          text, re.M)
    assert of_main(before) == of_main(after), "its main thread did not notice"


@pytest.mark.parametrize("more, code", [
    ({"OTEL_SDK_DISABLED": "true"}, "disabled"),
    ({"OTEL_TRACES_EXPORTER": "none"}, "exporter_none"),
    ({"OTEL_TRACES_SAMPLER": "always_off"}, "sampler_off"),
    ({"AUTOTRACE_SPOOL_MAX_BYTES": "0"}, "no_file"),
    ({"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}, "parent_unsampled"),
    ({"LD_PRELOAD": None}, "not_preloaded"),
    ({"LD_PRELOAD": "/no/such/libautotrace.so"}, "library_missing"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_why_not(sender, spool, more, code):
    if harness.SAN and "LD_PRELOAD" in more:
        pytest.skip("the sanitizer's runtime is in LD_PRELOAD")
    if harness.SAN == "thread" and code == "no_file":
        pytest.skip("without a file, its runtime is the reason")
    s = sender(**more)
    s.send(3)
    assert codes(of(s.pid, spool))[0] == code


def test_why_not_a_static_program(shim, tmp_path):
    if harness.SAN:
        pytest.skip("no sanitizer works in a static program")
    source = tmp_path / "static.c"
    source.write_text("#include <unistd.h>\nint main(void) { sleep(30); return 0; }\n")
    path = str(tmp_path / "static")
    subprocess.run(["gcc", "-static", "-o", path, str(source)], check=True, timeout=60)
    p = subprocess.Popen([path], env=shim(), start_new_session=True)
    try:
        one = of(p.pid)
        assert codes(one) == ["static"] and "statically linked" in one["why"][0]["text"]
    finally:
        end(p, signal.SIGKILL)


def test_why_not_a_setuid_program(shim, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can make a program setuid to another")
    if harness.SAN:
        pytest.skip("the sanitizer's runtime is in LD_PRELOAD")
    path = "/tmp/atr-status-setuid.%d" % os.getpid()
    shutil.copy(shutil.which("sleep"), path)
    os.chown(path, 65534, 65534)
    os.chmod(path, 0o4755)
    try:
        p = subprocess.Popen([path, "30"], env=shim(), start_new_session=True)
        wait_for(lambda: of(p.pid)["executable"] == path, "the exec")
        try:
            assert codes(of(p.pid)) == ["other_rights"]
        finally:
            end(p, signal.SIGKILL)
    finally:
        os.unlink(path)


def test_another_users_process_is_not_looked_at(shim, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("wants a second user")
    p = subprocess.Popen(["sleep", "30"], env=bare_env(), start_new_session=True)
    try:
        r = run(["setpriv", "--reuid", "65534", "--clear-groups", AUTOTRACE, "status", "--json", str(p.pid)],
                bare_env(), cwd="/")
        if r.rc == 1 and b"cannot execute" in r.raw_err.lower():
            pytest.skip("that user cannot reach the command")
        assert r.rc == 2 and codes(json.loads(r.out)[0]) == ["not_readable"]
    finally:
        end(p, signal.SIGKILL)


@pytest.fixture
def others_spool():
    if os.geteuid() != 0:
        pytest.skip("wants a second user")
    with tempfile.TemporaryDirectory(prefix="atr-status-") as d:
        os.chmod(d, 0o1777)
        yield d


def rows_of(pid, spool):
    out = run([AUTOTRACE, "status"], bare_env(AUTOTRACE_SPOOL_DIR=spool), timeout=30).out.decode()
    return [line for line in out.splitlines() if line.split()[:1] == [str(pid)]]


GIVES_UP = PAIRS.replace("for line in", """c.send(b"y")
if len(sys.argv) > 1: os.setuid(65534)
for line in""")


@pytest.mark.parametrize("how", ["another", "before", "after"])
def test_root_sees_daemons_that_gave_up_their_rights(shim, others_spool, how):
    argv = {"another": ("setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-c", PAIRS),
            "before": (sys.executable, "-c", "import os; os.setuid(65534)\n" + PAIRS),
            "after": (sys.executable, "-c", GIVES_UP, "setuid")}[how]
    s = Sender(shim(AUTOTRACE_SPOOL_DIR=others_spool, AUTOTRACE_SOCKET_SPANS="all",
                    OTEL_BSP_SCHEDULE_DELAY="600000"), argv)
    try:
        s.send(3)
        one = of(s.pid)
        if one.get("tracing") == "not loaded":
            pytest.skip("that user cannot reach the library")
        assert os.path.basename(os.path.dirname(one["spool"])) == "autotrace-%d" % (0 if how == "after" else 65534)
        assert codes(one) == ["waiting"]
        ((row, *more),) = [rows_of(s.pid, "/nowhere")]
        assert not more and " on " in row and f"{one['waiting']} spans wait" in row
    finally:
        s.stop()
    one = of(s.pid, others_spool)
    assert codes(one) == ["left"] and one["name"].startswith("python3")
    assert one["executable"] == os.path.realpath(sys.executable)
    assert ("program of user 65534 with" in one["why"][0]["text"]) == (how != "after")
    ((row, *more),) = [rows_of(s.pid, others_spool)]
    assert not more and "python3" in row and " ended " in row


def test_root_follows_nobodys_links(shim, others_spool):
    away = others_spool + "/away"
    os.mkdir(away, 0o1777)
    s = Sender(shim(AUTOTRACE_SPOOL_DIR=away, AUTOTRACE_SOCKET_SPANS="all", OTEL_BSP_SCHEDULE_DELAY="600000"))
    s.send(3)
    s.stop()
    assert rows_of(s.pid, away) and not rows_of(s.pid, others_spool)
    os.symlink(away + "/autotrace-0", others_spool + "/autotrace-0")
    assert not rows_of(s.pid, others_spool), "a link"
    os.unlink(others_spool + "/autotrace-0")
    os.rename(away + "/autotrace-0", others_spool + "/autotrace-65534")
    assert not rows_of(s.pid, others_spool), "root's files, and not that user's"
    os.rename(others_spool + "/autotrace-65534", others_spool + "/autotrace-0")
    assert rows_of(s.pid, others_spool)


def test_in_a_sandbox_of_its_own(shim, spool):
    if harness.SAN:
        pytest.skip("a sanitizer's own calls are not in the filter")
    code = PAIRS.replace("for line in sys.stdin:", """
for _ in range(3): c.send(b"y")
import ctypes, struct
allow = struct.pack("HBBI", 6, 0, 0, 0x7fff0000)
buf = ctypes.create_string_buffer(allow)
prog = struct.pack("HxxxxxxP", 1, ctypes.addressof(buf))
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.create_string_buffer(prog), 0, 0) == 0
for line in sys.stdin:""")
    s = Sender(shim(AUTOTRACE_SPOOL_DIR=spool), (sys.executable, "-c", code))
    try:
        s.send(1)
        assert codes(of(s.pid, spool))[0] == "sandbox"
    finally:
        s.stop()


NAMED = PAIRS.replace("import os,", "import ctypes, os,").replace("for line", """
import os; ctypes.CDLL(None).prctl(15, os.environb[b"NAME"], 0, 0, 0)
for line""", 1)


def named(shim, spool, name, **more):
    return Sender(shim(AUTOTRACE_SPOOL_DIR=spool, AUTOTRACE_SOCKET_SPANS="all", NAME=name, **more),
                  (sys.executable, "-c", NAMED))


def test_other_peoples_words_do_nothing_to_a_terminal(shim, spool):
    s = named(shim, spool, "\x1b[31m\x9b\u202eä\nx", OTEL_SERVICE_NAME="größe-\x9b\u2067日本")
    try:
        s.send(1)
        for pids in ([], [str(s.pid)]):
            out = run([AUTOTRACE, "status", *pids], bare_env(AUTOTRACE_SPOOL_DIR=spool)).out.decode()
            assert "?[31m??ä?x" in out
            assert not any(c < " " and c != "\n" or c in "\x7f\x9b\u202e\u2067" for c in out), repr(out)
        assert "OTEL_SERVICE_NAME=größe-??日本" in out
    finally:
        s.stop()


def test_json_has_the_characters_that_were_there(shim, spool):
    s = named(shim, spool, "日本\udcff\"\x1b", OTEL_SERVICE_NAME="größe-日本\x9b\udcff")
    try:
        s.send(1)
        one = of(s.pid, spool)
        assert one["name"] == '日本\ufffd"\x1b'
        assert one["settings"]["OTEL_SERVICE_NAME"] == "größe-日本\x9b\ufffd"
    finally:
        s.stop()


def test_nobody_and_nonsense(spool):
    r = run([AUTOTRACE, "status", "999999999"], bare_env(AUTOTRACE_SPOOL_DIR=spool))
    assert r.rc == 2 and b"no process 999999999" in r.out
    for word in ("x", "0", "-3", "12x", ""):
        assert run([AUTOTRACE, "status", "--", word], bare_env()).rc == 125
    assert run([AUTOTRACE, "status", "--help"], bare_env()).rc == 0


# ---- the line at the end ----

DROPPED = re.compile(r"autotrace\[\d+\]: (\d+) of (\d+) spans were dropped: (.*)")


def lines(r):
    return DROPPED.findall(r.err)


def client(echo, threads, rounds):
    return [program("threads-client"), "echo", str(threads), str(rounds), str(echo.port)]


@pytest.mark.parametrize("level", [None, "info", "debug"])
def test_what_was_refused_is_said_once(receiver, shim, echo, level):
    receiver.script += [Answer(400)] * 10
    r = run(client(echo, 1, 5), shim(OTEL_LOG_LEVEL=level)).ok()
    ((n, of_all, why),) = lines(r)
    assert int(n) == r.total("rejected") == int(of_all) == r.total("recorded")
    assert f"{n} because the collector refused them" in why and "HTTP 400" in why


@pytest.mark.parametrize("how", ["return", "exit", "_exit", "quick_exit", "exit_group"])
def test_by_whatever_way_it_ends(receiver, shim, tmp_path, how):
    receiver.script += [Answer(400)] * 10
    counts = tmp_path / "counts"
    counts.write_bytes(bytes(4096))
    r = run([program("doomed"), how, str(counts), "5"], shim())
    assert r.rc == 7 and len(lines(r)) == (how != "exit_group"), r.raw_err


@pytest.mark.parametrize("level", ["warn", "error", "none"])
def test_and_not_where_that_is_not_wanted(receiver, shim, echo, level):
    receiver.script += [Answer(400)] * 10
    assert not lines(run(client(echo, 1, 5), shim(OTEL_LOG_LEVEL=level)).ok())


def test_who_dropped_nothing_says_nothing(receiver, shim, echo):
    assert run(client(echo, 2, 5), shim(OTEL_LOG_LEVEL="trace")).ok().err == ""


def test_what_is_left_in_the_spool_is_not_dropped(shim, echo, spool):
    r = run(client(echo, 1, 5), shim(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
                                     AUTOTRACE_SPOOL_DIR=spool)).ok()
    assert r.total("left") and not lines(r)


def test_what_was_in_memory_is(shim, echo):
    r = run(client(echo, 1, 5), shim(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
                                     AUTOTRACE_SPOOL_MAX_BYTES="0")).ok()
    ((n, _, why),) = lines(r)
    assert int(n) == r.total("unsent") == r.total("recorded") and "no collector had taken them" in why
    assert "127.0.0.1 port 9" in why


def test_a_full_ring_is_said_with_numbers(receiver, shim, echo):
    r = run(client(echo, 1, 2000), shim(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
                                        AUTOTRACE_RING_SIZE="65536"), timeout=30).ok()
    ((n, of_all, why),) = lines(r)
    assert int(n) == r.total("ring_full") > 0
    assert int(of_all) == r.total("ring_full") + r.total("recorded")
    assert f"{n} because a ring was full (AUTOTRACE_RING_SIZE)" in why


def test_each_process_speaks_for_itself(receiver, shim, echo):
    receiver.script += [Answer(400)] * 20
    r = run(["sh", "-c", "%s; %s" % ((" ".join(client(echo, 1, 1)),) * 2)], shim()).ok()
    said = lines(r)
    assert len(said) == 2 and sum(int(s[0]) for s in said) == r.total("rejected") == 6
