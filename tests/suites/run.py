# SPDX-License-Identifier: Apache-2.0
"""Other people's test suites as oracle: the same verdicts with and without us, test by test.

    run.py [NAME...]      suites, or jobs as suite/job (default: all)

A test passes here when its verdict is the same on every side, whatever it is, as long
as it was run at all.  One whose verdict is another is run again, alone, twice at most on
both sides: "differs" is one verdict on the one side and another on the other, always.
"""
import collections
import concurrent.futures
import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]

# pylint: disable=wrong-import-position
import harness  # noqa: E402
import inherent  # noqa: E402
import suites  # noqa: E402
from job import BARE, UP  # noqa: E402
from sources import Debian  # noqa: E402
from verdicts import ABSENT, END, SKIP, differences, judge  # noqa: E402

AGAIN = 2  # runs of what differs
WORKERS = 6 * (os.cpu_count() or 1)  # most tests wait most of the time
LIMIT = int(os.environ.get("SUITES_LIMIT", "240"))  # seconds; what is not begun by then is skipped


class Outcome:
    """What a job showed."""

    def __init__(self, job):
        self.job, self.runs = job, {}
        self.same = self.theirs = 0         # theirs: skipped by the suite itself on every side
        self.failed, self.unsteady, self.inherent, self.problems = [], [], [], []

    @property
    def spans(self):
        return self.runs[UP].spans if UP in self.runs else 0


def judged(outcome, shim=harness.SHIM, table=None):
    """Compare the runs of a job; what differs is run again."""
    job, bare = outcome.job, outcome.runs[BARE].verdicts
    differing = set()
    for side in job.sides()[1:]:
        pairs = {test: [pair] for test, pair in
                 differences(bare, outcome.runs[side].verdicts).items()}
        differing |= pairs.keys()
        rows = {test: inherent.row(job, test, *seen[0], table) for test, seen in pairs.items()}
        again(outcome, side, {t: pairs[t] for t in pairs if not rows[t]}, shim)
        for test, seen in pairs.items():
            says = f"{job.suite}/{job.name}: {test}: bare {', '.join(b for b, _ in seen)}; " \
                f"{side} {', '.join(o for _, o in seen)}"
            if rows[test]:
                settings, why = rows[test]
                without = job.run(side, [test], shim, **settings).verdicts.get(test, ABSENT)
                if without == seen[0][0]:
                    outcome.inherent.append(f"{says}: {why}")
                else:
                    outcome.failed.append(f"{says}; {without} with {settings}, so not only: {why}")
            elif judge(seen) == "differs":
                outcome.failed.append(says)
            else:
                outcome.unsteady.append(says)
    compared = [t for t in bare if t not in differing]
    outcome.theirs = sum(bare[t] == SKIP for t in compared)
    outcome.same = len(compared) - outcome.theirs
    check(outcome)
    return outcome


def again(outcome, side, pairs, shim):
    """Run what differs again, alone, until it is seen to be unsteady; two times at most."""
    job = outcome.job
    for _ in range(AGAIN):
        left = [t for t in pairs if judge(pairs[t]) == "differs"]
        if not left:
            return
        now_bare = job.run(BARE, left, shim).verdicts
        now_side = job.run(side, left, shim).verdicts
        for test in left:
            pairs[test].append((now_bare.get(test, ABSENT), now_side.get(test, ABSENT)))


def check(outcome):
    """Were there tests, were we there, and was what we sent in order?"""
    job = outcome.job
    if not [t for t, v in outcome.runs[BARE].verdicts.items() if t != END and v != SKIP]:
        text = outcome.runs[BARE].text[-400:]
        outcome.problems.append(f"{job.suite}/{job.name}: no test was run: {text}")
    if job.spans and not outcome.spans:
        outcome.problems.append(f"{job.suite}/{job.name}: no span came: was it traced at all?")
    for what in outcome.runs[UP].violations[:3]:
        outcome.problems.append(f"{job.suite}/{job.name}: the collector refused: {what}")


def wanted(job, names):
    return not names or any(n in (job.suite, f"{job.suite}/{job.name}") for n in names)


def run_all(jobs, until):
    """{job: Outcome} of what was run in time; several at once, the long ones first."""
    outcomes = {job: Outcome(job) for job in jobs}

    def one(job, side):
        if time.monotonic() < until:
            try:
                outcomes[job].runs[side] = job.run(side)
            except OSError as e:
                outcomes[job].problems.append(f"{job.suite}/{job.name}: {side}: {e}")
    todo = sorted(((j, s) for j in jobs for s in j.sides()), key=lambda js: -js[0].seconds)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(one, *js) for js in todo]:
            future.result()
    return outcomes


def table(outcomes):
    rows = collections.defaultdict(lambda: [0] * 7)
    for o in outcomes:
        for i, n in enumerate((o.same, len(o.failed), len(o.unsteady), len(o.inherent), o.theirs,
                               o.spans, round(sum(r.seconds for r in o.runs.values())))):
            rows[o.job.suite][i] += n
    print(f"{'suite':<14}{'same':>7}{'differ':>8}{'unsteady':>10}{'inherent':>10}"
          f"{'their skips':>13}{'spans':>8}{'s':>6}")
    for suite, row in rows.items():
        print(f"{suite:<14}" + "".join(f"{n:>{w}}" for n, w in zip(row, (7, 8, 10, 10, 13, 8, 6))))


def main(names):
    began = time.monotonic()
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="atr-suites.") as directory:
        os.chmod(directory, 0o755)
        jobs, missing = suites.collect(Debian(directory), directory, names)
        jobs = [job for job in jobs if wanted(job, names)]
        for what, why in missing:
            print(f"skipped: {what}: {why}")
            skipped += 1
        print(f"{len(jobs)} jobs, {WORKERS} at a time, fetched in {time.monotonic() - began:.0f} s",
              flush=True)
        outcomes = run_all(jobs, began + LIMIT)
        done = []
        for job, outcome in outcomes.items():
            if outcome.problems:
                print(f"FAIL {outcome.problems[0]}")
                failed += 1
                continue
            if len(outcome.runs) < len(job.sides()):
                print(f"skipped: {job.suite}/{job.name}: not begun within {LIMIT} s")
                skipped += 1
                continue
            done.append(judged(outcome))
            for line in outcome.unsteady + outcome.inherent:
                print(f"skipped: {line}", flush=True)
            for line in outcome.failed + outcome.problems:
                print(f"FAIL {line}", flush=True)
            if os.environ.get("V") == "2":
                print(outcome.runs[UP].text)
            if os.environ.get("V"):
                took = ", ".join(f"{s} {r.seconds:.0f} s" for s, r in outcome.runs.items())
                print(f"{job.suite}/{job.name}: {outcome.same} same, {outcome.spans} spans, {took}")
            passed += outcome.same
            failed += len(outcome.failed) + len(outcome.problems)
            skipped += len(outcome.unsteady) + len(outcome.inherent)
        table(done)
    if not jobs:
        print("FAIL no suite could be had" if missing else f"FAIL no such suite: {names}")
        failed += 1
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
