# SPDX-License-Identifier: Apache-2.0
"""A request's trace goes on in the programs that are started for it, by TRACEPARENT in their
environment; and nothing else of it, nor of how they start, is different."""
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import pytest

import harness
from harness import bare_env, end, free_port, listening, program, run, wait_for
from http_peer import Asking, Origin, request, traceparents

pytestmark = pytest.mark.skipif("thread" in harness.SAN,
                                reason="libtsan alone kills dash, which calls vfork()")

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
TRACE, PARENT = "5b8aa5a2d2c872e8321cf37308d69df2", "051581bf3cb55c13"
STARTED = "00-11111111111111112222222222222222-3333333333333333-01"
NAMES = ("TRACEPARENT", "TRACESTATE", "BAGGAGE")
OF_OURS = ("LD_PRELOAD=", "OTEL_", "AUTOTRACE_", "ASAN_", "TSAN_", "UBSAN_")


class Spawner:
    """programs/spawner.c, bare or preloaded."""

    def __init__(self, env):
        self.dir = tempfile.TemporaryDirectory(prefix="atr-exec.")
        script = os.path.join(self.dir.name, "script")
        with open(script, "w", encoding="ascii") as f:
            f.write('echo "script $@"\nexec env\n')  # without #!
        os.chmod(script, 0o755)
        env = {**env, "SCRIPT": script, "SCRIPTS": self.dir.name,
               "PATH": harness.PROGRAMS + ":" + env["PATH"]}
        self.err = tempfile.TemporaryFile()
        self.process = subprocess.Popen([program("spawner")], env=env, stdout=subprocess.PIPE,
                                        stderr=self.err, start_new_session=True,
                                        preexec_fn=harness.die_with_us)
        self.port = int(self.process.stdout.readline())

    def ask(self, target, lines=()):
        with Asking(self.port) as c:
            response, = c.ask(request("GET", target, ["Host: h", *lines]))
        assert response.status == 200
        return response.body.decode("utf-8", "replace").splitlines()

    def stop(self):
        if self.process.poll() is None:
            with Asking(self.port) as c:
                c.socket.sendall(request("GET", "/quit"))
                try:
                    self.process.wait(10 * harness.SLOW)
                except subprocess.TimeoutExpired:
                    pass
        end(self.process)
        self.process.stdout.close()
        self.err.seek(0)
        result = harness.Result([], self.process.returncode, b"", self.err.read(), 0)
        self.err.close()
        self.dir.cleanup()
        assert result.rc == 0, result.err
        return result


@pytest.fixture(name="pair")
def pair_fixture(receiver, shim):
    """pair(VARIABLE=value, ...): two of them, bare and preloaded."""
    made = []

    def pair(**more):
        made.extend([Spawner(bare_env(**{k: v for k, v in more.items() if k in NAMES})),
                     Spawner(shim(**more))])
        return made[-2:]
    yield pair
    for one in made:
        one.stop()


def without_us(lines, *spawners):
    """What a child says, without the settings of the library and what names a spawner."""
    found = []
    for line in lines:
        for s in spawners:
            line = line.replace(s.dir.name, "DIR")
        if not line.startswith(OF_OURS):
            found.append(line)
    return found


def handed_on(lines, ours, started=None, baggage=None):
    """The model: what becomes of the environment that the bare child printed.  ours: the three
    values, None for what there is not."""
    entries = [line.partition("=")[::2] for line in lines]
    if any(k == "TRACEPARENT" and v != started for k, v in entries):
        return lines
    left, result = dict(ours), []
    if any(k == "BAGGAGE" and v != baggage for k, v in entries):
        left["BAGGAGE"] = None
    for line, (key, value) in zip(lines, entries):
        if key not in NAMES or key == "BAGGAGE" and (
                value != baggage or not ours["BAGGAGE"] and not started):
            result.append(line)
        elif left[key]:
            result.append(f"{key}={left[key]}")
            left[key] = None
    at = next(i for i, line in enumerate(result) if line.startswith("status "))
    return result[:at] + [f"{k}={left[k]}" for k in NAMES if left[k]] + result[at:]


