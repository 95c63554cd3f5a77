# SPDX-License-Identifier: Apache-2.0
"""What we call things, against the semantic conventions and against what was sent.

    names.py              preload/attr.def, preload/names.def and exporter/metrics.def, the
                          sources, and the registry's facts (tests/vectors/semconv.tsv) agree
    names.py --seen FILE  every span and metric that the tests received is one the tables list

FILE is what the fixture `receiver` wrote (ATR_NAMES_SEEN=FILE): one JSON object a line, each of something that
was seen for the first time, with the test it was seen in.
"""
import ast
import glob
import json
import os
import re
import sys
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILES = ["preload/attr.def", "preload/names.def", "exporter/metrics.def"]
COLUMNS = {"ATTR": 4, "TEMPLATE": 3, "RESOURCE": 3, "SPAN_NAME": 3, "METRIC": 6,
           "METRIC_ATTR": 3, "TAG": 3, "READ": 2, "VALUE": 3, "DEVIATION": 2}
INSTRUMENTS = {"COUNTER": "counter", "UPDOWN": "updowncounter", "HISTOGRAM": "histogram"}
TYPES = {"STRING": "string", "INT": "int", "STRINGS": "string[]", "BOOLEAN": "boolean",
         "DOUBLE": "double"}
NAME_MAX = 255  # the shortest that any part of a name is cut to
DOTTED = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+")


def rows_of(text):
    """[(macro, [argument, ...])] of a .def file; arguments in quotes come without them."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    literal = r'"(?:[^"\\\n]|\\.)*"'
    for m in re.finditer(rf"^([A-Z_]+)\(((?:{literal}|[^()\"])*)\)", text, re.M):
        arguments = [a.strip() for a in re.findall(rf"(?:{literal}|[^,\"])+", m.group(2))]
        yield m.group(1), [ast.literal_eval(a) if a.startswith('"') else a for a in arguments]


class Tables:
    """The rows of both files, and what the registry says."""

    def __init__(self, root=ROOT):
        def read(*path):
            with open(os.path.join(root, *path), encoding="utf-8") as f:
                return f.read()
        self.root, self.wrong = root, []
        self.rows = {macro: [] for macro in COLUMNS}
        for name in FILES:
            for macro, arguments in rows_of(read(name)):
                if len(arguments) != COLUMNS.get(macro):
                    self.wrong.append(f"{name}: {macro}({', '.join(arguments)}) has "
                                      f"{len(arguments)} columns, not {COLUMNS.get(macro)}")
                else:
                    self.rows[macro].append(arguments)
        self.registry = {}
        for line in read("tests", "vectors", "semconv.tsv").splitlines():
            if not line.startswith("#"):
                what, name, *rest = line.split("\t") + ["", ""]
                self.registry[what, name] = rest
        self.attributes = {key: kind for _, key, kind, _ in self.rows["ATTR"]}
        self.metrics = {name: (INSTRUMENTS.get(kind, kind), unit)
                        for _, name, kind, unit, _, _ in self.rows["METRIC"]}
        self.metric_attributes = {**self.attributes,
                                  **{key: kind for key, kind, _ in self.rows["METRIC_ATTR"]}}
        self.resources = {key: kind for key, kind, _ in self.rows["RESOURCE"]}
        self.templates = {key.partition("<")[0]: kind for key, kind, _ in self.rows["TEMPLATE"]}
        self.values = {(key, value) for key, value, _ in self.rows["VALUE"]}
        self.reasons = {name for name, _ in self.rows["DEVIATION"]}
        self.forms = [(kinds.split(), form) for kinds, form, _ in self.rows["SPAN_NAME"]]
        # Longest first: "{method} {route}" before "{method}".
        self.forms.sort(key=lambda f: -len(f[1]))

    def members(self, key):
        """The values its enum has; empty: it is none."""
        words = (self.registry.get(("attribute", key)) or ["", "", ""])[2].split()
        return {urllib.parse.unquote(w.partition(":")[0]) for w in words}

    def form_of(self, kind, name, attrs):
        """The row a span's name is of, or None."""
        for kinds, form in self.forms:
            keys = re.findall(r"\{([^}]*)\}", form)
            if kind in kinds and all(key in attrs for key in keys):
                full = re.sub(r"\{([^}]*)\}", lambda m: str(attrs[m.group(1)]), form)
                if name == full or (len(name.encode()) >= NAME_MAX and full.startswith(name)):
                    return form
        return None


