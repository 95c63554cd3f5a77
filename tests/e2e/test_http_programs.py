# SPDX-License-Identifier: Apache-2.0
"""HTTP of programs everyone has: they behave as they do bare, and every request is one span.

Clients talk to an Origin of ours, which knows what really arrived; servers are asked
by a client of ours and keep an access log.
"""
import collections
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time

import pytest

import harness
from harness import bare_env, die_with_us, end, free_port, listening, run, wait_for
from http_peer import Asking, Origin, Tunnel, request, traceparents, without_context

PYTHON = "/usr/bin/python3"
BIG = hashlib.sha256(b"big").digest() * 32768  # 1 MiB


def needs(*programs):
    for program in programs:
        if not shutil.which(program) and not os.path.exists(program):
            pytest.skip(f"there is no {program}")


def http_spans(spans, kind):
    return [s for s in spans if s.kind == kind and "http.request.method" in s.attrs]


def attrs(span):
    """What the conventions of HTTP define; where in the program is another matter."""
    return {k: v for k, v in span.attrs.items() if not k.startswith(("thread.", "autotrace.", "code."))}


# ---- what a client did


def url_of(r):
    host = dict((n.lower(), v) for n, v in r.headers).get("host", "")
    url = r.target if "://" in r.target else f"http://{host}{r.target}"
    return re.sub(r"\bsig=[^&#]*", "sig=REDACTED", url)


KNOWN = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY"}


def one_span_each(spans, log, root=True):
    """Each request that arrived is one CLIENT span whose ids it carried, and there is no other."""
    spans = http_spans(spans, "CLIENT")
    by_ids = {(s.trace, s.span): s for s in spans}
    assert len(by_ids) == len(spans)
    for r in log:
        carried = traceparents(r)
        assert len(carried) == 1, f"{r.method} {r.target} carried {carried}"
        assert isinstance(carried[0], tuple), f"{r.method} {r.target}: {carried}"
        trace, span, flags = carried[0]
        s = by_ids.pop((trace, span), None)
        assert s, f"{r.method} {r.target}: no span has the ids it carried"
        assert flags == "03"
        told(s, r)
        assert s.parent == "" or not root, s
    assert not by_ids, f"spans of requests that never arrived: {list(by_ids.values())[:3]}"
    assert len(spans) == len(log)


def told(s, r):
    """The span tells what the server saw of this request."""
    a = s.attrs
    method = r.method if r.method in KNOWN else "_OTHER"
    assert a["http.request.method"] == method and s.kind == "CLIENT", s
    assert a.get("http.request.method_original") == (None if method == r.method else r.method)
    assert s.name == (method if method in KNOWN else "HTTP"), s
    assert a["url.full"] == url_of(r), s
    assert a["http.response.status_code"] == r.status, s
    assert a["network.protocol.version"] == r.version[5:], s
    assert (s.status == "ERROR") == (r.status >= 400) and not s.message, s
    assert a.get("error.type") == (str(r.status) if r.status >= 400 else None), s
    assert a["network.peer.address"] == "127.0.0.1" and a["network.peer.port"], s


class Client:
    """Runs programs bare and preloaded against an Origin."""

    def __init__(self, receiver, shim, origin):
        self.receiver, self.shim, self.origin = receiver, shim, origin

    def run(self, argv, rc=0, requests=None, normal=lambda out: out, ordered=True, stdin=b"",
            fresh=None, timeout=20, env=None):
        """Twice, the same in everything that can be seen; (result, log) of the traced run."""
        logs, results = [], []
        self.origin.take()
        for traced in False, True:
            at = {"cwd": fresh()} if fresh else {}
            r = run(argv, self.shim(**env or {}) if traced else bare_env(**env or {}), timeout,
                    stdin, **at)
            logs.append(self.origin.take(len(logs[0]) if logs else
                                         1 if requests is None else requests))
            results.append(r)
        bare, r = results
        assert bare.rc == rc, f"bare: {bare.rc}\n{bare.raw_err.decode(errors='replace')}"
        assert r.rc == rc, f"{r.rc}\n{r.raw_err.decode(errors='replace')}"
        assert normal(r.out) == normal(bare.out)
        assert normal(r.err.encode()) == normal(bare.raw_err)
        seen = [[without_context(q) for q in log] for log in logs]
        if not ordered:
            # (git without us leaves the encoding out of one request or another, as it goes.)
            seen = [sorted((q._replace(headers=[
                h for h in q.headers if h[0] != "Accept-Encoding"]) for q in one),
                           key=lambda q: (q.method, q.target, q.body)) for one in seen]
        assert seen[1] == seen[0]
        assert requests is None or len(logs[1]) == requests, [q.target for q in logs[1]]
        assert not any(traceparents(q) for q in logs[0]) or env
        assert r.total("ring_full") == r.total("bugs") == 0
        return r, logs[1]

    def traced(self, argv, **more):
        r, log = self.run(argv, **more)
        one_span_each(self.receiver.wait(r.total("exported")), log)
        return r, log


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    root = tmp_path_factory.mktemp("origin")
    (root / "a.txt").write_bytes(b"hello\n")
    (root / "big.bin").write_bytes(BIG)
    o = Origin(str(root))
    yield o
    o.stop()


