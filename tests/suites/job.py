# SPDX-License-Identifier: Apache-2.0
"""A part of a suite, and how it is run: bare, preloaded, preloaded without a collector.

Each run has a directory and, where that is allowed, a network of its own: nothing but a
loopback, on which the collector listens too.  So fixed ports do not meet, and nothing
depends on the world outside.
"""
import contextlib
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

import harness
from receiver import Receiver

import verdicts
from sources import PYTHON

HERE = os.path.dirname(os.path.abspath(__file__))
BARE, UP, DEAD = "bare", "preloaded", "collector dead"
NEWNS, NEWNET, PRIVATE = 0x20000, 0x40000000, 0x44000  # PRIVATE: MS_PRIVATE | MS_REC
MAX_OUTPUT = 64 << 20
LIBC = ctypes.CDLL(None, use_errno=True)


def own_network():
    """For this thread and what it starts.  False where that is not allowed."""
    if LIBC.unshare(NEWNET):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    return True


def own_usr(below):
    """For this thread and what it starts: /usr with the files of another directory above it."""
    if LIBC.unshare(NEWNS) or LIBC.mount(None, b"/", None, PRIVATE, None) or \
            LIBC.mount(b"overlay", b"/usr", b"overlay", 0, f"lowerdir={below}:/usr".encode()):
        raise OSError(ctypes.get_errno(), "no overlay over /usr")


def apart(function, *args):
    """The result of function(*args), called in a thread of its own that then ends."""
    box = []

    def call():
        try:
            box.append((function(*args), None))
        except Exception as e:  # pylint: disable=broad-except
            box.append((None, e))
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    result, error = box[0]
    if error:
        raise error
    return result


def end_what_is_left(directory):
    """End the processes a run left behind: those that were told of its directory."""
    mark = ("=" + directory + "\0").encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                ours = mark in f.read()
            if ours:
                os.kill(int(pid), harness.signal.SIGKILL)
        except OSError:
            pass  # gone, or somebody else's


class Run:
    """One run of a job: what it said, and what came of it."""

    def __init__(self, side):
        self.side, self.verdicts, self.text = side, {}, ""
        self.spans, self.violations, self.seconds = 0, [], 0.0


class Place:
    """Where and how a run starts its processes."""

    def __init__(self, side, directory, endpoint, shim, settings):
        self.dir, self.text = directory, ""
        more = {"TMPDIR": directory, "HOME": directory, "PYTHONDONTWRITEBYTECODE": "1"}
        if side == BARE:
            self.env = harness.bare_env(**more)
        else:
            # The defaults, but for our messages: a dropped span, a dead collector are told of on
            # standard error, which tests compare.
            self.env = harness.shim_env(endpoint, shim, AUTOTRACE_DEBUG=None,
                                        AUTOTRACE_EXIT_TIMEOUT="5000", OTEL_SERVICE_NAME="suites",
                                        OTEL_LOG_LEVEL="none", **more, **settings)

    def start(self, argv, limit, cwd=None, env=()):
        """Its output, and how it ended.  {place} in the environment is this directory."""
        with tempfile.TemporaryFile(dir=self.dir) as out:
            more = {k: v.replace("{place}", self.dir) for k, v in dict(env).items()}
            process = subprocess.Popen(argv, env={**self.env, **more}, cwd=cwd or self.dir,
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       start_new_session=True)
            late = None
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                late = limit
            harness.end(process, harness.signal.SIGKILL)
            out.seek(0)
            text = out.read(MAX_OUTPUT).decode("utf-8", "replace")
        self.text += f"$ {' '.join(argv)[:200]}\n{text}\n"
        return text, process.returncode, verdicts.end(process.returncode, late)


class Job:
    """What is run as one.  A subclass has verdicts(place, only): {test: verdict}."""

    limit = 150    # seconds for a run
    seconds = 10   # what it takes as a rule: the long ones are begun first
    dead = False   # also once with the collector dead?
    spans = True   # does it do what we trace?
    usr = None     # a directory to lay above /usr
    turns = contextlib.nullcontext()  # or a lock: one run at a time

    def __init__(self, suite, name, **more):
        self.suite, self.name = suite, name
        for key, value in more.items():
            setattr(self, key, value)

    def sides(self):
        return [BARE, UP] + ([DEAD] if self.dead else [])

    def verdicts(self, place, only):
        raise NotImplementedError

    def run(self, side, only=None, shim=harness.SHIM, **settings):
        """All its tests or `only` these; with our object or another, and settings of ours."""
        with self.turns:
            return apart(self.run_here, Run(side), only, shim, settings)

    def run_here(self, run, only, shim, settings):
        own_network()
        if self.usr:
            own_usr(self.usr)
        receiver = Receiver() if run.side == UP else None
        directory = tempfile.mkdtemp(prefix="atr-suite.")
        os.chmod(directory, 0o755)  # tests become other users
        began = harness.time.monotonic()
        try:
            endpoint = receiver.endpoint if receiver else "http://127.0.0.1:9"
            place = Place(run.side, directory, endpoint, shim, settings)
            run.verdicts = self.verdicts(place, only)
            run.text = place.text
        finally:
            run.seconds = harness.time.monotonic() - began
            if receiver:
                run.spans, run.violations = len(receiver.spans), receiver.violations
                receiver.stop()
            end_what_is_left(directory)
            shutil.rmtree(directory, ignore_errors=True)
        return run


class Program(Job):
    """One process that runs many tests: argv, with {report} where a file is wanted.

    parse(report, text) is {test: verdict}; again(argv, tests) the argv for some tests only.
    """

    argv, env, cwd = (), (), None
    again = None

    def verdicts(self, place, only):
        report = os.path.join(place.dir, "report")
        argv = self.again(self.argv, only) if only and self.again else self.argv
        text, _, ended = place.start([a.replace("{report}", report) for a in argv], self.limit,
                                     self.cwd, self.env)
        found = self.parse(report, text)
        found[verdicts.END] = ended
        return found

    def parse(self, report, text):
        return verdicts.junit(report)


class Scripts(Job):
    """A test is a script: argv + [script]; its verdict is the exit status, or what TAP says."""

    argv, env, cwd, scripts, tap = (), (), None, (), False
    each = 20       # seconds for one script

    def verdicts(self, place, only):
        found = {}
        for script in self.scripts:
            tests = [t for t in only or () if t.split(": ")[0] == script]
            if only and not tests:
                continue
            text, rc, ended = place.start([*self.argv, script], self.each, self.cwd, self.env)
            if ended != "ended":
                found[script] = ended
            elif self.tap:
                found[script] = "status 0" if rc == 0 else f"status {min(rc, 1)}"
            else:
                found[script] = verdicts.PASS if rc == 0 else verdicts.FAIL
            if self.tap:
                found.update((f"{script}: {t}", v) for t, v in verdicts.tap(text).items())
        return found


def driver(name):
    """The command line of one of our own programs that run somebody's tests."""
    return [PYTHON, os.path.join(HERE, "drivers", name)]
