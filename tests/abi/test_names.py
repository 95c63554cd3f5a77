# SPDX-License-Identifier: Apache-2.0
"""The names we give things: the tables, the registry they are compared with, and that a
difference is noticed (tests/e2e/names.py)."""
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import names  # noqa: E402

VERSION = "1.44.0"
FACTS = os.path.join(ROOT, "tests", "vectors", "semconv.tsv")
JAVA = ("https://repo1.maven.org/maven2/io/opentelemetry/semconv/opentelemetry-semconv/"
        f"{VERSION}/opentelemetry-semconv-{VERSION}-sources.jar")
MODEL = f"https://github.com/open-telemetry/semantic-conventions/archive/refs/tags/v{VERSION}.tar.gz"
JAVA_TYPES = {"string": "string", "long": "int", "boolean": "boolean", "double": "double",
              "stringArray": "string[]", "longArray": "int[]"}


def fetched(url, what):
    r = subprocess.run(["curl", "-sSfL", "--max-time", "60", url], capture_output=True, timeout=90,
                       check=False)
    if r.returncode:
        pytest.skip(f"{what} cannot be had: {r.stderr.decode(errors='replace').strip()[-200:]}")
    return io.BytesIO(r.stdout)


def test_every_name_is_listed_and_as_the_conventions_have_it():
    assert not list(names.problems(names.Tables()))


def test_the_schema_url_is_that_of_the_registry():
    with open(FACTS, encoding="utf-8") as f:
        assert f"tag v{VERSION}." in f.readline()
    with open(os.path.join(ROOT, "exporter", "otlp.h"), encoding="utf-8") as f:
        assert f'#define ATR_SCHEMA_URL "https://opentelemetry.io/schemas/{VERSION}"' in f.read()


def test_the_stable_facts_are_those_of_the_java_package_of_the_same_version():
    text = ""
    with zipfile.ZipFile(fetched(JAVA, "the Java package")) as jar:
        for name in jar.namelist():
            if name.endswith("Attributes.java"):
                text += jar.read(name).decode()
    theirs = {}
    for kind, template, key in re.findall(r'\b([a-zA-Z]+)Key(Template)?\(\s*"([^"]+)"\)', text):
        kind = JAVA_TYPES[kind]
        theirs[key] = f"template[{kind}]" if template else kind
    mine = {key: fact[0] for (what, key), fact in names.Tables().registry.items()
            if what == "attribute" and fact[1] == "stable"}
    assert len(theirs) > 80
    assert {k: mine.get(k) for k in theirs} == theirs
    # What Java leaves out of its stable package, it does for reasons of its own: nothing of ours.
    assert not set(mine) - set(theirs) & set(names.Tables().attributes)


def test_the_table_of_facts_is_what_the_registry_says(tmp_path):
    pytest.importorskip("yaml")
    folder = os.environ.get("SEMCONV_MODEL")
    if not folder:
        with tarfile.open(fileobj=fetched(MODEL, "the registry")) as tar:
            tar.extractall(tmp_path)
        folder = str(next(tmp_path.iterdir()) / "model")
    r = subprocess.run([sys.executable, os.path.join(ROOT, "scripts", "gen-semconv-table"), folder,
                        VERSION, FACTS], capture_output=True, text=True, timeout=120, check=False)
    assert r.returncode == 0, r.stderr


@pytest.fixture
def tree(tmp_path):
    for folder in "preload", "hooks", "exporter":
        shutil.copytree(os.path.join(ROOT, folder), tmp_path / folder)
    (tmp_path / "tests" / "vectors").mkdir(parents=True)
    shutil.copy(FACTS, tmp_path / "tests" / "vectors")
    return tmp_path


