# SPDX-License-Identifier: Apache-2.0
"""A strict OTLP/HTTP receiver for tests.

Decodes with classes that protoc makes from exporter/otlp.proto, and refuses
(400, and remembers as a violation) whatever a picky collector could refuse.
What it accepted is in `spans`, each with its resource and scope.  `script`
holds the answers to give instead of 200, first in first out.
"""
import collections
import gzip
import http.server
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

from google.protobuf import json_format

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCHEMA_URL = "https://opentelemetry.io/schemas/"
KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
STATUS = {0: "", 1: "OK", 2: "ERROR"}


def load_proto(proto=os.path.join(ROOT, "exporter", "otlp.proto")):
    """Compile exporter/otlp.proto with protoc and import the result."""
    if "otlp_pb2" not in sys.modules:
        with tempfile.TemporaryDirectory(prefix="otlp_pb2.") as out:
            subprocess.run(["protoc", "--python_out=" + out, "-I" + os.path.dirname(proto), proto],
                           check=True, timeout=30)
            sys.path.insert(0, out)
            importlib.import_module("otlp_pb2")
            sys.path.remove(out)
    return sys.modules["otlp_pb2"]


class Violation(Exception):
    pass


Span = collections.namedtuple(
    "Span", "name kind trace span parent start end attrs status message flags state "
            "resource scope request dropped", defaults=[0])


class Answer:
    """One scripted answer: a status (`after` seconds), or 'hang', 'close', 'partial'."""

    def __init__(self, what, headers=None, rejected=0, message="", after=0):
        self.what, self.headers = what, headers or {}
        self.rejected, self.message, self.after = rejected, message, after


def any_value(value):
    which = value.WhichOneof("value")
    if which is None:
        raise Violation("attribute without a value")
    if which == "array_value":
        return [any_value(v) for v in value.array_value.values]
    if which == "kvlist_value":
        return attributes(value.kvlist_value.values, "kvlist")
    return getattr(value, which)


def attributes(pairs, where):
    found = {}
    for pair in pairs:
        if not pair.key:
            raise Violation(f"{where}: empty attribute key")
        if pair.key in found:
            raise Violation(f"{where}: attribute {pair.key} twice")
        found[pair.key] = any_value(pair.value)
    return found


def no_unknown_fields(message, path):
    if len(message.UnknownFields()):
        raise Violation(f"unknown field {message.UnknownFields()[0].field_number} in {path}")
    for field, value in message.ListFields():
        if field.message_type:
            for one in value if field.label == field.LABEL_REPEATED else [value]:
                no_unknown_fields(one, f"{path}.{field.name}")


def check_span(span, seen):
    if len(span.trace_id) != 16 or not any(span.trace_id):
        raise Violation(f"trace_id {span.trace_id.hex()!r}")
    if len(span.span_id) != 8 or not any(span.span_id):
        raise Violation(f"span_id {span.span_id.hex()!r}")
    if span.parent_span_id and (len(span.parent_span_id) != 8 or not any(span.parent_span_id)):
        raise Violation(f"parent_span_id {span.parent_span_id.hex()!r}")
    if span.parent_span_id == span.span_id:
        raise Violation("a span is its own parent")
    if span.span_id in seen:
        raise Violation(f"span_id {span.span_id.hex()} twice ({span.name})")
    if not span.name:
        raise Violation("empty name")
    if span.kind not in KINDS:
        raise Violation(f"kind {span.kind}")
    if span.status.code not in STATUS:
        raise Violation(f"status {span.status.code}")
    if span.status.message and span.status.code != 2:
        raise Violation("status message without an error")
    if span.end_time_unix_nano < span.start_time_unix_nano:
        raise Violation(f"{span.name} ends before it starts")
    now = time.time_ns()
    if not now - 3600 * 10**9 < span.start_time_unix_nano <= span.end_time_unix_nano < now + 10**9:
        raise Violation(f"{span.name} is not of this hour: {span.start_time_unix_nano}")
    if span.flags & ~0x3ff:
        raise Violation(f"flags {span.flags:#x}: bits 10-31 must be zero")
    if not span.flags & 0x100 and span.flags & 0x200:
        raise Violation(f"flags {span.flags:#x}: remote without has-remote")


