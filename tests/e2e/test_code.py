# SPDX-License-Identifier: Apache-2.0
"""Where in the program: every span names the function, file and line that began it.

The truth is what the programs print about themselves before each call.
"""
import os
import re
import shutil
import subprocess
import sys

import pytest

import harness
from harness import bare_env, run
from spans import line

SPECIAL = os.path.join(harness.SOURCES, "special")


def build(tmp_path, source, *args, name=None, cc="gcc"):
    path = str(tmp_path / (name or re.sub(r"\.\w+$", "", source)))
    # A sanitizer complains of coroutines.
    args = [f"-DNO_COROUTINES={int(bool(harness.SAN))}", *args]
    subprocess.run([cc, "-O2", "-Wall", "-D_GNU_SOURCE", "-o", path,
                    os.path.join(SPECIAL, source), *args], check=True, timeout=60)
    return path


def truth(result):
    """(function, file, line) of each call, in order."""
    return [(" ".join(f[:-2]), f[-2], int(f[-1])) for f in
            (one.split() for one in result.out.decode().splitlines()) if f[0] != "#"]


def sites(spans, *wanted):
    keys = ["code.function.name", "code.file.path", "code.line.number"]
    return [tuple(s.attrs.get(k) for k in keys[:len(wanted) or 3])
            for s in sorted(spans, key=lambda s: s.start)]


def functions(found):
    return [f[0] for f in found]


def frames_of(span):
    """Without those of a sanitizer, which comes between the program and us."""
    return [f for f in span.attrs["code.stacktrace"].split("\n") if not re.search(" in lib[at]san", f)]


def traced(shim, argv, **more):
    return run(argv, shim(AUTOTRACE_SOCKET_SPANS="all", **more)).ok()


VARIANTS = {
    "debug": ["-g"],
    "no-pie": ["-g", "-no-pie", "-fno-pie"],
    "dwarf4": ["-gdwarf-4"],
    "frame-pointers": ["-g", "-fno-omit-frame-pointer"],
    "O0": ["-g", "-O0"],
    "compressed": ["-g", "-gz"],
    "symbols": [],
    "no-pie symbols": ["-no-pie", "-fno-pie"],
}


def have_libdw():
    if "thread" in harness.SAN:
        return False  # leaves our thread too small a stack for it
    return shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin") and "libdw.so.1" in subprocess.run(
        ["/sbin/ldconfig", "-p"], capture_output=True, text=True, timeout=20).stdout


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_call_is_named(receiver, shim, echo, tmp_path, variant):
    exe = build(tmp_path, "callers.c", *VARIANTS[variant], "-lpthread")
    r = traced(shim, [exe, str(echo.port)])
    wanted = truth(r)
    found = sites(receiver.wait(len(wanted)))
    assert functions(found) == functions(wanted)
    assert len(wanted) >= 8
    if "symbols" in variant:
        assert {f[1:] for f in found} == {(None, None)}
    elif not have_libdw():
        pytest.skip("without libdw.so.1 there are no lines")
    else:
        assert found == wanted


def test_a_failed_call_has_a_stack(receiver, shim, echo, tmp_path):
    exe = build(tmp_path, "callers.c", "-g", "-lpthread")
    wanted = truth(traced(shim, [exe, str(echo.port)]))
    stacks = [s for s in receiver.wait(len(wanted)) if "code.stacktrace" in s.attrs]
    assert [s.status for s in stacks] == ["ERROR"], [line(s) for s in stacks]
    frames = frames_of(stacks[0])
    assert frames[0].startswith("failing+0x") and frames[0].endswith(" in callers")
    assert frames[1].startswith("main+0x")
    assert not [f for f in frames if "autotrace" in f]
    assert [f for f in frames if f.endswith(" in libc.so.6")]


@pytest.mark.parametrize("which, n", [("off", 0), ("error", 1), ("slow", 1), ("all", None)])
def test_which_spans_have_a_stack(receiver, shim, echo, tmp_path, which, n):
    exe = build(tmp_path, "callers.c", "-lpthread")
    wanted = truth(traced(shim, [exe, str(echo.port)], AUTOTRACE_STACKTRACE=which))
    spans = receiver.wait(len(wanted))
    stacks = [s for s in spans if "code.stacktrace" in s.attrs]
    assert len(stacks) == (len(wanted) if n is None else n)
    assert functions(sites(spans)) == functions(wanted)
    for s in stacks:  # the innermost is the one that is named
        assert frames_of(s)[0].startswith(s.attrs["code.function.name"] + "+0x")


