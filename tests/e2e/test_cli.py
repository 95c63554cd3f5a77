# SPDX-License-Identifier: Apache-2.0
"""The autotrace command.

A copy of it stands beside a stand-in for libautotrace.so that only says that it
was loaded, so that what fails here is the command and not the shim.
"""
import os
import shutil
import struct
import subprocess
import tempfile

import pytest

B = os.path.abspath(os.environ.get("B") or "build")
CC = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
NOBODY = 65534

STAND_IN = r"""
#include <stdio.h>
#include <stdlib.h>
__attribute__((constructor)) static void loaded(void)
{
	const char *path = getenv("LOADED");
	FILE *f = path ? fopen(path, "a") : NULL;
	if (f) {
		fputs("loaded\n", f);
		fclose(f);
	}
}
"""
HELLO = r"""
#include <stdio.h>
int main(void) { puts("hello"); return 7; }
"""
# What the Go linker writes: owner "Go", type 4.
GO_NOTE = r"""
__attribute__((section(".note.go.buildid"), aligned(4), used))
static const struct { unsigned n[3]; char owner[4], id[8]; } note = { { 4, 8, 4 }, "Go", "abcdefg" };
"""


def compile_to(path, source, *flags):
    subprocess.run([CC, "-x", "c", "-", "-o", path, *flags], input=source, text=True, check=True)
    return str(path)


@pytest.fixture(scope="module")
def place():
    """A directory that everybody may enter: bin/autotrace, bin/libautotrace.so, hello."""
    with tempfile.TemporaryDirectory(prefix="autotrace-cli-") as d:
        os.chmod(d, 0o755)
        os.mkdir(d + "/bin")
        shutil.copy(B + "/autotrace", d + "/bin/autotrace")
        compile_to(d + "/bin/libautotrace.so", STAND_IN, "-shared", "-fPIC")
        compile_to(d + "/hello", HELLO)
        yield d


class Ran:
    def __init__(self, done, loaded):
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        self.loaded = loaded


@pytest.fixture
def cli(place, tmp_path):
    def run(*args, exe=place + "/bin/autotrace", env=None, **more):
        mark = tempfile.mktemp(dir=tmp_path)
        base = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "AUTOTRACE_", "LD_"))}
        # A sanitized autotrace behind another preloaded object.
        base["ASAN_OPTIONS"] = "verify_asan_link_order=0"
        done = subprocess.run(
            [exe, *args],
            env={**base, "LOADED": mark, "LC_ALL": "C", **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            **more,
        )
        return Ran(done, os.path.exists(mark))

    return run


def test_the_program_runs_with_the_library_its_output_and_its_status_its_own(cli, place):
    r = cli("run", place + "/hello")
    assert (r.code, r.out, r.err, r.loaded) == (7, "hello\n", "", True)
    r = cli("run", "--", "sh", "-c", 'echo "$0 $1"; kill -9 $$', "a", "-b c")
    assert (r.code, r.out, r.err) == (-9, "a -b c\n", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_program_has_the_descriptors_that_we_have(place, tmp_path, closed):
    """What is closed stays closed, and nothing of ours is open."""
    look = f"s=; for i in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$i ] && s=$s$i; done; echo $s >{tmp_path}/fds"
    seen = []
    for by in [[], [place + "/bin/autotrace", "run"]]:
        subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *by, "/bin/sh", "-c", look], check=True, timeout=60,
                       env={**os.environ, "AUTOTRACE_SPOOL_DIR": str(tmp_path)}, stdin=subprocess.DEVNULL)
        seen.append((tmp_path / "fds").read_text().strip())
    assert seen[0] == seen[1] != "012"


def test_arguments_of_the_program_are_not_ours(cli):
    r = cli("run", "echo", "--service", "x", "-e", "--help")
    assert (r.code, r.out) == (0, "--service x -e --help\n")


@pytest.mark.parametrize(
    "options, wanted",
    [
        (["--service", "shop"], "OTEL_SERVICE_NAME=shop"),
        (["--service=shop"], "OTEL_SERVICE_NAME=shop"),
        (["--exporter", "console"], "OTEL_TRACES_EXPORTER=console"),
        (["--endpoint", "http://h:1"], "OTEL_EXPORTER_OTLP_ENDPOINT=http://h:1"),
        (["-e", "A=b=c", "--env", "D="], "A=b=c\nD="),
    ],
)
def test_an_option_is_a_variable(cli, options, wanted):
    lines = cli("run", *options, "env").out.splitlines()
    for line in wanted.splitlines():
        assert line in lines


def test_an_option_wins_over_the_environment(cli):
    r = cli("run", "--service", "new", "env", env={"OTEL_SERVICE_NAME": "old"})
    assert [x for x in r.out.splitlines() if x.startswith("OTEL_")] == ["OTEL_SERVICE_NAME=new"]


