# SPDX-License-Identifier: Apache-2.0
"""The official OTLP definitions: the PyPI package opentelemetry-proto, fetched once."""
import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@functools.lru_cache(None)
def fetch():
    """(folder, None) with the package in it, or (None, why not)."""
    where = tempfile.mkdtemp(prefix="atr-official.")
    atexit.register(shutil.rmtree, where, ignore_errors=True)
    pythons = [p for p in (sys.executable, shutil.which("python3"), "/usr/bin/python3") if p]
    why = "no python with pip"
    for python in dict.fromkeys(pythons):
        pip = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--target", where, "opentelemetry-proto"],
            capture_output=True, text=True, timeout=180)
        if pip.returncode == 0:
            return where, python
        why = (pip.stderr.strip().splitlines() or [why])[-1]
    return None, why


def folder():
    """(folder, python that fetched it); skips the test when it cannot be had."""
    where, python_or_why = fetch()
    if not where:
        pytest.skip("opentelemetry-proto cannot be had: " + python_or_why)
    return where, python_or_why
