# SPDX-License-Identifier: Apache-2.0
"""Spans as text: a tree, one line per span, without what differs from run to run.

    KIND name {attribute=value, ...} status
"""
import os
import re

PORTS = {"network.peer.port", "server.port", "client.port", "network.local.port"}


class Ports:
    """Names ports in the order they appear: <port1>, <port2>; or all of them <port>."""

    def __init__(self, alike=False):
        self.names, self.alike = {}, alike

    def __call__(self, port):
        if self.alike:
            return "<port>"
        return self.names.setdefault(int(port), f"<port{len(self.names) + 1}>")


def line(span, replace=(), ports=Ports(alike=True)):
    def text(key, value):
        if key == "thread.id":
            return "<tid>"
        if key in PORTS:
            return ports(value)
        value = str(value)
        for old, new in replace:
            value = value.replace(str(old), new)
        return value
    # Where in the program: test_code.py is about these, and they change with every edit.
    attrs = ", ".join(f"{k}={text(k, v)}" for k, v in sorted(span.attrs.items())
                      if not k.startswith("code."))
    name = re.sub(r":(\d{4,5})$", lambda m: ":" + ports(m.group(1)), text("", span.name))
    return f"{span.kind} {name} {{{attrs}}} {span.status}".rstrip()


def roots_and_children(spans):
    ids = {s.span for s in spans}
    children = {}
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        children.setdefault(span.parent if span.parent in ids else "", []).append(span)
    return children


def tree(spans, replace=()):
    ports = Ports()
    children = roots_and_children(spans)
    out = []

    def add(span, depth):
        out.append("  " * depth + line(span, replace, ports))
        for child in children.get(span.span, []):
            add(child, depth + 1)

    for root in children.get("", []):
        add(root, 0)
    return out


def counted(spans, replace=()):
    """For programs with threads: each distinct line once, with its count."""
    count = {}
    for one in (line(s, replace) for s in spans):
        count[one] = count.get(one, 0) + 1
    return [f"{n} x {one}" for one, n in sorted(count.items())]


def golden(lines, case):
    """Compare with <case>.spans beside this file; UPDATE=1 writes it."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), case + ".spans")
    if os.environ.get("UPDATE"):
        with open(path, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
    with open(path, encoding="utf-8") as f:
        wanted = f.read().splitlines()
    assert lines == wanted, f"{path} (UPDATE=1 rewrites it)"
