# SPDX-License-Identifier: Apache-2.0
"""What a test suite says about each of its tests, and what two runs of it differ in.

A verdict is a word: pass, fail, error, skip; absent when the other side has such
a test and this one has not.  How a process ended is a verdict too (KILLED), so that a
crash behind the last test is seen.
"""
import re
import xml.etree.ElementTree

PASS, FAIL, ERROR, SKIP, ABSENT = "pass", "fail", "error", "skip", "absent"
END = "(its end)"  # the name of the test "did it end by itself"


def end(rc, seconds=None):
    """How a process ended; which exit status it was, its tests say."""
    if seconds is not None:
        return f"did not end in {seconds} s"
    return "ended" if rc >= 0 else f"signal {-rc}"


def junit(path):
    """The verdicts of a JUnit file; none if there is no such file, or half of one."""
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (OSError, xml.etree.ElementTree.ParseError):
        return {}
    found = {}
    for case in root.iter("testcase"):
        name = ".".join(n for n in (case.get("classname"), case.get("name")) if n)
        kinds = {child.tag for child in case}
        for tag, verdict in (("error", ERROR), ("failure", FAIL), ("skipped", SKIP)):
            if tag in kinds:
                found[name] = verdict
                break
        else:
            found.setdefault(name, PASS)
    return found


TAP = re.compile(r"^(not )?ok\b[ \t]*(\d+)?(?:[ \t]*-)?[ \t]*([^#\n]*)"
                 r"(#[ \t]*(?:skip|todo).*)?", re.I | re.M)


def tap(text):
    """The verdicts of TAP.  Numbers and names of files become N."""
    found = {}
    for number, (bad, said, what, directive) in enumerate(TAP.findall(text), 1):
        what = re.sub(r"\S*/\S*|tmp_[A-Z_]+|0x[0-9a-f]+|\d+", "N", what.strip())
        verdict = SKIP if directive else FAIL if bad else PASS
        found[f"{said or number} {what}".strip()] = verdict
    return found


def differences(bare, other):
    """{test: (bare verdict, the other's)} where they are not the same."""
    return {test: (bare.get(test, ABSENT), other.get(test, ABSENT))
            for test in sorted(bare.keys() | other.keys())
            if bare.get(test, ABSENT) != other.get(test, ABSENT)}


def judge(pairs):
    """Of [(bare, other), ...], run after run: "same", "differs" or "unsteady".

    Differs is what was never seen otherwise: one verdict bare, another one preloaded.
    """
    bare, other = {b for b, _ in pairs}, {o for _, o in pairs}
    if len(bare) > 1 or len(other) > 1:
        return "unsteady"
    return "same" if bare == other else "differs"
