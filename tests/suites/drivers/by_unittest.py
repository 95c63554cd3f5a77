# SPDX-License-Identifier: Apache-2.0
"""Runs modules of unittest tests and writes their verdicts as JUnit.

    by_unittest.py REPORT MODULE... [-- TEST...]       TEST: only these, as the report names them
"""
import importlib
import sys
import unittest
from xml.sax.saxutils import quoteattr


class Verdicts(unittest.TextTestResult):
    """What unittest says of each test; the worst of its parts."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.found = {}

    def note(self, test, tag):
        test = getattr(test, "test_case", test)  # of a subtest
        if self.found.get(test.id(), "") in ("", "skipped"):
            self.found[test.id()] = tag

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "")

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "error")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "failure")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        self.note(test, "failure" if err else "")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.note(test, "")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "failure")


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def write(report, found):
    with open(report, "w", encoding="utf-8") as f:
        f.write("<testsuites>\n")
        for name, tag in found.items():
            f.write(f"<testcase name={quoteattr(name)}>{tag and '<' + tag + '/>'}</testcase>\n")
        f.write("</testsuites>\n")


def main(report, modules, only):
    sys.argv = sys.argv[:1]
    suite = unittest.TestSuite()
    for name in modules:
        module = importlib.import_module(name)
        suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(module))
    if only:
        suite = unittest.TestSuite(t for t in flat(suite) if t.id() in only)
    result = unittest.TextTestRunner(verbosity=2, resultclass=Verdicts).run(suite)
    write(report, result.found)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    args = sys.argv[2:]
    cut = args.index("--") if "--" in args else len(args)
    sys.exit(main(sys.argv[1], args[:cut], set(args[cut + 1:])))
