"""Canonical JSON: one text per value, and nothing else is read."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kerasnsoc.artifact import ArtifactError, Reason
from kerasnsoc.artifact.jsontext import canonical, check_plain, parse
from kerasnsoc.artifact.limits import MAX_INDEX_BYTES, MAX_JSON_DEPTH, MAX_JSON_VALUES
from tests.strategies import json_values


def refused(text, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        parse(text)
    assert caught.value.reason is Reason.INDEX


@given(json_values)
@example({"b": [1.0, -0.0, 1e300, 5e-324], "a": {'"\\': "\x00ä😀"}})
@example([2**63 - 1, -(2**63)])
def test_what_is_written_is_read(value):
    text = canonical(value)
    assert canonical(parse(text)) == text
    assert parse(text) == json.loads(text)
    check_plain(value, "value", 99, 999)


def check_arbitrary(text):
    """Refused as an index, or the one text of what it says; no other exception leaves."""
    try:
        value = parse(text)
    except ArtifactError as error:
        reason = error.reason
    else:
        reason = Reason.INDEX if canonical(value) == text else None
    assert reason is Reason.INDEX


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(text):
    check_arbitrary(text)


@given(st.text('{}[]",:\\u01.eE-naN ', max_size=20))
def test_any_text_near_json_is_read_or_refused(text):
    check_arbitrary(text.encode())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b'{"a":1,"a":2}', "the key 'a' twice"),
        (b'{"a":{"b":1,"b":1}}', "the key 'b' twice"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"-Infinity", "-Infinity"),
        (b"1e999", "no finite float64"),
        (b"-1e999", "no finite float64"),
        (b"9" * 5000, "an integer of 5000 characters"),
        (b"9223372036854775808", "64 bits"),
        (b"-9223372036854775809", "64 bits"),
        (b"\xff\xfe{}", "byte 0xff at 0"),
        ('"ä"'.encode(), "allowed is ASCII"),
        (b"[" * 17 + b"]" * 17, "nests 17 deep"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "nests 17 deep"),
        (b"[1, 2]", "canonically"),
        (b'{"b":1,"a":2}', "canonically"),
        (b"1.50", "canonically"),
        (b"1E5", "canonically"),
        (b"-0", "canonically"),
        (b'"\\u0041"', "canonically"),
        (b'"\\u00E4"', "canonically"),
        (b" 1", "canonically"),
        (b"1\n", "canonically"),
    ],
)
def test_refusals(text, message):
    refused(text, message)


def test_depth_is_counted_outside_of_strings_only():
    assert parse(canonical(["[" * 50 + '"' + "{" * 50])) == ["[" * 50 + '"' + "{" * 50]
    assert parse(b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH)


def test_the_index_has_a_largest_size():
    text = canonical("x" * (MAX_INDEX_BYTES - 2))
    assert len(text) == MAX_INDEX_BYTES
    parse(text)
    refused(canonical("x" * (MAX_INDEX_BYTES - 1)), f"allowed are {MAX_INDEX_BYTES}")


def test_the_number_of_values_is_limited_before_they_are_built():
    row = [0] * (MAX_JSON_VALUES - 1)
    parse(canonical(row))
    refused(canonical([0, *row]), f"allowed are {MAX_JSON_VALUES}")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * MAX_INDEX_BYTES,
        b"[]" * (MAX_INDEX_BYTES // 2),
        b'"' + b'\\"' * (MAX_INDEX_BYTES // 2 - 1),
        b"\\" * MAX_INDEX_BYTES,
        b'"' * MAX_INDEX_BYTES,
        b'"\\' * (MAX_INDEX_BYTES // 2),
        b"9" * MAX_INDEX_BYTES,
        b"[" + b'{"":0},' * 200_000 + b"0]",
    ],
    ids=["deep", "wide", "open string", "backslashes", "quotes", "escapes", "digits", "objects"],
)
def test_large_hostile_texts_take_linear_time(text):
    # a quadratic scan would take hours and run into pytest's own timeout
    with pytest.raises(ArtifactError):
        parse(text)


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        ({1: 2}, Reason.MEMBER, "key 1, but keys must be strings"),
        ({"a": (1, 2)}, Reason.MEMBER, r"meta\['a'\] is a tuple"),
        ([b"x"], Reason.MEMBER, r"meta\[0\] is a bytes"),
        ([{"a": {1}}], Reason.MEMBER, r"meta\[0\]\['a'\] is a set"),
        (float("nan"), Reason.VALUE, "meta is nan, but must be finite"),
        ([float("inf")], Reason.VALUE, "must be finite"),
        (2**63, Reason.VALUE, "more than 64 bits"),
        ("\ud800", Reason.VALUE, "half a surrogate pair"),
        ({"\udfff": 1}, Reason.VALUE, "a key of meta holds half a surrogate pair"),
        ([[[[1]]]], Reason.VALUE, "nested too deep"),
        ([0] * 40, Reason.VALUE, "too many values"),
    ],
)
def test_plain_values_only(value, reason, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        check_plain(value, "meta", 3, 40)
    assert caught.value.reason is reason


def test_a_cycle_and_a_bush_of_shared_lists_end():
    cycle: list = []
    cycle.append(cycle)
    bush: list = [0]
    for _ in range(11):
        bush = [bush] * 1000
    for value in (cycle, bush):
        with pytest.raises(ArtifactError, match=r"too (deep|many)"):
            check_plain(value, "meta", 12, 5000)


@pytest.mark.parametrize("around", [lambda inner: [inner], lambda inner: {"k": inner}])
def test_the_deepest_and_the_most_values_that_are_allowed_pass(around):
    value = 1
    for _ in range(5):
        value = around(value)
    count = check_plain(value, "value", 5, 100)
    assert check_plain(value, "value", 5, count) == count
    with pytest.raises(ArtifactError, match="nested too deep"):
        check_plain(value, "value", 4, 100)
    with pytest.raises(ArtifactError, match="value"):
        check_plain(value, "value", 5, count - 1)


def test_values_are_counted_over_all_members():
    assert check_plain({"a": [1, 2], "b": {"c": 3}}, "value", 9, 99) == 9


def test_the_key_that_comes_twice_is_named():
    with pytest.raises(ArtifactError, match="has the key 'b' twice"):
        parse(b'{"a":1,"b":2,"b":3,"c":4}')