EXECS = ["execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "execveat", "fexecve"]
WAYS = [(m, w) for m in ("fork", "vfork") for w in EXECS] + [("spawn", "spawn"), ("spawn", "spawnp")]
ENVIRONMENTS = ["environ", "own", "empty", "same", "twice", "other", "both", "set-empty",
                "others", "edge", "4096"]
REFUSED = ["null", "bad", "bad-entry", "no-end", "no-nul", "late", "4097"]  # or left alone
WHATS = ["missing", "dir", "script", "name", "noname", "bad-path", "bad-argv", "null-argv"]
# Where a sanitizer's own posix_spawn() reads before anybody else does.
UNREADABLE = ["bad", "bad-entry", "no-end", "no-nul", "late"] if harness.SAN else []
SEARCHING = ("execvp", "execvpe", "execlp", "spawnp")
BY_SHELL = SEARCHING[:3]  # where the kernel does not know the format


def same_but_for_ours(bare, traced, target, started, lines=()):
    want = without_us(bare.ask(target), bare, traced)
    got = without_us(traced.ask(target, lines), bare, traced)
    found = [line for line in got if re.fullmatch(f"TRACEPARENT=00-{TRACE}-(?!{PARENT})[0-9a-f]"
                                                  "{16}-01", line)]
    ours = {"TRACEPARENT": found[0][12:] if found else None, "TRACESTATE": "k=v",
            "BAGGAGE": "b=1"}
    return want, got, handed_on(want, ours, started) if any(
        line.startswith("argument ") or line.startswith("script ") for line in want) else want


COMES = [f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: k=v", "baggage: b=1"]


@pytest.mark.parametrize("maker,way", WAYS, ids=["-".join(w) for w in WAYS])
def test_every_way(pair, maker, way):
    bare, traced = pair(TRACEPARENT=STARTED)
    for env in ENVIRONMENTS:
        want, got, model = same_but_for_ours(bare, traced, f"/{maker}/{way}/{env}/self", STARTED,
                                             COMES)
        assert got == model, env
        own = env in ("other", "both", "set-empty")
        assert any(TRACE in line for line in got) != own
        assert (got == want) == own
    for env in REFUSED:
        if maker == "spawn" and env in UNREADABLE:
            continue
        want, got, _ = same_but_for_ours(bare, traced, f"/{maker}/{way}/{env}/self", STARTED,
                                         COMES)
        assert got == want, env
    for what in WHATS:
        if what == "name" and way not in SEARCHING or maker == "spawn" and "argv" in what:
            continue  # (glibc counts them itself, and crashes)
        if harness.SAN and what in ("bad-path", "bad-argv", "null-argv"):
            continue  # a crash of glibc's, or a program without a name, is something else there
        for env in ("environ", "own"):
            want, got, model = same_but_for_ours(
                bare, traced, f"/{maker}/{way}/{env}/{what}", STARTED, COMES)
            if what == "script":  # the shell says its environment in an order of its own
                assert sorted(got) == sorted(model)
                assert any(line.startswith("script ") for line in got) == (way in BY_SHELL)
            else:
                assert got == model, what


@pytest.mark.parametrize("maker,way", [("fork", "execve"), ("vfork", "execvpe"),
                                       ("spawn", "spawn")])
def test_what_fits_bare_fits_with_us(pair, maker, way):
    """E2BIG: where ours would be too much, the call is made without."""
    bare, traced = pair()
    want, = bare.ask(f"/{maker}/{way}/own/longest")
    got, = traced.ask(f"/{maker}/{way}/own/longest", COMES)
    assert got == want and int(want.split()[1]) not in (1, 40000)


@pytest.mark.parametrize("settings", [
    {"OTEL_PROPAGATORS": "none"}, {"OTEL_PROPAGATORS": "b3,baggage"},
    {"OTEL_SDK_DISABLED": "true"},
    {"OTEL_SDK_DISABLED": "true", "OTEL_PROPAGATORS": "tracecontext"}], ids=str)
def test_switched_off_nothing_is_handed_on(pair, settings):
    bare, traced = pair(TRACEPARENT=STARTED, TRACESTATE="s=t", BAGGAGE="u=v", **settings)
    for maker, way in WAYS:
        for env in ("environ", "others", "null", "bad"):
            if maker == "spawn" and env in UNREADABLE:
                continue
            target = f"/{maker}/{way}/{env}/self"
            assert without_us(traced.ask(target, COMES), traced) == \
                without_us(bare.ask(target), bare)


def test_baggage_and_tracestate_are_those_of_the_request(pair):
    bare, traced = pair(TRACEPARENT=STARTED, TRACESTATE="s=t", BAGGAGE="u=v")
    for lines, state, baggage in ((COMES, "k=v", "b=1"), (COMES[:1], None, None),
                                  (COMES[:2], "k=v", None), (COMES[::2], None, "b=1")):
        for maker, way in (("fork", "execv"), ("vfork", "execvp"), ("spawn", "spawnp")):
            target = f"/{maker}/{way}/environ/self"
            want, got = without_us(bare.ask(target), bare), without_us(traced.ask(target, lines),
                                                                       traced)
            span = next(line[48:64] for line in got if line.startswith("TRACEPARENT="))
            ours = {"TRACEPARENT": f"00-{TRACE}-{span}-01", "TRACESTATE": state,
                    "BAGGAGE": baggage}
            assert got == handed_on(want, ours, STARTED, "u=v")
            assert span != PARENT


def test_without_baggage_among_the_propagators_it_stays(pair):
    _, traced = pair(TRACEPARENT=STARTED, BAGGAGE="u=v", OTEL_PROPAGATORS="tracecontext")
    got = traced.ask("/fork/execv/environ/self", COMES)
    assert "BAGGAGE=u=v" in got and "TRACESTATE=k=v" in got


@pytest.mark.skipif("harness.SAN", reason="a sanitizer keeps what was freed")
def test_no_memory_is_lost_to_children(pair):
    """A vfork child that kept a reference would keep it in its parent."""
    _, traced = pair()
    with open(f"/proc/{traced.process.pid}/statm", encoding="ascii") as f:
        def pages():
            f.seek(0)
            return int(f.read().split()[1])
        for i in range(14):
            if i == 10:  # by then the ring has been written once around
                time.sleep(1)  # and what the exporter loads and keeps is there
                before = pages()
            for _ in range(40):
                for maker, way in (("vfork", "execve"), ("spawn", "spawn")):
                    traced.ask(f"/{maker}/{way}/own/self", [COMES[0], "tracestate: k=" + "v" * 250,
                                                            "baggage: b=" + "w" * 8000])
        assert pages() - before < 100


# ---- one trace

@pytest.fixture(scope="module")
def upstream():
    origin = Origin()
    yield origin
    origin.stop()


def http_spans(receiver):
    return [s for s in list(receiver.spans) if "http.request.method" in s.attrs]


def one_trace(receiver, log, n):
    """The spans are one SERVER and n CLIENTs, its children, whose ids the upstream saw."""
    clients = [s for s in http_spans(receiver) if s.kind == "CLIENT"]
    server, = (s for s in http_spans(receiver) if s.kind == "SERVER")
    assert len(clients) == n == len(log)
    assert server.trace == TRACE and server.parent == PARENT
    for c in clients:
        assert (c.trace, c.parent) == (TRACE, server.span)
    seen = sorted(dict((k.lower(), v) for k, v in r.headers)["traceparent"] for r in log)
    assert seen == sorted(f"00-{TRACE}-{c.span}-01" for c in clients)


CURL = "curl -sS -o /dev/null"
SCRIPTS = {
    "calls": "{curl} {url}/echo?1\n{curl} {url}/echo?2\nx=$({curl} {url}/echo?3)\n"
             "{curl} {url}/echo?4 | cat\n({curl} {url}/echo?5)\nexec {curl} {url}/echo?6\n",
    "xargs": "printf '%s\\n' 1 2 3 | xargs -P2 -I% {curl} {url}/echo?%\n",
    "make": "printf 'all: a b\\na:\\n\\t@{curl} {url}/echo?1\\nb:\\n\\t@{curl} {url}/echo?2\\n'"
            " | make -s -f - -j2\n",
    "python": PYTHON + " - <<'END'\nimport os, subprocess\n"
              "subprocess.run('{curl} {url}/echo?1'.split(), check=True)\n"
              "subprocess.run('{curl} {url}/echo?2', shell=True, check=True)\n"
              "subprocess.run('{curl} {url}/echo?3'.split(), check=True, env=dict(os.environ, A='b'))\n"
              "os.system('{curl} {url}/echo?4')\n"
              "os.popen('{curl} {url}/echo?5').read()\nEND\n",
    "perl": "perl -e '`{curl} {url}/echo?1`; system(q({curl} {url}/echo?2));"
            " open(P, q(-|), qw({curl} {url}/echo?3)); <P>; close P; exec(q({curl} {url}/echo?4))'\n",
    "env": "env A=b {curl} {url}/echo?1\nsetsid -w nice {curl} {url}/echo?2\n"
           "timeout 9 bash -c '{curl} {url}/echo?3'\n",
}
CALLS = {"calls": 6, "xargs": 3, "make": 2, "python": 5, "perl": 4, "env": 3}


@pytest.mark.parametrize("maker", ["fork", "vfork", "spawn"])
@pytest.mark.parametrize("script", list(SCRIPTS))
def test_a_script_of_calls_is_one_trace(receiver, shim, upstream, script, maker):
    upstream.take()
    n = CALLS[script]
    with tempfile.TemporaryDirectory() as out:
        s = Spawner(shim(TRACEPARENT=STARTED))
        try:
            with open(os.path.join(s.dir.name, script), "w", encoding="ascii") as f:
                f.write(SCRIPTS[script].replace("{curl}", CURL).replace("{url}", upstream.url))
            got = s.ask(f"/shell/{maker}/environ/{script}", COMES)
            assert got[-1] == "status 0", (got, out)
            log = upstream.take(n)
        finally:
            s.stop()
    wait_for(lambda: len(http_spans(receiver)) == n + 1, "the spans")
    one_trace(receiver, log, n)


def test_an_emptied_environment_takes_the_trace_and_the_library_away(receiver, shim, upstream):
    """env -i: what the next program is given is what the program asked for."""
    upstream.take()
    s = Spawner(shim())
    try:
        with open(os.path.join(s.dir.name, "calls"), "w", encoding="ascii") as f:
            f.write(f"exec env -i {CURL} {upstream.url}/echo\n")
        assert s.ask("/shell/fork/environ/calls", COMES) == ["status 0"]
        log = upstream.take(1)
    finally:
        s.stop()
    assert "traceparent" not in (k.lower() for k, _ in log[0].headers)
    receiver.wait(1)


# ---- processes that outlive the request they were started in

@pytest.mark.parametrize("kind", ["fork", "spawn", "forkserver", "pipe", "each"])
def test_a_process_is_in_a_request_only_while_it_is_open(receiver, shim, upstream, kind):
    upstream.take()
    port, n = free_port(), 60
    # A session of its own, ended whole: the pools' processes would stay.
    server = subprocess.Popen([PYTHON, os.path.join(HERE, "services", "workers.py"), str(port),
                               upstream.url, kind], env=shim(), start_new_session=True,
                              preexec_fn=harness.die_with_us)
    numbers = iter(range(n))

    def client():
        for i in numbers:
            with Asking(port) as c:
                answer, = c.ask(request("GET", f"/{i}", [
                    "Host: h", f"traceparent: 00-{i + 1:032x}-{i + 1:016x}-01"]))
                assert answer.status == 200
    try:
        wait_for(lambda: listening(port), "workers.py")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(client) for _ in range(4)]:
                done.result(60 * harness.SLOW)
        log = upstream.take(n)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    wrong, right = [], 0
    for r in log:
        (trace, _, _), = traceparents(r)
        own = int(r.target.partition("?")[2]) + 1
        right += int(trace, 16) == own
        if 0 < int(trace, 16) <= n and int(trace, 16) != own:
            wrong.append((own, trace))
    assert not wrong and len(log) == n
    assert right == n if kind == "each" else right <= 4, right


# ---- servers that start programs

class Web:
    """A real server in a directory of its own, with /cgi, a shell script that calls."""

    def __init__(self, name, env, calls):
        self.temp = tempfile.TemporaryDirectory(prefix="atr-cgi.")
        self.dir, self.port = self.temp.name, free_port()
        os.chmod(self.dir, 0o755)
        export = "".join(f"export {k}='{v}'\n" for k, v in env.items() if (k + "=").startswith(OF_OURS))
        self.file("cgi", "#!/bin/sh\necho Content-Type: text/plain\necho\n" + export + calls)
        self.err = tempfile.TemporaryFile()
        self.process = subprocess.Popen(getattr(self, name)(), env=env, stderr=self.err,
                                        stdout=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=harness.die_with_us)
        try:
            wait_for(lambda: listening(self.port), name)
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.stop().err}") from None

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(path, 0o755)
        return path

    def apache(self, mpm, module, more=""):
        load = "".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n"
                       for m in (mpm, "authz_core", module))
        user = "User nobody\nGroup nogroup\n" if os.geteuid() == 0 else ""
        if os.geteuid() == 0:
            os.chmod(self.dir, 0o777)
        conf = self.file("conf", f"{load}{user}ServerRoot {self.dir}\nPidFile {self.dir}/pid\n"
                         f"DefaultRuntimeDir {self.dir}\nListen 127.0.0.1:{self.port}\n"
                         f"ServerName localhost\nErrorLog {self.dir}/err\nStartServers 1\n{more}"
                         f"DocumentRoot {self.dir}\n<Directory {self.dir}>\nOptions ExecCGI\n"
                         "</Directory>\n<Files cgi>\nSetHandler cgi-script\n</Files>\n")
        return ["/usr/sbin/apache2", "-d", self.dir, "-f", conf, "-DFOREGROUND"]

    def apache2(self):
        return self.apache("mpm_prefork", "cgi")

    def lighttpd(self):
        conf = self.file("conf", 'server.modules = ( "mod_cgi" )\n'
                         f'server.document-root = "{self.dir}"\nserver.bind = "127.0.0.1"\n'
                         f'server.port = {self.port}\nserver.errorlog = "{self.dir}/err"\n'
                         'cgi.assign = ( "cgi" => "" )\n')
        return ["/usr/sbin/lighttpd", "-D", "-f", conf]

    def python(self):
        script = self.file("server.py", f"""
import http.server, os, subprocess
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        out = subprocess.run(["{self.dir}/cgi"], stdout=subprocess.PIPE).stdout
        out += subprocess.run(["{self.dir}/cgi"], stdout=subprocess.PIPE,
                              env=dict(os.environ, A="b")).stdout
        out += subprocess.run("{self.dir}/cgi", shell=True, stdout=subprocess.PIPE,
                              preexec_fn=lambda: None).stdout
        pid = os.posix_spawn("{self.dir}/cgi", ["cgi"], os.environ,
                             file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
        os.waitpid(pid, 0)
        if os.fork() == 0:
            os.dup2(2, 1)
            os.execl("{self.dir}/cgi", "cgi")
        os.wait()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(out)
http.server.HTTPServer(("127.0.0.1", {self.port}), Handler).serve_forever()
""")
        return [PYTHON, script]

    def perl(self):
        script = self.file("server.pl", f"""
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => {self.port}, Listen => 9,
                              ReuseAddr => 1) or die;
while (my $c = $s->accept) {{
    my $head = '';
    while ($head !~ /\\r\\n\\r\\n/) {{ sysread($c, $head, 4096, length $head) or last }}
    next unless $head;
    my $out = `{self.dir}/cgi`;
    system('{self.dir}/cgi >/dev/null');
    open(my $p, '-|', '{self.dir}/cgi', 'x') or die;
    $out .= join '', <$p>;
    close $p;
    syswrite($c, "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: " . length($out)
        . "\\r\\n\\r\\n" . $out);
    close $c;
}}
""")
        return ["perl", script]

    def stop(self):
        end(self.process, 15, 10)
        self.err.seek(0)
        result = harness.Result([], self.process.returncode, b"", self.err.read(), 0)
        self.err.close()
        self.temp.cleanup()
        return result