def test_call_sites_can_be_switched_off(receiver, shim, echo, tmp_path):
    exe = build(tmp_path, "callers.c", "-g", "-lpthread")
    wanted = truth(traced(shim, [exe, str(echo.port)], AUTOTRACE_CALL_SITES="off",
                          AUTOTRACE_STACKTRACE="off"))
    spans = receiver.wait(len(wanted))
    assert len(spans) == len(wanted)
    assert not [k for s in spans for k in s.attrs if k.startswith("code.")]


# ---- stripped programs ----

def objcopy(*args):
    subprocess.run(["objcopy", *args], check=True, timeout=60)


def test_a_stripped_program_has_the_names_it_exports_and_no_wrong_ones(receiver, shim, echo,
                                                                        tmp_path):
    exe = build(tmp_path, "callers.c", "-rdynamic", "-s", "-lpthread")
    wanted = truth(traced(shim, [exe, str(echo.port)]))
    found = functions(sites(receiver.wait(len(wanted))))
    exported = {"not_static", "main"}
    assert found == [f if f in exported else None for f in functions(wanted)]


@pytest.mark.skipif(not shutil.which("xz"), reason="no xz to make .gnu_debugdata with")
def test_a_stripped_program_with_debugdata(receiver, shim, echo, tmp_path):
    exe = build(tmp_path, "callers.c", "-lpthread")
    small = str(tmp_path / "mini")
    objcopy("--only-keep-debug", exe, small)  # as Fedora's find-debuginfo makes it
    subprocess.run(["xz", "-f", small], check=True, timeout=60)
    subprocess.run(["strip", "-s", exe], check=True, timeout=60)
    objcopy("--add-section", f".gnu_debugdata={small}.xz", exe)
    wanted = truth(traced(shim, [exe, str(echo.port)]))
    assert functions(sites(receiver.wait(len(wanted)))) == functions(wanted)


@pytest.mark.parametrize("where", [".", ".debug"])
def test_a_stripped_program_with_its_debug_information_beside_it(receiver, shim, echo, tmp_path,
                                                                 where):
    exe = build(tmp_path, "callers.c", "-g", "-lpthread")
    (tmp_path / where).mkdir(exist_ok=True)
    debug = str(tmp_path / where / "callers.dbg")
    objcopy("--only-keep-debug", exe, debug)
    subprocess.run(["strip", "-s", exe], check=True, timeout=60)
    objcopy("--add-gnu-debuglink=" + debug, exe)
    wanted = truth(traced(shim, [exe, str(echo.port)]))
    found = sites(receiver.wait(len(wanted)))
    assert functions(found) == functions(wanted)
    if have_libdw():
        assert found == wanted


def test_debug_information_of_another_build_is_not_believed(receiver, shim, echo, tmp_path):
    exe = build(tmp_path, "callers.c", "-g", "-lpthread")
    other = build(tmp_path, "callers.c", "-g", "-O0", "-lpthread", name="other")
    debug = str(tmp_path / "callers.dbg")
    objcopy("--only-keep-debug", other, debug)
    subprocess.run(["strip", "-s", exe], check=True, timeout=60)
    objcopy("--add-gnu-debuglink=" + debug, exe)
    wanted = truth(traced(shim, [exe, str(echo.port)]))
    assert set(functions(sites(receiver.wait(len(wanted))))) == {None}


# ---- objects that come and go ----

def test_plugins_at_the_same_place_one_after_the_other(receiver, shim, echo, tmp_path):
    exe = build(tmp_path, "callers.c", "-lpthread")
    plugins = [build(tmp_path, "caller-plugin.c", "-shared", "-fPIC", "-g", f"-DNAME=from_{n}",
                     name=f"{n}.so") for n in ("first", "other", "third")]
    r = traced(shim, [exe, str(echo.port), *plugins, plugins[0]])
    wanted = truth(r)
    places = [one for one in r.out.decode().splitlines() if one.startswith("#")]
    assert len(places) == 4
    found = functions(sites(receiver.wait(len(wanted))))
    assert found == functions(wanted)
    assert found[-4:] == ["from_first", "from_other", "from_third", "from_first"]
    if len(set(places)) > 1:
        pytest.skip("named rightly; the loader did not use the same place twice")


