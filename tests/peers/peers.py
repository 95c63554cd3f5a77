# SPDX-License-Identifier: Apache-2.0
"""Receivers that are not ours: how they are had, started and asked what they got.

They are built or fetched once, to a cache outside the repository
(XDG_CACHE_HOME/libautotrace-peers), in the versions of PINNED.  What cannot be
had on this machine skips its tests and says why.
"""
import glob
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile

import pytest

import facts
import harness
import otlp_json
from receiver import Receiver, load_proto

PINNED = {
    # Newer ones need a module (internal/statusutil 0.164.0) that not every module proxy gives out.
    "otelcol": "0.160.0",
    "otelcol stable modules": "1.66.0",
    "jaeger": "1.76.0",
    "rotel": "0.0.1a15",
    "zipkin": "3.6.1",
}
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                     "libautotrace-peers")
MAVEN = "https://repo1.maven.org/maven2"
GET_LIMIT = 1500  # seconds for fetching and building one of them


class CannotBeHad(Exception):
    pass


def do(argv, cwd, **env):
    """Run; CannotBeHad with the last line it said."""
    try:
        done = subprocess.run(["nice", "-n", "19", *argv], cwd=cwd, env={**os.environ, **env}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=GET_LIMIT, check=False)
    except FileNotFoundError as e:
        raise CannotBeHad(f"no {argv[0]}: {e}") from e
    except subprocess.TimeoutExpired as e:
        raise CannotBeHad(f"{argv[0]} took more than {GET_LIMIT} s") from e
    if done.returncode:
        last = [line for line in done.stdout.splitlines() if line.strip()][-1:] or ["no word"]
        raise CannotBeHad(f"{' '.join(argv[:3])}: {last[0][-300:]}")
    return done.stdout


def cached(name, make):
    """The path of a file in the cache; make(path, folder) makes it where it is not there."""
    path = os.path.join(CACHE, f"{name}-{PINNED[name.split('.')[0]]}")
    if not os.path.exists(path):
        os.makedirs(CACHE, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            made = os.path.join(folder, "made")
            try:
                make(made, folder)
            except CannotBeHad as e:
                pytest.skip(f"{name} cannot be had: {e}")
            os.chmod(made, 0o755)
            os.rename(made, path)
    return path


def go(folder, *args, **env):
    if not shutil.which("go"):
        raise CannotBeHad("no go compiler")
    return do(["go", *args], folder, GOFLAGS="-buildvcs=false", GOWORK="off", **env)


def make_otelcol(made, folder):
    version, stable = PINNED["otelcol"], PINNED["otelcol stable modules"]
    go(folder, "install", f"go.opentelemetry.io/collector/cmd/builder@v{version}", GOBIN=folder)
    with open(os.path.join(folder, "manifest.yaml"), "w", encoding="ascii") as f:
        module = "go.opentelemetry.io/collector"
        f.write(f"""
dist: {{module: autotrace.test/otelcol, name: otelcol, output_path: ./src}}
receivers: [{{gomod: {module}/receiver/otlpreceiver v{version}}}]
processors: [{{gomod: {module}/processor/batchprocessor v{version}}}]
exporters: [{{gomod: {module}/exporter/otlphttpexporter v{version}}}]
providers: [{{gomod: {module}/confmap/provider/fileprovider v{stable}}}]
conf_resolver: {{default_uri_scheme: file}}
""")
    do(["./builder", "--config", "manifest.yaml"], folder, GOFLAGS="-buildvcs=false", GOWORK="off")
    os.rename(os.path.join(folder, "src", "otelcol"), made)


def make_jaeger(made, folder):
    """Built inside its module: its go.mod has replacements.  Its web pages are not in it."""
    answer = go(folder, "mod", "download", "-json", f"github.com/jaegertracing/jaeger@v{PINNED['jaeger']}")
    source = json.loads(answer[answer.index("{"):])["Dir"]
    go(source, "build", "-ldflags=-s -w", "-o", made, "./cmd/all-in-one")


def make_rotel(made, folder):
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, f"rotel=={PINNED['rotel']}"]
    try:
        do(pip, folder)
    except CannotBeHad:
        do(["python3", *pip[1:]], folder)
    with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
        wheel.extract("rotel/rotel-agent", folder)
    os.rename(os.path.join(folder, "rotel", "rotel-agent"), made)


