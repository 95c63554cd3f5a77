# SPDX-License-Identifier: Apache-2.0
"""OTLP/JSON read as strictly as the specification lets a receiver be.

To the bytes of the same message in protobuf; what differs from the proto3
mapping (hexadecimal ids, enums as numbers only, names in lowerCamelCase only)
is looked at here, everything else by google.protobuf.
"""
import base64
import json

from google.protobuf import json_format

from receiver import Violation, load_proto

IDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def walk(value, where="request"):
    if isinstance(value, list):
        return [walk(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    result = {}
    for key, one in value.items():
        if "_" in key:
            raise Violation(f"{where}: {key} is not lowerCamelCase")
        if key in IDS:
            try:
                raw = bytes.fromhex(one)
            except (TypeError, ValueError):
                raise Violation(f"{where}.{key}: {one!r} is not hexadecimal") from None
            if raw and len(raw) != IDS[key]:
                raise Violation(f"{where}.{key}: {one!r}")
            one = base64.b64encode(raw).decode("ascii")
        elif key in ("kind", "code") and not isinstance(one, int):
            raise Violation(f"{where}.{key}: {one!r} is not a number")
        result[key] = walk(one, f"{where}.{key}")
    return result


def once(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Violation(f"a key twice: {[k for k, _ in pairs]}")
    return found


def to_message(text, message=None):
    """The ExportTraceServiceRequest that the text (bytes) is."""
    message = load_proto().ExportTraceServiceRequest() if message is None else message
    try:
        tree = json.loads(text.decode("utf-8"), object_pairs_hook=once)
        return json_format.ParseDict(walk(tree), message)
    except (ValueError, json_format.ParseError) as e:
        raise Violation(f"no OTLP/JSON: {e}") from e


def to_binary(text):
    return to_message(text).SerializeToString()
