# SPDX-License-Identifier: Apache-2.0
"""Runs tests with Twisted's trial and writes their verdicts as JUnit.

    by_trial.py REPORT NAME... [-- TEST...]       TEST: only these, as the report names them
"""
import sys

from by_unittest import flat, write
from twisted.trial import reporter, runner

found = {}


class Verdicts(reporter.VerboseTextReporter):
    def note(self, test, tag):
        if found.get(test.id(), "") in ("", "skipped"):
            found[test.id()] = tag

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "")

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, "error")

    def addFailure(self, test, fail):
        super().addFailure(test, fail)
        self.note(test, "failure")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped")

    def addExpectedFailure(self, test, error, todo=None):
        super().addExpectedFailure(test, error, todo)
        self.note(test, "")

    def addUnexpectedSuccess(self, test, todo=None):
        super().addUnexpectedSuccess(test, todo)
        self.note(test, "failure")


def main(report, names, only):
    sys.argv = sys.argv[:1]
    suite = runner.TestLoader().loadByNames(names, recurse=True)
    if only:
        suite = runner.TrialSuite([t for t in flat(suite) if t.id() in only])
    trial = runner.TrialRunner(Verdicts, workingDirectory="trial")
    ok = trial.run(suite).wasSuccessful()
    write(report, found)
    return 0 if ok else 1


if __name__ == "__main__":
    args = sys.argv[2:]
    cut = args.index("--") if "--" in args else len(args)
    sys.exit(main(sys.argv[1], args[:cut], set(args[cut + 1:])))
