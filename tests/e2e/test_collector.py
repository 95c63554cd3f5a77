# SPDX-License-Identifier: Apache-2.0
"""A collector that is not ours takes the same batches: Rotel, from PyPI."""
import os
import re
import shutil
import subprocess
import tempfile
import zipfile

import pytest

import harness
from harness import program, run
from receiver import ROOT


def rotel_agent():
    """The binary, downloaded once to build/rotel; skips where it cannot be had."""
    home = os.path.join(ROOT, "build", "rotel")
    binary = os.path.join(home, "rotel", "rotel-agent")
    if not os.path.exists(binary):
        os.makedirs(home, exist_ok=True)
        for python in "/usr/bin/python3", "python3":
            try:
                done = subprocess.run([python, "-m", "pip", "download", "-q", "--no-deps", "-d",
                                       home, "rotel"], capture_output=True, text=True, timeout=60,
                                      check=False)
            except (OSError, subprocess.TimeoutExpired) as e:
                pytest.skip(f"Rotel cannot be had: {e}")
            if done.returncode == 0:
                break
        wheels = [f for f in os.listdir(home) if f.endswith(".whl")]
        if not wheels:
            pytest.skip("Rotel cannot be had: " + done.stderr.strip()[-200:])
        with zipfile.ZipFile(os.path.join(home, wheels[0])) as wheel:
            try:
                wheel.extract("rotel/rotel-agent", home)
            except KeyError:
                pytest.skip(f"{wheels[0]} holds no rotel-agent")
        os.chmod(binary, 0o755)
    return binary


class Rotel:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="atr-rotel.")
        self.port, grpc = harness.free_port(), harness.free_port()
        self.log = open(os.path.join(self.dir, "log"), "wb+")
        self.process = subprocess.Popen(
            [rotel_agent(), "start", "--exporter", "blackhole", "--debug-log", "traces",
             "--debug-log-verbosity", "detailed", "--otlp-http-endpoint", f"127.0.0.1:{self.port}",
             "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}", "--pid-file", self.dir + "/pid",
             "--log-file", self.dir + "/log2"],
            env=harness.bare_env(), stdout=self.log, stderr=self.log, start_new_session=True, preexec_fn=harness.die_with_us)
        try:
            harness.wait_for(lambda: harness.listening(self.port), "Rotel")
        except AssertionError:
            self.stop()
            raise
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def text(self):
        with open(self.dir + "/log", encoding="utf-8") as f:
            return f.read()

    def stop(self):
        harness.end(self.process)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture
def rotel():
    r = Rotel()
    yield r
    r.stop()


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_rotel_takes_our_batches(rotel, postgres, echo, compression):
    env = harness.shim_env(rotel.endpoint, OTEL_EXPORTER_OTLP_COMPRESSION=compression,
                           AUTOTRACE_SOCKET_SPANS="all", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="50",
                           **postgres.env())
    results = [run([program("pg-client")], env).ok(), run([program("sockets")], env).ok(),
               run([program("threads-client"), "echo", "4", "50", str(echo.port)], env).ok()]
    recorded = sum(r.total("recorded") for r in results)
    assert recorded == sum(r.total("exported") for r in results) > 400
    assert sum(r.total("rejected") + r.total("failed") for r in results) == 0
    harness.wait_for(lambda: len(re.findall(r"^Span #", rotel.text(), re.M)) >= recorded,
                     "Rotel to show all spans")
    text = rotel.text()
    assert len(re.findall(r"^Span #", text, re.M)) == recorded
    assert "ERROR" not in re.sub(r"STATUS_CODE_ERROR", "", text)
    assert "db.query.text: Str(" in text and "Name           : send" in text
