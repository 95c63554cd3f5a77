# SPDX-License-Identifier: Apache-2.0
"""Where the suites come from: Debian's source packages and PyPI, by their own clients.

Everything goes into a directory of the caller's.  What cannot be had is Unavailable,
which says why in one line.
"""
import glob
import os
import platform
import re
import subprocess
import threading

import harness

MIRROR = "http://deb.debian.org/debian"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
PYTHON = "/usr/bin/python3"
LIMIT = 120  # seconds for one call of a client


class Unavailable(Exception):
    """Why a suite cannot be run on this machine."""


def call(argv, cwd, what):
    """Its output; Unavailable with its last words when it fails."""
    try:
        done = subprocess.run(argv, cwd=cwd, env=harness.bare_env(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT,
                              check=False, text=True, errors="replace")
    except FileNotFoundError as e:
        raise Unavailable(f"no {argv[0]} here") from e
    except subprocess.TimeoutExpired as e:
        raise Unavailable(f"{what}: not within {LIMIT} s") from e
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.strip()]
        raise Unavailable(f"{what}: {' / '.join(said[-2:])[:200]}")
    return done.stdout


def needs(*commands):
    for command in commands:
        if not any(os.access(os.path.join(p, command), os.X_OK)
                   for p in os.environ["PATH"].split(":")):
            raise Unavailable(f"no {command} here")


class Debian:
    """Source packages of this release, with package lists of our own: the system's stay."""

    def __init__(self, directory):
        self.dir = os.path.join(directory, "apt")
        self.error = None
        self.lock = threading.Lock()  # apt-get's own does not wait
        os.makedirs(self.dir)
        for part in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(self.dir, part))
        try:
            self.update()
        except Unavailable as e:
            self.error = e

    def update(self):
        release = platform.freedesktop_os_release()
        if release.get("ID") != "debian":
            raise Unavailable(f"no Debian but {release.get('ID')}")
        with open(os.path.join(self.dir, "sources.list"), "w", encoding="ascii") as f:
            for kind in ("deb", "deb-src"):
                f.write(f"{kind} [signed-by={KEYS}] {MIRROR} {release['VERSION_CODENAME']} main\n")
        self.apt("update", what="apt-get update")

    def apt(self, *args, cwd=None, what):
        options = {"Dir::Etc::sourcelist": self.dir + "/sources.list",
                   "Dir::Etc::sourceparts": "/dev/null", "Dir::State::lists": self.dir + "/lists",
                   "Dir::State::status": "/dev/null", "Dir::Cache": self.dir + "/cache",
                   "APT::Sandbox::User": "root", "Acquire::http::Timeout": "30",
                   "APT::Update::Error-Mode": "any"}
        with self.lock:
            return call(["apt-get", "-q", *(f"-o{k}={v}" for k, v in options.items()), *args],
                        cwd or self.dir, what)

    def source(self, package, *wanted):
        """The directory with those files (tar's patterns) of its upstream tar, and the version."""
        if self.error:
            raise self.error
        directory = os.path.join(self.dir, package)
        os.makedirs(directory)
        self.apt("source", "--download-only", package, cwd=directory,
                 what=f"apt-get source {package}")
        tars = [t for t in glob.glob(directory + "/*.orig.tar.*") if not t.endswith(".asc")]
        if not tars:
            raise Unavailable(f"{package}: a source package without an upstream tar")
        call(["tar", "xf", tars[0], "--strip-components=1", "--no-same-owner", "--wildcards",
              *(f"*/{w}" for w in wanted)], directory, f"tar x {os.path.basename(tars[0])}")
        version = re.search(r"_([0-9][0-9.]*[0-9])", os.path.basename(tars[0]))
        return directory, version.group(1)

    def binaries(self, *packages):
        """A directory with what these binary packages would install."""
        if self.error:
            raise self.error
        directory = os.path.join(self.dir, "root-of-" + packages[0])
        os.makedirs(directory)
        self.apt("download", *packages, cwd=directory, what=f"apt-get download {packages[0]}")
        for deb in glob.glob(directory + "/*.deb"):
            call(["dpkg-deb", "-x", deb, directory], directory, f"dpkg-deb -x {deb}")
        return directory


def pypi(directory, *requirements):
    """A directory with these packages (name==version) and what they need."""
    target = os.path.join(directory, "pypi-" + requirements[0].split("==", maxsplit=1)[0])
    call([PYTHON, "-m", "pip", "install", "-q", "--no-cache-dir", "--disable-pip-version-check",
          "--root-user-action=ignore", "--only-binary=:all:", "--target", target, *requirements],
         directory, f"pip install {requirements[0]}")
    return target