def test_a_plugin_whose_file_is_gone_is_not_named(receiver, shim, echo, tmp_path):
    exe = build(tmp_path, "callers.c", "-lpthread")
    plugin = build(tmp_path, "caller-plugin.c", "-shared", "-fPIC", "-DNAME=from_first",
                   name="a.so")
    replaced = build(tmp_path, "caller-plugin.c", "-shared", "-fPIC", "-DNAME=a_liar", "-O0",
                     name="b.so")
    script = (f"import os, subprocess; p = subprocess.Popen([{exe!r}, '{echo.port}', {plugin!r}],"
              f" stdout=subprocess.PIPE); [l for l in p.stdout if l.startswith(b'#')];"
              f" os.rename({replaced!r}, {plugin!r}); p.wait()")
    wanted = truth(run([exe, str(echo.port), plugin], bare_env()).ok())
    run([sys.executable, "-c", script], shim(AUTOTRACE_SOCKET_SPANS="all",
                                             OTEL_BSP_SCHEDULE_DELAY="60000")).ok()
    spans = receiver.wait(len(wanted))
    last = functions(sites(s for s in spans if s.resource["process.executable.name"] == "callers"))[-1]
    # The program may have been quicker than the replacement; never is it the liar.
    assert last in ("from_first", None)


# ---- languages ----

def test_names_of_cxx(receiver, shim, echo, tmp_path):
    exe = build(tmp_path, "callers-cxx.cc", "-g", cc="g++")
    r = traced(shim, [exe, str(echo.port)])
    wanted = truth(r)
    found = sites(receiver.wait(len(wanted)))
    assert b"# caught out of here" in r.out
    assert functions(found) == functions(wanted)
    if have_libdw():
        assert found == wanted


def unwind_bindings(exe, port, env):
    r = run([exe, str(port)], dict(env, LD_DEBUG="bindings")).ok()
    pairs = re.findall(r"binding file (\S+) \[0\] to (\S+) \[0\]: normal symbol `(_Unwind\w*|backtrace"
                       r"|__gxx_personality_v0|__cxa_\w+)'", r.raw_err.decode())
    return {p for p in pairs if os.path.basename(p[0]).startswith(("callers", "libstdc++", "libgcc"))}


@pytest.mark.skipif(bool(harness.SAN), reason="a sanitizer has its own unwinder")
def test_exceptions_are_thrown_and_caught_by_whom_they_were(receiver, shim, echo, tmp_path):
    exe = build(tmp_path, "callers-cxx.cc", "-g", cc="g++")
    bare = unwind_bindings(exe, echo.port, bare_env())
    assert [p for p in bare if p[2] == "_Unwind_RaiseException"]
    assert unwind_bindings(exe, echo.port, shim(AUTOTRACE_STACKTRACE="all")) == bare


PYTHON = """
import ctypes, socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"x")
s.recv(1)
ctypes.CDLL(sys.argv[2]).plugin_entry(s.fileno())
"""


def test_an_interpreter_is_not_the_program_but_its_native_code_is(receiver, shim, echo, tmp_path):
    plugin = build(tmp_path, "caller-plugin.c", "-shared", "-fPIC", "-DNAME=native_part",
                   name="part.so")
    argv = ["/usr/bin/python3", "-c", PYTHON, str(echo.port), plugin]
    traced(shim, argv, AUTOTRACE_STACKTRACE="all")
    spans = receiver.wait(4)
    assert functions(sites(spans)) == [None, None, None, "native_part"]
    for s in spans:
        assert "code.stacktrace" in s.attrs and " in python3" in s.attrs["code.stacktrace"]


def test_behind_a_languages_runtime_nobody_is_looked_for(receiver, shim, echo, tmp_path):
    """What embeds an interpreter is not what calls: a script is."""
    exe = build(tmp_path, "callers.c", "-lpthread")
    library = build(tmp_path, "caller-plugin.c", "-shared", "-fPIC", "-DNAME=in_python",
                    name="libpython9.9.so")
    other = build(tmp_path, "caller-plugin.c", "-shared", "-fPIC", "-DNAME=in_libc", name="libpq.so.9")
    wanted = functions(truth(traced(shim, [exe, str(echo.port), library, other])))
    assert wanted[-2:] == ["in_python", "in_libc"]
    assert functions(sites(receiver.wait(len(wanted)))) == wanted[:-2] + [None, "main"]


