# SPDX-License-Identifier: Apache-2.0
"""What a PostgreSQL server says it was asked, session by session: the truth that spans are held to."""
import re

import harness

SEP = "\x1f"
SETTINGS = ("log_line_prefix=" + SEP + SEP.join(("%a", "%c", "%e", "")),
            "log_min_duration_statement=0", "log_error_verbosity=terse")
COMMENT = re.compile(r" /\*traceparent='00-([0-9a-f]{32})-([0-9a-f]{16})-(0[0-3])'"
                     r"(?:,tracestate='([^']*)')?\*/\Z")


def logging_postgres():
    return harness.Postgres(settings=SETTINGS)


class Asked:
    """One statement: kind is simple, params, prepare, execute or function."""

    def __init__(self, kind, text, name=None):
        self.kind, self.name, self.sent = kind, name, text
        self.comment = COMMENT.search(text)
        self.text = COMMENT.sub("", text)  # as the program has it
        self.state = "00000"
        self.warnings = set()
        self.over = kind == "prepare"

    def __repr__(self):
        return f"{self.kind} {self.name or ''} {self.state} {self.sent!r}"


def records(log, application):
    """(session, SQLSTATE, severity, message) of each, in order."""
    with open(log, encoding="utf-8", errors="surrogateescape", newline="\n") as f:
        text = f.read()
    for app, session, state, line in re.findall(
            f"^{SEP}(.*?){SEP}(.*?){SEP}(.*?){SEP}(.*\n(?:\t.*\n)*)", text, re.M):
        if app == application:
            severity, message = line[:-1].replace("\n\t", "\n").split(":  ", 1)
            yield session, state, severity, message


def sessions(server, application):
    """What each session was asked, in order; sessions in the order of their first statement."""
    found, failures, early = {}, {}, {}  # errors, until the statement they are about is named
    for session, state, severity, message in records(server.log, application):
        asked = found.setdefault(session, [])
        failed = failures.pop(session, None)
        if failed and severity in ("ERROR", "FATAL", "LOG"):
            note_error(asked, None, failed, "")  # of something that has no text
        last = asked[-1] if asked and not asked[-1].over else None
        if severity in ("ERROR", "FATAL"):
            if last and last.kind == "function":  # no statement is named
                last.state, last.over = state, True
            else:
                failures[session] = state
            continue
        if severity == "STATEMENT" and failed:
            note_error(asked, last, failed, message)
            continue
        if severity != "LOG":
            if severity == "WARNING":  # of the lexer: before the statement is logged
                (last.warnings if last else early.setdefault(session, set())).add(state)
            if failed:
                failures[session] = failed  # DETAIL, HINT, ...
            continue
        m = re.match(r"duration: [0-9.]+ ms(?:  (parse|bind|execute) ([^:]*): (.*))?\Z", message, re.S)
        if m:
            if m[1] == "parse":
                asked.append(Asked("prepare", m[3], m[2]))
            elif m[1] == "execute" and not m[2].startswith("fetch from"):
                raise AssertionError("log_statement=all has not said this before: " + message)
            elif not m[1] and last:
                last.over = True
            continue
        m = re.match(r"(statement|execute [^:]*|fastpath function call): (.*)\Z", message, re.S)
        if not m or m[1].startswith("execute fetch from"):
            continue
        if m[1] == "statement":
            asked.append(Asked("simple", m[2]))
            asked[-1].warnings |= early.pop(session, set())
        elif m[1].startswith("fastpath"):
            asked.append(Asked("function", m[2]))
        else:
            note_execute(asked, m[1].split(" ", 1)[1], m[2])
    for session, failed in failures.items():
        note_error(found[session], None, failed, "")
    return [asked for asked in found.values() if asked]


def note_execute(asked, name, text):
    name = name.split("/")[0]  # name/portal
    if name == "<unnamed>" and asked and asked[-1].kind == "prepare" and asked[-1].name == name:
        asked[-1].kind, asked[-1].over = "params", False
    else:
        asked.append(Asked("execute", text, name))


def note_error(asked, last, state, text):
    """It is about the one under way, or about one that was not understood."""
    if last and last.sent == text:
        last.state = state
        last.over = True
        return
    one = Asked("refused", text)
    if asked and asked[-1].kind == "prepare" and asked[-1].sent == text \
            and asked[-1].name == "<unnamed>":
        one = asked[-1]  # understood, but its values were not
        one.kind = "params"
    else:
        asked.append(one)
    one.state, one.over = state, True


def statements(server, application):
    """The only session's."""
    found = sessions(server, application)
    assert len(found) == 1, found
    return found[0]