def check(body, seen, number=0):
    """The spans of one request, or Violation."""
    pb = load_proto()
    request = pb.ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
        no_unknown_fields(request, "request")
        spans = list(walk(request, seen, number))
    except Violation:
        raise
    except Exception as e:  # DecodeError, UnicodeDecodeError: whatever the runtime raises
        raise Violation(f"does not decode: {e}") from e
    if not spans:
        raise Violation("empty request")
    ids = [s.span for s in spans]
    if len(set(ids)) != len(ids):
        raise Violation("a span id twice in one request")
    return spans


def walk(request, seen, number):
    for resource_spans in request.resource_spans:
        resource = attributes(resource_spans.resource.attributes, "resource")
        if not resource.get("service.name"):
            raise Violation("no service.name")
        if not resource_spans.schema_url.startswith(SCHEMA_URL):
            raise Violation("no schema_url on the resource")
        for scope_spans in resource_spans.scope_spans:
            if not scope_spans.schema_url.startswith(SCHEMA_URL):
                raise Violation("no schema_url on the scope")
            if not scope_spans.scope.name:
                raise Violation("a scope without a name")
            if not scope_spans.spans:
                raise Violation("empty scope")
            for span in scope_spans.spans:
                check_span(span, seen)
                yield Span(span.name, KINDS[span.kind], span.trace_id.hex(), span.span_id.hex(),
                           span.parent_span_id.hex(), span.start_time_unix_nano,
                           span.end_time_unix_nano, attributes(span.attributes, span.name),
                           STATUS[span.status.code], span.status.message, span.flags,
                           span.trace_state, resource, scope_spans.scope.name, number,
                           span.dropped_attributes_count)


# One request's metrics: points by (name, attributes as a sorted tuple).
Point = collections.namedtuple("Point", "unit kind temporality monotonic start time value sum buckets")


def check_metrics(request):
    points = {}
    for resource_metrics in request.resource_metrics:
        if not attributes(resource_metrics.resource.attributes, "resource").get("service.name"):
            raise Violation("no service.name")
        for scope in resource_metrics.scope_metrics:
            if not scope.scope.name or not scope.schema_url.startswith(SCHEMA_URL):
                raise Violation("a scope without name or schema")
            for metric in scope.metrics:
                walk_metric(metric, points)
    if not points:
        raise Violation("empty request")
    return points


def walk_metric(metric, points):
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    if not data.data_points or not metric.unit or not metric.description:
        raise Violation(f"{metric.name}: nothing in it, or no unit")
    for p in data.data_points:
        key = metric.name, tuple(sorted(attributes(p.attributes, metric.name).items()))
        if key in points:
            raise Violation(f"{key} twice")
        if not 0 < p.start_time_unix_nano <= p.time_unix_nano <= time.time_ns() + 10**9:
            raise Violation(f"{key}: from {p.start_time_unix_nano} to {p.time_unix_nano}")
        if kind == "histogram":
            if sum(p.bucket_counts) != p.count or len(p.bucket_counts) != len(p.explicit_bounds) + 1:
                raise Violation(f"{key}: buckets")
            if list(p.explicit_bounds) != sorted(p.explicit_bounds):
                raise Violation(f"{key}: bounds")
        points[key] = Point(metric.unit, kind, data.aggregation_temporality,
                            getattr(data, "is_monotonic", None), p.start_time_unix_nano,
                            p.time_unix_nano, p.count if kind == "histogram" else p.as_int,
                            getattr(p, "sum", None), list(getattr(p, "bucket_counts", [])))