SERVERS = {"apache2": ("/usr/lib/apache2/modules/mod_cgi.so", 1),
           "lighttpd": ("/usr/lib/lighttpd/mod_cgi.so", 1),
           "python": (PYTHON, 5), "perl": ("/usr/bin/perl", 3)}


@pytest.mark.parametrize("name", list(SERVERS))
def test_programs_of_a_server_are_in_its_requests_trace(receiver, shim, upstream, name):
    path, times = SERVERS[name]
    if not os.path.exists(path):
        pytest.skip(f"there is no {path}")
    upstream.take()
    n = 2 * times
    web = Web(name, shim(TRACEPARENT=STARTED), f"{CURL} {upstream.url}/echo?1\n"
              f"curl -sS {upstream.url}/echo?2 -d called\n")
    try:
        with Asking(web.port) as c:
            response, = c.ask(request("GET", "/cgi", ["Host: h", "Connection: close", *COMES]))
        assert response.status == 200 and b"called" in response.body, response
        log = upstream.take(n)
        wait_for(lambda: len(http_spans(receiver)) == n + 1, "the spans")
    finally:
        web.stop()
    one_trace(receiver, log, n)


def test_system_is_libcs_own(receiver, shim, upstream):
    """Known limit: what system() and popen() start is given what was there before."""
    upstream.take()
    code = f"""
import ctypes, socket
libc = ctypes.CDLL(None)
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
c, _ = s.accept()
c.recv(9999)
assert libc.system(b"{CURL} {upstream.url}/echo?1") == 0
libc.pclose(ctypes.c_void_p(libc.popen(b"{CURL} {upstream.url}/echo?2", b"w")))
c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
""".replace("libc.popen(", "(setattr(libc.popen, 'restype', ctypes.c_void_p) or libc.popen)(")
    process = subprocess.Popen([PYTHON, "-c", code], env=shim(TRACEPARENT=STARTED),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True, preexec_fn=harness.die_with_us)
    try:
        with Asking(int(process.stdout.readline())) as c:
            response, = c.ask(request("GET", "/", ["Host: h", *COMES]))
        assert response.status == 200
        assert process.wait(10 * harness.SLOW) == 0
    finally:
        end(process)
        process.stdout.close()
        process.stderr.close()
    spans = [s for s in receiver.wait(3) if "http.request.method" in s.attrs]
    server, = (s for s in spans if s.kind == "SERVER")
    clients = [s for s in spans if s.kind == "CLIENT"]
    assert server.trace == TRACE and len(clients) == 2
    assert {(c.trace, c.parent) for c in clients} == {tuple(STARTED.split("-")[1:3])}
