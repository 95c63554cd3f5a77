# SPDX-License-Identifier: Apache-2.0
"""The plays of faulty.py for OTLP/gRPC: HTTP/2 by hand, so that it can be wrong.

A play is called when the request of a stream is complete, or before, when it is
marked `early`: then right behind the preface.
"""
import base64
import time
from urllib.parse import quote

import http2
from faulty import Gone, Talk, message, of_connection
from http2 import (ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
                   data_frames, frame, header_frame)
from receiver import Violation

(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY,
 HTTP_1_1_REQUIRED) = range(14)


class GrpcTalk(Talk):
    def __init__(self, faulty, sock):
        super().__init__(faulty, sock)
        self.frames, self.requests, self.ready, self.stream = http2.Frames(), http2.Requests(), [], 0
        self.encoder = http2.hpack.Encoder()
        self.seen = set()  # streams whose head was counted
        self.over = set()  # streams that were reset: what still comes of them is nothing

    def preface(self, settings=()):
        """Ours, with these settings; theirs may come when it likes."""
        self.say(frame(SETTINGS, payload=b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in settings)))

    def more(self):
        data = self.recv()
        if not self.frames.begun and data[:4] not in http2.PREFACE:
            raise Gone("no HTTP/2")  # libcurl tries HTTP/1.1 after HTTP_1_1_REQUIRED
        try:
            for one in self.frames.feed(data):
                self.frame(one)
        except Violation as e:
            self.faulty.violate(str(e))
            raise Gone(str(e)) from e

    def frame(self, one):
        if one.kind == SETTINGS and not one.flags & ACK:
            self.say(frame(SETTINGS, ACK))
        elif one.kind == PING and not one.flags & ACK:
            self.say(frame(PING, ACK, payload=one.payload))
        elif one.kind == DATA and one.payload:
            credit = len(one.payload).to_bytes(4, "big")
            self.say(frame(WINDOW_UPDATE, payload=credit))
            if not one.flags & END_STREAM:
                self.say(frame(WINDOW_UPDATE, stream=one.stream, payload=credit))
        done = self.requests.add(one)
        for stream in self.requests.headers.keys() - self.seen:
            self.seen.add(stream)
            self.stream, self.headers = stream, self.requests.headers[stream]
            self.faulty.asked(self)
        if done and done not in self.over:
            self.ready.append(done)

    def head(self):
        """The head of the next request."""
        before = len(self.seen)
        while len(self.seen) == before:
            self.more()

    def body(self, piece=65536, pause=0):
        while not self.ready:
            self.more()
        self.stream = self.ready.pop(0)
        self.headers = self.requests.headers[self.stream]
        try:
            self.payload = http2.grpc_message(self.headers, self.requests.data[self.stream])
        except Violation as e:
            self.faulty.violate(str(e))

    def request(self):
        if not self.ready and self.stream not in self.requests.data:
            self.head()
        self.body()

    # What goes.

    def fields(self, fields, end=False):
        self.say(header_frame(self.stream, fields, end, self.encoder))

    def data(self, data, end=False):
        self.say(data_frames(self.stream, data, end))

    def trailers(self, status, text="", details=None, more=()):
        fields = ([] if status is None else [("grpc-status", str(status))]) + list(more)
        if text:
            fields.append(("grpc-message", text if isinstance(text, bytes) else quote(text, safe=" ")))
        if details is not None:
            fields.append(("grpc-status-details-bin", details))
        self.fields(fields, end=True)

    def goaway(self, last, code=NO_ERROR, debug=b""):
        self.say(frame(GOAWAY, payload=last.to_bytes(4, "big") + code.to_bytes(4, "big") + debug))

    def rst(self, code):
        self.over.add(self.stream)
        self.ready = [stream for stream in self.ready if stream != self.stream]
        self.say(frame(RST_STREAM, stream=self.stream, payload=code.to_bytes(4, "big")))


def grpc_peer(faulty, sock):
    talk = GrpcTalk(faulty, sock)
    play = faulty.next_play(early=True)
    if play:
        play(talk)
    else:
        talk.preface()
    while True:
        if not talk.ready:
            talk.head()
        play = faulty.next_play() or grpc_answer(0)
        if not getattr(play, "unread", False):
            talk.body()
        play(talk)


def early(play):
    """Instead of our preface."""
    play.early = True
    return play


