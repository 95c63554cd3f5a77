# SPDX-License-Identifier: Apache-2.0
import os
import signal

import pytest

import harness
from names import Seen
from receiver import Receiver


# Ended from outside (a CI's time limit), we still end what we started.
signal.signal(signal.SIGTERM, signal.default_int_handler)


SEEN = Seen() if os.environ.get("ATR_NAMES_SEEN") else None


def note_names(received):
    """What things are called, for names.py --seen."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
    if SEEN and not received.others:
        for span in received.spans:
            SEEN.span(span, test)
        for points in received.metrics:
            SEEN.metrics(points, test)
        SEEN.write(os.environ["ATR_NAMES_SEEN"])


@pytest.fixture
def receiver():
    """A collector; whatever it had to refuse fails the test."""
    harness.spool_dir.cache_clear()  # another test's port may come again, and with it its orphans
    r = Receiver()
    yield r
    r.stop()
    note_names(r)
    assert not r.violations, r.violations[:5]
    reports = harness.sanitizer_reports()
    assert not reports, reports[:6000]


@pytest.fixture
def shim(receiver):
    """shim(VARIABLE=value, ...): the environment of a traced program."""
    assert os.path.exists(harness.SHIM), f"{harness.SHIM} is not built"
    return lambda **more: harness.shim_env(receiver.endpoint, **more)


def server(make, scope="session"):
    @pytest.fixture(scope=scope)
    def fixture():
        s = make()
        yield s
        s.stop()
    return fixture


postgres = server(harness.Postgres)
redis = server(harness.Redis)
nginx = server(harness.Nginx)
echo = server(harness.TcpEcho)
udp_echo = server(harness.UdpEcho)
