# SPDX-License-Identifier: Apache-2.0
"""Spans as flat tables of facts, so that two tellings of one batch can be compared.

    {span id: {"name": "send", "kind": 3, "attribute thread.id": ("int_value", 7), ...}}
"""
from google.protobuf.message import Message


def value(v):
    """An AnyValue with its type."""
    which = v.WhichOneof("value")
    if which == "array_value":
        return which, tuple(value(one) for one in v.array_value.values)
    if which == "kvlist_value":
        return which, tuple((p.key, value(p.value)) for p in v.kvlist_value.values)
    return which, getattr(v, which) if which else None


def pairs(found, prefix, attributes):
    for pair in attributes:
        assert f"{prefix} {pair.key}" not in found, f"{prefix} {pair.key} twice"
        found[f"{prefix} {pair.key}"] = value(pair.value)


def plain(found, prefix, message, known):
    """Every other field that is set, under its own name: none is forgotten."""
    for field, v in message.ListFields():
        if field.name not in known:
            found[f"{prefix}{field.name}"] = v if not isinstance(v, Message) else str(v)


def of_span(span):
    found = {"trace_id": span.trace_id.hex(), "parent": span.parent_span_id.hex(), "kind": span.kind,
             "status": span.status.code, "status message": span.status.message}
    plain(found, "", span, {"trace_id", "span_id", "parent_span_id", "kind", "status", "attributes",
                            "events", "links"})
    pairs(found, "attribute", span.attributes)
    for kind, many in ("event", span.events), ("link", span.links):
        for i, one in enumerate(many):
            plain(found, f"{kind} {i} ", one, {"attributes"})
            pairs(found, f"{kind} {i} attribute", one.attributes)
    return found


def of_requests(requests):
    """Of ExportTraceServiceRequests (or a TracesData, which has the same fields)."""
    found = {}
    for request in requests:
        for rs in request.resource_spans:
            around = {"resource schema_url": rs.schema_url}
            pairs(around, "resource", rs.resource.attributes)
            for ss in rs.scope_spans:
                scope = dict(around, **{"scope schema_url": ss.schema_url})
                plain(scope, "scope ", ss.scope, {"attributes"})
                pairs(scope, "scope attribute", ss.scope.attributes)
                for span in ss.spans:
                    assert span.span_id.hex() not in found, f"{span.name} came twice"
                    found[span.span_id.hex()] = {**scope, **of_span(span)}
    return found


def differences(told, truth, loses=lambda fact: False, most=12):
    """What is told otherwise than it is, a line each."""
    lines = [f"{s}: not there ({truth[s]['name']})" for s in truth.keys() - told.keys()]
    lines += [f"{s}: made up ({told[s].get('name')})" for s in told.keys() - truth.keys()]
    for s in truth.keys() & told.keys():
        for fact in sorted(truth[s].keys() | told[s].keys()):
            a, b = told[s].get(fact), truth[s].get(fact)
            if a != b and not loses(fact):
                lines.append(f"{s} {truth[s]['name']}: {fact} is {a!r}, not {b!r}")
    return lines[:most] + ([f"... and {len(lines) - most} more"] if len(lines) > most else [])