@pytest.fixture
def client(receiver, shim, origin):
    return Client(receiver, shim, origin)


# ---- curl

WROTE = "%{http_code} %{size_request} %{size_upload} %{size_download} %{num_connects} " \
    "%{url_effective}\n"
CURL = ["curl", "-sS", "-w", WROTE]
CURLS = {
    "GET": (1, ["{}/a.txt?q=1"]),
    "POST": (1, ["-d", "x=1&y=2", "{}/echo"]),
    "POST of a large body": (1, ["--data-binary", "@{big}", "-o", "/dev/null", "{}/echo"]),
    "POST, chunked": (1, ["-H", "Transfer-Encoding: chunked", "-d", "abc", "{}/echo"]),
    "upload, with Expect": (1, ["-T", "{big}", "-H", "Expect: 100-continue", "-o", "/dev/null",
                                "{}/echo"]),
    "HTTP/1.0": (1, ["--http1.0", "{}/a.txt"]),
    "HTTP/0.9 is not asked": (1, ["--http1.1", "-H", "Connection: close", "{}/a.txt"]),
    "one after the other": (7, [f"{{}}/{p}" for p in (
        "a.txt", "big.bin", "status/404", "chunked", "close", "status/500", "a.txt")]),
    "redirect": (2, ["-L", "{}/redirect/a.txt"]),
    "HEAD": (2, ["-I", "{}/a.txt", "{}/big.bin"]),
    "204 and 304": (3, ["{}/status/204", "{}/status/304", "{}/a.txt"]),
    "DELETE": (1, ["-X", "DELETE", "{}/status/202"]),
    "another method": (1, ["-X", "PROPFIND", "{}/status/207"]),
    "a long head": (1, ["-H", "X-Long: " + "v" * 30000, "{}/a.txt"]),
    "a secret": (1, ["-u", "user:secret", "{}/a.txt?x=1&sig=secret&y=2"]),
    "a fragment": (1, ["{}/a.txt?q#here"]),
    "through a proxy": (2, ["--noproxy", "", "-x", "{}", "http://shop.example/a.txt",
                            "http://shop.example:81/echo"]),
}


@pytest.mark.parametrize("case", list(CURLS))
def test_curl(client, origin, case):
    requests, args = CURLS[case]
    big = os.path.join(origin.root, "big.bin")
    r, _ = client.traced(CURL + [a.replace("{}", origin.url).replace("{big}", big) for a in args],
                         requests=requests, normal=lambda out: out.replace(BIG, b"<big>"))
    assert not any("secret" in str(v) for s in client.receiver.spans for v in s.attrs.values())


def test_curl_in_parallel(client, origin):
    urls = [f"{origin.url}/echo?{i}" for i in range(12)]
    urls += [f"{origin.url}/slow?{i}" for i in range(4)]
    client.traced(["curl", "-sS", "-Z", "--no-progress-meter"] + urls, requests=16, ordered=False)


def test_curl_is_refused(client):
    argv = CURL + [f"http://127.0.0.1:{free_port()}/"]
    r, log = client.run(argv, rc=7, requests=0, normal=lambda out: re.sub(
        rb"after \d+ ms", b"after N ms", out))
    assert not log and not http_spans(client.receiver.spans, "CLIENT")


def test_curl_through_a_tunnel(client, origin):
    tunnel = Tunnel()
    try:
        argv = CURL + ["-p", "--noproxy", "", "-x", f"http://127.0.0.1:{tunnel.port}",
                       f"{origin.url}/a.txt"]
        r, log = client.run(argv, requests=1)
        wait_for(lambda: len(tunnel.up) == 2, "both tunnels' ends", 5)
    finally:
        tunnel.stop()
    bare, head = tunnel.heads
    line, = [l for l in head.split(b"\r\n") if l not in bare.split(b"\r\n")]
    assert head.replace(b"\r\n" + line, b"") == bare
    assert tunnel.up[0] == tunnel.up[1] and not traceparents(log[0]), "within the tunnel"
    span, = http_spans(client.receiver.wait(1), "CLIENT")
    assert line.decode() == f"traceparent: 00-{span.trace}-{span.span}-03"
    assert (span.name, span.attrs["http.request.method"]) == ("CONNECT", "CONNECT")
    assert span.attrs["http.response.status_code"] == 200 and span.status == ""
    assert (span.attrs["server.address"], span.attrs["server.port"]) == ("127.0.0.1", origin.port)
    assert span.attrs["network.peer.port"] == tunnel.port


