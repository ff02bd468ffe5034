"""Properties of the artifact over random networks."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.artifact import (
    ArtifactError,
    Reason,
    content_digest,
    load,
    network_bounds,
    to_bytes,
    validate,
)
from kerasnsoc.artifact.layout import frame, seal
from tests.strategies import network_specs


@given(network_specs())
def test_round_trip_gives_the_same_bytes_and_the_same_network(spec):
    data = to_bytes(spec)
    again = load(data)
    assert to_bytes(again) == data
    assert content_digest(again) == content_digest(spec)
    assert again.metadata == dict(spec.metadata)
    assert (again.input_scale, again.input_shift) == (spec.input_scale, spec.input_shift)
    for one, other in zip(again.layers, spec.layers, strict=True):
        assert one.name == other.name
        assert one.parameters == other.parameters
        assert one.inbounds == other.inbounds
        assert one.learning == other.learning
        assert one.variables.keys() == other.variables.keys()
        for name, values in one.variables.items():
            assert values.dtype == other.variables[name].dtype
            assert np.array_equal(values, other.variables[name])


@given(network_specs())
def test_bounds_survive_the_round_trip(spec):
    before, after = network_bounds(spec), network_bounds(load(to_bytes(spec)))
    assert before.keys() == after.keys()
    for name, bound in before.items():
        assert bound.partial == after[name].partial
        assert np.array_equal(bound.low, after[name].low)
        assert np.array_equal(bound.high, after[name].high)


@given(network_specs(), st.data())
def test_one_changed_byte_is_refused(spec, data):
    content = bytearray(to_bytes(spec))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    refusal = None
    try:
        load(bytes(content))
    except ArtifactError as error:
        refusal = error.reason
    assert refusal in {
        Reason.MAGIC,
        Reason.VERSION,
        Reason.HEADER,
        Reason.TRUNCATED,
        Reason.DIGEST,
    }


@given(network_specs(), st.data())
def test_any_other_length_is_refused(spec, data):
    content = to_bytes(spec)
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    for other in (cut, content + cut[:1] + b"\0"):
        refusal = None
        try:
            load(other)
        except ArtifactError as error:
            refusal = error.reason
        assert refusal in {Reason.TRUNCATED, Reason.HEADER}


@given(network_specs(), st.data())
def test_a_sealed_index_with_one_changed_byte_is_refused_or_valid(spec, data):
    """The attacker can compute digests too."""
    content = to_bytes(spec)
    parts = frame(content[:64], len(content))
    index = bytearray(content[parts.index])
    position = data.draw(st.integers(0, len(index) - 1))
    index[position] = data.draw(st.sampled_from(b'0123456789-{}[]",:.e\\ntfXY\x00\xff'))
    refusal = None
    try:
        other = load(seal(bytes(index), content[parts.body]))
    except ArtifactError as error:
        refusal = error.reason
    else:
        validate(other)
        assert to_bytes(other)
    assert refusal is None or isinstance(refusal, Reason)


@given(network_specs())
def test_the_file_digest_is_what_one_may_ask_for(spec):
    content = to_bytes(spec)
    load(content, expected_sha256=hashlib.sha256(content).hexdigest())
