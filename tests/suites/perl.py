# SPDX-License-Identifier: Apache-2.0
"""Perl's own tests of sockets, files, processes (Debian: the source package perl)."""
import glob
import os
import threading

from job import Scripts
from sources import Unavailable, call, needs

# part: the directory its tests expect to be in, the tests
PARTS = {
    "IO": ("dist/IO", ["t/*.t"]),
    "Socket": ("cpan/Socket", ["t/*.t"]),
    "IO-Socket-IP": ("cpan/IO-Socket-IP", ["t/*.t"]),
    "HTTP-Tiny": ("cpan/HTTP-Tiny", ["t/*.t"]),
    "IPC-Open3": ("ext/IPC-Open3", ["t/*.t"]),
    "POSIX": ("ext/POSIX", ["t/[!m]*.t"]),  # not math.t, mb.t: numbers and letters
    "io": ("t", ["io/*.t"]),
    "op": ("t", ["op/alarm.t", "op/exec.t", "op/fork.t", "op/kill0.t", "op/s*select.t"]),
}
LONG = {"io": 35, "op": 25}  # seconds
SILENT = ("HTTP-Tiny", "IPC-Open3", "POSIX", "op")  # these do nothing we trace


def jobs(debian, _directory):
    needs("perl")
    where, version = debian.source("perl", "lib/unicore", *sorted({at for at, _ in PARTS.values()}))
    here = call(["perl", "-e", "printf '%vd', $^V"], where, "perl")
    if here != version:
        raise Unavailable(f"the source is of perl {version}, here is {here}")
    # Tests of t/ look for modules below lib, and only there.
    libraries = "print qq($Config{privlibexp} $Config{archlibexp})"
    for directory in call(["perl", "-MConfig", "-e", libraries], where, "perl").split():
        call(["cp", "-rsn", directory + "/.", where + "/lib"], where, "cp lib")
    for at, _ in PARTS.values():
        if at != "t":
            call(["cp", "-n", *glob.glob(where + "/t/*.pl"), f"{where}/{at}/t"], where, "cp t/*.pl")
    return [Scripts("perl", part, env={"PERL_HASH_SEED": "0", "PERL_PERTURB_KEYS": "0"},
                    argv=["perl", "-I", f"{where}/t", "-I", f"{where}/{at}/t/lib"],
                    cwd=os.path.join(where, at), tap=True, dead=part not in LONG,
                    scripts=there(f"{where}/{at}", names),
                    seconds=LONG.get(part, 10), turns=threading.Lock(), spans=part not in SILENT)
            for part, (at, names) in PARTS.items()]


def there(directory, patterns):
    return [s for p in patterns for s in sorted(glob.glob(p, root_dir=directory))]
