# SPDX-License-Identifier: Apache-2.0
"""What goes into the encoder comes out of it, read with the official OTLP definitions.

Random spans (SEED) with strings that no program should send are given to
tests/abi/encode.c, which is our encoder, built under ASan and UBSan.  What they are to
become is worked out here from docs/operations.md ("Limits") alone, and compared with what
protobuf reads, and with what a JSON reader of our own reads of the same request as OTLP/JSON.
"""
import base64
import json
import os
import random
import re
import struct
import subprocess
import sys
import time

import pytest

import official as official_package
import test_otlp_proto

ROOT = official_package.ROOT
B = os.path.abspath(os.path.join(ROOT, os.environ.get("B") or "build"))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import names  # noqa: E402

SEED = os.environ.get("SEED") or "1"
REQUESTS = 150
RECORD = 16384 - 24  # what a record holds of a span
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200
KEYS = [key for _, key, _, _ in names.Tables().rows["ATTR"]]
THREAD, ERROR = KEYS.index("thread.id"), KEYS.index("error.type")
HAS_JSON = os.path.exists(os.path.join(ROOT, "exporter", "otlp-json.h"))

descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool")
message_factory = pytest.importorskip("google.protobuf.message_factory")


@pytest.fixture(scope="session")
def official():
    """ExportTraceServiceRequest and Span, as their authors define them."""
    where, python = official_package.folder()
    dump = subprocess.run([python, "-c", test_otlp_proto.DUMP, *test_otlp_proto.MODULES], check=True,
                          env=dict(os.environ, PYTHONPATH=where), capture_output=True, timeout=60)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(dump.stdout).file:
        pool.Add(file)

    def message(name):
        d = pool.FindMessageTypeByName(name)
        if hasattr(message_factory, "GetMessageClass"):
            return message_factory.GetMessageClass(d)
        return message_factory.MessageFactory(pool).GetPrototype(d)
    return (message("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"),
            message("opentelemetry.proto.trace.v1.Span"))


def sources_of(*files):
    """The .c files that their LINK comments name."""
    for path in files:
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            for words in re.findall(r"/\* LINK: (.*?) \*/", f.read()):
                for word in words.split():
                    if word.endswith(".pb-c.o"):
                        yield os.path.join(B, word[:-2] + ".c")
                    elif word.endswith(".o"):
                        yield os.path.join(ROOT, word[:-2] + ".c")


def build(path, *flags):
    tests = ["tests/unit/test_op.c", "tests/abi/encode.c"]
    more = []
    if HAS_JSON:
        tests.append("tests/unit/test_otlp-json.c")
        more.append(os.path.join(ROOT, "exporter", "otlp-json.c"))
    subprocess.run(["gcc", "-g", "-std=gnu11", "-D_GNU_SOURCE", "-Wno-unused-function", *flags, "-I" + ROOT,
                    "-I" + B, "-o", path, os.path.join(ROOT, "tests", "abi", "encode.c"),
                    *sorted(set(sources_of(*tests)) | set(more)), "-lprotobuf-c", "-lm"], check=True, timeout=180)
    return path


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    return build(str(tmp_path_factory.mktemp("encode") / "encode"), "-O1", "-fsanitize=address,undefined",
                 "-fno-sanitize-recover=all")


def encoded(encoder, lines):
    """(what each E said, [(protobuf, json) of each Q])."""
    r = subprocess.run([encoder], input="\n".join(lines).encode() + b"\n", capture_output=True,
                       timeout=120, check=False, env=dict(os.environ, ASAN_OPTIONS="detect_leaks=1"))
    assert r.returncode == 0, r.stderr.decode(errors="replace")[-3000:]
    out, said, requests, at = r.stdout, [], [], 0
    while at < len(out):
        end = out.index(b"\n", at)
        word, at = out[at:end].decode(), end + 1
        if word in ("kept", "dropped"):
            said.append(word)
            continue
        what, n = word.split()
        if what == "protobuf":
            requests.append([out[at:at + int(n)]])
        else:
            requests[-1].append(out[at:at + int(n)])
        at += int(n)
    return said, requests


# ---- strings

CHARACTERS = ["a", "Z", " ", "\"", "\\", "/", "\n", "\t", "\x01", "\x7f", "\0", "ä", "€", "\u2028", "\ufeff",
              "\ufffd", "\uffff", "😀", "\U0010ffff", "e\u0301"]
