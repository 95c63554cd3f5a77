# SPDX-License-Identifier: Apache-2.0
"""dlopen() is a hook that the loader does not see."""
import shutil

import pytest

import harness
from harness import bare_env, compiled, run

OWN, PROGRAMS_OWN = "the plugin's own", "the program's"


@pytest.fixture
def opener(tmp_path):
    def build(*flags):
        plugins = tmp_path / "plugins"
        plugins.mkdir(exist_ok=True)
        made = compiled("opened.c", "-shared", "-fPIC")
        for name in ("opened.so", "opened-deep.so"):
            shutil.copy(made, plugins / name)
        main = compiled("opens.c", "-rdynamic", "-ldl", "-Wl,--enable-new-dtags,-rpath," +
                        str(plugins), *flags)
        return shutil.copy(main, tmp_path / "opens")
    return build


def whose(r):
    return [one.split(": ")[1] for one in r.out.decode().splitlines()[:2]]


@pytest.fixture(autouse=True)
def no_sanitizer():
    if harness.SAN:
        pytest.skip("a sanitizer has a dlopen() of its own, which ends what uses RTLD_DEEPBIND")


def test_the_loader_sees_the_programs_call(shim, opener):
    argv = [opener()]
    bare = run(argv, bare_env()).ok()
    assert whose(bare) == [PROGRAMS_OWN, OWN]  # the RUNPATH counts, and so does DEEPBIND
    assert b"opened-nowhere.so: cannot open" in bare.out and b"invalid mode" in bare.out
    r = run(argv, shim()).ok()
    assert (r.out, r.err) == (bare.out, bare.raw_err.decode())


@pytest.mark.parametrize("env, deep", [
    ({}, PROGRAMS_OWN),
    ({"AUTOTRACE_KEEP_DEEPBIND": "true"}, OWN),
    ({"OTEL_SDK_DISABLED": "true"}, OWN),
])
def test_php_binds_as_without_the_flag(shim, opener, env, deep):
    argv = [opener("-DPHP")]
    bare = run(argv, bare_env()).ok()
    assert whose(bare) == [PROGRAMS_OWN, OWN]
    r = run(argv, shim(**env)).ok()
    assert whose(r) == [PROGRAMS_OWN, deep]
    assert r.out.splitlines()[2:] == bare.out.splitlines()[2:]
