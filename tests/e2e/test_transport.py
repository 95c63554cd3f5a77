# SPDX-License-Identifier: Apache-2.0
"""Every way to a collector: TLS with and without our own certificate, sockets, proxies, names that
move; in each form of OTLP.  And what servers that are not ours say of batches they do not take."""
import base64
import fcntl
import gzip
import json
import os
import pathlib
import pty
import select
import shutil
import socket
import ssl
import subprocess
import sys
import termios
import threading
import time

import pytest

import harness
from grpc_peer import GrpcCollector
from harness import program, run
from receiver import Answer, Receiver, check, load_proto

PROTOCOLS = ["http/protobuf", "http/json", "grpc"]


def client(echo, threads=1, rounds=1):
    return [program("threads-client"), "echo", str(threads), str(rounds), str(echo.port)]


# ---- collectors ----

def json_ids(item, key=None):
    """OTLP/JSON has ids in hex, protobuf's JSON mapping in base64."""
    if isinstance(item, dict):
        return {k: json_ids(v, k) for k, v in item.items()}
    if isinstance(item, list):
        return [json_ids(v, key) for v in item]
    if key in ("traceId", "spanId", "parentSpanId"):
        assert item == item.lower() and len(item) in (16, 32)
        return base64.b64encode(bytes.fromhex(item)).decode()
    return item