NODE = """
const s = require('net').connect(+process.argv[2], '127.0.0.1');
s.on('connect', () => s.write('x'));
s.on('data', () => s.end());
"""
PERL = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ARGV[0]) or die;
$s->send("x"); $s->recv(my $b, 1);
"""
JAVA = """
public class Talk {
    public static void main(String[] args) throws Exception {
        java.net.Socket s = new java.net.Socket("127.0.0.1", Integer.parseInt(args[0]));
        for (int i = 0; i < 20000; i++) {   // long enough for it to be compiled
            s.getOutputStream().write(1);
            if (s.getInputStream().read() != 1) System.exit(2);
        }
    }
}
"""


@pytest.mark.parametrize("language", ["node", "perl", "java"])
def test_other_languages_run_as_ever_and_nothing_wrong_is_named(receiver, shim, echo, tmp_path,
                                                                language):
    needed = {"java": "javac"}.get(language, language)
    if not shutil.which(needed):
        pytest.skip(f"no {needed}")
    if harness.SAN and language != "perl":
        pytest.skip(f"{language} does not run under a sanitizer")
    text, name = {"node": (NODE, "t.js"), "perl": (PERL, "t.pl"), "java": (JAVA, "Talk.java")}[language]
    (tmp_path / name).write_text(text)
    r = run([language, str(tmp_path / name), str(echo.port)],
            shim(AUTOTRACE_SOCKET_SPANS="all", AUTOTRACE_STACKTRACE="all", AUTOTRACE_RING_SIZE="67108864",
                 OTEL_BSP_MAX_QUEUE_SIZE="100000"), timeout=60)
    assert r.rc == 0, r.raw_err[-2000:]
    spans = receiver.wait(3)
    assert len(spans) >= 3
    assert {f for f in functions(sites(spans))} == {None}
    assert [s for s in spans if "code.stacktrace" in s.attrs]
    assert r.total("bugs") == 0


# ---- PostgreSQL ----

def test_statements_are_named_through_libpq(receiver, shim, postgres, tmp_path):
    exe = build(tmp_path, "pq-callers.c", "-g", "-I/usr/include/postgresql", "-lpq")
    wanted = truth(run([exe], shim(**postgres.env())).ok())
    spans = receiver.wait(len(wanted) + 1)
    own = [s for s in spans if not s.name.startswith("socket ")]
    found = sites(own)
    assert functions(found) == functions(wanted) == ["open_database", "count_orders",
                                                     "wrong_statement", "slow_statement"]
    if have_libdw():
        assert found == wanted
    # What libpq does on the program's behalf is the program's call too.
    assert functions(sites(s for s in spans if s.name.startswith("socket "))) == ["open_database"]
    stacks = {s.attrs["code.function.name"]: s.attrs["code.stacktrace"].split("\n")
              for s in own if "code.stacktrace" in s.attrs}
    assert sorted(stacks) == ["slow_statement", "wrong_statement"]
    for function, frames in stacks.items():
        assert frames[0].startswith(function + "+0x") and frames[1].startswith("main+0x")


# ---- harmless ----

@pytest.mark.skipif(bool(harness.SAN), reason="a sanitizer does not live with these coroutines")
def test_a_storm_of_signals_forks_plugins_and_coroutines(receiver, shim, echo, tmp_path):
    exe = build(tmp_path, "caller-storm.c", "-lpthread")
    plugins = [build(tmp_path, "caller-plugin.c", "-shared", "-fPIC", "-DQUIET",
                     f"-DNAME=storm_{n}", name=f"{n}.so") for n in ("one", "two")]
    argv = [exe, str(echo.port), "4", *plugins]
    assert run(argv, bare_env(), timeout=30).ok().out == b"survived\n"
    r = traced(shim, argv, AUTOTRACE_STACKTRACE="all", AUTOTRACE_RING_SIZE="8388608",
               OTEL_BSP_MAX_QUEUE_SIZE="100000")
    assert r.out == b"survived\n"
    words = re.search("^signals .*", r.err, re.M).group().split()
    did = dict(zip(words[0::2], map(int, words[1::2])))
    assert did["forks"] > 0  # each may be held up for AUTOTRACE_EXIT_TIMEOUT
    assert all(did[what] > 10 for what in ("signals", "plugins", "coroutines")), did
    named = {s.attrs.get("code.function.name") for s in receiver.wait(100)}
    allowed = {"storm_handler", "storm_jumper", "storm_one", "storm_two", "storm_child", "deep",
               "drain", "forking", "main"}
    # A jump may leave our own code before there is a site: then there is none.
    assert named - {None} <= allowed
    assert {"storm_handler", "storm_jumper", "storm_one", "storm_two", "deep", "drain"} <= named
    assert r.total("bugs") == 0