class Receiver:
    def __init__(self, port=0):
        self.spans, self.violations, self.script = [], [], collections.deque()
        self.others = False  # what comes was not named by us
        self.connections = self.requests = 0
        self.request_headers, self.request_times = [], []
        self.rejected = 0
        self.metrics, self.metric_types, self.metric_script = [], [], collections.deque()
        self.seen = set()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 60

            def setup(self):
                super().setup()
                with receiver.lock:
                    receiver.connections += 1
                    receiver.open.add(self.connection)

            def finish(self):
                super().finish()
                with receiver.lock:
                    receiver.open.discard(self.connection)

            def log_message(self, *args):
                pass

            def do_GET(self):
                receiver.violate(f"{self.command} {self.path}")
                self.answer(405)
            do_PUT = do_HEAD = do_GET

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # its sender was killed: no collector takes half a request
                    self.close_connection = True
                    return
                receiver.post(self, body)

            def answer(self, status, body=b"", headers=()):
                self.send_response(status)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client_address):
                pass  # a client that went away; what it lost, the test counts

        self.open = set()
        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def violate(self, what):
        with self.lock:
            self.violations.append(what)

    def post_metrics(self, handler, body):
        with self.lock:
            answer = self.metric_script.popleft() if self.metric_script else None
        try:
            if handler.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request = load_proto().ExportMetricsServiceRequest()
            if handler.headers["Content-Type"] == "application/json":
                json_format.Parse(body, request)
            else:
                request.ParseFromString(body)
            no_unknown_fields(request, "request")
            points = check_metrics(request)
        except Exception as e:  # DecodeError, KeyError: whatever the runtime raises
            self.violate(f"metrics: {e}")
            handler.answer(400)
            return
        if answer is None:
            with self.lock:
                self.metrics.append(points)
                self.metric_types.append(handler.headers["Content-Type"])
            handler.answer(200)
        elif answer.what == "hang":
            self.stopping.wait(30)
            handler.close_connection = True
        else:
            handler.answer(answer.what)

    def post(self, handler, body):
        if handler.path == "/v1/metrics":
            self.post_metrics(handler, body)
            return
        with self.lock:
            self.requests += 1
            number = self.requests
            self.request_headers.append(dict(handler.headers.items()))
            self.request_times.append(time.monotonic())
            answer = self.script.popleft() if self.script else None
        spans, error = [], None
        try:
            spans = self.decode(handler, body, number)
        except Violation as e:
            error = str(e)
        if error:
            self.violate(error)
            handler.answer(400, error.encode())
        elif answer is None:
            self.keep(spans)
            handler.answer(200)
        elif answer.what == "hang":
            self.stopping.wait(30)
            handler.close_connection = True
        elif answer.what == "late":  # taken at once, said after a while
            self.keep(spans)
            self.stopping.wait(0.5)
            handler.answer(200)
        elif answer.what == "close":
            handler.close_connection = True
        elif answer.what == "partial":
            with self.lock:
                self.rejected += answer.rejected
            self.keep(spans[answer.rejected:])
            pb = load_proto()
            response = pb.ExportTraceServiceResponse()
            response.partial_success.rejected_spans = answer.rejected
            response.partial_success.error_message = answer.message
            handler.answer(200, response.SerializeToString())
        else:
            self.stopping.wait(answer.after)
            handler.answer(answer.what, headers=answer.headers)

    def decode(self, handler, body, number):
        if handler.path != "/v1/traces":
            raise Violation(f"POST {handler.path}")
        if handler.headers.get("Content-Type") != "application/x-protobuf":
            raise Violation(f"Content-Type {handler.headers.get('Content-Type')}")
        encoding = handler.headers.get("Content-Encoding", "")
        if encoding == "gzip":
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError) as e:
                raise Violation(f"Content-Encoding gzip, but: {e}") from e
        elif encoding:
            raise Violation(f"Content-Encoding {encoding}")
        elif body[:2] == b"\x1f\x8b":
            raise Violation("gzip without Content-Encoding")
        with self.lock:
            seen = set(self.seen)
        return check(body, seen, number)

    def keep(self, spans):
        with self.lock:
            self.spans += spans
            self.seen.update(bytes.fromhex(s.span) for s in spans)

    def wait(self, n, timeout=3.0):
        """Wait until n spans have come (or time is up); all that came."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with self.lock:
                if len(self.spans) >= n:
                    break
            time.sleep(0.01)
        with self.lock:
            return list(self.spans)

    def stop(self):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            still_open = list(self.open)
        for connection in still_open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.thread.join(5)