def test_curl_sends_a_traceparent_of_its_own(client, origin):
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    _, log = client.run(CURL + ["-H", "TraceParent: " + own, f"{origin.url}/a.txt"], requests=1,
                        env={"E2E": "1"})
    assert traceparents(log[0]) == [tuple(own[3:].split("-"))]
    span, = http_spans(client.receiver.wait(1), "CLIENT")
    assert span.trace == own[3:35] and span.span != own[36:52]


def test_curl_in_a_trace(client, origin):
    """The environment carries a context: our parent, and the same trace goes on."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    r, log = client.run(CURL + [f"{origin.url}/a.txt"], requests=1, env={"TRACEPARENT": parent})
    span, = http_spans(client.receiver.wait(1), "CLIENT")
    assert (span.trace, span.parent) == (parent[3:35], parent[36:52])
    assert traceparents(log[0]) == [(span.trace, span.span, "01")]


def test_every_attribute_of_a_client(client, origin):
    client.run(CURL + ["-H", "Host: shop.example", f"{origin.url}/a.txt?q=1&sig=s"], requests=1)
    span, = http_spans(client.receiver.wait(1), "CLIENT")
    assert (span.name, span.kind, span.status, span.parent) == ("GET", "CLIENT", "", "")
    assert attrs(span) == {
        "http.request.method": "GET", "http.response.status_code": 200,
        "url.full": "http://shop.example/a.txt?q=1&sig=REDACTED",
        "server.address": "shop.example", "server.port": 80,
        "network.protocol.version": "1.1",
        "network.peer.address": "127.0.0.1", "network.peer.port": origin.port}


# ---- other clients


def test_wget(client, origin):
    needs("wget")
    client.traced(["wget", "-q", "-O", "-"] + [f"{origin.url}/{p}" for p in (
        "a.txt", "chunked", "redirect/a.txt", "a.txt", "close", "a.txt")], requests=7)


def test_wget_posts_and_fails(client, origin):
    needs("wget")
    client.traced(["wget", "-q", "-O", "-", "--post-data=x=1", f"{origin.url}/echo",
                   f"{origin.url}/status/404"], requests=2, rc=8)


HTTP_CLIENT = """
import http.client, sys
port = int(sys.argv[1])
c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
def ask(*args, **more):
    c.request(*args, **more)
    r = c.getresponse()
    print(r.status, r.getheaders(), r.read()[:100])
ask("GET", "/a.txt")
ask("POST", "/echo", b"x" * 100000)
ask("POST", "/echo", iter([b"abc", b"", b"de" * 40000]), encode_chunked=True,
    headers={"Transfer-Encoding": "chunked"})
ask("HEAD", "/big.bin")
ask("GET", "/status/404")
ask("PUT", "/echo", "text")
ask("GET", "/close")
ask("GET", "/chunked")
c.putrequest("GET", "/a.txt")
c.putheader("X-In", "pieces")
c.endheaders()
print(c.getresponse().read())
"""


def test_python_http_client(client, origin):
    client.traced([PYTHON, "-c", HTTP_CLIENT, str(origin.port)], requests=9)


REQUESTS = """
import requests, sys
from concurrent.futures import ThreadPoolExecutor
s = requests.Session()
s.trust_env = False
url = sys.argv[1]
for r in (s.get(url + "/a.txt"), s.post(url + "/echo", data={"x": "1"}),
          s.post(url + "/echo", json=[1, 2]), s.get(url + "/redirect/a.txt"),
          s.head(url + "/big.bin"), s.get(url + "/status/404"), s.get(url + "/chunked"),
          s.put(url + "/echo", data=iter([b"ab", b"cd"]))):
    print(r.status_code, r.text)
with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(lambda i: s.get(f"{url}/echo?{i}").status_code, range(12))))
"""


def test_python_requests(client, origin):
    if run([PYTHON, "-c", "import requests"], bare_env()).rc:
        pytest.skip("there is no python3-requests")
    client.traced([PYTHON, "-c", REQUESTS, origin.url], requests=21, ordered=False)


PHP = """
$url = $argv[1];
function show($what) { var_dump($what); }
$c = curl_init();
foreach (["/a.txt", "/chunked", "/status/404", "/close", "/redirect/a.txt"] as $path) {
    curl_setopt_array($c, [CURLOPT_URL => $url . $path, CURLOPT_RETURNTRANSFER => true,
                           CURLOPT_FOLLOWLOCATION => true, CURLOPT_TIMEOUT => 10]);
    show(curl_exec($c));
}
curl_setopt_array($c, [CURLOPT_URL => "$url/echo", CURLOPT_POSTFIELDS => str_repeat("x", 5000)]);
show(strlen(curl_exec($c)));
/* PHP's own code for HTTP, which is in the program itself */
show(file_get_contents("$url/a.txt"));
show(file_get_contents("$url/echo", false, stream_context_create(
    ["http" => ["method" => "POST", "content" => "abc"]])));
