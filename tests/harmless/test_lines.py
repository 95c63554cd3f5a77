# SPDX-License-Identifier: Apache-2.0
"""
One small program per line of lines.py, each run bare, preloaded with a collector, preloaded without
one: the same output, errors, files, descriptors (the programs print theirs) and end.
"""
import concurrent.futures
import os
import re

import pytest

import harness
import lines
from harness import bare_env, run

PROGRAMS = os.path.join(harness.B, "tests", "harmless", "programs")

RUNS = [(one, argv, last) for one in lines.LINES if not one.ref for argv in one.runs()
        for last in ([True, False] if one.both else [True])]


def name_of(run_of_line):
    one, argv, last = run_of_line
    company = [os.path.basename(p) for p in (*one.prefix[:1], *one.preload)]
    return "-".join([*argv, *company, *([] if last else ["us-first"])])


def files(directory):
    found = {}
    for at, names, inside in os.walk(directory):
        for name in names:
            found[os.path.relpath(os.path.join(at, name), directory) + "/"] = None
        for name in inside:
            if name.startswith("ld-debug."):  # one for each process, with addresses in it
                continue
            path = os.path.join(at, name)
            with open(path, "rb") as f:
                found[os.path.relpath(path, directory)] = f.read()
    return found


def preloads(one, last, env):
    """The same other preloads in front of us, or behind us."""
    others = [os.path.join(PROGRAMS, p) for p in one.preload]  # an absolute path stays one
    us = [env["LD_PRELOAD"]] if "LD_PRELOAD" in env else []
    both = others + us if last else us + others
    return {**env, "LD_PRELOAD": " ".join(both)} if both else env


def seen(one, argv, last, env, directory):
    directory.mkdir()
    argv = [os.path.join(PROGRAMS, argv[0]), *argv[1:]]
    more = {k: v.replace("PROGRAMS", PROGRAMS) for k, v in one.env.items()}
    env = preloads(one, last, {**env, **more, "HOME": "/", "TMPDIR": "/tmp"})
    r = run([*one.prefix, *argv], env, cwd=directory, timeout=one.timeout)
    return r.rc, r.out, r.raw_err, files(directory)


@pytest.mark.parametrize("one, argv, last", RUNS, ids=map(name_of, RUNS))
def test_the_same_as_bare(receiver, shim, tmp_path, one, argv, last):
    if one.root and os.geteuid():
        pytest.skip("only root can do that")
    if harness.SAN and not (one.tsan if "thread" in harness.SAN else one.san):
        pytest.skip("a sanitizer's runtime changes this program, not we")
    for other in (*one.prefix[:1], *one.preload):
        if os.path.isabs(other) and not os.path.exists(other):
            pytest.skip(f"no {other} here")
    quiet = {"AUTOTRACE_DEBUG": None, "OTEL_SERVICE_NAME": None, "OTEL_LOG_LEVEL": "none"}
    envs = {"bare": bare_env(), "up": shim(**quiet),
            "dead": shim(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", **quiet)}
    with concurrent.futures.ThreadPoolExecutor(1 if one.late else 3) as pool:
        jobs = {how: pool.submit(seen, one, argv, last, env, tmp_path / how) for how, env in envs.items()}
        got = {how: job.result() for how, job in jobs.items()}
    if one.rc is not None:
        assert got["bare"][0] == one.rc, got["bare"]
    if one.limit:
        assert got["up"] != got["bare"] or got["dead"] != got["bare"], \
            "it is no limit any more: say so in lines.py"
        return
    assert got["up"] == got["bare"]
    assert got["dead"] == got["bare"]
    assert receiver.spans or not one.spans, "the program was not traced at all"


def test_the_document_says_what_is_tested():
    with open(lines.DOCUMENT, encoding="utf-8") as f:
        text = f.read()
    assert text == lines.document(text), "run tests/harmless/lines.py --write"


def test_what_is_tested_elsewhere_is_there():
    for one in lines.LINES:
        if one.ref:
            path, function = one.ref.split("::")
            with open(os.path.join(lines.ROOT, path), encoding="utf-8") as f:
                assert re.search(rf"^def {function}\(", f.read(), re.M), one.ref