def preload(r):
    return [x[11:] for x in r.out.splitlines() if x.startswith("LD_PRELOAD=")]


def test_the_library_goes_behind_what_is_preloaded_already_and_once(cli, place, tmp_path):
    ours = place + "/bin/libautotrace.so"
    other = compile_to(tmp_path / "other.so", "int x;", "-shared", "-fPIC")
    assert preload(cli("run", "env")) == [ours]
    assert preload(cli("run", "env", env={"LD_PRELOAD": ""})) == [ours]
    assert preload(cli("run", "env", env={"LD_PRELOAD": other})) == [f"{other}:{ours}"]
    assert preload(cli("run", "-e", "LD_PRELOAD=" + other, "env")) == [f"{other}:{ours}"]
    for there in [ours, f"{other} {ours}", f"{ours}:{other}", "/x/libautotrace.so"]:
        assert preload(cli("run", "env", env={"LD_PRELOAD": there})) == [there]
    # One of that name in part is another library.
    near = compile_to(tmp_path / "notlibautotrace.so", "int x;", "-shared", "-fPIC")
    assert preload(cli("run", "env", env={"LD_PRELOAD": near})) == [f"{near}:{ours}"]


def test_the_library_is_found_in_lib_beside_bin_too(cli, place, tmp_path):
    for d in ("bin", "lib"):
        os.mkdir(tmp_path / d)
    exe = shutil.copy(place + "/bin/autotrace", tmp_path / "bin")
    r = cli("run", "env", exe=str(exe))
    assert (r.code, r.out) == (125, "")
    assert "no libautotrace.so" in r.err
    shutil.copy(place + "/bin/libautotrace.so", tmp_path / "lib")
    r = cli("run", "env", exe=str(exe))
    assert preload(r) == [str(tmp_path / "lib/libautotrace.so")]
    link = tmp_path / "trace"
    link.symlink_to(exe)
    assert preload(cli("run", "env", exe=str(link))) == [str(tmp_path / "lib/libautotrace.so")]


def test_the_installed_command_stands_beside_the_library():
    assert os.access(B + "/autotrace", os.X_OK)
    assert os.path.exists(B + "/libautotrace.so")


