# SPDX-License-Identifier: Apache-2.0
"""exporter/otlp-json.c and otlp-read.c against the official JSON mapping of protobuf.

Requests are made at random with the classes of the PyPI package opentelemetry-proto, with
every field and hostile values.  Our text of their bytes is compared with what google.protobuf
says of the same message (ids in hex and enums as numbers, as OTLP has them), and read back
by google.protobuf, and by our own reader, it is the message again.
"""
import ctypes
import json
import os
import random
import subprocess

import pytest

import official

ROOT = official.ROOT
B = os.path.abspath(os.path.join(ROOT, os.environ.get("B") or "build"))

# Runs with the official package in its path: makes requests, prints bytes and its own JSON.
MAKE = r"""
import base64, json, random, struct, sys
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.trace.v1 import trace_pb2 as trace

rnd = random.Random(int(sys.argv[1]))

def text():
    kind = rnd.randrange(6)
    if kind == 0:
        return rnd.choice(["", "\0", "\"", "\\", "</script>", "\u2028\u2029", "\x7f", "\x1b[31m",
                           "\n\r\t\b\f", "'", "\U0010ffff", "\ud7ff", "\ufffe", "e\u0301"])
    if kind == 1:
        return "".join(chr(rnd.randrange(0x20)) for _ in range(rnd.randrange(8)))
    if kind == 2:
        return "".join(chr(rnd.choice([rnd.randrange(0xd800), rnd.randrange(0xe000, 0x110000)]))
                       for _ in range(rnd.randrange(12)))
    return "".join(rnd.choice("abc.def-XYZ019 /") for _ in range(rnd.randrange(200 if kind == 3 else 20)))

def raw(n=None):
    return bytes(rnd.randrange(256) for _ in range(rnd.randrange(9) if n is None else n))

def some_double():
    d = struct.unpack("<d", raw(8))[0]
    return d if d == d else float("nan") # JSON has but one of them

def u32():
    return rnd.choice([0, 1, 127, 128, 0x7fffffff, 0x80000000, 0xffffffff, rnd.getrandbits(32)])

def u64():
    return rnd.choice([0, 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, rnd.getrandbits(64)])

def value(v, depth=0):
    kind = rnd.randrange(10)
    if kind == 0: v.string_value = text()
    elif kind == 1: v.bool_value = rnd.random() < 0.5
    elif kind == 2: v.int_value = rnd.choice([0, 1, -1, -2**63, 2**63 - 1, 2**53 + 1, rnd.getrandbits(40)])
    elif kind == 3:
        v.double_value = rnd.choice([0.0, -0.0, 0.1, 1/3, 1e21, 5e-324, 1.7976931348623157e308, float("inf"),
                                     float("-inf"), some_double(), rnd.random()])
    elif kind == 4 and depth < 4:
        v.array_value.SetInParent()
        for _ in range(rnd.randrange(4)): value(v.array_value.values.add(), depth + 1)
    elif kind == 5 and depth < 4:
        v.kvlist_value.SetInParent()
        pairs(v.kvlist_value.values, depth + 1)
    elif kind == 6: v.bytes_value = raw()
    elif kind < 9: v.string_value = text()

def pairs(to, depth=0):
    for _ in range(rnd.randrange(5)):
        kv = to.add()
        kv.key = text()
        if rnd.random() < 0.9: value(kv.value, depth)

def span(s):
    s.trace_id, s.span_id = raw(16), raw(8)
    s.parent_span_id = raw(rnd.choice([0, 8, 3]))
    s.trace_state, s.name, s.kind = text(), text(), rnd.randrange(7)
    s.start_time_unix_nano, s.end_time_unix_nano, s.flags = u64(), u64(), u32()
    pairs(s.attributes)
    s.dropped_attributes_count, s.dropped_events_count, s.dropped_links_count = u32(), u32(), u32()
    for _ in range(rnd.randrange(3)):
        e = s.events.add()
        e.time_unix_nano, e.name, e.dropped_attributes_count = u64(), text(), u32()
        pairs(e.attributes)
    for _ in range(rnd.randrange(3)):
        l = s.links.add()
        l.trace_id, l.span_id, l.trace_state, l.flags = raw(), raw(), text(), u32()
        l.dropped_attributes_count = u32()
        pairs(l.attributes)
    if rnd.random() < 0.6:
        s.status.SetInParent()
        s.status.message, s.status.code = text(), rnd.randrange(3)

def hexed(item, key=None):
    if isinstance(item, dict): return {k: hexed(v, k) for k, v in item.items()}
    if isinstance(item, list): return [hexed(v, key) for v in item]
    return base64.b64decode(item).hex() if key in ("traceId", "spanId", "parentSpanId") else item

def unhexed(item, key=None):
    if isinstance(item, dict): return {k: unhexed(v, k) for k, v in item.items()}
    if isinstance(item, list): return [unhexed(v, key) for v in item]
    return base64.b64encode(bytes.fromhex(item)).decode() if key in ("traceId", "spanId", "parentSpanId") else item

def make():
    r = service.ExportTraceServiceRequest()
    for _ in range(rnd.randrange(1, 3)):
        rs = r.resource_spans.add()
        rs.schema_url = text()
        if rnd.random() < 0.9: pairs(rs.resource.attributes); rs.resource.dropped_attributes_count = u32()
        for _ in range(rnd.randrange(3)):
            ss = rs.scope_spans.add()
            ss.schema_url = text()
            if rnd.random() < 0.9:
                ss.scope.name, ss.scope.version, ss.scope.dropped_attributes_count = text(), text(), u32()
                pairs(ss.scope.attributes)
            for _ in range(rnd.randrange(4)): span(ss.spans.add())
    return r

for line in sys.stdin:             # "make", our JSON of the last one, or what we read of that
    line = line.rstrip("\n")
    if line == "make":
        last = make()
        want = hexed(json_format.MessageToDict(last, use_integers_for_enums=True))
        print(last.SerializeToString().hex(), json.dumps(want), flush=True)
    elif line.startswith("wire "):
        try:
            back = service.ExportTraceServiceRequest.FromString(bytes.fromhex(line[5:]))
        except DecodeError:
            print("none", flush=True)
            continue
        same = back.SerializeToString(deterministic=True) == last.SerializeToString(deterministic=True)
        print("same" if same else "other", flush=True)
    else:
        try:
            back = json_format.ParseDict(unhexed(json.loads(line)), service.ExportTraceServiceRequest())
        except (json_format.ParseError, ValueError):
            print("none", flush=True)
            continue
        # NaN is not equal to itself, its bytes are
        same = back.SerializeToString(deterministic=True) == last.SerializeToString(deterministic=True)
        print("same" if same else "other", flush=True)
"""


