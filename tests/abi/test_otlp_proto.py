# SPDX-License-Identifier: Apache-2.0
"""exporter/otlp.proto against the official OTLP definitions.

Ours is written from field numbers.  Here protoc compiles it, and every message,
field, enum and oneof of it is looked up in the descriptors of the PyPI package
opentelemetry-proto: same number, same type, same label.  What we left out is
fine, what we have otherwise is not.
"""
import os
import re
import shutil
import subprocess

import pytest

import official as official_package

PROTO = os.path.join(official_package.ROOT, "exporter", "otlp.proto")

# Modules whose top-level messages have the same names as ours.
MODULES = [
    "opentelemetry.proto.common.v1.common_pb2",
    "opentelemetry.proto.resource.v1.resource_pb2",
    "opentelemetry.proto.trace.v1.trace_pb2",
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
]

# google.rpc.Status is in another package; its two fields are given here.
RPC_STATUS = {"code": (1, "int32"), "message": (2, "string")}

# Prints the official descriptors as one FileDescriptorSet, from the given folder.
DUMP = """
import importlib, sys
from google.protobuf import descriptor_pb2
out = descriptor_pb2.FileDescriptorSet()
for name in sys.argv[1:]:
    importlib.import_module(name).DESCRIPTOR.CopyToProto(out.file.add())
sys.stdout.buffer.write(out.SerializeToString())
"""

descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")


def compiled(proto_text, folder):
    """The descriptors of a .proto file's text."""
    protoc = shutil.which("protoc")
    if not protoc:
        pytest.skip("protoc is not installed")
    os.makedirs(folder, exist_ok=True)
    source = os.path.join(folder, "otlp.proto")
    binary = os.path.join(folder, "otlp.bin")
    with open(source, "w") as f:
        f.write(proto_text)
    subprocess.run([protoc, "-I", folder, "--descriptor_set_out=" + binary, source], check=True)
    with open(binary, "rb") as f:
        return descriptor_pb2.FileDescriptorSet.FromString(f.read())


@pytest.fixture(scope="module")
def official():
    """Messages and enums of the official package by their name below the package."""
    where, python = official_package.folder()
    dump = subprocess.run([python, "-c", DUMP] + MODULES, env=dict(os.environ, PYTHONPATH=where),
                          capture_output=True, check=True)
    return by_name(descriptor_pb2.FileDescriptorSet.FromString(dump.stdout))


@pytest.fixture(scope="module")
def ours():
    with open(PROTO) as f:
        return f.read()


def by_name(files):
    """{"Span": message, "Span.Event": message, "Span.SpanKind": enum}"""
    found = {}

    def walk(prefix, message):
        name = prefix + message.name
        found[name] = message
        for enum in message.enum_type:
            found[name + "." + enum.name] = enum
        for nested in message.nested_type:
            walk(name + ".", nested)

    for file in files.file:
        for message in file.message_type:
            walk("", message)
        for enum in file.enum_type:
            found[enum.name] = enum
    return found


def type_name(field):
    """The type a field refers to, below its package: packages are lower case."""
    return ".".join(part for part in field.type_name.split(".") if part[:1].isupper())


def shape(message, field):
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
    return (field.number, field.type, field.label, type_name(field), oneof)


def differences(mine, theirs):
    """One line for each thing of ours that is not so officially."""
    found = []
    for name, item in mine.items():
        if name == "RpcStatus":
            continue
        other = theirs.get(name)
        if other is None or type(other).__name__ != type(item).__name__:
            found.append(f"{name}: not official")
            continue
        if hasattr(item, "value"):
            values = {v.name: v.number for v in other.value}
            found += [f"{name}.{v.name} = {v.number}, not {values.get(v.name)}"
                      for v in item.value if values.get(v.name) != v.number]
            continue
        fields = {f.name: shape(other, f) for f in other.field}
        found += [f"{name}.{f.name} is {shape(item, f)}, not {fields.get(f.name)}"
                  for f in item.field if fields.get(f.name) != shape(item, f)]
    return found


def test_every_field_of_ours_is_official(official, ours, tmp_path):
    mine = by_name(compiled(ours, str(tmp_path)))
    assert len(mine) >= 18 and sum(len(getattr(m, "field", [])) for m in mine.values()) >= 55
    assert differences(mine, official) == []


def test_the_rpc_status_is_that_of_google(ours, tmp_path):
    status = by_name(compiled(ours, str(tmp_path)))["RpcStatus"]
    types = {5: "int32", 9: "string"}
    assert {f.name: (f.number, types.get(f.type)) for f in status.field} == RPC_STATUS


@pytest.mark.parametrize("what, change, place", [
    ("number", (r"string name = 5;", "string name = 17;"), "Span.name"),
    ("type", (r"fixed64 start_time_unix_nano = 7;", "uint64 start_time_unix_nano = 7;"),
     "Span.start_time_unix_nano"),
    ("label", (r"repeated Span spans = 2;", "Span spans = 2;"), "ScopeSpans.spans"),
    ("message type", (r"repeated Event events = 11;", "repeated Link events = 11;"),
     "Span.events"),
    ("enum value", (r"SPAN_KIND_CLIENT = 3;", "SPAN_KIND_CLIENT = 7;"),
     "Span.SpanKind.SPAN_KIND_CLIENT"),
    ("unknown field", (r"fixed32 flags = 16;", "fixed32 flags = 16;\n  string more = 99;"),
     "Span.more"),
    ("name", (r"bytes trace_id = 1;\n  bytes span_id = 2;\n  string trace_state = 3;\n  bytes p",
              "bytes id = 1;\n  bytes span_id = 2;\n  string trace_state = 3;\n  bytes p"),
     "Span.id"),
    ("oneof", (r"oneof value \{(.*?)\n  \}", r"\1"), "AnyValue.string_value"),
])
def test_a_change_is_noticed(official, ours, tmp_path, what, change, place):
    changed, n = re.subn(change[0], change[1], ours, flags=re.S)
    assert n == 1, "the change did not apply"
    found = differences(by_name(compiled(changed, str(tmp_path))), official)
    assert any(line.startswith(place + " ") for line in found), (what, found)
