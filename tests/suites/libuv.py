# SPDX-License-Identifier: Apache-2.0
"""libuv's own test program, of the Debian source package, with the library that is installed."""
import ctypes
import os
import re
import threading

import verdicts
from job import Job
from sources import Unavailable, call, needs

LIBRARY = "libuv.so.1"
NOT_OURS = re.compile(r"benchmark|-win\.c$")


class Libuv(Job):
    """The program runs each of its tests in a process of its own.  Names of pipes are fixed."""

    limit, seconds = 120, 40

    def __init__(self, where):
        super().__init__("libuv", "tests", turns=threading.Lock())
        self.where = where

    def verdicts(self, place, only):
        program, env = os.path.join(self.where, "run-tests"), {"UV_RUN_AS_ROOT": "1"}
        found = {}
        for test in only or ():
            if test != verdicts.END:
                _, rc, ended = place.start([program, test], 30, self.where, env)
                found[test] = ended if ended != "ended" else "fail" if rc else "pass"
        if not only or verdicts.END in only:
            text, _, ended = place.start([program], self.limit, self.where, env)
            found.update((name.split(" ", 1)[-1], v) for name, v in verdicts.tap(text).items())
            found[verdicts.END] = ended
        return found


def jobs(debian, _directory):
    needs("gcc")
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as e:
        raise Unavailable(str(e)) from e
    library.uv_version_string.restype = ctypes.c_char_p
    here = library.uv_version_string().decode()
    where, version = debian.source("libuv1", "test", "include", "src")
    if here != version:
        raise Unavailable(f"the source is of libuv {version}, here is {here}")
    files = sorted(f for f in os.listdir(where + "/test") if f.endswith(".c"))
    call(["gcc", "-w", "-D_GNU_SOURCE", "-DUSING_UV_SHARED=1", "-Iinclude", "-Isrc", "-Itest",
          "-o", "run-tests", *("test/" + f for f in files if not NOT_OURS.search(f)),
          "-l:" + LIBRARY, "-lpthread", "-ldl", "-lutil"], where, "building libuv's tests")
    return [Libuv(where)]