def unread(play):
    """With the head read, and not the body."""
    play.unread = True
    return play


GRPC = [(":status", "200"), ("content-type", "application/grpc")]


def grpc_answer(status, text="", body=None, details=None, take=None, fields=GRPC, more=(), raw=None):
    """Headers, the message (raw: what stands for it), trailers.  Status 0 takes the batch."""
    def play(talk):
        if status == 0 if take is None else take:
            talk.take()
        talk.fields(fields)
        if raw is not None or status == 0 or body is not None:
            talk.data(http2.message(body or message()) if raw is None else raw)
        talk.trailers(status, text, details, more)
    return play


def trailers_only(status, text="", details=None, fields=GRPC, more=()):
    def play(talk):
        trailers = ([] if status is None else [("grpc-status", str(status))]) + list(more)
        trailers += [("grpc-message", quote(text, safe=" "))] if text else []
        trailers += [("grpc-status-details-bin", details)] if details is not None else []
        talk.fields([*fields, *trailers], end=True)
    return play


def varint(n):
    out = b""
    n &= (1 << 64) - 1
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def details(code, text="", retry=None, other=False, padding=True):
    """A google.rpc.Status as header text; retry: (seconds, nanos) of a RetryInfo in it."""
    status = b"\x08" + varint(code) + (field(2, text.encode()) if text else b"")
    if other:
        status += field(3, field(1, b"type.googleapis.com/google.rpc.DebugInfo") + field(2, b"\x12\x02hi"))
    if retry is not None:
        delay = (b"\x08" + varint(retry[0]) if retry[0] else b"") + (b"\x10" + varint(retry[1]) if retry[1] else b"")
        status += field(3, field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, field(1, delay)))
    encoded = base64.b64encode(status).decode()
    return encoded if padding else encoded.rstrip("=")


def leave_grpc(phase, how):
    """As leave() of faulty.py."""
    def at_accept(talk):
        getattr(talk, how)()

    def at_preface(talk):
        talk.recv(1)
        getattr(talk, how)()

    def behind_settings(talk):
        talk.preface()
        time.sleep(0.02)
        getattr(talk, how)()

    def after(*steps):
        def play(talk):
            for step in steps:
                step(talk)
            time.sleep(0.05)
            getattr(talk, how)()
        return play

    def headers(talk):
        talk.fields(GRPC)

    return {"accept": of_connection(at_accept), "preface": early(at_preface), "settings": early(behind_settings),
            "head": unread(after()), "sent": after(), "answer head": after(headers),
            "half a frame": after(headers, lambda talk: talk.say(frame(DATA, 0, talk.stream, bytes(99))[:50])),
            "message": after(headers, lambda talk: talk.data(http2.message(message())))}[phase]


def rst(code, before=()):
    def play(talk):
        for step in before:
            step(talk)
        talk.rst(code)
    return play


def raw(*pieces, then=None):
    """Frames as they are; the stream of {} is filled in: (kind, flags, None for the stream, payload)."""
    def play(talk):
        for kind, flags, stream, payload in pieces:
            talk.say(frame(kind, flags, talk.stream if stream is None else stream, payload))
        if then:
            getattr(talk, then)()
    return play


def steps(*calls, take=False):
    """steps(("goaway", 1), ("trailers", 0)): calls of GrpcTalk, in order; numbers wait so long."""
    def play(talk):
        if take:
            talk.take()
        for call in calls:
            if isinstance(call, (int, float)):
                time.sleep(call)
            else:
                getattr(talk, call[0])(*call[1:])
    return play


def flood(one, limit=64 << 20):
    """The same frame until they have had enough or time is up."""
    def play(talk):
        talk.fields(GRPC)
        said = 0
        while said < limit:
            talk.say(one * 1000)
            said += len(one) * 1000
        talk.close()
    return play


def endless_headers(talk):
    """A header block that CONTINUATION frames continue without end."""
    talk.say(frame(HEADERS, 0, talk.stream, talk.encoder.encode(GRPC)))
    piece = http2.hpack.Encoder().encode([(b"x", b"y" * 8000)], huffman=False)
    for _ in range(4000):
        talk.say(frame(http2.CONTINUATION, 0, talk.stream, b"\x10" + piece[1:] if piece[0] == 0x40 else piece))
    talk.faulty.violate("32 MB of header were read to their end")
    talk.close()

