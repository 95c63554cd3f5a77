#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
What a program may do, one line each: the table of docs/harmless.md, and the parameters of
test_lines.py.

    lines.py            prints the table
    lines.py --write    puts it into docs/harmless.md
"""
import dataclasses
import os
import subprocess
import sys
import sysconfig

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DOCUMENT = os.path.join(ROOT, "docs", "harmless.md")
BEGIN, END = "<!-- lines:begin -->\n", "<!-- lines:end -->\n"


@dataclasses.dataclass
class Line:
    part: str
    text: str  # of the table
    argv: tuple = ()  # of tests/harmless/programs; the first word is the program
    rc: int = 0  # bare, too: a test that does not get where it wants is none
    limit: str = ""  # why it is not the same preloaded: and then it must not be
    spans: bool = True  # some arrive
    env: dict = dataclasses.field(default_factory=dict)
    prefix: tuple = ()  # what runs it
    preload: tuple = ()  # other preloads, before us
    both: bool = False  # and in another run behind us
    root: bool = False
    san: bool = False  # makes sense under AddressSanitizer, too
    tsan: bool = False  # and under ThreadSanitizer, which has a thread of its own
    late: bool = False  # the runs one after the other, for time is looked at
    timeout: int = 20
    ref: str = ""  # tested elsewhere: file::function
    cases: tuple = ()  # several runs of one line: words to append

    def runs(self):
        return [self.argv + tuple(c.split()) for c in self.cases] or [self.argv]

    def count(self):
        return len(self.runs()) * (2 if self.both else 1)


LINES = []
LIB = "/usr/lib/" + (sysconfig.get_config_var("MULTIARCH") or "")


def runtime(name):
    return subprocess.run(["gcc", "-print-file-name=" + name], check=True, capture_output=True, text=True,
                          timeout=10).stdout.strip()


def part(name, *lines, **common):
    for text, argv, more in lines:
        if isinstance(argv, str):
            argv = tuple(argv.split())
        LINES.append(Line(name, text, argv, **{**common, **more}))


def line(text, argv=(), **more):
    return text, argv, more


def elsewhere(text, ref):
    return text, (), {"ref": ref}


FORBIDDEN = ("kill,socket", "kill,futex", "kill,sendmsg", "kill,clone,clone3", "kill,openat",
             "kill,process_vm_readv", "kill,mmap,munmap,madvise", "kill,getpid,gettid",
             "kill,getsockopt,getpeername,getsockname", "kill,rt_sigprocmask,ppoll,close_range",
             "errno,futex", "errno,clone,clone3", "errno,openat,mmap", "thread,futex")
SIGSYS, SIGKILL, SIGXFSZ = -31, -9, -25

part("Descriptors",
     line("looks at its descriptors before the first operation, after it, and after an export", "fds list"),
     line("closes everything in a loop, then opens files", "fds close-loop"),
     line("close_range(), for itself alone (CLOSE_RANGE_UNSHARE), at exec (CLOEXEC)", "fds",
          cases=("close_range", "close_range-unshare", "close_range-cloexec")),
     line("closefrom()", "fds closefrom"),
     line("closes by a system call of its own making", "fds close-raw"),
     line("closes standard input, output and error as well, and opens files there", "fds close-std"),
     line("dup2() of a file over every number", "fds dup-over"),
     line("F_DUPFD and F_DUPFD_CLOEXEC from everywhere", "fds dupfd"),
     line("is passed sockets and files (SCM_RIGHTS)", "fds passing", tsan=True),
     line("RLIMIT_NOFILE of 16, after the first operation and before", "fds",
          cases=("limit16", "limit16-early")),
     line("numbers that go round between four threads", "fds reuse", tsan=True),
     line("close() while another thread is in recv(), and the number is a file's then", "fds close-blocked"),
     line("shutdown() while another is in accept(); closing twice", "fds shutdown-blocked"),
     line("what children inherit, by fork, exec and system()", "fds inherit"),
     line("the end of a pipe, a peer hanging up", "fds end-of-pipe"),
     line("locks of files", "fds locks"),
     elsewhere("a number that libc made another file (freopen, daemon)",
               "tests/e2e/test_odd.py::test_a_number_that_libc_made_a_file_is_no_socket"),
     elsewhere("addresses and lengths that are no memory",
               "tests/e2e/test_odd.py::test_odd_calls_return_what_they_return_bare"),
     san=True)

part("Signals and threads",
     line("handlers, masks, pending signals and timers as they were", "signals dispositions"),
     line("every signal's default action, SIGUSR2 and real-time ones too", "signals defaults",
          timeout=40),
     line("a handler that opens, sends, receives, duplicates and closes in the middle of the same",
          "signals reentered", tsan=True),
     line("the first operation of the process in a handler", "signals first-in-handler"),
     line("a handler on a stack of 8 KiB, the first operation included", "signals alternate"),
     line("siglongjmp() out of recv(); out of SIGSEGV", "signals",
          cases=("jump-out-of-recv", "jump-out-of-fault")),
     elsewhere("siglongjmp() out of our own code, 2,000 times",
               "tests/e2e/test_odd.py::test_a_thread_whose_handler_jumped_out_of_us_is_still_traced"),
     line("SA_RESTART, and without: EINTR", "signals", cases=("restart", "no-restart")),
     line("SIGPIPE: death, MSG_NOSIGNAL, a handler, ignored", "signals broken-pipe"),
     line("all signals blocked, one thread in sigwait()", "signals sigwait"),
     line("signalfd(), queued signals in their order", "signals signalfd"),
     line("timers that start threads (SIGEV_THREAD)", "signals timers"),
     line("stopped and continued", "signals stops"),
     line("pthread_cancel() in recv(), poll(), accept() and anywhere", "threads cancel"),
     elsewhere("pthread_cancel() in PQexec(); an exception out of a notice processor",
               "tests/harmless/test_company.py::test_libpq_left_by_an_unwind"),
     line("destructors of thread-specific data that do I/O after ours ran", "threads destructors"),
     elsewhere("5,000 threads born and gone: bounded memory",
               "tests/e2e/test_odd.py::test_threads_that_come_and_go_leave_no_memory_behind"),
     line("main ends by pthread_exit(), the last of four workers ends the process", "threads",
          cases=("main-leaves", "main-leaves-traced")),
     line("a worker calls exit() after main has gone", "threads worker-exits", rc=9),
     line("a worker joins main", "threads main-joined"),
     line("threads with PTHREAD_STACK_MIN", "threads small-stacks"),
     line("coroutines with stacks of 16 KiB", "threads coroutines"),
     line("creates keys of thread-specific data until there are no more", "threads keys",
          limit="one of the 1,024 is ours: it gives a thread's memory back at its end"),
     line("looks at the number of its threads", "threads seen", limit="ours is one more"),
     )

part("Processes",
     line("fork(), children that end by _exit() and exit()", "forks plain", tsan=True),
     line("_Fork(), and clone as a system call", "forks raw"),
     line("clone(): a process with its own memory, with the parent's, with the parent's files",
          "forks clones"),
     line("the only thread ends by the kernel's exit(), which libc does not count", "forks",
          cases=("exits", "exits-raw")),
     line("vfork() children that close, dup2(), write, exec and end", "forks vfork"),
     line("posix_spawn() with file actions and attributes, system(), popen()", "forks spawns"),
     line("a daemon: fork twice, close everything, work on", "forks twice"),
     line("a server with four workers, which are killed", "forks prefork"),
     line("fork() 90 times while three threads are inside hooks", "forks among-threads", tsan=True),
     line("fork() in signal handlers", "forks in-handler"),
     line("10,000 short-lived children: no slowdown, no memory", "forks many", timeout=60),
     elsewhere("fork() while three threads record and the exporter speaks TLS",
               "tests/harmless/test_company.py::test_forks_in_the_middle_of_tls"),
     elsewhere("parent and child both record, each once",
               "tests/e2e/test_lifecycle.py::test_parent_and_child_both_record"),
     elsewhere("an exec that fails, and then goes on",
               "tests/e2e/test_lifecycle.py::test_nothing_is_lost_when_a_program_ends"),
     san=True)

part("Sandboxes",
     line("seccomp strict by prctl(), at once and later", "sandbox strict prctl", rc=3, cases=("", "60")),
     line("the same by syscall(SYS_seccomp)", "sandbox strict syscall", rc=3, cases=("", "60")),
     line("the same before the first operation", "sandbox strict", rc=3, spans=False,
          cases=("prctl early", "syscall early")),
     line("strict, and then what is forbidden: the death of the only thread", "sandbox strict",
          rc=SIGKILL, cases=("prctl 60 x", "syscall 60 x")),
     line("a filter by prctl() that kills (or fails) each of the calls our thread makes",
          "sandbox deny prctl", rc=None, cases=FORBIDDEN),
     line("the same by syscall(SYS_seccomp), as libseccomp does", "sandbox deny syscall", rc=None,
          cases=FORBIDDEN[:4] + FORBIDDEN[10:12]),
     line("the same with TSYNC: for all threads there are", "sandbox deny tsync", rc=None,
          cases=FORBIDDEN + ("kill,socket 60", "kill,futex 60")),
     line("the same by syscall(SYS_prctl)", "sandbox deny syscall-prctl", rc=None,
          cases=FORBIDDEN[:2]),
     line("a filter that allows reading, writing and the end only", "sandbox only", rc=3,
          cases=("prctl", "syscall", "tsync", "syscall-prctl")),
     line("the same before the first operation", "sandbox only", rc=3, spans=False,
          cases=("prctl early", "syscall early", "tsync early")),
     line("a filter for all threads that is installed by a system call of the program's own making",
          "sandbox deny raw", rc=None, cases=("kill,futex", "errno,futex"), spans=False,
          limit="nothing tells us of it, and to look (`/proc/self/status`) is a system call that may be "
                "forbidden itself"),
     line("asking whether there is seccomp", "sandbox probe"),
     line("a filter of one thread among several", "sandbox one-thread", cases=("prctl", "syscall")),
     line("a filter that was there before the program", "sandbox inherited prctl"),
     line("one that knows nothing but the start of a program and reading and writing",
          "sandbox inherited-only prctl", spans=False),
     line("the same, for a program that uses the network",
          "sandbox inherited-only prctl sockets", spans=False,
          limit="our thread is started, and what the filter says to that cannot be asked; see below"),
     line("unshare() of a user namespace, which wants to be the only thread",
          "sandbox unshare-user", root=True),
     line("unshare() of mounts, network, host name, IPC and processes", "sandbox unshare-rest",
          root=True),
     line("the same by syscall(SYS_unshare); CLONE_SIGHAND", "sandbox unshare-syscall", root=True),
     line("the same with threads of its own: EINVAL", "sandbox unshare-threads", root=True),
     line("setns() into mount and user namespaces", "sandbox setns", root=True),
     line("chroot, after the first operation and before", "sandbox", root=True,
          cases=("chroot", "chroot-early")),
     line("dropping root by setresuid()", "sandbox setuid", root=True),
     line("PR_SET_KEEPCAPS, capset() and setresuid() to and fro (libc aborts where threads disagree)",
          "sandbox keep-caps", root=True),
     line("capset(), then a setuid() that must fail", "sandbox drop-caps", root=True),
     line("syscall(SYS_setresuid), then setuid()", "sandbox raw-setuid", root=True),
     line("no thread keeps a capability that was given up", "sandbox no-caps-left", root=True),
     line("no process may be made (RLIMIT_NPROC)", "sandbox no-processes", root=True, spans=False),
     line("RLIMIT_FSIZE 0, after the first operation and before: SIGXFSZ when the program writes",
          "sandbox fsize", rc=SIGXFSZ, spans=False, cases=("", "early")),
     line("RLIMIT_AS: a program that needs little", "sandbox address-space"),
     line("memory exhausted, after the first operation and before", "sandbox", spans=False,
          cases=("exhausted", "exhausted-early")),
     line("RLIMIT_CORE, MEMLOCK, STACK, CPU; not dumpable", "sandbox limits"),
     line("mlockall()", "sandbox locked", root=True),
     line("no memory writable and executable (PR_SET_MDWE, as MemoryDenyWriteExecute=)",
          "sandbox mdwe"),
     line("Landlock", "sandbox landlock"),
     )

ALLOCATORS = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4",
              "mimalloc": "libmimalloc.so.2"}
FAKED = (LIB + "/faketime/libfaketime.so.1",)

part("Company",
     *[line(f"{name} preloaded, before us and after", "company plain", preload=(f"{LIB}/{so}",), both=True)
       for name, so in ALLOCATORS.items()],
     line("another object that interposes what we do and counts the calls, before us and after",
          "company quiet", preload=("other-shim",), both=True),
     line("libfaketime, before and after: another year; a clock that stands still", "company quiet",
          preload=FAKED, both=True, env={"FAKETIME": "@2020-01-01 00:00:00", "FAKETIME_NO_CACHE": "1"}),
     line("a clock that stands still", "company quiet", preload=FAKED,
          env={"FAKETIME": "2020-01-01 00:00:00", "DONT_FAKE_MONOTONIC": "0"}),
     line("fakeroot", "company plain", prefix=("/usr/bin/fakeroot", "--")),
     line("eatmydata", "company plain", prefix=("/usr/bin/eatmydata", "--")),
     line("proxychains", "company plain",
          prefix=("/usr/bin/proxychains4", "-q", "-f", os.path.join(HERE, "proxychains.conf"))),
     line("torsocks, which interposes syscall() too", "company quiet", prefix=("/usr/bin/torsocks",),
          env={"TORSOCKS_LOG_LEVEL": "1"}),
     line("stdbuf", "company plain", prefix=("/usr/bin/stdbuf", "-oL")),
     line("strace", "company plain", prefix=("/usr/bin/strace", "-f", "-o", "/dev/null")),
     line("valgrind", "company quiet", prefix=("/usr/bin/valgrind", "-q", "--error-exitcode=9"), timeout=60),
     elsewhere("gdb", "tests/harmless/test_harmless.py::test_nobody_notices"),
     line("LD_BIND_NOW", "company plain", env={"LD_BIND_NOW": "1"}),
     line("LD_DEBUG", "company quiet", env={"LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": "ld-debug"}),
     line("LD_AUDIT with an object that looks at every symbol", "company plain",
          env={"LD_AUDIT": "PROGRAMS/audit"}),
     line("built with AddressSanitizer, its runtime in front", "sanitized-asan plain",
          preload=(runtime("libasan.so"),)),
     line("the same without it in front: it insists, whatever is preloaded", "sanitized-asan plain",
          spans=False, limit="gcc's AddressSanitizer refuses every preload that comes before it"),
     line("built with ThreadSanitizer", "sanitized-tsan plain", spans=False),
     line("functions of its own by the names of malloc, read and write; a variable called splice",
          "own-symbols"),
     line("C++ exceptions in threads, pthread_cancel() and pthread_exit() as unwinds", "exceptions caught"),
     line("an exception that leaves a thread, and one that leaves main", "exceptions", rc=-6,
          spans=False, cases=("thread", "main")),
     elsewhere("an OpenSSL of its own (node exports one), libcurl of the program's",
               "tests/e2e/test_http_programs.py::test_node"),
     elsewhere("two copies of us: each span once",
               "tests/harmless/test_company.py::test_of_two_copies_one_works"),
     elsewhere("/etc/ld.so.preload", "tests/harmless/test_company.py::test_ld_so_preload"),
     )

part("Places",
     line("no /proc", "company quiet", prefix=("/usr/bin/bwrap", "--ro-bind", "/", "/", "--tmpfs", "/proc")),
     line("nothing can be written, not even /dev/shm and /tmp", "company quiet",
          prefix=("/usr/bin/bwrap", "--ro-bind", "/", "/", "--proc", "/proc")),
     line("no /dev", "company quiet",
          prefix=("/usr/bin/bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--tmpfs", "/dev")),
     line("namespaces of its own for everything but the network", "company quiet",
          prefix=("/usr/bin/bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
                  "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts")),
     line("no network", "company quiet", spans=False,
          prefix=("/usr/bin/bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
                  "--unshare-all")),
     )

part("When we are wrong",
     line("an inconsistency of our own: tracing is off, the program goes on", "forks plain", spans=False,
          env={"AUTOTRACE_DEBUG": "bug", "AUTOTRACE_ABORT_ON_BUG": "false"}),
     line("the same with threads", "company plain", spans=False,
          env={"AUTOTRACE_DEBUG": "bug", "AUTOTRACE_ABORT_ON_BUG": "false"}),
     line("for developers: AUTOTRACE_ABORT_ON_BUG=true", "company quiet", spans=False,
          env={"AUTOTRACE_DEBUG": "bug", "AUTOTRACE_ABORT_ON_BUG": "true"}, limit="it aborts, as asked"),
     elsewhere("it is counted and logged once",
               "tests/harmless/test_company.py::test_a_bug_is_counted_and_logged_once"),
     )


def table():
    out, last = [], None
    for one in LINES:
        if one.part != last:
            last = one.part
            out += ["", f"### {last}", "", "| The program | Test | Preloaded |", "| --- | --- | --- |"]
        if one.ref:
            test = "`" + one.ref + "`"
        else:
            words = " ".join(one.argv) if one.argv else ""
            test = f"`{words}`" + (f" ({one.count()} runs)" if one.count() > 1 else "")
        out.append(f"| {one.text} | {test} | {'**differs**: ' + one.limit if one.limit else 'the same'} |")
    return "\n".join(out[1:]) + "\n"


def document(text):
    """The document as it ought to be."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        with open(DOCUMENT, encoding="utf-8") as f:
            wanted = document(f.read())
        with open(DOCUMENT, "w", encoding="utf-8") as f:
            f.write(wanted)
    else:
        print(table())