def make_zipkin(made, folder):
    if not shutil.which("java"):
        raise CannotBeHad("no java")
    name = f"zipkin-server-{PINNED['zipkin']}-exec.jar"
    try:
        with urllib.request.urlopen(f"{MAVEN}/io/zipkin/zipkin-server/{PINNED['zipkin']}/{name}",
                                    timeout=60) as jar, open(made, "wb") as f:
            shutil.copyfileobj(jar, f)
    except OSError as e:
        raise CannotBeHad(f"{MAVEN}: {e}") from e


# ---- running ----

class Peer:
    """A process with a directory of its own; `ports` by (protocol, security)."""

    ready_in = 30

    def __init__(self, argv, **env):
        self.argv, self.env = argv, harness.bare_env(**env)
        self.log = open(self.dir + "/log", "wb+")
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.argv, env=self.env, cwd=self.dir, stdout=self.log, stderr=self.log, start_new_session=True,
            preexec_fn=harness.die_with_us)
        try:
            harness.wait_for(self.ready, type(self).__name__, self.ready_in)
        except AssertionError:
            text = self.text()
            self.stop()
            raise AssertionError(f"{self.argv[0]} does not start:\n{text[-2000:]}") from None

    def ready(self):
        assert self.process.poll() is None, self.text()[-2000:]
        return all(harness.listening(port) for port in self.ports.values())

    def text(self):
        with open(self.dir + "/log", encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self):
        harness.end(self.process)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def reset(self):
        """It forgets what came: by starting anew."""
        harness.end(self.process, signal.SIGKILL)
        self.start()

    def wait(self, ids, timeout=15):
        """What it says it got, when all of these ids are there or time is up."""
        end = time.monotonic() + timeout * harness.SLOW
        while True:
            told = self.told(ids)
            if ids.keys() <= told.keys() or time.monotonic() > end:
                return told
            time.sleep(0.1)


class Sink(Receiver):
    """Our own strict receiver, as the one a peer hands everything on to."""

    def __init__(self):
        super().__init__()
        self.bodies = []

    def decode(self, handler, body, number):
        spans = super().decode(handler, body, number)
        request = load_proto().ExportTraceServiceRequest()
        gzipped = handler.headers.get("Content-Encoding") == "gzip"
        request.ParseFromString(gzip.decompress(body) if gzipped else body)
        with self.lock:
            self.bodies.append(request)
        return spans

    def reset(self):
        with self.lock:
            self.bodies, self.spans, self.violations, self.seen = [], [], [], set()

    def told(self):
        with self.lock:
            bodies, violations = list(self.bodies), list(self.violations)
        assert not violations, violations[:3]
        return facts.of_requests(bodies)


class Forwarder(Peer):
    """It hands everything on to a Sink."""

    def reset(self):
        self.sink.reset()

    def told(self, ids):
        return self.sink.told()

    def count(self):
        return len(self.sink.told())

    def stop(self):
        super().stop()
        self.sink.stop()


OTLP = [(protocol, security) for protocol in ("http/protobuf", "http/json", "grpc")
        for security in ("plain", "tls", "mtls")]


class Otelcol(Forwarder):
    """The OpenTelemetry Collector; http/json and http/protobuf share a port."""

    speaks = OTLP

    def __init__(self, certificates):
        binary = cached("otelcol", make_otelcol)
        self.dir, self.sink = tempfile.mkdtemp(prefix="atr-otelcol."), Sink()
        self.ports = {}
        receivers = {}
        for security in "plain", "tls", "mtls":
            tls = {} if security == "plain" else {
                "tls": {"cert_file": certificates.path("server"), "key_file": certificates.path("server", ".key")}}
            if security == "mtls":
                tls["tls"]["client_ca_file"] = certificates.path("ca")
            http, grpc = harness.free_port(), harness.free_port()
            receivers["otlp/" + security] = {"protocols": {
                "http": {"endpoint": f"127.0.0.1:{http}", **tls}, "grpc": {"endpoint": f"127.0.0.1:{grpc}", **tls}}}
            self.ports.update({("http/protobuf", security): http, ("http/json", security): http,
                               ("grpc", security): grpc})
        self.small = harness.free_port()  # takes no request larger than this:
        receivers["otlp/small"] = {"protocols": {
            "http": {"endpoint": f"127.0.0.1:{self.small}", "max_request_body_size": 4000}}}
        with open(self.dir + "/config.yaml", "w", encoding="ascii") as f:
            json.dump({  # which is YAML
                "receivers": receivers, "processors": {"batch": {"timeout": "50ms"}},
                "exporters": {"otlphttp": {"endpoint": self.sink.endpoint, "compression": "none"}},
                "service": {"telemetry": {"metrics": {"level": "none"}}, "pipelines": {"traces": {
                    "receivers": list(receivers), "processors": ["batch"], "exporters": ["otlphttp"]}}}}, f)
        super().__init__([binary, "--config", "file:" + self.dir + "/config.yaml"])


