# SPDX-License-Identifier: Apache-2.0
"""The checker is seen to fail: one broken request per rule."""
import gzip
import http.client
import time

import pytest

import receiver as r
from receiver import Answer, Receiver

pb = r.load_proto()


def good(n=1):
    request = pb.ExportTraceServiceRequest()
    rs = request.resource_spans.add()
    rs.schema_url = r.SCHEMA_URL + "1.44.0"
    attribute = rs.resource.attributes.add()
    attribute.key = "service.name"
    attribute.value.string_value = "x"
    ss = rs.scope_spans.add()
    ss.schema_url = rs.schema_url
    ss.scope.name = "libautotrace.socket"
    for i in range(n):
        span = ss.spans.add()
        span.trace_id = b"t" * 16
        span.span_id = (i + 1).to_bytes(8, "big")
        span.name = "send"
        span.kind = 3
        span.start_time_unix_nano = time.time_ns() - 1000
        span.end_time_unix_nano = span.start_time_unix_nano + 10
        span.flags = 0x101
        for key in "a", "b":
            attribute = span.attributes.add()
            attribute.key = key
            attribute.value.string_value = "v\u00e4"
    return request


def post(rec, body, headers=None, path="/v1/traces"):
    c = http.client.HTTPConnection("127.0.0.1", rec.port, timeout=5)
    c.request("POST", path, body, {"Content-Type": "application/x-protobuf", **(headers or {})})
    response = c.getresponse()
    answer = response.status, response.read()
    c.close()
    return answer


@pytest.fixture
def rec():
    rec = Receiver()
    yield rec
    rec.stop()


def span_of(request):
    return request.resource_spans[0].scope_spans[0].spans[0]


def set_field(**fields):
    def change(request):
        for name, value in fields.items():
            setattr(span_of(request), name, value)
    return change


def duplicate_key(request):
    span_of(request).attributes[1].key = "a"


def empty_key(request):
    span_of(request).attributes[1].key = ""


def no_value(request):
    span_of(request).attributes[1].ClearField("value")


def duplicate_resource_key(request):
    a = request.resource_spans[0].resource.attributes
    a.add().CopyFrom(a[0])


def own_parent(request):
    span_of(request).parent_span_id = span_of(request).span_id


def same_id(request):
    request.resource_spans[0].scope_spans[0].spans.add().CopyFrom(span_of(request))


def no_schema(request):
    request.resource_spans[0].schema_url = ""


def no_scope_schema(request):
    request.resource_spans[0].scope_spans[0].schema_url = ""


def no_scope(request):
    request.resource_spans[0].scope_spans[0].scope.name = ""


def no_service(request):
    del request.resource_spans[0].resource.attributes[:]


def no_spans(request):
    del request.resource_spans[0].scope_spans[0].spans[:]


def message_without_error(request):
    span_of(request).status.message = "fine"


BROKEN = [
    set_field(trace_id=b""), set_field(trace_id=b"\0" * 16), set_field(trace_id=b"1" * 15),
    set_field(span_id=b""), set_field(span_id=b"\0" * 8), set_field(span_id=b"1" * 9),
    set_field(parent_span_id=b"\0" * 8), set_field(parent_span_id=b"1" * 4),
    set_field(name=""), set_field(kind=0), set_field(kind=6),
    set_field(end_time_unix_nano=1), set_field(start_time_unix_nano=5, end_time_unix_nano=6),
    set_field(flags=0x401), set_field(flags=0x201),
    own_parent, same_id, duplicate_key, empty_key, no_value, duplicate_resource_key,
    no_schema, no_scope_schema, no_scope, no_service, no_spans, message_without_error,
]


def test_a_good_request_is_kept(rec):
    assert post(rec, good(3).SerializeToString()) == (200, b"")
    assert [s.name for s in rec.spans] == ["send"] * 3 and not rec.violations
    assert rec.spans[0].attrs == {"a": "v\u00e4", "b": "v\u00e4"}
    assert rec.spans[0].resource == {"service.name": "x"}


@pytest.mark.parametrize("breakage", BROKEN, ids=lambda b: b.__name__)
def test_each_violation_is_refused(rec, breakage):
    request = good()
    breakage(request)
    assert post(rec, request.SerializeToString())[0] == 400
    assert len(rec.violations) == 1 and not rec.spans


