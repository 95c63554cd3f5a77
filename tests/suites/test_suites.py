# SPDX-License-Identifier: Apache-2.0
"""The checker is checked: what must be noticed is, and what must not be told off is not."""
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]

# pylint: disable=wrong-import-position
import harness  # noqa: E402
import run  # noqa: E402
import sources  # noqa: E402
import verdicts  # noqa: E402
from job import BARE, DEAD, UP, Program, Scripts, driver  # noqa: E402

pytestmark = pytest.mark.skipif(bool(harness.SAN), reason="the suites are not run with sanitizers")

TESTS = """
import os, socket, unittest
class T(unittest.TestCase):
    def test_talk(self):
        a, b = socket.socketpair()
        with a, b:
            a.send(b"x")
            self.assertEqual(b.recv(9), b"x")
    def test_shutdown(self):
        a, b = socket.socketpair()
        with a, b:
            a.shutdown(socket.SHUT_WR)
            self.assertEqual(b.recv(9), b"")
    def test_fails(self):
        self.fail()
    @unittest.skip("never")
    def test_skips(self):
        pass
    def test_once(self):
        if "COUNT" in os.environ and os.environ.get("LD_PRELOAD"):
            with open(os.environ["COUNT"], "a+") as f:
                f.write("x")
                f.seek(0)
                self.assertGreater(len(f.read()), 1)
    def test_propagators(self):
        self.assertTrue("LD_PRELOAD" not in os.environ or "WANTED" not in os.environ
                        or os.environ.get("OTEL_PROPAGATORS") == "none")
"""


@pytest.fixture
def job(tmp_path):
    """job(ENV=value): our own little suite."""
    (tmp_path / "their_tests.py").write_text(TESTS, encoding="ascii")

    def make(**more):
        env = {"PYTHONPATH": str(tmp_path), **more.pop("env", {})}
        return Program("own", "tests", limit=30, env=env, **more,
                       argv=[*driver("by_unittest.py"), "{report}", "their_tests"],
                       again=lambda argv, tests: [*argv, "--", *tests])
    return make


def outcome(job, shim=harness.SHIM, table=None):
    out = run.Outcome(job)
    for side in job.sides():
        out.runs[side] = job.run(side, shim=shim)
    return run.judged(out, shim, table)


@pytest.fixture(scope="module")
def no_shutdown():
    return harness.compiled("no-shutdown.c", "-shared", "-fPIC")


def test_we_change_nothing(job):
    out = outcome(job(dead=True))
    assert not out.failed + out.problems + out.unsteady
    assert (out.same, out.theirs) == (6, 1), "five tests and the end of the process; one is skipped"
    assert out.spans and not out.runs[BARE].spans
    assert set(out.runs) == {BARE, UP, DEAD}


def test_an_object_that_breaks_a_call_is_found_out(job, no_shutdown):
    out = outcome(job(spans=False), no_shutdown)
    assert out.failed == ["own/tests: their_tests.T.test_shutdown: bare pass, pass, pass; "
                          "preloaded error, error, error"]
    assert not out.problems + out.unsteady


def test_a_crash_behind_the_last_test_is_found_out(job, no_shutdown):
    out = outcome(job(spans=False, env={"CRASH": "1"}), no_shutdown)
    assert [f for f in out.failed if verdicts.END in f and "signal 6" in f], out.failed


def test_what_changes_by_itself_is_not_held_against_us(job, tmp_path):
    out = outcome(job(env={"COUNT": str(tmp_path / "count")}))
    assert not out.failed + out.problems
    assert out.unsteady == ["own/tests: their_tests.T.test_once: bare pass, pass; "
                            "preloaded fail, pass"]


def test_an_object_that_was_not_there_is_found_out(job):
    out = outcome(job(env={"LD_PRELOAD": ""}))
    assert [p for p in out.problems if "no span came" in p]