class Rotel(Forwarder):
    speaks = [("http/protobuf", "plain"), ("http/json", "plain"), ("grpc", "plain")]

    def __init__(self, certificates):
        binary = cached("rotel", make_rotel)
        self.dir, self.sink = tempfile.mkdtemp(prefix="atr-rotel."), Sink()
        http, grpc = harness.free_port(), harness.free_port()
        self.ports = {("http/protobuf", "plain"): http, ("http/json", "plain"): http, ("grpc", "plain"): grpc}
        super().__init__([
            binary, "start", "--otlp-http-endpoint", f"127.0.0.1:{http}", "--otlp-grpc-endpoint",
            f"127.0.0.1:{grpc}", "--exporter", "otlp", "--otlp-exporter-protocol", "http",
            "--otlp-exporter-endpoint", self.sink.endpoint, "--otlp-exporter-compression", "none",
            "--batch-timeout", "100ms", "--pid-file", self.dir + "/pid", "--log-file", self.dir + "/log2"])


class Jaeger(Peer):
    """all-in-one with its memory; asked by the query API, version 3, which answers in OTLP."""

    speaks = OTLP

    def __init__(self, certificates, security="plain"):
        binary = cached("jaeger", make_jaeger)
        self.dir = tempfile.mkdtemp(prefix="atr-jaeger.")
        free = [harness.free_port() for _ in range(9)]
        self.query, http, grpc = free[0], free[1], free[2]
        self.ports = {("http/protobuf", security): http, ("http/json", security): http, ("grpc", security): grpc,
                      ("zipkin", security): free[3]}
        options = ["--query.http-server.host-port", f"127.0.0.1:{self.query}", "--query.grpc-server.host-port",
                   f"127.0.0.1:{free[4]}", "--collector.otlp.http.host-port", f"127.0.0.1:{http}",
                   "--collector.otlp.grpc.host-port", f"127.0.0.1:{grpc}", "--collector.zipkin.host-port",
                   f"127.0.0.1:{free[3]}", "--collector.grpc-server.host-port", f"127.0.0.1:{free[5]}",
                   "--collector.http-server.host-port", f"127.0.0.1:{free[6]}", "--admin.http.host-port",
                   f"127.0.0.1:{free[7]}"]
        for name in ("http", "grpc") if security != "plain" else ():
            tls = f"--collector.otlp.{name}.tls."
            options += [tls + "enabled", tls + "cert", certificates.path("server"), tls + "key",
                        certificates.path("server", ".key")]
            options += [tls + "client-ca", certificates.path("ca")] if security == "mtls" else []
        super().__init__([binary, *options], SPAN_STORAGE_TYPE="memory")

    def ready(self):
        return super().ready() and harness.listening(self.query)

    def loses(self, fact):
        """What its own model of a span has no room for, and what it adds."""
        return fact in ("flags", "resource schema_url", "scope schema_url") or "@jaeger@" in fact

    def count(self):
        traces = self.ask("traces?service=e2e&limit=100000")
        return sum(len(trace["spans"]) for trace in traces["data"])

    def ask(self, what):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.query}/api/{what}", timeout=20) as answer:
            return json.load(answer)

    def told(self, ids):
        found = {}
        for trace in sorted({fact["trace_id"] for fact in ids.values()}):
            try:
                tree = self.ask("v3/traces/" + trace)["result"]
            except urllib.error.HTTPError as e:
                if e.code != 404:
                    raise
                continue
            found.update(facts.of_requests([otlp_json.to_message(json.dumps(tree).encode())]))
        return found


class Zipkin(Peer):
    """The server's jar, with its memory.  Takes Zipkin's own JSON, not OTLP."""

    ready_in = 90

    def __init__(self, certificates):
        jar = cached("zipkin.jar", make_zipkin)
        self.dir = tempfile.mkdtemp(prefix="atr-zipkin.")
        self.ports = {("zipkin", "plain"): harness.free_port()}
        super().__init__(["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-jar", jar], STORAGE_TYPE="mem",
                         QUERY_PORT=str(self.ports["zipkin", "plain"]))

    def told(self, ids):
        found = {}
        for trace in sorted({fact["trace_id"] for fact in ids.values()}):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['zipkin', 'plain']}/api/v2/trace/{trace}",
                                            timeout=20) as answer:
                    found.update((span["id"], span) for span in json.load(answer))
            except urllib.error.HTTPError as e:
                if e.code != 404:
                    raise
        return found