"""


def test_php(client, origin):
    """curl is an extension, which PHP opens with RTLD_DEEPBIND (hooks/dlopen.c)."""
    needs("php")
    if harness.SAN:
        pytest.skip("a sanitizer ends what opens a library RTLD_DEEPBIND, as PHP does")
    if run(["php", "-r", "curl_init();"], bare_env()).rc:
        pytest.skip("there is no php-curl")
    client.traced(["php", "-r", PHP, origin.url], requests=9)


NODE = """
const http = require('http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 3 });
function ask(method, path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ agent, method, path, host: '127.0.0.1', port: process.argv[2] },
      (response) => {
        let length = 0;
        response.on('data', (piece) => { length += piece.length; });
        response.on('end', () => resolve(`${method} ${path} ${response.statusCode} ${length}`));
      });
    request.on('error', reject);
    for (const piece of body || []) request.write(piece);
    request.end();
  });
}
(async () => {
  console.log(await ask('GET', '/a.txt'));
  console.log(await ask('POST', '/echo', ['abc', 'x'.repeat(100000)]));
  console.log(await ask('GET', '/big.bin'));
  console.log(await ask('HEAD', '/a.txt'));
  console.log(await ask('GET', '/status/404'));
  const many = [];
  for (let i = 0; i < 12; i++) many.push(ask('GET', i % 2 ? `/slow?${i}` : `/echo?${i}`));
  for (const line of await Promise.all(many)) console.log(line);
  agent.destroy();
})();
"""


def test_node(client, origin, tmp_path):
    needs("node")
    if harness.SAN:
        pytest.skip("node does not run under a sanitizer")
    (tmp_path / "client.js").write_text(NODE)
    client.traced(["node", str(tmp_path / "client.js"), str(origin.port)], requests=17,
                  ordered=False)


# ---- git and apt


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    needs("git")
    root = tmp_path_factory.mktemp("git")

    def git(*args, cwd=root):
        subprocess.run(["git"] + list(args), cwd=cwd, check=True, capture_output=True, timeout=60,
                       env=bare_env(GIT_CONFIG_GLOBAL="/dev/null", GIT_AUTHOR_NAME="a",
                                    GIT_AUTHOR_EMAIL="a@b", GIT_COMMITTER_NAME="a",
                                    GIT_COMMITTER_EMAIL="a@b"))
    git("init", "-q", "work")
    for i in range(20):
        (root / "work" / f"f{i}").write_bytes(os.urandom(20000))
        git("add", ".", cwd=root / "work")
        git("commit", "-q", "-m", f"{i}", cwd=root / "work")
    git("clone", "-q", "--bare", "work", "r.git")
    git("update-server-info", cwd=root / "r.git")
    o = Origin(str(root))
    yield o
    o.stop()


@pytest.mark.parametrize("way", ["smart", "dumb"])
def test_git_clone(receiver, shim, repository, tmp_path, way):
    url = repository.url + ("/git/r.git" if way == "smart" else "/r.git")
    places = [tmp_path / "bare", tmp_path / "traced"]
    fresh = iter(places)

    def directory():
        place = next(fresh)
        place.mkdir()
        return str(place)
    client = Client(receiver, shim, repository)
    _, log = client.run(["git", "clone", "-q", url, "clone"], fresh=directory, ordered=False,
                        env={"GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(tmp_path)})
    one_span_each(receiver.spans, log, root=False)
    assert len(log) >= (2 if way == "smart" else 5)

    def git(where, *args):
        return run(["git", "-C", str(where)] + list(args), bare_env()).ok().out
    for place in places:
        git(place / "clone", "fsck", "--full")
        assert git(place / "clone", "rev-parse", "HEAD") == \
            git(os.path.join(repository.root, "work"), "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A Debian repository of 12 small packages."""
    needs("apt-get", "dpkg-deb")
    root = tmp_path_factory.mktemp("apt")
    index = []
    for i in range(12):
        control = (f"Package: e2e-{i}\nVersion: 1.{i}\nArchitecture: all\nMaintainer: e2e <e2e@h>\n"
                   f"Description: one of many\n")
        tree = root / "tree" / str(i)
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(control)
        (tree / "data").write_bytes(os.urandom(3000 * i + 1))
        os.chmod(tree / "DEBIAN", 0o755)
        name = f"e2e-{i}.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", str(tree),
                        str(root / name)], check=True, capture_output=True, timeout=30)
        data = (root / name).read_bytes()
        index.append(f"{control}Filename: ./{name}\nSize: {len(data)}\n"
                     f"SHA256: {hashlib.sha256(data).hexdigest()}\n")
    (root / "Packages").write_text("\n".join(index))
    o = Origin(str(root))
    yield o
    o.stop()