NONE = [b"\x80", b"\xbf", b"\xff", b"\xfe", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf",
        b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3(", b"\xe2(\xa1"]


def text_of(rng, longest):
    """Bytes: good, bad or both, of a length that matters."""
    shape = rng.randrange(10)
    if shape == 0:
        return b""
    if shape == 1:
        return rng.randbytes(rng.randrange(1, 40))
    pieces = [c.encode() for c in CHARACTERS] + (NONE if shape < 6 else [])
    if shape == 2:  # at the limit
        n = max(0, longest + rng.randrange(-5, 6))
        if rng.randrange(2):
            return b"x" * max(0, longest - 6) + b"".join(rng.choices([b"\x80", *pieces], k=8))
        one = rng.choice(pieces)
        return (b"x" * rng.randrange(4) + one * (n // len(one) + 1))[:n]
    n = rng.choice([1, 3, 10, 40, 40, 200])
    return b"".join(rng.choice(pieces) for _ in range(n))


def sane(text, longest):
    """Every text that it may become: each byte of no character is '?', and what is too long
    is cut behind a whole character (up to three bytes early, where the cut is amid nonsense)."""
    out, at = [], 0
    while at < len(text):
        for n in 1, 2, 3, 4:
            try:
                out.append(text[at:at + n].decode("utf-8", "strict"))
                at += n
                break
            except UnicodeDecodeError:
                if n == 4 or at + n >= len(text):
                    out.append("?")
                    at += 1
                    break
    whole = "".join(out)
    if len(text) <= longest:
        return [whole]
    found, size = [], 0
    for i, c in enumerate(whole):
        if size >= longest - 3:
            found.append(whole[:i])
        size += len(c.encode())
        if size > longest:
            break
    return found


# ---- spans

class Wanted:
    """A span for the encoder, and what it is to become."""

    def __init__(self, rng, official_span):
        self.rng, self.span, self.lines = rng, official_span(), []
        self.either = []  # (set it, texts): values that may be one of several
        span = self.span
        span.kind = rng.randrange(1, 4)
        span.start_time_unix_nano = rng.choice([0, 1, 2**32, time.time_ns(), 2**62])
        span.end_time_unix_nano = span.start_time_unix_nano + rng.choice([1, 10**6, 2**40])
        span.trace_id, span.span_id = rng.randbytes(16), rng.randbytes(8)
        if rng.randrange(2):
            span.parent_span_id = rng.randbytes(8)
        flags, remote = rng.randrange(4), rng.randrange(2)
        span.flags = HAS_IS_REMOTE | (IS_REMOTE if remote else 0) | flags
        state = rng.choice(["", "a=b", "ot=th:8;rv:12345678901234,x@y=z", "k=" + "v" * 500])
        span.trace_state = state
        self.lines.append(f"S {span.kind} {span.start_time_unix_nano} {span.end_time_unix_nano} {flags} {remote} "
                          f"{span.trace_id.hex()} {span.span_id.hex()} {span.parent_span_id.hex() or '-'} "
                          f"{span.span_id.hex()} {state.encode().hex() or '-'}")
        self.attribute("thread.id").int_value = 77
        self.attributes()
        self.end()

    def attribute(self, key):
        pair = self.span.attributes.add()
        pair.key = key
        return pair.value

    def text(self, value, text, longest):
        """The value's string, one of those it may be."""
        may = sane(text, longest)
        value.string_value = may[0]
        if len(may) > 1:
            self.either.append((value, may))

    def attributes(self):
        rng = self.rng
        for i in rng.sample([i for i in range(len(KEYS)) if i not in (THREAD, ERROR)], rng.randrange(9)):
            if rng.randrange(3) == 0:
                n = rng.choice([0, 1, -1, 127, 128, 2**31, -2**31, 2**63 - 1, -2**63, rng.randrange(2**63)])
                self.lines.append(f"i {i} {n}")
                self.attribute(KEYS[i]).int_value = n
                continue
            text = text_of(rng, rng.choice([8192, 8192, 100]))
            known = sane(text, 10**9)[0].encode() if rng.randrange(3) == 0 else None
            self.lines.append(f"{'s' if known is None else 'u'} {i} {(known if known is not None else text).hex() or '-'}")
            self.text(self.attribute(KEYS[i]), text if known is None else known, 8192)
        for i in range(rng.choice([0, 0, 1, 5, 30, 140])):
            key = f"http.request.header.h{i}"
            values = [text_of(rng, 50) for _ in range(rng.choice([0, 1, 1, 3]))]
            self.lines.append(" ".join(["a", key.encode().hex(), *(v.hex() or "-" for v in values)]))
            array = self.attribute(key).array_value
            array.SetInParent()
            for v in values:
                self.text(array.values.add(), v, 8192)

    def end(self):
        rng, span = self.rng, self.span
        name, error, message = text_of(rng, 512), None, None
        may = sane(name or b"unknown", 512)
        span.name = may[0]
        if len(may) > 1:
            self.either.append((span, may))
        if rng.randrange(3) == 0:
            error, message = text_of(rng, 100), text_of(rng, 512)
            self.text(self.attribute("error.type"), error, 8192)
            span.status.code = 2
            may = sane(message, 512)
            span.status.message = may[0]
            if len(may) > 1:
                self.either.append((span.status, may))
        self.lines.append(f"E {name.hex() or '-'} {'-' if error is None else error.hex() or '00'} "
                          f"{(message or b'').hex() or '-'}")
        if error == b"":  # an empty error.type is none: the line above has a NUL for it
            self.span.attributes[-1].value.string_value = "\0"

    def limited(self, count, characters):
        """As the limits make it."""
        pairs = self.span.attributes
        if len(pairs) > count:
            self.span.dropped_attributes_count = len(pairs) - count
            del pairs[count:]
        for pair in pairs:
            for value in pair.value.array_value.values if pair.value.HasField("array_value") else [pair.value]:
                if value.HasField("string_value"):
                    value.string_value = value.string_value[:characters]
        self.either = [(m, [t[:characters] if hasattr(m, "string_value") else t for t in may])
                       for m, may in self.either]

    def settle(self, got):
        """Where there is a choice, take what was chosen if it is one of them."""
        def field(m):
            return "string_value" if hasattr(m, "string_value") else "message" if hasattr(m, "message") else "name"
        for m, may in self.either:
            best = [t for t in may if t in got]
            if best:
                setattr(m, field(m), max(best, key=len))


def texts_in(message, found):
    for field, value in message.ListFields():
        for one in value if field.label == field.LABEL_REPEATED else [value]:
            if field.message_type:
                texts_in(one, found)
            elif field.type == field.TYPE_STRING:
                found.add(one)
    return found


def foreign(rng, span):
    """A span with whatever OTLP has, events and links and all types of values."""
    def any_value(value, depth=0):
        kind = rng.randrange(8 if depth < 3 else 5)
        if kind == 0:
            value.string_value = sane(text_of(rng, 60), 10**9)[0]
        elif kind == 1:
            value.bool_value = bool(rng.randrange(2))
        elif kind == 2:
            value.int_value = rng.choice([0, -1, 2**63 - 1, -2**63])
        elif kind == 3:
            value.double_value = rng.choice([0.0, -0.0, 1.5, 1e300, 5e-324, 0.1, float("inf"), -float("inf"), 2**53 + 1.0])
        elif kind == 4:
            value.bytes_value = rng.randbytes(rng.randrange(9))
        elif kind == 5:
            value.array_value.SetInParent()
            for _ in range(rng.randrange(3)):
                any_value(value.array_value.values.add(), depth + 1)
        elif kind == 6:
            value.kvlist_value.SetInParent()
            pairs(value.kvlist_value.values, depth + 1)

    def pairs(to, depth=0):
        for i in range(rng.randrange(4)):
            pair = to.add()
            pair.key = f"k{i}" + sane(text_of(rng, 20), 30)[0]
            any_value(pair.value, depth)

    span.trace_id, span.span_id = rng.randbytes(16), rng.randbytes(8)
    span.name, span.kind = sane(text_of(rng, 60), 10**9)[0], rng.randrange(6)
    span.start_time_unix_nano = rng.randrange(2**64)
    span.dropped_attributes_count = rng.choice([0, 1, 2**32 - 1])
    pairs(span.attributes)
    for _ in range(rng.randrange(3)):
        event = span.events.add()
        event.time_unix_nano, event.name = rng.randrange(2**64), sane(text_of(rng, 20), 99)[0]
        pairs(event.attributes)
    for _ in range(rng.randrange(3)):
        link = span.links.add()
        link.trace_id, link.span_id, link.flags = rng.randbytes(16), rng.randbytes(8), rng.randrange(2**32)
        link.trace_state = "a=b"
        pairs(link.attributes)
    span.status.code = rng.randrange(3)
    span.flags = rng.randrange(2**32)
    return span


def same(got, wanted):
    if got == wanted:
        return
    mine, theirs = str(got).splitlines(), str(wanted).splitlines()
    i = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), min(len(mine), len(theirs)))
    raise AssertionError("\n".join(["it is"] + [m[:200] for m in mine[max(0, i - 3):i + 2]] + ["and not"]
                                   + [t[:200] for t in theirs[max(0, i - 3):i + 2]]))


# ---- OTLP/JSON

def unique(pairs):
    found = dict(pairs)
    assert len(found) == len(pairs), f"a name twice: {[k for k, _ in pairs]}"
    return found


def scalar(field, value):
    """As the JSON mapping of protobuf has it, with what OTLP changes: ids in hex, enums as numbers."""
    if field.type == field.TYPE_STRING:
        assert isinstance(value, str)
        return value
    if field.type == field.TYPE_BYTES:
        if field.name.endswith("_id"):
            assert re.fullmatch("([0-9a-f]{2})*", value)
            return bytes.fromhex(value)
        return base64.b64decode(value, validate=True)
    if field.type == field.TYPE_BOOL:
        assert isinstance(value, bool)
        return value
    if field.type == field.TYPE_DOUBLE:
        assert not isinstance(value, str) or value in ("NaN", "Infinity", "-Infinity")
        return float(value)
    if field.type in (field.TYPE_INT64, field.TYPE_FIXED64):
        assert isinstance(value, str) and re.fullmatch(r"-?\d+", value), "64 bits are a string"
        return int(value)
    assert isinstance(value, int) and not isinstance(value, bool), (field.name, value)
    return value


def from_json(message, value):
    """Fill the message from what the reader found; any field it does not know is an error."""
    fields = {re.sub("_([a-z])", lambda m: m.group(1).upper(), f.name): f for f in message.DESCRIPTOR.fields}
    for name, one in value.items():
        field = fields[name]
        assert one is not None
        repeated = field.label == field.LABEL_REPEATED
        if field.message_type:
            for item in one if repeated else [one]:
                to = getattr(message, field.name)
                to = to.add() if repeated else to
                to.SetInParent()
                from_json(to, item)
        else:
            assert not repeated
            setattr(message, field.name, scalar(field, one))
    return message


def same_json(official, text, wanted):
    def constant(word):
        raise AssertionError(f"{word} is no JSON")
    assert b"\n" not in text, "it is one line"
    read = json.loads(text.decode("utf-8", "strict"), object_pairs_hook=unique, parse_constant=constant)
    same(from_json(official(), read), wanted)


# ---- the properties

def with_resource(rng, request, lines):
    rs = request.resource_spans.add()
    rs.schema_url = "https://opentelemetry.io/schemas/1.44.0"
    for i in range(1 + rng.randrange(6)):
        pair = rs.resource.attributes.add()
        pair.key = f"key.{i}"
        if rng.randrange(3) == 0:
            pair.value.int_value = rng.choice([0, -1, 2**63 - 1])
            lines.append(f"I {pair.key.encode().hex()} {pair.value.int_value}")
        else:
            text = text_of(rng, 300)
            pair.value.string_value = sane(text, 10**9)[0].partition("\0")[0]  # it is a C string
            lines.append(f"R {pair.key.encode().hex()} {text.hex() or '-'}")
    scope = rs.scope_spans.add()
    scope.schema_url = rs.schema_url
    scope.scope.name = "libautotrace"
    return rs, scope


def version():
    with open(os.path.join(ROOT, "preload", "version.h"), encoding="ascii") as f:
        return re.search(r'ATR_VERSION "([^"]+)"', f.read()).group(1)


def test_what_goes_in_comes_out(official, encoder):
    request_class, span_class = official
    rng = random.Random(SEED)
    lines, plan = [], []
    for _ in range(REQUESTS):
        count, characters = rng.choice([(128, 2**31 - 1)] * 3 + [(0, 0), (1, 1), (5, 3), (127, 8000), (150, 20)])
        wanted = request_class()
        lines.append(f"L {count} {characters}")
        _, scope = with_resource(rng, wanted, lines)
        scope.scope.version = version()
        spans = [Wanted(rng, span_class) for _ in range(rng.randrange(1, 5))]
        for s in spans:
            lines += s.lines
        lines.append("Q")
        plan.append((wanted, scope, spans, count, characters))
    said, requests = encoded(encoder, lines)
    assert len(requests) == REQUESTS
    dropped, said = 0, iter(said)
    for (wanted, scope, spans, count, characters), (body, text) in zip(plan, requests):
        got = request_class.FromString(body)  # refuses what is no UTF-8
        found = texts_in(got, set())
        for s in spans:
            size = s.span.ByteSize()
            if next(said) == "dropped":
                dropped += 1
                assert size > RECORD - 64, f"{size} bytes would have fitted"
                continue
            assert size - 100 <= RECORD, f"{size} bytes cannot have fitted"
            s.limited(count, characters)
            s.settle(found)
            scope.spans.add().CopyFrom(s.span)
        same(got, wanted)
        if HAS_JSON:
            same_json(request_class, text, wanted)
    assert 0 < dropped < REQUESTS


def test_what_is_somebody_elses_is_handed_on_as_it_is(official, encoder):
    request_class, span_class = official
    rng = random.Random(SEED + "foreign")
    lines, plan = [f"L {2**31 - 1} {2**31 - 1}"], []
    for _ in range(REQUESTS):
        wanted = request_class()
        _, scope = with_resource(rng, wanted, lines)
        scope.scope.version = version()
        for _ in range(rng.randrange(1, 4)):
            span = foreign(rng, scope.spans.add())
            lines.append(f"B {span.SerializeToString().hex()}")
        lines.append("Q")
        plan.append(wanted)
    _, requests = encoded(encoder, lines)
    for wanted, (body, text) in zip(plan, requests):
        same(request_class.FromString(body), wanted)
        if HAS_JSON:
            same_json(request_class, text, wanted)


def test_the_reader_of_json_refuses_what_is_none(official):
    request_class, _ = official
    good = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0a","startTimeUnixNano":"5","kind":3}]}]}]}'
    wanted = request_class()
    span = wanted.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.start_time_unix_nano, span.kind = b"\x0a", 5, 3
    same_json(request_class, good, wanted)
    for old, new in [(b'"0a"', b'"0A"'), (b'"5"', b"5"), (b"3}", b'"SPAN_KIND_CLIENT"}'), (b"traceId", b"trace_id"),
                     (b'"5"', b'"6"'), (b'"0a"', b'"Cg=="'), (b'"kind":3', b'"kind":3,"kind":3'),
                     (b'"kind":3', b'"kind":NaN'), (b"[{", b"[\n{"), (b'"kind":3', b'"kinds":3'), (b'"0a"', b"null")]:
        assert old in good
        with pytest.raises((AssertionError, KeyError, TypeError, ValueError)):
            same_json(request_class, good.replace(old, new), wanted)


@pytest.mark.parametrize("file, old, new", [
    ("preload/attr.c", "#define ANYVALUE_INT (3", "#define ANYVALUE_INT (2"),
    ("preload/attr.c", "key->len + 1 + atr_pb_size(any_len)", "key->len + 2 + atr_pb_size(any_len)"),
    ("preload/utf8.c", "lo = 0xa0; /* overlong */", "lo = 0x80;"),
    ("preload/utf8.c", "hi = 0x9f; /* surrogates */", "hi = 0xbf;"),
    ("preload/op.c", "FLAGS_IS_REMOTE 0x200", "FLAGS_IS_REMOTE 0x400"),
    ("preload/op.c", "#define NAME_MAX_BYTES 512", "#define NAME_MAX_BYTES 508"),
    ("exporter/otlp.c", "head->resource.len + head_len(scope) + scope", "head->resource.len + scope"),
    ("exporter/limits.c", "dropped++;", ";"),
    ("exporter/limits.c", "(s[i] & 0xc0) != 0x80 && ", ""),
])
def test_a_wrong_encoder_is_noticed(official, tmp_path, monkeypatch, file, old, new):
    for folder in "preload", "exporter", "tests":
        os.symlink(os.path.join(ROOT, folder), tmp_path / folder)
    folder, name = file.split("/")
    os.unlink(tmp_path / folder)
    os.mkdir(tmp_path / folder)
    for one in os.listdir(os.path.join(ROOT, folder)):
        if one != name:
            os.symlink(os.path.join(ROOT, folder, one), tmp_path / folder / one)
    with open(os.path.join(ROOT, file), encoding="utf-8") as f:
        text = f.read()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    monkeypatch.setattr(sys.modules[__name__], "ROOT", str(tmp_path))
    monkeypatch.setattr(sys.modules[__name__], "REQUESTS", 40)
    wrong = build(str(tmp_path / "encode"), "-O0")
    with pytest.raises(Exception):
        test_what_goes_in_comes_out(official, wrong)
