# SPDX-License-Identifier: Apache-2.0
"""A collector that fails as a script says.

A script is a list of plays; a play is a function of a Talk, one connection, and
does what one request (or one connection) meets.  When the script is at its end,
all goes well.  The spans of a batch are kept only when a play takes it, and only
what is valid OTLP can be taken: what is not is a violation, as in receiver.py.

Plays of HTTP/1.1 are here; those of gRPC are in faulty_grpc.py.
"""
import email.utils
import gzip
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

from receiver import Violation, check, load_proto

WAIT = 20  # seconds; no connection waits longer for anything


class Gone(Exception):
    """The connection is at its end."""


class Talk:
    def __init__(self, faulty, sock):
        self.faulty, self.sock, self.unread = faulty, sock, b""
        self.headers, self.payload, self.path = {}, b"", ""

    # What comes.

    def recv(self, most=65536):
        data = self.sock.recv(most)
        if not data:
            raise Gone("their end is closed")
        return data

    def head(self):
        """The head of a request; its body is still to come."""
        while b"\r\n\r\n" not in self.unread:
            self.unread += self.recv()
        head, self.unread = self.unread.split(b"\r\n\r\n", 1)
        lines = head.decode("ascii").split("\r\n")
        self.path = lines[0].split(" ")[1]
        self.headers = {k.strip().lower(): v.strip()
                        for k, v in (line.split(":", 1) for line in lines[1:])}
        self.faulty.asked(self)

    def body(self, piece=65536, pause=0):
        """The body, read in pieces of this size with a pause after each."""
        length = int(self.headers.get("content-length", 0))
        while len(self.unread) < length:
            self.unread += self.recv(piece)
            time.sleep(pause)
        self.payload, self.unread = self.unread[:length], self.unread[length:]

    def request(self):
        self.head()
        self.body()

    def take(self):
        """These spans are this collector's now."""
        self.faulty.take(self)

    # What goes.

    def say(self, data, piece=None, pause=0.0):
        for at in range(0, len(data), piece or len(data) or 1):
            self.sock.sendall(data[at:at + (piece or len(data))])
            time.sleep(pause)

    def close(self):
        raise Gone("ours is closed")

    def reset(self):
        """RST, whatever is still unread or unsent."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone("reset")

    def reset_soon(self):
        """When the answer has been read."""
        time.sleep(0.05)
        self.reset()

    def wait_for_their_end(self):
        while True:
            self.recv()


class Faulty:
    """`peer` serves one connection: http_peer here, grpc_peer in faulty_grpc.py."""

    def __init__(self, script=(), tls=None, peer=None, address="127.0.0.1"):
        self.script, self.tls, self.peer = list(script), tls, peer or http_peer
        self.spans, self.violations, self.seen = [], [], set()
        self.requests = self.connections = 0
        self.request_headers, self.request_times, self.handshakes = [], [], []
        self.lock, self.open, self.stopping = threading.Lock(), set(), threading.Event()
        self.listener = socket.create_server((address, 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.endpoint = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(WAIT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections += 1
                self.open.add(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        plain = sock
        try:
            play = self.next_play(connection=True)
            if play:
                play(Talk(self, sock))
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
                sock.settimeout(WAIT)
            self.peer(self, sock)
        except ssl.SSLError as e:
            self.handshakes.append(str(e))
        except (OSError, Gone, ValueError):
            pass  # what was lost, the test counts
        finally:
            with self.lock:
                self.open.discard(plain)
            try:
                sock.close()
            except OSError:
                pass

    def next_play(self, connection=False):
        """The next play, if it is one of a connection (and not of a request), or is not."""
        with self.lock:
            if self.script and getattr(self.script[0], "of_connection", False) == connection:
                return self.script.pop(0)
        return None

    def asked(self, talk):
        with self.lock:
            self.requests += 1
            self.request_headers.append(dict(talk.headers))
            self.request_times.append(time.monotonic())

    def violate(self, what):
        with self.lock:
            self.violations.append(what)

    def take(self, talk):
        try:
            payload = talk.payload
            if talk.headers.get("content-encoding") == "gzip":
                payload = gzip.decompress(payload)
            with self.lock:
                seen = set(self.seen)
            spans = check(self.binary(talk, payload), seen, self.requests)
        except (Violation, OSError, EOFError) as e:
            self.violate(str(e))
            return
        with self.lock:
            self.spans += spans
            self.seen.update(bytes.fromhex(s.span) for s in spans)

    def binary(self, talk, payload):
        """The payload as protobuf, if it is what its headers say."""
        kind = talk.headers.get("content-type", "").split(";")[0]
        if kind not in ("application/x-protobuf", "application/grpc", "application/grpc+proto"):
            raise Violation(f"content-type {kind}")
        return payload

    def wait(self, n, timeout=3.0):
        """Wait until n spans have come (or time is up); all that came."""
        end = time.monotonic() + timeout
        while time.monotonic() < end and len(self.spans) < n:
            time.sleep(0.01)
        with self.lock:
            return list(self.spans)

    def stop(self):
        self.stopping.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            still_open = list(self.open)
        for sock in still_open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.thread.join(5)


# ---- HTTP/1.1 ----

def http_peer(faulty, sock):
    talk = Talk(faulty, sock)
    while True:
        if not talk.unread:
            talk.unread = talk.recv()
        (faulty.next_play() or answer(200))(talk)


def message(rejected=0, text=""):
    """An ExportTraceServiceResponse."""
    response = load_proto().ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = text
    return response.SerializeToString()


def head_of(status, headers, version="HTTP/1.1"):
    lines = [f"{version} {status} X"] + [f"{k}: {v}" for k, v in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def answered(status, body=b"", headers=(), version="HTTP/1.1"):
    """The bytes of an answer.  A header of None is left out."""
    fields = {"Content-Type": "application/x-protobuf", "Content-Length": len(body)}
    fields.update(dict(headers))
    return head_of(status, {k: v for k, v in fields.items() if v is not None}, version) + body


def answer(status, body=b"", headers=(), take=None, **more):
    """The whole request is read, then this is said.  A 2xx takes the batch."""
    return say(answered(status, body, headers, **more), take=status // 100 == 2 if take is None else take)


def say(data, take=False, then=None, piece=None, pause=0.0):
    """Anything for an answer; then the connection goes on, or is closed or reset."""
    def play(talk):
        talk.request()
        if take:
            talk.take()
        talk.say(data(talk) if callable(data) else data, piece, pause)
        if then:
            getattr(talk, then)()
    return play


def slow_reader(piece, pause):
    def play(talk):
        talk.head()
        talk.body(piece, pause)
        talk.take()
        talk.say(answered(200))
    return play


def endless(head, piece, limit=256 << 20):
    """The same bytes again and again, until the other end has had enough."""
    def play(talk):
        talk.request()
        talk.say(head)
        said = 0
        while said < limit:
            talk.say(piece)
            said += len(piece)
        talk.faulty.violate(f"{limit} bytes were read to their end")
        talk.close()
    return play


def hang(talk):
    """Reads, and never says anything."""
    talk.request()
    talk.wait_for_their_end()


def leave(phase, how):
    """Ends the connection in this phase by `how`, "close" or "reset"."""
    def at_accept(talk):
        getattr(talk, how)()

    def in_head(talk):
        getattr(talk, how)()  # the bytes that have come are a part of it

    def in_body(talk):
        talk.head()
        getattr(talk, how)()

    def after_body(talk):
        talk.request()
        getattr(talk, how)()

    def in_answer(part):
        def play(talk):
            talk.request()
            talk.say(part)
            time.sleep(0.05)  # a reset would overtake it
            getattr(talk, how)()
        return play

    whole = answered(200, message())
    at_accept.of_connection = True
    return {"accept": at_accept, "head": in_head, "body": in_body, "sent": after_body,
            "status line": in_answer(whole[:10]), "answer head": in_answer(whole[:40]),
            "answer body": in_answer(answered(200, b"", {"Content-Length": 9}) + b"1234")}[phase]


def of_connection(play):
    play.of_connection = True
    return play


def raw_at_accept(data, then="close"):
    """Speaks first, and not as one expects."""
    def play(talk):
        talk.say(data)
        time.sleep(0.05)
        getattr(talk, then)()
    return of_connection(play)


def http_date(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


# ---- certificates ----

class Certificates:
    """A CA, a stranger, and what they signed, in a directory of its own."""

    def __init__(self, directory):
        self.dir = directory
        for ca in "ca", "stranger":
            self.openssl("req", "-x509", *self.key(ca), "-days", "2", "-subj", f"/CN={ca}",
                         "-addext", "keyUsage=critical,keyCertSign")
        good = "DNS:localhost,IP:127.0.0.1"
        self.sign("server", "ca", good)
        self.sign("other-name", "ca", "DNS:elsewhere.invalid")
        self.sign("expired", "ca", good, "20200101000000Z", "20200102000000Z")
        self.sign("future", "ca", good, "20900101000000Z", "20900102000000Z")
        self.sign("strange", "stranger", good)
        self.sign("client", "ca", "DNS:client")
        self.sign("strange-client", "stranger", "DNS:client")

    def path(self, name, suffix=".pem"):
        return os.path.join(self.dir, name + suffix)

    def key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-keyout", self.path(name, ".key"), "-out", self.path(name)]

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.dir, timeout=30)

    def sign(self, name, ca, names, begins="20200101000000Z", ends="20490101000000Z"):
        """`openssl ca`, because it can make what has expired."""
        with open(self.path(name, ".cnf"), "w", encoding="ascii") as f:
            f.write(f"[ca]\ndefault_ca=d\n[d]\nnew_certs_dir={self.dir}\ndatabase={self.path(name, '.db')}\n"
                    f"rand_serial=yes\ndefault_md=sha256\npolicy=p\nx509_extensions=x\n"
                    f"[p]\ncommonName=supplied\n[x]\nsubjectAltName={names}\n")
        with open(self.path(name, ".db"), "w", encoding="ascii"):
            pass
        csr = self.key(name)
        csr[-1] = self.path(name, ".csr")
        self.openssl("req", "-new", *csr, "-subj", f"/CN={name}")
        self.openssl("ca", "-batch", "-config", self.path(name, ".cnf"), "-cert", self.path(ca),
                     "-keyfile", self.path(ca, ".key"), "-in", self.path(name, ".csr"), "-out",
                     self.path(name), "-startdate", begins, "-enddate", ends, "-notext")

    def server(self, name="server", client_ca=None, alpn=()):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(name), self.path(name, ".key"))
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.path(client_ca))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context