# ---- the tables, the sources and the registry

def differences(tables, what, name, wanted):
    """A row against the registry; OURS needs a reason, and not to be theirs."""
    fact, ours = tables.registry.get((what, name)), wanted[-1] == "OURS"
    if fact is None and not ours:
        yield f"{name}: the conventions have no {what} of this name (if it is OURS, say so)"
    elif ours:
        if fact is not None:
            yield f"{name}: is in the conventions, and not OURS"
        if name not in tables.reasons:
            yield f"{name}: is OURS, and no DEVIATION says why"
    elif name not in tables.reasons:
        mine = wanted[:-1] + [wanted[-1].lower()]
        theirs = [fact[0], fact[2], fact[1]] if what == "metric" else fact[:2]
        if mine != theirs:
            yield f"{name}: listed as {mine}, the conventions say {theirs}"


def span_names(tables):
    for kinds, form, kind_of in tables.rows["SPAN_NAME"]:
        for key in re.findall(r"\{([^}]*)\}", form):
            if key not in tables.attributes:
                yield f"{form}: {key} is no row of attr.def"
        fact = tables.registry.get(("span", kind_of))
        if not kind_of:
            if form not in tables.reasons:
                yield f"{form}: no convention has it, and no DEVIATION says why"
        elif fact is None:
            yield f"{form}: the conventions have no span {kind_of}"
        elif fact[0].upper() != kinds:
            yield f"{form}: a span {kind_of} is {fact[0].upper()}, not {kinds}"


def literals(tables, *folders):
    """{text: file} of the string literals in the sources."""
    found = {}
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(tables.root, folder, "*.[ch]"))
                           + glob.glob(os.path.join(tables.root, folder, "*.def"))):
            if os.path.relpath(path, tables.root) in FILES:
                continue
            with open(path, encoding="utf-8") as f:
                text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
            for literal in re.findall(r'"((?:[^"\\\n]|\\.)*)"', text):
                found.setdefault(literal, os.path.relpath(path, tables.root))
    return found


def sources(tables):
    """What the sources say is listed, and what is listed they say."""
    said = literals(tables, "preload", "hooks", "exporter")
    listed = {name: macro for macro in ("RESOURCE", "METRIC_ATTR", "TAG", "READ")
              for name, *_ in tables.rows[macro]}
    for text, path in said.items():
        known = ("attribute", text) in tables.registry or ("metric", text) in tables.registry
        if known and text not in listed and text not in tables.attributes \
                and DOTTED.fullmatch(text):
            yield f"{path}: \"{text}\" is no row of names.def"
    for name, macro in listed.items():
        if name not in said:
            yield f"{name}: no source says what this {macro} row lists"
    code = ""
    for folder in "preload", "hooks", "exporter":
        for path in glob.glob(os.path.join(tables.root, folder, "*.c")):
            with open(path, encoding="utf-8") as f:
                code += f.read()
    for constant, key, *_ in tables.rows["ATTR"]:
        if not re.search(rf"\bATR_{constant}\b", code):
            yield f"{key}: nobody writes ATR_{constant}"


def problems(tables):
    yield from tables.wrong
    names = set()
    for macro in "ATTR", "TEMPLATE", "RESOURCE", "METRIC", "METRIC_ATTR", "TAG":
        for row in tables.rows[macro]:
            key, wanted = (row[1], row[2:]) if macro in ("ATTR", "METRIC") else (row[0], row[1:])
            if (macro, key) in names:
                yield f"{key}: listed twice"
            names.add((macro, key))
            if macro == "METRIC":
                kind, unit, stability = INSTRUMENTS.get(wanted[0], wanted[0]), *wanted[1:3]
                yield from differences(tables, "metric", key, [kind, unit, stability])
                continue
            kind = TYPES.get(wanted[0], wanted[0])
            if macro == "TEMPLATE":
                key, kind = key.partition(".<")[0], f"template[{kind}]"
            yield from differences(tables, "attribute", key, [kind, wanted[1]])
    yield from span_names(tables)
    yield from sources(tables)
    every = {key for _, key in names} | {form for _, form in tables.forms}
    for name in sorted(tables.reasons - every):
        yield f"{name}: a DEVIATION of nothing that is listed"
    for name, _ in tables.rows["READ"]:
        if name in every:
            yield f"{name}: is READ, and listed as ours"
    for key, value, _ in tables.rows["VALUE"]:
        if value in tables.members(key) or not tables.members(key):
            yield f"{key}: needs no VALUE row for {value}"


