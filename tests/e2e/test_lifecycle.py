# SPDX-License-Identifier: Apache-2.0
"""Programs begin, fork and end; their spans are not lost."""
import re

import pytest

import harness
from harness import bare_env, program, run

# how it ends: exit status, round trips done
EXITS = {"exit": (7, 1), "_exit": (7, 1), "_Exit": (7, 1), "quick_exit": (7, 1), "return": (7, 1),
         "execv": (7, 1), "execlp": (7, 1), "execvp-missing": (7, 2), "self": (7, 2),
         "pthread_exit": (0, 2), "thread-exit": (7, 1), "system": (7, 1), "atexit": (7, 1), "err": (7, 1),
         "nothing": (7, 0)}


@pytest.mark.parametrize("how", EXITS)
def test_nothing_is_lost_when_a_program_ends(receiver, shim, echo, how):
    if how == "pthread_exit" and "thread" in harness.SAN:
        pytest.skip("ThreadSanitizer's own thread keeps the process alive")
    argv = [program("exits"), how, str(echo.port)]
    bare = run(argv, bare_env())
    traced = run(argv, shim())
    rc, trips = EXITS[how]
    assert (bare.rc, traced.rc) == (rc, rc), traced.raw_err
    assert traced.out == bare.out and traced.err == bare.raw_err.decode()
    names = sorted(s.name.split()[0] for s in receiver.spans)
    assert names == sorted(["socket", "send", "recv"] * trips)


@pytest.mark.skipif(bool(harness.SAN), reason="hundreds of runs")
@pytest.mark.parametrize("how", ["atexit", "err"])
def test_an_end_while_the_exporter_is_being_loaded_is_no_crash(shim, echo, how):
    """OpenSSL's exit handler in the middle of its initialisation: once in 200 runs."""
    for _ in range(150):
        assert run([program("exits"), how, str(echo.port)], shim()).rc == 7


@pytest.mark.parametrize("how", ["SIGTERM", "abort"])
def test_death_by_signal_is_the_same_death(receiver, shim, echo, how):
    argv = [program("exits"), how, str(echo.port)]
    bare, traced = run(argv, bare_env()), run(argv, shim())
    assert traced.rc == bare.rc < 0
    assert traced.out == bare.out and traced.err == bare.raw_err.decode()


@pytest.mark.parametrize("how", ["exit", "_exit", "quick_exit", "return", "execv"])
def test_a_hanging_collector_delays_the_end_by_a_bounded_time(receiver, shim, echo, how):
    from receiver import Answer
    receiver.script += [Answer("hang")] * 50
    r = run([program("exits"), how, str(echo.port)], shim(AUTOTRACE_EXIT_TIMEOUT=None))
    assert r.rc == 7
    assert r.seconds < 1.5 * harness.SLOW


