# SPDX-License-Identifier: Apache-2.0
"""Ruby's own tests of sockets, IO and net (Debian: the source package of the ruby installed)."""
import re

from job import Program
from sources import Unavailable, call, needs

# part: (seconds, what is in it)
PARTS = {"socket": (2, ["test/socket"]), "net": (12, ["test/net"]),
         "io": (16, ["test/io", "test/ruby/test_io.rb"]),
         "process": (30, ["test/ruby/test_process.rb"])}
BEGUN = re.compile(r"^\[ *\d+/\d+\] ([\w:]+#\w+[!?=]?)", re.M)
ENDED = re.compile(r"^ +\d+\) (Failure|Error|Skipped):\n([\w:]+#\w+[!?=]?)", re.M)
WORDS = {"Failure": "fail", "Error": "error", "Skipped": "skip"}


class Ruby(Program):
    def parse(self, report, text):
        found = dict.fromkeys(BEGUN.findall(text), "pass")
        found.update((test, WORDS[word]) for word, test in ENDED.findall(text))
        return found


def again(argv, tests):
    methods = "|".join(re.escape(t.split("#", 1)[1]) for t in tests if "#" in t)
    return [*argv, "-n", f"/(^|#)({methods})$/"]


def jobs(debian, _directory):
    needs("ruby")
    here = call(["ruby", "-e", "print RUBY_VERSION"], "/", "ruby")
    package = "ruby" + here.rpartition(".")[0]
    where, version = debian.source(package, "tool", "test")
    if here != version:
        raise Unavailable(f"the source is of ruby {version}, here is {here}")
    argv = ["ruby", "-W0", f"-I{where}/tool/lib", f"-I{where}/test/lib", f"{where}/test/runner.rb",
            "-v", "--show-skip"]
    return [Ruby("ruby", part, argv=[*argv, *paths], cwd=where, again=again, seconds=seconds,
                 dead=seconds < 20, spans=part != "process")
            for part, (seconds, paths) in PARTS.items()]
