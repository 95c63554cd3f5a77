# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames and the gRPC requests in them, one side of a connection at a time.

Just enough to read what a client sends and to say anything, wrong things too.
HPACK is python3-hpack's; without it `hpack` is None and the tests skip.
"""
import collections
import gzip
import zlib

from receiver import Violation

try:
    import hpack
except ImportError:
    hpack = None

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
 CONTINUATION) = range(10)
END_STREAM = ACK = 1
END_HEADERS, PADDED, PRIORITISED = 4, 8, 0x20
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MAX_FRAME = 1 << 14

Frame = collections.namedtuple("Frame", "kind flags stream payload")


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def data_frames(stream, data, end=False):
    """As many as it takes."""
    pieces = [data[i:i + MAX_FRAME] for i in range(0, len(data), MAX_FRAME)] or [b""]
    return b"".join(frame(DATA, END_STREAM if end and i == len(pieces) - 1 else 0, stream, p)
                    for i, p in enumerate(pieces))


def header_frame(stream, fields, end=False, encoder=None):
    block = (encoder or hpack.Encoder()).encode(fields)
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


class Frames:
    """Bytes to frames, in whatever pieces they come; the preface must be first."""

    def __init__(self):
        self.bytes, self.begun = b"", False

    def feed(self, data):
        self.bytes += data
        if not self.begun:
            if len(self.bytes) < len(PREFACE):
                return []
            if not self.bytes.startswith(PREFACE):
                raise Violation(f"no HTTP/2 preface: {self.bytes[:24]!r}")
            self.bytes, self.begun = self.bytes[len(PREFACE):], True
        found = []
        while len(self.bytes) >= 9:
            length = int.from_bytes(self.bytes[:3], "big")
            if len(self.bytes) < 9 + length:
                break
            found.append(Frame(self.bytes[3], self.bytes[4],
                               int.from_bytes(self.bytes[5:9], "big") & 0x7fffffff,
                               self.bytes[9:9 + length]))
            self.bytes = self.bytes[9 + length:]
        return found


def unpadded(one):
    payload = one.payload
    if one.flags & PADDED:
        payload = payload[1:len(payload) - payload[0]]
    if one.kind == HEADERS and one.flags & PRIORITISED:
        payload = payload[5:]
    return payload


class Requests:
    """Frames to requests: headers[stream], data[stream]."""

    def __init__(self):
        self.decoder = hpack.Decoder()
        self.headers, self.data, self.block, self.ends = {}, {}, b"", False

    def add(self, one):
        """The stream whose request is complete with this frame, or 0."""
        if one.kind in (HEADERS, CONTINUATION):
            self.block += unpadded(one)
            if one.kind == HEADERS:
                self.ends = bool(one.flags & END_STREAM)
            if not one.flags & END_HEADERS:
                return 0
            fields = [(_text(k), _text(v)) for k, v in self.decoder.decode(self.block)]
            self.block = b""
            if one.stream in self.headers:
                raise Violation("trailers in a request")
            if len(dict(fields)) != len(fields):
                raise Violation(f"a header twice: {fields}")
            self.headers[one.stream], self.data[one.stream] = dict(fields), b""
            return one.stream if self.ends else 0
        if one.kind == DATA:
            self.data[one.stream] += unpadded(one)
            return one.stream if one.flags & END_STREAM else 0
        return 0


def _text(value):
    return value if isinstance(value, str) else value.decode("latin-1")


def grpc_message(headers, data):
    """The one message of an Export call, uncompressed; or Violation."""
    for name, allowed in (("content-type", ("application/grpc", "application/grpc+proto")),
                          ("te", ("trailers",)), (":method", ("POST",)), (":path", (EXPORT,)),
                          (":scheme", ("http", "https"))):
        if headers.get(name) not in allowed:
            raise Violation(f"{name}: {headers.get(name)}")
    for name in headers:
        if name != name.lower() or name in ("connection", "transfer-encoding", "keep-alive"):
            raise Violation(f"header {name}")
    if headers.get("grpc-encoding", "identity") not in ("identity", "gzip"):
        raise Violation(f"grpc-encoding: {headers['grpc-encoding']}")
    if len(data) < 5 or len(data) != 5 + int.from_bytes(data[1:5], "big") or data[0] > 1:
        raise Violation(f"{len(data)} bytes are no message: {data[:5].hex()}")
    if not data[0]:
        return data[5:]
    if headers.get("grpc-encoding") != "gzip":
        raise Violation("compressed, but grpc-encoding does not say how")
    try:
        return gzip.decompress(data[5:])
    except (OSError, EOFError, zlib.error) as e:
        raise Violation(f"grpc-encoding gzip, but: {e}") from e


def message(payload, compressed=0, length=None):
    """The payload as a gRPC message."""
    return bytes([compressed]) + (len(payload) if length is None else length).to_bytes(4, "big") + payload