def test_exit_codes_are_those_of_env(cli, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert cli("run", "no-such-program-here").code == 127
    assert cli("run", str(tmp_path / "none")).code == 127
    assert cli("run", str(plain)).code == 126
    assert cli("run", str(tmp_path)).code == 126
    for args in [
        [],
        ["nonsense"],
        ["run"],
        ["run", "--nonsense", "x"],
        ["run", "--service"],
        ["run", "-e", "NAME", "env"],
        ["run", "-e", "=x", "env"],
    ]:
        r = cli(*args)
        assert (r.code, r.out) == (125, ""), args
        assert r.err.startswith(("autotrace: ", "usage: ")), args


def test_help_and_version_go_to_stdout(cli):
    for args in [["--help"], ["-h"], ["help"], ["run", "--help"], ["run", "-h", "x"]]:
        r = cli(*args)
        assert (r.code, r.err) == (0, "") and r.out.startswith("usage: "), args
    for args in [["--version"], ["version"]]:
        r = cli(*args)
        assert r.code == 0 and r.out.startswith("autotrace "), args
    with open("/dev/full", "w") as full:
        assert subprocess.run([B + "/autotrace", "--help"], stdout=full).returncode == 125


def one_line(r, *words):
    assert r.err.count("\n") == 1 and r.err.startswith("autotrace: "), r.err
    for word in words:
        assert word in r.err


@pytest.fixture(scope="module")
def static(place):
    return compile_to(place + "/static", HELLO, "-static")


def test_a_static_program_runs_and_one_line_says_that_it_is_not_traced(cli, static):
    r = cli("run", static)
    assert (r.code, r.out, r.loaded) == (7, "hello\n", False)
    one_line(r, static, "static")


def test_the_children_of_a_static_program_may_be_dynamic(cli, place):
    shell = compile_to(
        place + "/static-shell",
        "#include <unistd.h>\n"
        "int main(int n, char **a) { (void)n; execv(a[1], a + 1); return 1; }",
        "-static",
    )
    r = cli("run", shell, place + "/hello")
    assert (r.code, r.loaded) == (7, True)


def test_a_static_pie_is_static(cli, place):
    pie = compile_to(place + "/static-pie", HELLO, "-static-pie", "-fPIE")
    one_line(cli("run", pie), "static")


def test_a_go_program_is_named(cli, place):
    one_line(cli("run", compile_to(place + "/go", HELLO + GO_NOTE, "-static")), "Go")
    dynamic = cli("run", compile_to(place + "/cgo", HELLO + GO_NOTE))
    one_line(dynamic, "Go")
    assert dynamic.loaded


def interpreter_of(path):
    data = open(path, "rb").read()
    start = data.index(b"/lib")
    return data[start : data.index(b"\0", start)].decode()


def test_a_program_of_another_libc_gets_no_preload(cli, place):
    # The real linker under musl's name: the program starts, so it can be seen what it got.
    linker = place + "/ld-musl-test.so.1"
    os.symlink(interpreter_of(place + "/hello"), linker)
    musl = compile_to(
        place + "/musl",
        '#include <stdio.h>\n#include <stdlib.h>\n'
        'int main(void) { const char *p = getenv("LD_PRELOAD"); puts(p ? p : "none"); }',
        "-Wl,--dynamic-linker=" + linker,
    )
    r = cli("run", musl)
    assert (r.code, r.out, r.loaded) == (0, "none\n", False)
    one_line(r, musl, "another libc")


def test_a_program_for_another_machine_is_named(cli, place):
    data = bytearray(open(place + "/hello", "rb").read())
    data[18:20] = struct.pack("<H", 2)  # SPARC
    with open(place + "/sparc", "wb") as f:
        f.write(data)
    os.chmod(place + "/sparc", 0o755)
    r = cli("run", place + "/sparc")
    assert not r.loaded
    assert r.err.splitlines()[0].endswith("is made for another kind of machine, or for 32 bits")


def test_of_a_script_the_interpreter_counts(cli, place, static):
    def script(name, first_line):
        with open(f"{place}/{name}", "w") as f:
            f.write(first_line + "\necho script\n")
        os.chmod(f"{place}/{name}", 0o755)
        return f"{place}/{name}"

    r = cli("run", script("sh", "#!/bin/sh"))
    assert (r.out, r.err, r.loaded) == ("script\n", "", True)
    r = cli("run", script("bare", "true"))  # no #!: execvp() hands it to the shell
    assert (r.out, r.err, r.loaded) == ("script\n", "", True)
    r = cli("run", script("static-script", f"#!{static} -x"))
    assert (r.code, r.out, r.loaded) == (7, "hello\n", False)
    one_line(r, "static-script", static, "statically")
    r = cli("run", script("two", f"#!{place}/static-script"))
    one_line(r, static)
    assert cli("run", script("lost", "#!/no/such/interpreter")).code == 127
    # One that names itself must not hang us; the kernel says ELOOP.
    assert cli("run", script("loop", f"#!{place}/loop")).code == 126


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a program of somebody else")
def test_a_program_that_gains_rights_is_named(cli, place):
    for name, uid, gid, mode in [("suid", NOBODY, 0, 0o4755), ("sgid", 0, NOBODY, 0o2755)]:
        path = shutil.copy(place + "/hello", f"{place}/{name}")
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        r = cli("run", path)
        assert (r.code, r.out) == (7, "hello\n")
        one_line(r, path, "rights")
    # Set-id to what we are already gains nothing.
    path = shutil.copy(place + "/hello", place + "/own")
    os.chmod(path, 0o6755)
    r = cli("run", path)
    assert (r.err, r.loaded) == ("", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give capabilities")
def test_file_capabilities_are_rights_to_all_but_root(cli, place):
    path = shutil.copy(place + "/hello", place + "/caps")
    try:  # cap_net_raw+ep
        os.setxattr(path, "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
    except OSError as e:
        pytest.skip(f"no capabilities on files here: {e}")
    assert cli("run", path).err == ""
    r = cli("run", path, user=NOBODY, group=NOBODY, extra_groups=[])
    one_line(r, path, "rights")


def test_a_program_that_can_be_run_but_not_read_is_run(cli, place):
    path = shutil.copy(place + "/hello", place + "/unreadable")
    os.chmod(path, 0o711)
    as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    r = cli("run", path, **as_nobody)
    assert (r.code, r.out, r.err) == (7, "hello\n", "")


@pytest.mark.parametrize("sign", [":", " "])
def test_a_path_that_cannot_be_in_ld_preload_is_said_so(cli, place, tmp_path, sign):
    d = tmp_path / f"a{sign}b"
    d.mkdir()
    for name in ("autotrace", "libautotrace.so"):
        shutil.copy(f"{place}/bin/{name}", d)
    r = cli("run", place + "/hello", exe=str(d / "autotrace"))
    assert (r.code, r.out, r.loaded) == (7, "hello\n", False)
    one_line(r, "LD_PRELOAD", str(d))


def test_programs_are_looked_for_as_execvp_does(cli, place, static, tmp_path):
    (tmp_path / "static").mkdir()  # a directory of that name is no program
    r = cli("run", "static", env={"PATH": f"{tmp_path}:{place}"})
    assert r.code == 7
    one_line(r, static)
    r = cli("run", "static", env={"PATH": ""}, cwd=place)
    assert r.code == 7
    one_line(r, "static")