class AnyReceiver(Receiver):
    """Takes OTLP/JSON, too; and can be behind TLS, or at a socket."""

    def __init__(self, tls=None, path=None):
        super().__init__()
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        if path:
            self.relay(path)

    def relay(self, path):
        """A Unix-domain socket in front of the port."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(8)

        def pump(a, b):
            try:
                while data := a.recv(65536):
                    b.sendall(data)
                b.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve():
            while True:
                a, _ = listener.accept()
                b = socket.create_connection(("127.0.0.1", self.port))
                for pair in (a, b), (b, a):
                    threading.Thread(target=pump, args=pair, daemon=True).start()
        threading.Thread(target=serve, daemon=True).start()

    def decode(self, handler, body, number):
        if handler.headers.get("Content-Type") != "application/json":
            return super().decode(handler, body, number)
        from google.protobuf import json_format

        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = json_format.ParseDict(json_ids(json.loads(body)),
                                        load_proto().ExportTraceServiceRequest())
        return check(request.SerializeToString(), set(self.seen), number)


def wait_spans(collector, n):
    if isinstance(collector, Receiver):
        return collector.wait(n)
    return collector.spans()


@pytest.fixture
def collector():
    """collector(protocol, ...): one of that kind."""
    started = []

    def start(protocol, path=None, tls=None):
        if protocol == "grpc":
            settings = {"address": f"unix:{path}"} if path else {}
            if tls:
                settings.update(key=tls.server_key, certificate=tls.server_cert)
                if tls.want_client:
                    settings["ca"] = tls.ca
            c = GrpcCollector(**settings)
        else:
            c = AnyReceiver(tls.context() if tls else None, path)
        started.append(c)
        return c
    harness.spool_dir.cache_clear()
    yield start
    for one in started:
        one.stop()
        if isinstance(one, Receiver):
            assert not one.violations, one.violations[:5]
    reports = harness.sanitizer_reports()
    assert not reports, reports[:6000]


def env(endpoint, protocol, **more):
    return harness.shim_env(endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol, **more)


# ---- forms ----

@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_json_says_what_protobuf_says(collector, postgres, compression):
    found = []
    for protocol in "http/json", "http/protobuf":
        c = collector(protocol)
        r = run([program("pg-client")], env(c.endpoint, protocol, **postgres.env(),
                                            OTEL_EXPORTER_OTLP_COMPRESSION=compression)).ok()
        spans = c.wait(r.total("recorded"))
        assert len(spans) == r.total("recorded") == r.total("exported") > 10
        found.append([(s.name, s.kind, sorted(s.attrs), s.status, s.message, s.flags, s.scope,
                       sorted(s.resource)) for s in spans])
    assert found[0] == found[1]


def test_json_replies_are_read(collector, echo):
    c = collector("http/json")
    c.script += [Answer(503), Answer("partial", rejected=2, message="two too many")]
    r = run(client(echo), env(c.endpoint, "http/json", AUTOTRACE_EXIT_TIMEOUT="9000"),
            timeout=15).ok()
    assert r.total("retries") == 1
    # That answer is in protobuf, which its Content-Type says.
    assert r.total("rejected") == 2 and r.total("exported") == 1


# ---- TLS ----

class Tls:
    """An authority, and certificates of it for a server and a client."""

    def __init__(self, folder, want_client=False):
        self.want_client = want_client
        self.dir = str(folder)
        self.ca, self.ca_key = self.path("ca.pem"), self.path("ca.key")
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                     "/CN=test authority", "-keyout", self.ca_key, "-out", self.ca)
        self.server_cert, self.server_key = self.signed("server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.client_cert, self.client_key = self.signed("client", "subjectAltName=DNS:client")

    def path(self, name):
        return os.path.join(self.dir, name)

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, timeout=60)

    def signed(self, name, extension):
        key, csr, cert, ext = (self.path(name + e) for e in (".key", ".csr", ".pem", ".ext"))
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-keyout", key,
                     "-out", csr)
        with open(ext, "w", encoding="ascii") as f:
            f.write(extension + "\n")
        self.openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.ca_key, "-days", "2",
                     "-CAcreateserial", "-extfile", ext, "-out", cert)
        return cert, key

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_cert, self.server_key)
        if self.want_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def mtls(tmp_path_factory):
    return Tls(tmp_path_factory.mktemp("mtls"), want_client=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tls(collector, echo, tls, protocol):
    c = collector(protocol, tls=tls)
    r = run(client(echo, 1, 100), env(f"https://localhost:{c.port}", protocol,
                                      OTEL_BSP_MAX_EXPORT_BATCH_SIZE="40",
                                      OTEL_EXPORTER_OTLP_CERTIFICATE=tls.ca)).ok()
    assert len(wait_spans(c, 201)) == 201 == r.total("exported") and r.err == ""
    if protocol == "grpc":
        assert len({call["peer"] for call in c.calls()}) == 1, "one connection"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_nobody_vouches_for_gets_nothing(collector, echo, tls, protocol):
    c = collector(protocol, tls=tls)
    r = run(client(echo), env(f"https://localhost:{c.port}", protocol)).ok()
    assert r.total("left") == 3 and not wait_spans(c, 0)
    assert "certificate" in r.err and r.err.count("export to https") == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_certificate_for_another_name_is_none(collector, echo, tls, protocol):
    c = collector(protocol, tls=tls)
    r = run(client(echo), env(f"https://127.0.0.2:{c.port}", protocol,
                              OTEL_EXPORTER_OTLP_CERTIFICATE=tls.ca)).ok()
    assert r.total("left") == 3 and not wait_spans(c, 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_our_own_certificate(collector, echo, mtls, protocol):
    c = collector(protocol, tls=mtls)
    url = f"https://localhost:{c.port}"
    r = run(client(echo), env(url, protocol, OTEL_EXPORTER_OTLP_CERTIFICATE=mtls.ca,
                              OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE=mtls.client_cert,
                              OTEL_EXPORTER_OTLP_CLIENT_KEY=mtls.client_key)).ok()
    assert len(wait_spans(c, 3)) == 3 == r.total("exported") and r.err == ""


def refusing(tls, version, protocol):
    """Wants a client's certificate, and goes; by TLS 1.3 when the client thinks that all is well."""
    context = tls.context()
    context.maximum_version = version
    context.set_alpn_protocols(["h2"] if protocol == "grpc" else ["http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                with listener.accept()[0] as s, context.wrap_socket(s, server_side=True):
                    pass
            except ssl.SSLError:
                pass
            except OSError:
                return
    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.mark.parametrize("version, protocol, ours", [("TLSv1_2", "http/protobuf", "none"), ("TLSv1_3", "http/json", "none"),
                                                    ("TLSv1_3", "grpc", "none"), ("TLSv1_3", "http/protobuf", "another's")])
def test_without_our_certificate_nothing_is_taken(echo, tls, mtls, version, protocol, ours):
    """The alert is read, or the connection is reset before: either way it is said what to look at."""
    name = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
    files = {name: tls.client_cert, "OTEL_EXPORTER_OTLP_CLIENT_KEY": tls.client_key} if ours != "none" else {}
    harness.spool_dir.cache_clear()
    with refusing(mtls, getattr(ssl.TLSVersion, version), protocol) as listener:
        r = run(client(echo), env(f"https://localhost:{listener.getsockname()[1]}", protocol, AUTOTRACE_EXIT_TIMEOUT="700",
                                  OTEL_EXPORTER_OTLP_CERTIFICATE=mtls.ca, **files)).ok()
    assert r.total("left") == 3 and "getpeername" not in r.err
    assert f" (perhaps it does not accept {name}); " in r.err if files else \
        f" (perhaps it wants a client certificate: {name} is not set); " in r.err


@pytest.mark.parametrize("variable", ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"])
def test_a_file_that_is_missing_is_named_and_nothing_is_sent(collector, echo, mtls, variable):
    c = collector("http/protobuf", tls=mtls)
    files = {"OTEL_EXPORTER_OTLP_CERTIFICATE": mtls.ca,
             "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": mtls.client_cert,
             "OTEL_EXPORTER_OTLP_CLIENT_KEY": mtls.client_key,
             "OTEL_EXPORTER_OTLP_" + variable: mtls.path("missing.pem")}
    r = run(client(echo), env(f"https://localhost:{c.port}", "http/protobuf", **files)).ok()
    assert r.total("left") == 3 and not c.spans
    assert f"OTEL_EXPORTER_OTLP_{variable}={mtls.path('missing.pem')} cannot be read: " \
        "No such file or directory; nothing is sent until it can" in r.err


@pytest.mark.parametrize("variable", ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"])
def test_a_file_that_is_a_pipe_holds_nobody_up(echo, mtls, variable):
    """Who opens it waits for somebody to write to it."""
    pipe = mtls.path("pipe")
    if not os.path.exists(pipe):
        os.mkfifo(pipe)
    files = {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": mtls.client_cert,
             "OTEL_EXPORTER_OTLP_CLIENT_KEY": mtls.client_key, "OTEL_EXPORTER_OTLP_" + variable: pipe}
    harness.spool_dir.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        begin = time.monotonic()
        r = run(client(echo), env(f"https://localhost:{listener.getsockname()[1]}", "http/protobuf",
                                  AUTOTRACE_EXIT_TIMEOUT="500", **files)).ok()
    assert time.monotonic() - begin < 2 and r.total("left") == 3
    assert f"OTEL_EXPORTER_OTLP_{variable}={pipe} cannot be read: it is no regular file; " in r.err
    assert f"failed: {pipe} is no regular file; 3 spans are left in " in r.err


TYPIST = """
import socket, sys, time
def caught(): # but for those behind 31: of them libc takes one with the first thread
    return [int(line.split()[1], 16) & 0x7fffffff for line in open("/proc/self/status") if line.startswith("SigCgt")]
before = caught()
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"x"); s.recv(1); time.sleep(0.7)
print("ready", flush=True)
print("typed", repr(sys.stdin.readline()), "signals", caught() == before, flush=True)
"""


def at_a_terminal(argv, environ, typed):
    """What is to be seen there until the program ends; the line is typed when it is ready."""
    ours, theirs = pty.openpty()
    p = subprocess.Popen(argv, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                         preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(theirs)
    seen, until = b"", time.monotonic() + 20
    try:
        while time.monotonic() < until:
            try:
                seen += os.read(ours, 4096) if select.select([ours], [], [], 0.1)[0] else b""
            except OSError:
                break
            if b"ready" in seen and typed:
                os.write(ours, typed)
                typed = b""
        assert p.wait(timeout=10) == 0
    finally:
        harness.end(p)
        os.close(ours)
    return seen.decode()


@pytest.mark.parametrize("where", ["a file of its own", "the certificate's"])
def test_a_key_with_a_password_disturbs_nobody(collector, echo, mtls, where):
    """OpenSSL would ask for it at the terminal of the program, and take its signals meanwhile."""
    c = collector("http/protobuf", tls=mtls)
    key, both = mtls.path("encrypted.key"), mtls.path("both.pem")
    mtls.openssl("pkcs8", "-topk8", "-in", mtls.client_key, "-passout", "pass:secret", "-out", key)
    with open(both, "w", encoding="ascii") as f:
        for part in mtls.client_cert, key:
            f.write(pathlib.Path(part).read_text("ascii"))
    own = where.startswith("a file")
    seen = at_a_terminal(["/usr/bin/python3", "-c", TYPIST, str(echo.port)],
                         env(f"https://localhost:{c.port}", "http/protobuf", OTEL_BSP_SCHEDULE_DELAY="50",
                             OTEL_EXPORTER_OTLP_CERTIFICATE=mtls.ca,
                             OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=mtls.client_cert if own else both,
                             OTEL_EXPORTER_OTLP_CLIENT_KEY=key if own else None), b"answer\n")
    assert "typed 'answer\\n' signals True" in seen, seen
    assert "pass phrase" not in seen and f"{key if own else both} is encrypted" in seen, seen
    assert seen.count("export to https") == 1 and not c.spans


@pytest.mark.skipif(bool(harness.SAN), reason="unshare is not built with sanitizers")
@pytest.mark.parametrize("named", [False, True])
def test_a_certificate_stands_instead_of_the_systems(collector, echo, tls, tmp_path, named):
    """libcurl looks into the system's directory besides, if it is let.  In a mount namespace of its own."""
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no right to a mount namespace")
    for name in "ca.pem", "ca-certificates.crt":
        shutil.copy(tls.ca, tmp_path / name)
    tls.openssl("rehash", str(tmp_path))
    other = tls.path("other.pem")
    tls.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=somebody else",
                "-keyout", tls.path("other.key"), "-out", other)
    c = collector("http/protobuf", tls=tls)
    e = env(f"https://localhost:{c.port}", "http/protobuf",
            OTEL_EXPORTER_OTLP_CERTIFICATE=other if named else None)
    inside = f'mount --bind {tmp_path} /etc/ssl/certs && exec env LD_PRELOAD={e.pop("LD_PRELOAD")} "$@"'
    r = run(["unshare", "-m", "--propagation", "private", "sh", "-c", inside, "-", *client(echo)], e).ok()
    assert (r.total("exported"), r.total("left")) == ((0, 3) if named else (3, 0))


def test_a_file_that_comes_later_is_used(collector, echo, tls, tmp_path):
    c = collector("http/protobuf", tls=tls)
    late = tmp_path / "late.pem"
    code = ("import socket, time, shutil\n"
            f"s = socket.create_connection(('127.0.0.1', {echo.port}))\n"
            "s.sendall(b'x'); s.recv(1); time.sleep(1)\n"
            f"shutil.copy({tls.ca!r}, {str(late)!r}); time.sleep(4)\n")
    r = run(["/usr/bin/python3", "-c", code],
            env(f"https://localhost:{c.port}", "http/protobuf",
                OTEL_EXPORTER_OTLP_CERTIFICATE=str(late)), timeout=20).ok()
    assert len(c.wait(3)) == 3 == r.total("exported")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_file_that_is_exchanged_is_read_again(collector, echo, tls, mtls, tmp_path, protocol):
    """As authorities are that rotate.  libcurl would keep the one it has read for a day."""
    c = collector(protocol, tls=tls)
    ca = tmp_path / "ca.pem"
    shutil.copy(mtls.ca, ca)
    code = ("import socket, time, shutil\n"
            f"s = socket.create_connection(('127.0.0.1', {echo.port}))\n"
            "s.sendall(b'x'); s.recv(1); time.sleep(0.5)\n"
            f"shutil.copy({tls.ca!r}, {str(ca)!r}); time.sleep(2)\n")
    r = run(["/usr/bin/python3", "-c", code],
            env(f"https://localhost:{c.port}", protocol, OTEL_BSP_SCHEDULE_DELAY="50",
                OTEL_EXPORTER_OTLP_CERTIFICATE=str(ca)), timeout=20).ok()
    assert len(wait_spans(c, 3)) == 3 == r.total("exported") and "certificate" in r.err


# ---- sockets ----

@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
@pytest.mark.parametrize("form", ["unix://{}", "unix:{}", "http+unix://{quoted}"])
def test_a_socket(collector, echo, tmp_path, protocol, form):
    path = str(tmp_path / "otel.sock")
    c = collector(protocol, path=path)
    url = form.format(path, quoted=path.replace("/", "%2F"))
    r = run(client(echo), env(url, protocol)).ok()
    assert len(c.wait(3)) == 3 == r.total("exported") and r.err == ""


def test_a_socket_nobody_listens_at(echo, tmp_path):
    r = run(client(echo), env(f"unix://{tmp_path}/none.sock", "http/protobuf")).ok()
    assert r.total("left") == 3 and f"export to unix://{tmp_path}/none.sock failed" in r.err


# ---- proxies ----

class Tinyproxy:
    def __init__(self, folder):
        self.port = harness.free_port()
        self.log = str(folder / "log")
        conf = str(folder / "conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"Port {self.port}\nListen 127.0.0.1\nTimeout 20\nLogFile \"{self.log}\"\n"
                    "LogLevel Connect\nMaxClients 20\nAllow 127.0.0.1\n")
        os.chmod(str(folder), 0o777)
        self.process = subprocess.Popen(["tinyproxy", "-d", "-c", conf], env=harness.bare_env(),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True, preexec_fn=harness.die_with_us)
        try:
            harness.wait_for(lambda: harness.listening(self.port), "tinyproxy")
        except AssertionError:
            self.stop()
            raise

    def requests(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return [line.split("Request", 1)[1].split(":", 1)[1].strip() for line in f
                    if "Request" in line]

    def stop(self):
        harness.end(self.process)


@pytest.fixture
def proxy(tmp_path):
    if not any(os.access(os.path.join(p, "tinyproxy"), os.X_OK)
               for p in os.environ["PATH"].split(":") + ["/usr/sbin"]):
        pytest.skip("tinyproxy is not installed")
    folder = tmp_path / "proxy"
    folder.mkdir()
    p = Tinyproxy(folder)
    yield p
    p.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_proxy_is_used_if_the_environment_says_so(collector, echo, proxy, protocol):
    c = collector(protocol)
    r = run(client(echo), env(c.endpoint, protocol, NO_PROXY=None,
                              http_proxy=f"http://127.0.0.1:{proxy.port}")).ok()
    assert len(wait_spans(c, 3)) == 3 == r.total("exported") and r.err == ""
    verb = "CONNECT" if protocol == "grpc" else "POST"
    assert any(line.startswith(verb) for line in proxy.requests()), proxy.requests()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tls_through_a_proxy(collector, echo, proxy, tls, protocol):
    c = collector(protocol, tls=tls)
    r = run(client(echo), env(f"https://localhost:{c.port}", protocol, NO_PROXY=None,
                              HTTPS_PROXY=f"127.0.0.1:{proxy.port}",
                              OTEL_EXPORTER_OTLP_CERTIFICATE=tls.ca)).ok()
    assert len(wait_spans(c, 3)) == 3 == r.total("exported") and r.err == ""
    assert any(line.startswith(f"CONNECT localhost:{c.port}") for line in proxy.requests())


def test_what_is_said_through_a_proxy_is_not_the_proxys_answer(echo, proxy, mtls):
    """To CONNECT, before there is any from behind it."""
    harness.spool_dir.cache_clear()
    with refusing(mtls, ssl.TLSVersion.TLSv1_2, "http/protobuf") as listener:
        r = run(client(echo), env(f"https://localhost:{listener.getsockname()[1]}", "http/protobuf", NO_PROXY=None,
                                  https_proxy=f"http://127.0.0.1:{proxy.port}", AUTOTRACE_EXIT_TIMEOUT="700",
                                  OTEL_EXPORTER_OTLP_CERTIFICATE=mtls.ca)).ok()
    assert r.total("left") == 3 and f"through the proxy http://127.0.0.1:{proxy.port}: " in r.err
    assert "(perhaps it wants a client certificate: " in r.err


def test_what_is_too_large_may_be_so_for_the_proxy(receiver, proxy):
    receiver.script += [Answer(413)]
    r = run(["/usr/bin/python3", "-c", "import socket; a, b = socket.socketpair(); a.send(b'x')"],
            env(receiver.endpoint, "http/protobuf", NO_PROXY=None, http_proxy=f"http://127.0.0.1:{proxy.port}")).ok()
    assert r.total("rejected") == r.total("recorded") == 1
    assert f": HTTP 413, through the proxy http://127.0.0.1:{proxy.port}; such spans are " in r.err


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8", "*", "a,127.0.0.1"])
def test_some_hosts_need_no_proxy(collector, echo, proxy, no_proxy):
    c = collector("http/protobuf")
    run(client(echo), env(c.endpoint, "http/protobuf", NO_PROXY=None, no_proxy=no_proxy,
                          all_proxy=f"http://127.0.0.1:{proxy.port}")).ok()
    assert len(c.wait(3)) == 3 and not proxy.requests()


def test_what_the_program_sets_later_is_its_own(collector, echo, proxy):
    c = collector("http/protobuf")
    code = ("import os, socket\n"
            f"os.environ['http_proxy'] = 'http://127.0.0.1:{proxy.port}'\n"
            "os.environ['no_proxy'] = ''\n"
            f"s = socket.create_connection(('127.0.0.1', {echo.port}))\n"
            "s.sendall(b'x'); s.recv(1)\n")
    run(["/usr/bin/python3", "-c", code], env(c.endpoint, "http/protobuf", NO_PROXY=None)).ok()
    assert len(c.wait(3)) == 3 and not proxy.requests()


def test_a_name_only_the_proxy_knows(collector, echo, proxy):
    """It is the proxy that is looked up; what it answers is not ours to judge, but it is asked."""
    r = run(client(echo), env("http://collector.invalid:4318", "http/protobuf", NO_PROXY=None,
                              OTEL_EXPORTER_OTLP_TIMEOUT="1000",
                              http_proxy=f"http://127.0.0.1:{proxy.port}")).ok()
    assert any("http://collector.invalid:4318/v1/traces" in line for line in proxy.requests())
    assert r.total("exported") == 0


# ---- what servers say ----

class StrictNginx(harness.Nginx):
    """Refuses bodies of more than 4 KiB; passes the others on."""

    def __init__(self, upstream):
        self.upstream = upstream
        super().__init__()

    def servers(self):
        return (f"server {{ listen 127.0.0.1:{self.port}; client_max_body_size 4k;"
                f" location / {{ proxy_pass http://127.0.0.1:{self.upstream}; }} }}")


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_nginx_refuses_what_is_too_large_and_gets_it_in_parts(collector, echo, protocol):
    c = collector(protocol)
    nginx = StrictNginx(c.port)
    try:
        r = run(client(echo, 1, 200), env(f"http://127.0.0.1:{nginx.port}", protocol,
                                          OTEL_BSP_SCHEDULE_DELAY="60000"), timeout=30).ok()
    finally:
        nginx.stop()
    assert len(c.wait(401)) == 401 == r.total("exported") and r.total("rejected") == 0
    assert 1 <= r.total("split") < 20


def test_a_redirect_is_said_and_not_followed(receiver, shim, echo):
    receiver.script += [Answer(307, {"Location": "http://127.0.0.1:9/elsewhere?key=secret"})]
    r = run(client(echo), shim()).ok()
    assert receiver.requests == 1 and r.total("rejected") == 3
    assert "a redirect to http://127.0.0.1:9/elsewhere, which is not followed" in r.err
    assert "secret" not in r.err


def test_a_user_in_the_endpoint_is_sent_and_a_header_wins(receiver, shim, echo):
    url = receiver.endpoint.replace("http://", "http://us%65r:pass@")
    r = run(client(echo), shim(OTEL_EXPORTER_OTLP_ENDPOINT=url)).ok()
    assert receiver.request_headers[-1]["Authorization"] == \
        "Basic " + base64.b64encode(b"user:pass").decode()
    r = run(client(echo), shim(OTEL_EXPORTER_OTLP_ENDPOINT=url,
                               OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20x")).ok()
    assert receiver.request_headers[-1]["authorization"] == "Bearer x" and "pass" not in r.err
    assert "Authorization" not in receiver.request_headers[-1]


def test_a_server_that_does_not_read_costs_no_time(echo):
    """HTTP/2's window is full: there is nothing to do but to wait."""
    harness.spool_dir.cache_clear()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(4)
    code = ("import socket, time, resource\n"
            f"s = socket.create_connection(('127.0.0.1', {echo.port}))\n"
            "for i in range(400): s.sendall(b'x'); s.recv(1)\n"
            "before = resource.getrusage(resource.RUSAGE_SELF); time.sleep(2)\n"
            "after = resource.getrusage(resource.RUSAGE_SELF)\n"
            "print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)\n")
    r = run(["/usr/bin/python3", "-c", code],
            env(f"http://127.0.0.1:{listener.getsockname()[1]}", "grpc",
                OTEL_BSP_SCHEDULE_DELAY="10", AUTOTRACE_EXIT_TIMEOUT="100")).ok()
    listener.close()
    assert r.total("exported") == 0 and r.total("requests") >= 1
    assert float(r.out) < 0.4 * harness.SLOW


# ---- a name that moves ----

NAMES = """
import os, subprocess, sys, time
mine = "/tmp/hosts.%d" % os.getpid()
def point(address):
    with open(mine, "w") as f:
        f.write("127.0.0.1 localhost\\n" + address + " collector.test\\n")
point("127.0.0.1")
subprocess.run(["mount", "--bind", mine, "/etc/hosts"], check=True)
p = subprocess.Popen(sys.argv[2:])
time.sleep(2)
point("127.0.0.2")
rc = p.wait(timeout=40)
os.unlink(mine)
sys.exit(rc)
"""

TICKER = """
import socket, time
a, b = socket.socketpair()
for i in range(80):
    a.send(b"x"); b.recv(1); time.sleep(0.1)
"""


class Gate:
    """Passes connections to one address on to a port, until it is shut."""

    def __init__(self, address, port, to):
        self.connections = 0
        self.open, self.done = [], threading.Event()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(8)
        self.port, self.to = self.listener.getsockname()[1], to
        threading.Thread(target=self.serve, daemon=True).start()

    def pump(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in a, b:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve(self):
        while not self.done.is_set():
            try:
                a, _ = self.listener.accept()
                b = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            self.connections += 1
            self.open += [a, b]
            for pair in (a, b), (b, a):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def shut(self):
        self.done.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.open:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.mark.skipif(bool(harness.SAN), reason="python is not built with sanitizers")
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_that_moves_is_followed(collector, protocol):
    """Its name means another address from then on, for metrics, too.  In a mount namespace of its own."""
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no right to a mount namespace")
    c = collector(protocol)
    old = Gate("127.0.0.1", 0, c.port)
    new = Gate("127.0.0.2", old.port, c.port)
    n_metrics = []

    def metrics():
        return c.metrics if isinstance(c, Receiver) else c.metrics()

    def shut():
        old.shut()
        n_metrics.append(len(metrics()))
    timer = threading.Timer(3, shut)
    timer.start()
    e = env(f"http://collector.test:{old.port}", protocol, OTEL_LOG_LEVEL="none", OTEL_METRICS_EXPORTER="otlp",
            OTEL_METRIC_EXPORT_INTERVAL="500")
    preload = e.pop("LD_PRELOAD")
    try:
        r = run(["unshare", "-m", "--propagation", "private", sys.executable, "-c", NAMES, "-", "env",
                 f"LD_PRELOAD={preload}", "/usr/bin/python3", "-c", TICKER], e, timeout=60).ok()
    finally:
        timer.join()
        new.shut()
    assert r.total("exported") == r.total("recorded") == 160
    assert len(wait_spans(c, 160)) == 160 and old.connections and new.connections
    assert 0 < n_metrics[0] < len(metrics()) - 4