def test_apt(receiver, shim, packages, tmp_path):
    """apt's http method writes several requests ahead of their answers."""
    if harness.SAN:
        pytest.skip("apt itself does not live under a sanitizer")
    places = [tmp_path / "bare", tmp_path / "traced"]
    argv = ["/bin/sh", "-ec", "$apt update; $apt download " + " ".join(
        f"e2e-{i}" for i in range(12)) + "; sha256sum *.deb"]
    seen = []
    for place, env in zip(places, (bare_env(), shim())):
        for d in "lists/partial", "cache/archives/partial", "etc", "got":
            (place / d).mkdir(parents=True)
        (place / "etc/sources.list").write_text(f"deb [trusted=yes] {packages.url} ./\n")
        (place / "status").write_text("")
        env["apt"] = "apt-get -qq" + "".join(f" -o {o}" for o in (
            f"Dir::Etc={place}/etc", f"Dir::Etc::sourcelist={place}/etc/sources.list",
            f"Dir::Etc::parts=-", f"Dir::State={place}", f"Dir::State::status={place}/status",
            f"Dir::Cache={place}/cache", "APT::Sandbox::User=root", "Acquire::Languages=none",
            "Dir::Log=/dev", "Acquire::http::Proxy=DIRECT", "Acquire::http::Pipeline-Depth=8"))
        packages.take()
        r = run(argv, env, 60, cwd=str(place / "got")).ok()
        log = packages.take(12)
        seen.append((r.out, sorted((without_context(q) for q in log),
                                   key=lambda q: (q.method, q.target))))
    assert seen[0] == seen[1] and seen[0][0].count(b".deb") == 12
    assert sum(q.target.endswith(".deb") for q in log) == 12
    one_span_each(receiver.wait(r.total("exported")), log, root=False)


# ---- load


def test_ab(client, origin):
    needs("ab")
    keep = re.compile(rb"(Complete|Failed|Keep-Alive) requests|(Total|HTML) transferred|Document")

    def normal(out):
        return [l for l in out.splitlines() if keep.match(l)]
    for args, n in (["-n", "120", "-c", "8"], 120), (["-k", "-n", "300", "-c", "8"], 300), \
            (["-k", "-p", os.path.join(origin.root, "a.txt"), "-n", "50", "-c", "2"], 50):
        del client.receiver.spans[:]
        target = "/echo" if "-p" in args else "/a.txt"
        r, log = client.run(["ab", "-q"] + args + [origin.url + target], normal=normal,
                            ordered=False)
        assert len(log) == n
        one_span_each(client.receiver.wait(r.total("exported")), log)


def test_wrk(receiver, shim, origin):
    """What wrk cuts off at its end may be logged or not; all else is one span each."""
    needs("wrk")
    connections = 8
    origin.take()
    r = run(["wrk", "-t2", f"-c{connections}", "-d1s", origin.url + "/a.txt"],
            shim(OTEL_BSP_MAX_QUEUE_SIZE="100000", AUTOTRACE_EXIT_TIMEOUT="10000"), 30).ok()
    wait_for(lambda: origin.quiet(), "the last requests")
    log = origin.take()
    done = int(re.search(rb"(\d+) requests in", r.out).group(1))
    assert done > 100 and b"Non-2xx" not in r.out and b"Socket errors" not in r.out
    assert r.total("ring_full") == r.total("bugs") == 0
    spans = http_spans(receiver.wait(r.total("exported"), 10), "CLIENT")
    arrived = {traceparents(q)[0][:2]: q for q in log}
    assert len(arrived) == len(log), "the same ids in two requests"
    finished = {(s.trace, s.span): s for s in spans if "http.response.status_code" in s.attrs}
    assert done <= len(finished) <= done + connections
    assert set(finished) <= set(arrived) and len(arrived) <= len(finished) + connections
    for ids, s in finished.items():
        told(s, arrived[ids])


# ---- servers