@pytest.mark.parametrize("how", ["exit", "_exit", "return", "execv"])
def test_a_refusing_endpoint_delays_the_end_by_a_bounded_time(shim, echo, how):
    r = run([program("exits"), how, str(echo.port)],
            shim(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", AUTOTRACE_EXIT_TIMEOUT=None))
    assert r.rc == 7
    assert r.seconds < 1.5 * harness.SLOW


@pytest.mark.parametrize("mode", ["_exit", "exit", "cold"])
def test_parent_and_child_both_record(receiver, shim, echo, mode):
    if "address" in harness.SAN:
        pytest.skip("fork does not take AddressSanitizer's allocator lock, which a new thread holds")
    r = run([program("fork"), mode, str(echo.port)], shim()).ok()
    parent, child = map(int, r.out.split())
    wanted = {parent: [("connect", 0)] + ([("send", 1), ("recv", 1)] if mode != "cold" else [])
              + [("send", 4), ("recv", 4)],
              child: [("send", 2), ("recv", 2), ("connect", 0), ("send", 3), ("recv", 3)]}
    receiver.wait(sum(map(len, wanted.values())))
    found = {}
    instance = {}
    for s in sorted(receiver.spans, key=lambda s: s.start):
        n = s.attrs.get("autotrace.bytes_sent", s.attrs.get("autotrace.bytes_received", 0))
        found.setdefault(s.resource["process.pid"], []).append(
            ("connect" if s.name.startswith("socket") else s.name, n))
        instance.setdefault(s.resource["process.pid"], set()).add(s.resource["service.instance.id"])
        if s.name in ("send", "recv"):
            assert s.attrs["network.peer.port"] == echo.port
    assert found == wanted, r.raw_err
    assert [len(i) for i in instance.values()] == [1, 1] and \
        instance[parent] != instance[child], "a child is an instance of its own"


@pytest.mark.parametrize("mode", ["silent", "vfork"])
def test_a_silent_child_sends_nothing(receiver, shim, echo, mode):
    r = run([program("fork"), mode, str(echo.port)], shim()).ok()
    parent, _ = map(int, r.out.split())
    receiver.wait(5)
    assert sorted(s.name.split()[0] for s in receiver.spans) == \
        ["recv", "recv", "send", "send", "socket"]
    assert {s.resource["process.pid"] for s in receiver.spans} == {parent}


@pytest.mark.skipif("thread" in harness.SAN, reason="libtsan makes vfork() a fork()")
@pytest.mark.parametrize("end", [[], ["_exit"]])
def test_a_vfork_child_records_and_its_parent_sends(receiver, shim, end):
    """A thread of the child's would end with it, with the loader's lock: the parent hung."""
    wanted = set()
    for _ in range(20):
        wanted.add(int(run([program("vfork-first"), *end], shim(), timeout=10).ok().out))
    found = [s.resource["process.pid"] for s in receiver.wait(20) if s.name == "send"]
    assert set(found) == wanted and len(found) == 20


def test_fork_and_exec(receiver, shim, echo):
    """The child's new image is a process of its own; the parent goes on."""
    r = run([program("fork"), "exec", str(echo.port)], shim()).ok()
    parent, child = map(int, r.out.split())
    by_pid = {}
    for s in receiver.wait(8):
        by_pid.setdefault(s.resource["process.pid"], []).append(s.name.split()[0])
    assert sorted(by_pid[parent]) == ["recv", "recv", "send", "send", "socket"]
    assert sorted(by_pid[child]) == ["recv", "send", "socket"]


def test_a_program_without_network_has_no_thread_and_sends_nothing(receiver, shim):
    r = run(["/usr/bin/python3", "-c", "print(len(__import__('os').listdir('/proc/self/task')))"],
            shim()).ok()
    assert r.out == b"1\n"
    assert receiver.connections == 0 and not receiver.spans


def test_the_background_thread_blocks_every_signal_and_has_a_name(shim, echo):
    if "thread" in harness.SAN:
        pytest.skip("ThreadSanitizer has a thread of its own")
    code = ("import os, socket, time\n"
            f"s = socket.create_connection(('127.0.0.1', {echo.port})); time.sleep(0.2)\n"
            "for t in os.listdir('/proc/self/task'):\n"
            "    d = dict(l.split(':', 1) for l in open(f'/proc/self/task/{t}/status')\n"
            "             if l.startswith(('Name', 'SigBlk')))\n"
            "    print(int(t) == os.getpid(), d['Name'].strip(), d['SigBlk'].strip())\n")
    r = run(["/usr/bin/python3", "-c", code], shim()).ok()
    ours = [one for one in r.out.decode().splitlines() if one.startswith("False")]
    assert len(ours) == 1, r.out
    name, mask = ours[0].split()[1:]
    assert name == "autotrace"
    # all but KILL, STOP and the two signals glibc keeps for itself
    assert int(mask, 16) | 0x180000000 | 1 << 8 | 1 << 18 == 0xffffffffffffffff


def test_resource(receiver, shim, echo):
    r = run([program("exits"), "exit", str(echo.port)],
            shim(OTEL_SERVICE_NAME=None,
                 OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=a%2Cb,k=v"))
    assert r.rc == 7
    resource = receiver.spans[-1].resource
    assert resource["service.name"] == "unknown_service:exits"
    assert resource["deployment.environment.name"] == "a,b" and resource["k"] == "v"
    assert resource["telemetry.sdk.name"] == "libautotrace"
    assert resource["telemetry.sdk.language"] and resource["telemetry.sdk.version"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
                        resource["service.instance.id"])
    assert resource["process.executable.name"] == "exits"
    assert resource["process.executable.path"].endswith("/programs/exits")
    assert resource["process.pid"] in r.stats
    assert resource["os.type"] == "linux" and resource["host.name"] and resource["host.arch"]
    assert "process.command_args" not in resource and "process.command_line" not in resource


@pytest.mark.parametrize("env, name", [
    ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
    ({"OTEL_SERVICE_NAME": "mine", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other"}, "mine"),
    ({"OTEL_SERVICE_NAME": None, "OTEL_RESOURCE_ATTRIBUTES": "service.name=other"}, "other"),
    ({"OTEL_SERVICE_NAME": "", "OTEL_RESOURCE_ATTRIBUTES": ""}, "unknown_service:exits"),
    ({"OTEL_SERVICE_NAME": "sch\u00f6n"}, "sch\u00f6n"),
])
def test_service_name(receiver, shim, echo, env, name):
    run([program("exits"), "exit", str(echo.port)], shim(**env))
    assert {s.resource["service.name"] for s in receiver.spans} == {name}
