# SPDX-License-Identifier: Apache-2.0
"""Node's own tests (Debian: the source package nodejs).

Where the installed node is another one than the source's, Debian's is laid above /usr, for
the tests only.
"""
import glob
import os

from job import Scripts, apart, own_usr
from sources import Unavailable, call, needs

# kind of script: every so many-th of them is run.  ALL=1: each one, in five minutes.
KINDS = {"net": 4, "http": 12, "dgram": 4, "child-process": 4, "cluster": 8, "dns": 2, "https": 8,
         "tls": 12}
ALWAYS = {"test-child-process-spawn-windows-batch-file.js",  # hung: a thread of a vfork child's
          "test-http-blank-header.js", "test-http-max-headers-count.js"}  # inherent.py has them
CHUNK = 20  # scripts of a job
PACKAGES = ("nodejs", "libnode108", "node-acorn", "node-cjs-module-lexer", "node-undici")


def jobs(debian, directory):
    where, version = debian.source("nodejs", "test")
    usr = None
    try:
        needs("node")
        here = call(["node", "--version"], directory, "node").strip().removeprefix("v")
    except Unavailable:
        here = None
    if here != version:
        usr = os.path.join(debian.binaries(*PACKAGES), "usr")
        try:
            apart(own_usr, usr)
        except OSError as e:
            raise Unavailable(f"the source is of node {version}, here is {here}; {e}") from e
    made = []
    for kind, every in KINDS.items():
        there = sorted(glob.glob(f"test/parallel/test-{kind}-*.js", root_dir=where))
        scripts = [s for i, s in enumerate(there) if i % every == 0 or os.environ.get("ALL")
                   or os.path.basename(s) in ALWAYS]
        for i in range(0, len(scripts), CHUNK):
            made.append(Scripts("node", f"{kind}-{i // CHUNK}", argv=["/usr/bin/node"], cwd=where,
                                env={"NODE_TEST_DIR": "{place}"}, scripts=scripts[i:i + CHUNK],
                                usr=usr, seconds=20, spans=kind != "dns"))
    return made