class Web:
    """One server over a directory; everything of it in a temporary one."""

    def __init__(self, name, env):
        self.dir = tempfile.mkdtemp(prefix="atr-web.")
        os.chmod(self.dir, 0o755)
        self.port, self.access = free_port(), os.path.join(self.dir, "access.log")
        self.root = os.path.join(self.dir, "root")
        os.mkdir(self.root)
        for file, content in ("small.txt", b"small\n"), ("big.bin", BIG), ("empty", b""):
            path = os.path.join(self.root, file)
            with open(path, "wb") as f:
                f.write(content)
            os.utime(path, (1e9, 1e9))
        self.err = open(os.path.join(self.dir, "err"), "wb+")
        try:
            argv = getattr(self, name.partition("-")[0])(name)
            self.process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL,
                                            stderr=self.err, start_new_session=True,
                                            preexec_fn=die_with_us)
        except BaseException:
            shutil.rmtree(self.dir)
            raise
        try:
            wait_for(lambda: listening(self.port), name)
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.stop()}") from None

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def nginx(self, name):
        needs("nginx")
        temp = "".join(f"{kind}_temp_path {self.dir}/{kind};\n"
                       for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        conf = self.file("conf", f"""
daemon off;
{'user nobody nogroup;' if os.geteuid() == 0 else ''}
worker_processes 1;
pid {self.dir}/pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
{temp}
log_format e2e '$request';
access_log {self.access} e2e;
sendfile on;
server {{ listen 127.0.0.1:{self.port}; root {self.root}; }}
}}
""")
        return ["nginx", "-p", self.dir, "-c", conf, "-e", "stderr"]

    def apache2(self, name):
        needs("apache2")
        modules = ["authz_core"]
        for module in ["mpm_" + name.partition("-")[2]] + modules:
            if not os.path.exists(f"/usr/lib/apache2/modules/mod_{module}.so"):
                pytest.skip(f"apache2 has no mod_{module}")
        load = "".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n"
                       for m in ["mpm_" + name.partition("-")[2]] + modules)
        user = "User nobody\nGroup nogroup\n" if os.geteuid() == 0 else ""
        conf = self.file("conf", f"""
{load}{user}
ServerRoot {self.dir}
DefaultRuntimeDir {self.dir}
PidFile {self.dir}/pid
Listen 127.0.0.1:{self.port}
ServerName localhost
ErrorLog {self.dir}/err
LogFormat "%r" e2e
CustomLog {self.access} e2e
StartServers 2
KeepAlive On
EnableSendfile On
DocumentRoot {self.root}
""")
        return ["apache2", "-d", self.dir, "-f", conf, "-DFOREGROUND"]

    def lighttpd(self, name):
        needs("lighttpd")
        conf = self.file("conf", f"""
server.modules = ( "mod_accesslog" )
server.document-root = "{self.root}"
server.bind = "127.0.0.1"
server.port = {self.port}
server.errorlog = "{self.dir}/err"
accesslog.filename = "{self.access}"
accesslog.format = "%r"
""")
        return ["lighttpd", "-D", "-f", conf]

    def python(self, name):
        return [PYTHON, "-u", "-m", "http.server", "-b", "127.0.0.1", "-d", self.root, "-p",
                "HTTP/1.1", str(self.port)]

    def logged(self):
        """Method and target of each line of the access log."""
        if os.path.exists(self.access):
            with open(self.access, encoding="latin-1") as f:
                return [tuple(l.split()[:2]) for l in f]
        with open(self.err.name, encoding="latin-1") as f:
            return re.findall(r'"([A-Z]+) (\S+) HTTP/1.[01]" \d+', f.read())

    def stop(self, lines=0):
        """Ends it; what it wrote to stderr.  Some write their access log only now, and some
        need a moment for its last line."""
        for _ in range(20):
            if len(self.logged()) >= lines:
                break
            time.sleep(0.05)
        end(self.process, 2 if "python" in self.process.args[0] else 15, 10)
        self.log = self.logged()
        self.err.seek(0)
        err = self.err.read()
        self.err.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        return err


Asked = collections.namedtuple("Asked", "method target version trace span flags response")


class Questions:
    """Asks a server everything, each time with ids of our own; remembers both sides."""

    def __init__(self, port):
        self.port, self.asked = port, []

    def make(self, method, target, headers=(), body=b"", version="1.1", flags="01"):
        n = len(self.asked) + 1
        trace, span = f"{n:032x}", f"{n:016x}"
        head = ["Host: shop.example:8080"] if version == "1.1" else []
        head += list(headers) + [f"traceparent: 00-{trace}-{span}-{flags}"]
        self.asked.append(Asked(method, target, version, trace, span, flags, None))
        return request(method, target, head, body, version)

    def ask(self, *requests):
        """Over one connection, each when the one before is answered."""
        with Asking(self.port) as c:
            for args in requests:
                data = self.make(*args[:2], **dict(args[2] if len(args) > 2 else {}))
                self.answered(c.ask(data))

    def at_once(self, *requests):
        with Asking(self.port) as c:
            data = [self.make(*args) for args in requests]
            self.answered(c.ask(*data))

    def answered(self, responses):
        for i, response in enumerate(responses, len(self.asked) - len(responses)):
            headers = [(n, " ".join(sorted(v.split(","))) if n == "allow" else v)
                       for n, v in response.headers if n not in ("date", "etag")]
            self.asked[i] = self.asked[i]._replace(response=response._replace(headers=headers))

    def everything(self):
        close = {"headers": ["Connection: close"]}
        self.ask(("GET", "/small.txt?q=1"), ("GET", "/big.bin"), ("HEAD", "/big.bin"),
                 ("GET", "/empty"), ("GET", "/small.txt"))
        self.ask(("GET", "/nothing-here", close))
        self.ask(("GET", "/big.bin", {"headers": ["Range: bytes=1000-99999", "Connection: close"]}))
        self.ask(("GET", "/small.txt", {"headers": [
            "If-Modified-Since: Sun, 09 Sep 2031 01:46:40 GMT"]}), ("GET", "/small.txt"))
        self.ask(("POST", "/small.txt", {"headers": ["Connection: close"], "body": b"x" * 5000}))
        self.ask(("OPTIONS", "/small.txt", close))
        self.ask(("PROPFIND", "/small.txt", close))
        self.ask(("GET", "/small.txt", {"version": "1.0"}))
        self.ask(("GET", "/big.bin", {"version": "1.0"}))
        self.at_once(*[("GET", f"/small.txt?{i}") for i in range(5)])
        self.at_once(("GET", "/big.bin"), ("GET", "/small.txt"), ("HEAD", "/small.txt"))
        with Asking(self.port) as c:  # a head in pieces
            data = self.make("GET", "/small.txt?pieces")
            for at in range(0, len(data), 11):
                c.socket.sendall(data[at:at + 11])
            self.answered(c.ask(b""))
        return self.asked