@pytest.mark.parametrize("body, why", [
    (good().SerializeToString().replace(b"v\xc3\xa4", b"v\xc3\xff"), "invalid UTF-8"),
    (good().SerializeToString().replace(b"send", b"se\xffd"), "invalid UTF-8 in a name"),
    (good().SerializeToString() + b"\x98\x06\x01", "unknown field"),
    (good().SerializeToString()[:-1], "truncated"),
    (b"", "empty"),
    (gzip.compress(good().SerializeToString()), "gzip unannounced"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_each_broken_body_is_refused(rec, body, why):
    assert post(rec, body)[0] == 400, why
    assert len(rec.violations) == 1 and not rec.spans


def test_an_unknown_field_inside_a_span_is_refused(rec):
    request = good()
    span = span_of(request)
    span.MergeFromString(b"\x98\x06\x01")  # field 99
    assert post(rec, request.SerializeToString())[0] == 400
    assert "unknown field 99" in rec.violations[0]


def test_gzip_is_taken_when_announced_and_only_if_it_is_gzip(rec):
    body = good().SerializeToString()
    assert post(rec, gzip.compress(body), {"Content-Encoding": "gzip"})[0] == 200
    assert post(rec, body, {"Content-Encoding": "gzip"})[0] == 400
    assert post(rec, body, {"Content-Encoding": "br"})[0] == 400


def test_wrong_path_and_type_are_refused(rec):
    body = good().SerializeToString()
    assert post(rec, body, path="/v1/trace")[0] == 400
    assert post(rec, body, {"Content-Type": "application/json"})[0] == 400


def test_a_span_sent_twice_is_refused(rec):
    body = good().SerializeToString()
    assert [post(rec, body)[0] for _ in range(2)] == [200, 400]
    assert "twice" in rec.violations[0]


def test_scripted_answers(rec):
    rec.script += [Answer(503), Answer(429, {"Retry-After": "1"}), Answer("close"),
                   Answer("partial", rejected=1, message="no")]
    body = good(2).SerializeToString()
    assert post(rec, body)[0] == 503 and post(rec, body)[0] == 429
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        post(rec, body)
    assert not rec.spans
    status, answer = post(rec, body)
    parsed = pb.ExportTraceServiceResponse.FromString(answer)
    assert (status, parsed.partial_success.rejected_spans) == (200, 1)
    assert len(rec.spans) == 1 and rec.rejected == 1
    assert rec.connections == 4 and rec.requests == 4


# Field numbers and types of opentelemetry-proto 1.11, written down here a second
# time: otlp.proto is ours, and a slip in it would fool encoder and decoder alike.
FIELDS = {
    "ExportTraceServiceRequest": {"resource_spans": 1},
    "ExportTraceServiceResponse": {"partial_success": 1},
    "ExportTracePartialSuccess": {"rejected_spans": 1, "error_message": 2},
    "ResourceSpans": {"resource": 1, "scope_spans": 2, "schema_url": 3},
    "ScopeSpans": {"scope": 1, "spans": 2, "schema_url": 3},
    "Resource": {"attributes": 1, "dropped_attributes_count": 2},
    "InstrumentationScope": {"name": 1, "version": 2, "attributes": 3,
                             "dropped_attributes_count": 4},
    "Span": {"trace_id": 1, "span_id": 2, "trace_state": 3, "parent_span_id": 4, "name": 5,
             "kind": 6, "start_time_unix_nano": 7, "end_time_unix_nano": 8, "attributes": 9,
             "dropped_attributes_count": 10, "events": 11, "dropped_events_count": 12,
             "links": 13, "dropped_links_count": 14, "status": 15, "flags": 16},
    "Status": {"message": 2, "code": 3},
    "KeyValue": {"key": 1, "value": 2},
    "AnyValue": {"string_value": 1, "bool_value": 2, "int_value": 3, "double_value": 4,
                 "array_value": 5, "kvlist_value": 6, "bytes_value": 7},
}
FIXED = {"start_time_unix_nano": "TYPE_FIXED64", "end_time_unix_nano": "TYPE_FIXED64",
         "flags": "TYPE_FIXED32", "rejected_spans": "TYPE_INT64", "int_value": "TYPE_INT64",
         "double_value": "TYPE_DOUBLE", "trace_id": "TYPE_BYTES", "span_id": "TYPE_BYTES",
         "parent_span_id": "TYPE_BYTES", "name": "TYPE_STRING", "key": "TYPE_STRING",
         "string_value": "TYPE_STRING", "bytes_value": "TYPE_BYTES"}


def messages(descriptor):
    for message in descriptor:
        yield message
        yield from messages(message.nested_types)


def test_our_proto_is_the_real_one():
    assert pb.DESCRIPTOR.serialized_pb.find(b"proto3") > 0, "UTF-8 is checked by proto3 only"
    ours = {m.name: m for m in messages(pb.DESCRIPTOR.message_types_by_name.values())}
    for name, wanted in FIELDS.items():
        for field in ours[name].fields:
            assert wanted.get(field.name, field.number) == field.number, f"{name}.{field.name}"
            if field.name in FIXED:
                assert field.type == getattr(field, FIXED[field.name]), f"{name}.{field.name}"
        mine = {field.name for field in ours[name].fields}
        optional = {"trace_state", "events", "links", "dropped_attributes_count", "attributes",
                    "dropped_events_count", "dropped_links_count", "array_value", "kvlist_value",
                    "bytes_value", "double_value", "bool_value"}
        assert set(wanted) - mine <= optional, name