# The compiler checks how they are called; ctypes would not.
CALLS = """
#include "exporter/otlp-json.h"
#include "exporter/otlp-read.h"
#include "exporter/otlp.pb-c.h"

#define TYPE &atr__otlp__export_trace_service_request__descriptor

bool write_json(struct atr_buf *out, const uint8_t *wire, size_t len, uint64_t *lost)
{
	return atr_otlp_json_message(out, TYPE, wire, len, lost);
}

bool read_json(struct atr_buf *out, const char *text, size_t len, uint64_t *lost)
{
	uint64_t wrong = 0;

	return atr_otlp_read(out, TYPE, text, len, lost, &wrong) && !wrong;
}
"""


class Buf(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_void_p), ("len", ctypes.c_size_t), ("room", ctypes.c_size_t),
                ("failed", ctypes.c_bool)]


def library(folder, change=None):
    """Our writer and reader as functions of bytes; change: (text, text) in the source, to be noticed."""
    objects, changed = [], not change
    for name in "otlp-json.c", "otlp-read.c":
        with open(os.path.join(ROOT, "exporter", name)) as f:
            source = f.read()
        if change and source.count(change[0]) == 1:
            source, changed = source.replace(*change), True
        objects.append(os.path.join(folder, name))
        with open(objects[-1], "w") as f:
            f.write(source)
    assert changed, change
    objects.append(os.path.join(folder, "calls.c"))
    with open(objects[-1], "w") as f:
        f.write(CALLS)
    objects += [os.path.join(ROOT, p) for p in (
        "exporter/json.c", "exporter/line.c", "exporter/buf.c", "preload/utf8.c", "preload/sys.c")]
    objects.append(os.path.join(B, "exporter", "otlp.pb-c.c"))
    so = os.path.join(folder, "otlp-json.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-I" + ROOT, "-I" + B,
                    "-o", so] + objects + ["-lprotobuf-c", "-lm"], check=True, timeout=120)
    lib = ctypes.CDLL(so)
    for function in lib.write_json, lib.read_json:
        function.restype = ctypes.c_bool
        function.argtypes = [ctypes.POINTER(Buf), ctypes.c_char_p, ctypes.c_size_t,
                             ctypes.POINTER(ctypes.c_uint64)]
    lib.atr_buf_free.argtypes = [ctypes.POINTER(Buf)]

    def call(function, data):
        out, lost = Buf(), ctypes.c_uint64()
        good = function(ctypes.byref(out), data, len(data), ctypes.byref(lost))
        made = ctypes.string_at(out.bytes, out.len) if out.len else b""
        lib.atr_buf_free(ctypes.byref(out))
        return made if good else None, lost.value

    return (lambda data: call(lib.write_json, data), lambda text: call(lib.read_json, text))