def server_spans(spans, asked):
    """Each sampled request is one SERVER span under the span that asked; there is no other."""
    spans = http_spans(spans, "SERVER")
    by_parent = {s.parent: s for s in spans}
    assert len(by_parent) == len(spans), "two spans of one request"
    wanted = [q for q in asked if q.flags == "01"]
    for q in wanted:
        s = by_parent.pop(q.span, None)
        assert s, f"no span of {q.method} {q.target}"
        a, status = s.attrs, q.response.status
        assert s.trace == q.trace and s.flags == 0x301, s
        method = q.method if q.method in KNOWN else "_OTHER"
        assert s.name == (method if method in KNOWN else "HTTP")
        assert a["http.request.method"] == method
        assert a["http.response.status_code"] == status, s
        path, _, query = q.target.partition("?")
        assert (a["url.path"], a.get("url.query", "")) == (path, query)
        assert a["url.scheme"] == "http" and a["network.protocol.version"] == q.version
        assert (s.status == "ERROR") == (status >= 500), s
        assert a.get("error.type") == (str(status) if status >= 500 else None), s
        if q.version == "1.1":
            assert (a["server.address"], a["server.port"]) == ("shop.example", 8080)
        assert a["client.address"] == a["network.peer.address"] == "127.0.0.1"
    assert not by_parent and len(spans) == len(wanted), list(by_parent.values())[:3]


WEBS = ["nginx", "apache2-event", "apache2-prefork", "lighttpd", "python"]


def served(name, env):
    """Asks a server everything; (what was asked, the server, still running)."""
    web = Web(name, env)
    try:
        return Questions(web.port).everything(), web
    except BaseException as e:
        raise AssertionError(f"{name}: {web.stop()[-2000:]}") from e


@pytest.mark.parametrize("name", WEBS)
def test_server(receiver, shim, name):
    bare, plain = served(name, bare_env())
    plain.stop(len(bare))
    asked, web = served(name, shim())
    try:
        receiver.wait(len(asked), 5 * harness.SLOW)
    finally:
        stats = harness.Result([], 0, b"", web.stop(), 0)
    for a, b in zip(asked, bare):
        assert a == b, f"{a.method} {a.target}: {str(a)[:600]} bare: {str(b)[:600]}"
    assert sorted(web.log) == sorted(plain.log) == sorted((q.method, q.target) for q in asked)
    bodies = [q.response.body for q in asked if q.target == "/big.bin" and q.method == "GET"
              and q.response.status == 200]
    assert len(bodies) >= 3 and set(bodies) == {BIG}
    server_spans(receiver.spans, asked)
    assert stats.total("ring_full") == stats.total("bugs") == 0


@pytest.mark.parametrize("name", WEBS)
def test_a_request_that_is_not_sampled_leaves_no_span(receiver, shim, name):
    web = Web(name, shim())
    try:
        q = Questions(web.port)
        with Asking(web.port) as c:
            q.answered(c.ask(q.make("GET", "/small.txt", flags="00")))
            q.answered(c.ask(q.make("GET", "/small.txt?sampled")))
            q.answered(c.ask(q.make("GET", "/small.txt", flags="00")))
        receiver.wait(1, 5)
    finally:
        web.stop()
    assert [a.response.body for a in q.asked] == [b"small\n"] * 3
    server_spans(receiver.spans, q.asked)


