# SPDX-License-Identifier: Apache-2.0
"""scripts/demo shows the spans of what the service did: the counts are the service's
own, PostgreSQL's statement log's, and the printed tree's, and they are equal."""
import os
import re
import signal
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
B = os.environ.get("B") or "build"

if os.environ.get("SAN"):
    pytest.skip("the demo runs without the sanitizers' runtimes", allow_module_level=True)


@pytest.fixture(scope="module")
def demo():
    with subprocess.Popen(["sh", "scripts/demo"], cwd=ROOT, env={**os.environ, "B": B},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as p:
        try:
            out, err = p.communicate(timeout=180)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGTERM)
            p.communicate(timeout=60)
            raise
    assert p.returncode == 0, out + err
    # Whatever the shim has to say beside its spans would be here.
    assert err == ""
    return out


def spans(out):
    """[(kind, name, the rest of the line)] of every line of a tree."""
    return re.findall(r"^[ │]*[├└]─ (\w+) (.*?)  (\d.*)$", out, re.M)


def names(out):
    count = {}
    for kind, name, _ in spans(out):
        count[kind + " " + name] = count.get(kind + " " + name, 0) + 1
    return count


def test_the_service_did_its_work(demo):
    assert "served 6 requests, ran 7 statements, called the stock service 4 times" in demo
    assert "PostgreSQL logged:   CREATE 1, INSERT 3, SELECT 3" in demo


def test_the_spans_are_what_was_done_none_lost_none_invented(demo):
    count = names(demo)
    stock = re.search(r'legacy-orders 0 "\.\.\." (\d+)', demo).group(1)
    database = re.search(r"INTERNAL socket connect 127\.0\.0\.1:(?!%s)(\d+)" % stock, demo).group(1)
    assert count == {
        "CLIENT connect postgres": 1,
        "INTERNAL socket connect 127.0.0.1:" + database: 1,
        "CLIENT CREATE TABLE orders": 1,
        "CLIENT PREPARE INSERT orders": 1,
        "CLIENT INSERT orders": 3,
        "CLIENT SELECT orders": 2,
        "CLIENT SELECT audit_log": 1,
        "INTERNAL socket connect 127.0.0.1:" + stock: 4,
        "CLIENT send": 4,
        "CLIENT recv": 4,
        "SERVER GET": 3,
        "SERVER POST": 3,
    }


def test_what_happens_inside_another_operation_is_below_it(demo):
    assert re.search(r"─ CLIENT connect postgres .*\n│  └─ INTERNAL socket connect ", demo)


def test_each_request_has_its_own_work_below_it(demo):
    stock = re.search(r'legacy-orders 0 "\.\.\." (\d+)', demo).group(1)
    asked = [f"INTERNAL socket connect 127.0.0.1:{stock}", "CLIENT send", "CLIENT recv"]
    calls = [  # of scripts/demo, in its order
        ("GET", "/orders/1", 200, ["CLIENT SELECT orders"] + asked),
        ("POST", "/orders", 201, asked + ["CLIENT INSERT orders"]),
        ("POST", "/orders", 409, asked),
        ("POST", "/orders", 201, asked + ["CLIENT INSERT orders"]),
        ("GET", "/report", 200, ["CLIENT SELECT orders"]),
        ("GET", "/audit", 500, ["CLIENT SELECT audit_log"]),
    ]
    shown = re.findall(r'^[├└]─ SERVER (\w+)  .*  url.path="([^"]*)"  status=(\d+)(.*)\n((?: .*\n)*)',
                       demo, re.M)
    assert [(m, path, int(status)) for m, path, status, _, _ in shown] == [c[:3] for c in calls]
    for (*_, error, below), (*_, status, wanted) in zip(shown, calls):
        assert re.findall(r"^ +[├└]─ (\w+ .*?)  ", below, re.M) == wanted
        assert ("ERROR" in error) == (status == 500)


def test_all_is_one_trace(demo):
    assert len(set(re.findall(r"^trace ([0-9a-f]{32})  legacy-orders\[\d+\]$", demo, re.M))) == 1
    assert "parent=" not in demo


def test_literals_are_masked_and_parameters_are_not(demo):
    texts = [rest for _, name, rest in spans(demo) if "SELECT" in name or "INSERT" in name]
    assert any("WHERE id = $1" in t for t in texts), texts
    assert not re.search("secret|2001-01-01|'rope'", "\n".join(texts)), texts


def test_the_failed_statement_is_in_error(demo):
    failed = [rest for _, name, rest in spans(demo) if name == "SELECT audit_log"]
    assert len(failed) == 1 and "42P01" in failed[0] and "ERROR" in failed[0], failed
    assert all("ERROR" not in rest for _, name, rest in spans(demo) if name == "SELECT orders")


def test_nothing_is_left(demo):
    directory = re.search(r"throwaway PostgreSQL in (\S+)/pg", demo).group(1)
    assert not os.path.exists(directory)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/cmdline" % entry, "rb") as f:
                    assert directory.encode() not in f.read()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                pass