class Official:
    def __init__(self, seed):
        where, python = official.folder()
        self.process = subprocess.Popen(
            ["timeout", "-s", "KILL", "120", python, "-c", MAKE, str(seed)], text=True,
            encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=where, PYTHONIOENCODING="utf-8"))

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def unlike(a, b, path="", key=None):
    """Where two texts differ first, or None.  Python writes doubles that are whole as integers."""
    if key == "doubleValue" and not isinstance(a, str) and not isinstance(b, str):
        a, b = float(a), float(b)
    if type(a) is not type(b):
        return f"{path}: {a!r}, not {b!r}"
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{path}: {sorted(a)}, not {sorted(b)}"
        return next(filter(None, (unlike(a[k], b[k], f"{path}.{k}", k) for k in a)), None)
    if isinstance(a, list) and len(a) == len(b):
        return next(filter(None, (unlike(x, y, f"{path}[{i}]") for i, (x, y) in
                                  enumerate(zip(a, b)))), None)
    return None if a == b else f"{path}: {a!r}, not {b!r}"


def differences(ours, seed, rounds):
    """What our text says otherwise than the official mapping: one line for each request."""
    (to_json, from_json), theirs, found = ours, Official(seed), []
    try:
        for i in range(rounds):
            data, want = theirs.ask("make").split(" ", 1)
            text, lost = to_json(bytes.fromhex(data))
            if text is None or lost:
                found.append(f"request {i}: refused, or {lost} fields lost")
                continue
            text = text.decode("utf-8")
            if "\n" in text:
                found.append(f"request {i}: more than one line")
                continue
            got = json.loads(text)
            other = unlike(got, json.loads(want))
            if other:
                found.append(f"request {i}: {other}"[:500])
            elif theirs.ask(text) != "same":
                found.append(f"request {i}: read back it is another message: {text[:500]}")
            else:
                wire, lost = from_json(text.encode("utf-8"))
                if wire is None or lost or theirs.ask("wire " + wire.hex()) != "same":
                    found.append(f"request {i}: read by us it is another message: {text[:500]}")
    finally:
        theirs.close()
    return found


def test_the_text_says_what_the_official_mapping_says(tmp_path):
    official.folder()
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(2**31))
    found = differences(library(str(tmp_path)), seed, 300)
    assert not found, f"SEED={seed}: {len(found)} of 300\n" + "\n".join(found[:3])


@pytest.mark.parametrize("what, change", [
    ("sign", ('put_signed(w->out, "\\"", (int64_t)p->value)',
              'put_number(w->out, "\\"", "", p->value)')),
    ("quotes of long numbers", ('put_number(w->out, "\\"", "", p->value)',
                                'put_number(w->out, "", "", p->value)')),
    ("digits of a double", ("digits = 15; digits <= 17", "digits = 15; digits <= 16")),
    ("infinity", ('"\\"-Infinity\\""', '"\\"Infinity\\""')),
    ("base64", ('"0123456789+/"', '"0123456789-_"')),
    ("ids in base64", ('"_id") == 0', '"_ix") == 0')),
    ("choice", ("field != choice", "field == choice")),
    ("control characters", ("c >= 0x20 && c !=", "c >= 0x0f && c !=")),
    ("cut to 32 bits", ("(uint32_t)p->value", "(uint16_t)p->value")),
    ("reader: sign", ("negative ? -v : v", "v")),
    ("reader: base64", ("bits >> (6 - 2 * (i % 4))", "bits >> (4 - 2 * (i % 4))")),
    ("reader: hex", ("s[i / 2] | v : v << 4", "s[i / 2] | v : v << 3")),
    ("reader: 64 bits", ("(UINT64_MAX - digit) / 10", "(INT64_MAX - digit) / 10")),
    ("reader: length", ("varint(head, len);", "varint(head, len & 0xff);")),
    ("comma", ("if (any)\n\t\t\tput(w->out, \",\");\n\t\tany = true;\n\t\tgood = put_value",
               "any = true;\n\t\tgood = put_value")),
])
def test_a_wrong_writer_or_reader_is_noticed(tmp_path, what, change):
    official.folder()
    try:
        found = differences(library(str(tmp_path), change), 1, 100)
    except ValueError:
        return  # no JSON at all, or no UTF-8
    assert found, what