@pytest.mark.parametrize("name", WEBS)
def test_every_attribute_of_a_server(receiver, shim, name):
    web = Web(name, shim())
    try:
        with Asking(web.port) as c:
            c.ask(request("GET", "/small.txt?q=1&sig=s", [
                "Host: shop.example", "User-Agent: e2e/1.0", "Connection: close"]))
            peer = c.socket.getsockname()[1]
        receiver.wait(1, 5)
    finally:
        web.stop()
    span, = http_spans(receiver.spans, "SERVER")
    assert (span.name, span.kind, span.status, span.parent) == ("GET", "SERVER", "", "")
    assert attrs(span) == {
        "http.request.method": "GET", "http.response.status_code": 200,
        "url.scheme": "http", "url.path": "/small.txt", "url.query": "q=1&sig=REDACTED",
        "server.address": "shop.example", "server.port": 80, "client.address": "127.0.0.1",
        "user_agent.original": "e2e/1.0", "network.protocol.version": "1.1",
        "network.peer.address": "127.0.0.1", "network.peer.port": peer}


def test_a_server_does_not_believe_what_is_malformed(receiver, shim):
    """It is answered as it is bare, and is nobody's span."""
    answers = []
    for env in bare_env(), shim():
        web = Web("nginx", env)
        try:
            with Asking(web.port) as c:
                c.socket.sendall(b"GET /small.txt HTTP/1.1\r\nHost : h\r\n\r\n")
                answers.append(re.sub(rb"Date: .*", b"", c.file.read()))
            q = Questions(web.port)
            q.ask(("GET", "/small.txt"))
        finally:
            web.stop()
    assert answers[0] == answers[1]
    server_spans(receiver.spans, q.asked)


# ---- the checks can fail


def fake(kind="CLIENT", **more):
    from receiver import Span
    a = {"http.request.method": "GET", "url.full": "http://h/x", "http.response.status_code": 200,
         "network.protocol.version": "1.1", "network.peer.address": "127.0.0.1",
         "network.peer.port": 1, "url.path": "/x", "url.scheme": "http",
         "server.address": "shop.example", "server.port": 8080, "client.address": "127.0.0.1"}
    a.update(more.pop("attrs", {}))
    fields = {"name": "GET", "kind": kind, "trace": "1" * 32, "span": "2" * 16, "parent": "",
              "start": 1, "end": 2, "attrs": a, "status": "", "message": "", "flags": 0x101,
              "state": "", "resource": {}, "scope": "s", "request": 1}
    fields.update(more)
    return Span(**fields)


def test_the_check_of_clients_can_fail():
    from http_peer import Request
    parent = ("traceparent", f"00-{'1' * 32}-{'2' * 16}-03")
    r = Request("GET", "/x", "HTTP/1.1", [("Host", "h"), parent], b"", 200, None)
    one_span_each([fake()], [r])
    wrong = [
        ([], [r]), ([fake()], []), ([fake(), fake(span="3" * 16)], [r]),
        ([fake(span="3" * 16)], [r]), ([fake(trace="3" * 32)], [r]),
        ([fake(parent="3" * 16)], [r]), ([fake(name="GET /x")], [r]),
        ([fake(status="ERROR")], [r]), ([fake(attrs={"error.type": "500"})], [r]),
        ([fake(attrs={"http.response.status_code": 201})], [r]),
        ([fake(attrs={"url.full": "http://h/y"})], [r]), ([fake(kind="SERVER")], [r]),
        ([fake(attrs={"network.protocol.version": "1.0"})], [r]),
        ([fake()], [r, r]), ([fake()], [r._replace(headers=[parent, parent])]),
        ([fake()], [r._replace(headers=[("traceparent", parent[1].upper() + "-")])]),
        ([fake()], [r._replace(status=404)]),
    ]
    for i, (spans, log) in enumerate(wrong):
        try:
            one_span_each(spans, log)
        except (AssertionError, KeyError):
            continue
        pytest.fail(f"{i} passed")


def test_the_check_of_servers_can_fail():
    from http_peer import Response
    q = Asked("GET", "/x", "1.1", "1" * 32, "3" * 16, "01", Response(200, [], b""))
    good = fake("SERVER", parent="3" * 16, flags=0x301)
    server_spans([good], [q])
    server_spans([], [q._replace(flags="00")])
    wrong = [
        ([], [q]), ([good], []), ([good, good._replace(span="4" * 16)], [q]),
        ([good._replace(parent="")], [q]), ([good._replace(trace="4" * 32)], [q]),
        ([good._replace(flags=0x101)], [q]), ([good], [q._replace(flags="00")]),
        ([good._replace(kind="CLIENT")], [q]), ([good._replace(name="GET /x")], [q]),
        ([good], [q._replace(response=q.response._replace(status=500))]),
        ([good], [q._replace(target="/x?y")]), ([good], [q._replace(version="1.0")]),
    ]
    for i, (spans, asked) in enumerate(wrong):
        try:
            server_spans(spans, asked)
        except (AssertionError, KeyError):
            continue
        pytest.fail(f"{i} passed")