def test_a_suite_that_ran_nothing_is_found_out(job, tmp_path):
    (tmp_path / "their_tests.py").write_text("raise SystemExit", encoding="ascii")
    assert [p for p in outcome(job(spans=False)).problems if "no test was run" in p]


@pytest.mark.parametrize("settings, proven", [({"OTEL_PROPAGATORS": "none"}, True),
                                              ({"OTEL_PROPAGATORS": "b3"}, False)])
def test_an_inherent_difference_is_one_only_when_it_is_proven(job, settings, proven):
    table = [("own/*", "*.test_propagators", "pass", "fail", settings, "because")]
    out = outcome(job(env={"WANTED": "1"}), table=table)
    assert (len(out.inherent), len(out.failed)) == ((1, 0) if proven else (0, 1))


def test_what_hangs_is_ended_and_is_a_verdict(tmp_path):
    (tmp_path / "hang.sh").write_text("[ -z \"$LD_PRELOAD\" ] || sleep 30", encoding="ascii")
    out = outcome(Scripts("own", "scripts", argv=["sh"], cwd=str(tmp_path), each=1,
                          scripts=["hang.sh"], spans=False))
    assert out.failed == ["own/scripts: hang.sh: bare pass, pass, pass; preloaded "
                          + ", ".join(["did not end in 1 s"] * 3)]


def test_runs_have_a_network_and_a_directory_of_their_own(tmp_path):
    (tmp_path / "net.sh").write_text("tail -n +3 /proc/net/dev; pwd; env", encoding="ascii")
    job = Scripts("own", "scripts", argv=["sh"], cwd=str(tmp_path), scripts=["net.sh"])
    text = job.run(BARE).text
    if "eth" in text:
        pytest.skip("no network of one's own here")
    assert "lo:" in text and "LD_PRELOAD" not in text and "OTEL_" not in text
    assert f"LD_PRELOAD={harness.SHIM}" in job.run(UP).text


@pytest.mark.parametrize("pairs, wanted", [
    ([("pass", "pass")], "same"),
    ([("fail", "fail")], "same"),
    ([("pass", "fail")], "differs"),
    ([("fail", "pass")], "differs"),
    ([("pass", "fail"), ("pass", "fail"), ("pass", "fail")], "differs"),
    ([("pass", "fail"), ("pass", "pass")], "unsteady"),
    ([("pass", "fail"), ("fail", "fail")], "unsteady"),
    ([("pass", "absent")], "differs"),
])
def test_judge(pairs, wanted):
    assert verdicts.judge(pairs) == wanted


def test_junit(tmp_path):
    path = tmp_path / "x.xml"
    path.write_text('<s><testcase classname="m.T" name="a"/>'
                    '<testcase name="b"><skipped/></testcase>'
                    '<testcase name="c"><failure/></testcase><testcase name="c"/>'
                    '<testcase name="d"><error/><failure/></testcase></s>', encoding="ascii")
    assert verdicts.junit(path) == {"m.T.a": "pass", "b": "skip", "c": "fail", "d": "error"}
    path.write_text("<s><testcase", encoding="ascii")
    assert not verdicts.junit(path)


def test_tap():
    assert verdicts.tap("1..5\nok 1 - one\nnot ok 2 two 0xff 12345 /tmp/x3\nok 3 # skip why\n"
                        "not ok 4 - four # TODO later\n# ok 9\nok\nokay 6\n") == {
        "1 one": "pass", "2 two N N N": "fail", "3": "skip", "4 four": "skip", "5": "pass"}


def test_what_cannot_be_had_says_why(tmp_path):
    with pytest.raises(sources.Unavailable, match="no no-such-command here"):
        sources.call(["no-such-command"], tmp_path, "it")
    with pytest.raises(sources.Unavailable, match="it: two / three"):
        sources.call(["sh", "-c", "echo one; echo two; echo three; exit 1"], tmp_path, "it")