# ---- what was sent

def type_of(value):
    if isinstance(value, list):
        return "STRINGS" if all(isinstance(v, str) for v in value) else "ARRAY"
    return {str: "STRING", int: "INT", bool: "BOOLEAN", float: "DOUBLE"}.get(type(value), "BYTES")


class Seen:
    """Gathers what spans were like, each thing once."""

    def __init__(self, tables=None):
        self.tables, self.known, self.fresh = tables or Tables(), set(), []
        self.resources = set()

    def add(self, test, *what):
        if str(what) not in self.known:
            self.known.add(str(what))
            self.fresh.append((*what, test))

    def pairs(self, test, what, attrs):
        for key, value in attrs.items():
            self.add(test, what, key, type_of(value))
            if isinstance(value, str) and self.tables.members(key):
                self.add(test, "value", key, value)

    def span(self, span, test=""):
        form = self.tables.form_of(span.kind, span.name, span.attrs)
        self.add(test, "name", span.kind, form or "", "" if form else span.name)
        self.pairs(test, "attribute", span.attrs)
        if id(span.resource) not in self.resources:  # many spans have the same one
            self.resources.add(id(span.resource))
            self.pairs(test, "resource", span.resource)

    def metrics(self, points, test=""):
        """{(name, attributes): point} of receiver.py."""
        for (name, attrs), point in points.items():
            kind = point.kind if point.kind != "sum" else \
                "counter" if point.monotonic else "updowncounter"
            self.add(test, "metric", name, [kind, point.unit])
            self.pairs(test, "metric attribute", dict(attrs))

    def write(self, path):
        text = "".join(json.dumps(what) + "\n" for what in self.fresh)
        with open(path, "ab", buffering=0) as f:  # in one piece: others write, too
            f.write(text.encode())
        self.fresh, self.resources = [], set()


def one_seen(tables, what, *rest):
    """Why it is not in the tables, or None."""
    if what == "name":
        kind, form, name = rest
        return None if form else f"a {kind} span is called \"{name}\", which no SPAN_NAME says"
    key, second = rest
    if what == "metric":
        wanted = tables.metrics.get(key)
        return None if wanted == tuple(second) else f"{key}: was {second}, is listed as {wanted}"
    if what == "value":
        if second in tables.members(key) or {(key, second), (key, "*")} & tables.values:
            return None
        if not {key} & {*tables.metric_attributes, *tables.resources}:
            return None  # a user's
        return f"{key}: \"{second}\" is none of its values"
    table = {"resource": tables.resources, "attribute": tables.attributes,
             "metric attribute": tables.metric_attributes}[what]
    wanted = table.get(key)
    if wanted is None:
        if what == "resource":  # what a user adds are strings
            return None if second == "STRING" else f"{key}: no RESOURCE row, and {second}"
        wanted = next((t for p, t in tables.templates.items() if key.startswith(p)), None)
    if wanted is None:
        return f"{key}: is no row of attr.def"
    return None if wanted == second else f"{key}: was {second}, is listed as {wanted}"


def check_seen(path):
    tables, bad = Tables(), 0
    with open(path, encoding="utf-8") as f:
        seen = [json.loads(line) for line in f]
    for *what, test in seen:
        wrong = one_seen(tables, *what)
        if wrong:
            print(f"FAIL {wrong}  ({test})")
            bad += 1
    names = {(w[2]) for w in seen if w[0] == "name"}
    keys = {w[1] for w in seen if w[0] not in ("name", "value")}
    listed = {*tables.metric_attributes, *tables.resources, *tables.metrics}
    print(f"ok   {len(names & {f for _, f in tables.forms})} of {len({f for _, f in tables.forms})} "
          f"forms of names, {len(keys & listed)} of {len(listed)} keys and metrics were seen; not:",
          ", ".join(sorted(({f for _, f in tables.forms} - names) | (listed - keys))) or "none")
    print(f"{1 if not bad else 0} passed, {bad} failed, 0 skipped")
    return bad


def main():
    if sys.argv[1:2] == ["--seen"]:
        sys.exit(bool(check_seen(sys.argv[2])))
    found = list(problems(Tables()))
    print(f"{len(found)} names do not agree" if found else "every name is listed, and as the "
          "conventions have it or with a reason")
    print("\n".join(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
