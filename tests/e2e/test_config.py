# SPDX-License-Identifier: Apache-2.0
"""What the environment asks for is what happens; nonsense costs one line."""
import pytest

import harness
from harness import bare_env, program, run

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def trips(echo, n=1, threads=1):
    return [program("threads-client"), "each", str(threads), str(n), str(echo.port)]


def traces(receiver):
    return {s.trace for s in receiver.spans}


def test_disabled_does_nothing_at_all(receiver, shim, echo):
    r = run(trips(echo), shim(OTEL_SDK_DISABLED="true")).ok()
    assert not receiver.spans and receiver.connections == 0 and r.err == ""


def test_exporter_none(receiver, shim, echo):
    r = run(trips(echo), shim(OTEL_TRACES_EXPORTER="none")).ok()
    assert not receiver.spans and receiver.connections == 0 and r.err == ""


def test_console_exporter_writes_to_standard_error(receiver, shim, echo):
    bare = run(trips(echo), bare_env()).ok()
    r = run(trips(echo), shim(OTEL_TRACES_EXPORTER="console")).ok()
    assert r.out == bare.out
    assert "socket connect 127.0.0.1" in r.err and "send" in r.err and "recv" in r.err
    assert receiver.connections == 0


@pytest.mark.parametrize("sampler", ["always_on", "ALWAYS_ON", "parentbased_always_on", ""])
def test_samplers_that_take_all(receiver, shim, echo, sampler):
    run(trips(echo, 5), shim(OTEL_TRACES_SAMPLER=sampler)).ok()
    assert len(receiver.wait(15)) == 15


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off"])
def test_samplers_that_take_none(receiver, shim, echo, sampler):
    run(trips(echo, 5), shim(OTEL_TRACES_SAMPLER=sampler)).ok()
    assert not receiver.spans


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_ratio_is_roughly_kept(receiver, shim, echo, sampler):
    n = 400
    run(trips(echo, n), shim(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.5")).ok()
    share = len(traces(receiver)) / (3 * n)  # each of the three spans is a root
    assert 0.4 < share < 0.6


def test_a_ratio_decides_by_the_trace_id_alone(receiver, shim, echo):
    """Sampled if the low 56 bits are at least (1 - ratio) * 2^56."""
    run(trips(echo, 200), shim(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.25")
        ).ok()
    randomness = [int(t[18:], 16) / 2**56 for t in traces(receiver)]
    assert len(randomness) > 80 and min(randomness) >= 0.75


@pytest.mark.parametrize("low, flag, recorded", [
    ("bfffffffffffff", "01", False), ("c0000000000000", "00", True),
    ("c0000000000000", "01", True), ("ffffffffffffff", "00", True),
    ("00000000000001", "01", False)])
def test_a_ratio_is_the_same_in_every_process_of_a_trace(receiver, shim, echo, low, flag, recorded):
    run(trips(echo), shim(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.25",
                          TRACEPARENT=f"00-{TRACE[:18]}{low}-{PARENT}-{flag}")).ok()
    assert len(receiver.spans) == (3 if recorded else 0)


@pytest.mark.parametrize("arg, all_of_them", [("0", False), ("1", True), ("1.0", True),
                                              ("0.0", False)])
def test_ratios_at_the_ends(receiver, shim, echo, arg, all_of_them):
    run(trips(echo, 10), shim(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=arg)).ok()
    assert len(receiver.spans) == (30 if all_of_them else 0)


@pytest.mark.parametrize("sampler, flag, recorded", [
    (None, "01", True), (None, "00", False),
    ("parentbased_always_on", "00", False), ("parentbased_always_off", "01", True),
    ("parentbased_traceidratio", "00", False), ("parentbased_traceidratio", "01", True),
    ("always_on", "00", True), ("always_off", "01", False),
])
def test_traceparent_is_the_parent_of_roots(receiver, shim, echo, sampler, flag, recorded):
    run(trips(echo, 2), shim(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0",
                             TRACEPARENT=f"00-{TRACE}-{PARENT}-{flag}")).ok()
    if not recorded:
        assert not receiver.spans
        return
    assert len(receiver.spans) == 6
    assert {(s.trace, s.parent) for s in receiver.spans} == {(TRACE, PARENT)}
    assert all(s.flags & 0x300 == 0x300 and s.flags & 1 for s in receiver.spans), \
        [hex(s.flags) for s in receiver.spans]


@pytest.mark.parametrize("value", [
    "", "x", f"00-{TRACE}-{PARENT}", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{PARENT}-01", f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-x",
    f"00-{TRACE}-{PARENT}-0g"])
def test_a_bad_traceparent_is_none(receiver, shim, echo, value):
    run(trips(echo), shim(TRACEPARENT=value)).ok()
    assert len(receiver.spans) == 3
    assert TRACE not in traces(receiver) and not any(s.parent for s in receiver.spans)
    assert all(s.flags & 0x300 == 0x100 for s in receiver.spans)


def test_a_later_traceparent_version_is_read(receiver, shim, echo):
    run(trips(echo), shim(TRACEPARENT=f"01-{TRACE}-{PARENT}-01-more")).ok()
    assert traces(receiver) == {TRACE}


BAD = [("OTEL_TRACES_SAMPLER", "sometimes"), ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
       ("OTEL_TRACES_SAMPLER_ARG", "half"), ("OTEL_TRACES_SAMPLER_ARG", "nan"),
       ("OTEL_SDK_DISABLED", "yes"), ("OTEL_TRACES_EXPORTER", "zipkinn"),
       ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
       ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"), ("OTEL_BSP_SCHEDULE_DELAY", "-5"),
       ("OTEL_BSP_MAX_QUEUE_SIZE", "0"), ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999999999999"),
       ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"), ("OTEL_LOG_LEVEL", "loud"),
       ("AUTOTRACE_SOCKET_SPANS", "some"), ("AUTOTRACE_RING_SIZE", "1k"),
       ("OTEL_RESOURCE_ATTRIBUTES", "no equals sign"), ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
       ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke")]


@pytest.mark.parametrize("name, value", BAD, ids=lambda v: v)
def test_a_bad_value_costs_one_line(receiver, shim, echo, name, value):
    more = {name: value}
    if name.endswith("_ARG"):
        more["OTEL_TRACES_SAMPLER"] = "traceidratio"
    bare = run(trips(echo), bare_env()).ok()
    r = run(trips(echo), shim(**more)).ok()
    assert r.out == bare.out
    lines = r.err.splitlines()
    assert len(lines) == 1, r.err
    assert lines[0].startswith("autotrace") and name in lines[0] and value in lines[0]
    assert len(receiver.wait(3)) == 3, "the default is used"


def test_no_line_when_logging_is_off(shim, echo):
    r = run(trips(echo), shim(OTEL_TRACES_SAMPLER="sometimes", OTEL_LOG_LEVEL="none")).ok()
    assert r.err == ""


@pytest.mark.parametrize("name, value", [
    ("OTEL_SDK_DISABLED", "FALSE"), ("OTEL_SDK_DISABLED", ""), ("OTEL_TRACES_SAMPLER", ""),
    ("OTEL_BSP_MAX_QUEUE_SIZE", ""), ("OTEL_EXPORTER_OTLP_COMPRESSION", "None")])
def test_a_good_value_costs_no_line(receiver, shim, echo, name, value):
    r = run(trips(echo), shim(**{name: value})).ok()
    assert r.err == "" and len(receiver.wait(3)) == 3


def test_headers_and_compression(receiver, shim, echo):
    run(trips(echo, 20), shim(OTEL_EXPORTER_OTLP_HEADERS="x-one=1, x-two = a%20b ",
                              OTEL_EXPORTER_OTLP_COMPRESSION="gzip")).ok()
    assert len(receiver.wait(60)) == 60
    for h in receiver.request_headers:
        low = {k.lower(): v for k, v in h.items()}
        assert low["x-one"] == "1" and low["x-two"] == "a b"
        assert low["content-encoding"] == "gzip"
        assert low["content-type"] == "application/x-protobuf"
        assert "autotrace" in low["user-agent"].lower()


def test_traces_headers_replace_the_general_ones(receiver, shim, echo):
    run(trips(echo), shim(OTEL_EXPORTER_OTLP_HEADERS="x-one=1",
                          OTEL_EXPORTER_OTLP_TRACES_HEADERS="x-two=2")).ok()
    low = {k.lower(): v for k, v in receiver.request_headers[0].items()}
    assert low.get("x-two") == "2"


@pytest.mark.parametrize("suffix", ["", "/"])
def test_endpoint_paths(receiver, shim, echo, suffix):
    run(trips(echo), shim(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint + suffix)).ok()
    run(trips(echo), shim(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
                          OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=receiver.endpoint + "/v1/traces")).ok()
    assert len(receiver.spans) == 6


def test_batches_are_no_larger_than_asked(receiver, shim, echo):
    run(trips(echo, 100), shim(OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")).ok()
    assert len(receiver.wait(300)) == 300
    sizes = {}
    for s in receiver.spans:
        sizes[s.request] = sizes.get(s.request, 0) + 1
    assert max(sizes.values()) == 10
    assert receiver.connections == 1, "keep-alive"


@pytest.mark.parametrize("settings, count, characters", [
    ({}, 128, None),
    ({"OTEL_ATTRIBUTE_COUNT_LIMIT": "4"}, 4, None),
    ({"OTEL_ATTRIBUTE_COUNT_LIMIT": "9", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "3"}, 3, None),
    ({"OTEL_ATTRIBUTE_COUNT_LIMIT": "3", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1"}, 3, None),
    ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "5"}, 128, 5),
    ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "0", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
      "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "6"}, 6, 1),
])
def test_attributes_are_limited(receiver, shim, echo, settings, count, characters):
    """What is dropped is counted in the span; numbers and the resource are never cut."""
    r = run(trips(echo), shim(**settings)).ok()
    spans = receiver.wait(3)
    assert len(spans) == 3
    for s in spans:
        whole = len(s.attrs) + s.dropped
        assert len(s.attrs) == min(whole, count) and whole > 6
        for key, value in s.attrs.items():
            if isinstance(value, str) and characters is not None:
                assert len(value) <= characters, key
        assert s.attrs["thread.id"] > 0 and s.resource["telemetry.sdk.name"] == "libautotrace"
    cut = {s.attrs.get("network.transport") for s in spans}
    assert cut <= {"tcp"[:characters], None}
    assert ("-1" in settings.values()) == ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=-1" in r.err)
    receiver.spans.clear()  # names.py would miss what these were cut to