@pytest.mark.parametrize("path, old, new, says", [
    ("preload/attr.def", '"url.scheme"', '"url.schema"', "url.schema: the conventions have no"),
    ("preload/attr.def", '"url.scheme", STRING', '"url.scheme", INT', "url.scheme: listed as"),
    ("preload/attr.def", '"thread.id", INT, DEVELOPMENT', '"thread.id", INT, STABLE', "thread.id: listed"),
    ("preload/attr.def", '"url.scheme", STRING, STABLE', '"http.scheme", STRING, STABLE',
     "http.scheme: listed as"),
    ("preload/attr.def", '"url.path", STRING, STABLE', '"url.path", STRING, OURS', "and not OURS"),
    ("preload/attr.def", "ATTR(URL_PATH", "ATTR(URL_WAY", "nobody writes ATR_URL_WAY"),
    ("preload/attr.def", ", INT, STABLE)", ")", "columns, not 4"),
    ("preload/attr.def", "#undef", 'ATTR(URL_PATH, "url.path", STRING, STABLE)\n#undef', "listed twice"),
    ("preload/names.def", 'DEVIATION("autotrace.bytes_sent"', 'DEVIATION("autotrace.bytes"',
     "autotrace.bytes_sent: is OURS"),
    ("preload/names.def", 'DEVIATION("accept"', 'DEVIATION("accepts"', "accept: no convention has it"),
    ("preload/names.def", 'SPAN_NAME(SERVER, "HTTP"', 'SPAN_NAME(CLIENT, "HTTP"', "a span http.server is"),
    ("preload/names.def", '"HTTP {http.route}"', '"HTTP {http.path}"', "is no row of attr.def"),
    ("preload/names.def", 'RESOURCE("os.type"', 'RESOURCE("os.kind"', "os.kind: no source says"),
    ("preload/names.def", 'RESOURCE("os.type"', 'RESOURCE("os.kind"', '"os.type" is no row of names.def'),
    ("preload/names.def", 'VALUE("telemetry.sdk.language", "c"', 'VALUE("telemetry.sdk.language", "go"',
     "needs no VALUE row"),
    ("exporter/metrics.def", '"otel.sdk.span.started"', '"otel.sdk.span.ended"',
     "otel.sdk.span.ended: listed as"),
    ("exporter/metrics.def", '"otel.sdk.span.started", COUNTER', '"otel.sdk.span.started", UPDOWN',
     "otel.sdk.span.started: listed as"),
    ("exporter/metrics.def", '"s", DEVELOPMENT', '"ms", DEVELOPMENT', "duration: listed as"),
    ("exporter/metrics.c", '"otel.component.type"', '"otel.scope.schema_url"', '"otel.scope.schema_url" is no row'),
    ("exporter/detect.c", '"os.build_id"', '"os.description"', "os.build_id: no source says"),
])
def test_a_difference_is_noticed(tree, path, old, new, says):
    text = (tree / path).read_text()
    assert old in text
    (tree / path).write_text(text.replace(old, new, 1))
    found = list(names.problems(names.Tables(str(tree))))
    assert any(says in line for line in found), found


SPAN = {"http.request.method": "GET", "http.route": "/a/{b}"}


@pytest.mark.parametrize("kind, name, attrs, form", [
    ("SERVER", "GET /a/{b}", SPAN, "{http.request.method} {http.route}"),
    ("SERVER", "GET", SPAN, "{http.request.method}"),
    ("SERVER", "GET /a/c", SPAN, None),
    ("CLIENT", "GET /a/{b}", SPAN, None),
    ("SERVER", "POST", SPAN, None),
    ("SERVER", "HTTP", {}, "HTTP"),
    ("CLIENT", "S" * 255, {"db.query.summary": "S" * 300}, "{db.query.summary}"),
    ("CLIENT", "S" * 254, {"db.query.summary": "S" * 300}, None),
    ("INTERNAL", "socket connect 1.2.3.4:5", {"network.peer.address": "1.2.3.4", "network.peer.port": 5},
     "socket connect {network.peer.address}:{network.peer.port}"),
])
def test_a_name_is_of_a_form_or_of_none(kind, name, attrs, form):
    assert names.Tables().form_of(kind, name, attrs) == form


@pytest.mark.parametrize("seen, wrong", [
    (("name", "CLIENT", "HTTP", ""), None),
    (("name", "CLIENT", "", "GET /users/1"), "which no SPAN_NAME says"),
    (("attribute", "url.path", "STRING"), None),
    (("attribute", "url.path", "INT"), "was INT"),
    (("attribute", "url.way", "STRING"), "is no row"),
    (("attribute", "http.request.header.x-a", "STRINGS"), None),
    (("attribute", "http.request.header.x-a", "STRING"), "was STRING"),
    (("value", "network.transport", "tcp"), None),
    (("value", "network.transport", "sctp"), "none of its values"),
    (("value", "error.type", "whatever"), None),
    (("value", "deployment.environment.name", "a,b"), None),
    (("value", "db.system.name", "postgres"), "none of its values"),
    (("value", "telemetry.sdk.language", "c"), None),
    (("resource", "process.pid", "STRING"), "was STRING"),
    (("metric", "otel.sdk.span.started", ["counter", "{span}"]), None),
    (("metric", "otel.sdk.span.started", ["updowncounter", "{span}"]), "was ["),
    (("metric", "otel.sdk.log.created", ["counter", "{log_record}"]), "was ["),
    (("metric attribute", "otel.component.type", "STRING"), None),
    (("metric attribute", "error.type", "INT"), "was INT"),
    (("value", "otel.span.parent.origin", "far"), "none of its values"),
    (("resource", "of.the.user", "STRING"), None),
    (("resource", "process.threads", "INT"), "no RESOURCE row"),
])
def test_what_was_sent_is_in_the_tables_or_not(seen, wrong):
    said = names.one_seen(names.Tables(), *seen)
    assert said is None if wrong is None else wrong in said
