"""The compiled network: threshold tables, what the kernels refuse, and their buffers."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from kerasnsoc.artifact import FullyConnectedParameters
from kerasnsoc.runtime.plan import CompiledNetwork, threshold_table
from kerasnsoc_ext import Network, Plan, available_kernels, kernel_names, missing_kernels
from tests.networks import every_kind

POINT = (1, 1, 1, 0, 1)


def _table(bits, threshold, step):
    parameters = FullyConnectedParameters(num_neurons=1, threshold_fire_bits=bits)
    variables = {
        "threshold_fire": np.array([threshold], np.int32),
        "threshold_fire_step": np.array([step], np.float32),
    }
    return threshold_table(parameters, variables)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("threshold", [0, -7, 2**31 - 1, -(2**31), 2**30])
@pytest.mark.parametrize(
    "step", [0, 1, 0.1, 1 / 3, 16777215, 16777217, 1e-45, 3.4028235e38, 0.99999994, 123456.79]
)
def test_edges_are_exact(bits, threshold, step):
    """Against fractions: the float32 step is an exact rational."""
    interval = Fraction(float(np.float32(step))) * Fraction(16, 2**bits)
    expected = [
        max(-(2**31), min(2**31 - 1, threshold + floor(m * interval))) for m in range(2**bits - 1)
    ]
    table = _table(bits, threshold, step)
    assert table.dtype == np.int32
    assert table.shape == (1, 2**bits - 1)
    assert table[0].tolist() == expected


def test_an_explicit_table_is_taken():
    parameters = FullyConnectedParameters(num_neurons=1, threshold_fire_bits=2)
    table = np.array([[1, 5, 5]], np.int32)
    assert threshold_table(parameters, {"thresholds": table}) is table


def test_kernel_rows():
    assert kernel_names()[-1] == available_kernels()[-1] == "scalar"
    assert set(available_kernels()) <= set(kernel_names())
    assert set(missing_kernels()) == set(kernel_names()) - set(available_kernels())
    assert all(missing_kernels().values())
    assert Network().kernel == available_kernels()[0]
    for name in available_kernels():
        assert Network(name).kernel == name
        assert CompiledNetwork(every_kind()["image"], kernel=name).kernel == name
    with pytest.raises(ValueError, match=r"kernel is 'mmx'.*scalar"):
        Network("mmx")


@pytest.fixture
def network():
    """Two 2-bit maps of 4 x 3 and one op that emits potentials."""
    network = Network()
    network.add_input("in", 4, 3, 2)
    thresholds = np.zeros((3, 5), np.int32)
    network.add_convolution(
        "conv",
        0,
        (4, 3, 1, 1, 4),
        (3, 3, 1, 1, 3),
        np.zeros((3, 3, 2, 5), np.int8),
        thresholds_mn=thresholds,
    )
    network.add_fully_connected("full", 1, np.zeros((60, 2), np.int8))
    return network


def _conv(network, name="new", source=1, x=(4, 3, 1, 1, 4), y=(3, 3, 1, 1, 3), **changes):
    arguments = {"weights_xycn": np.zeros((3, 3, 5, 6), np.int8), **changes}
    return network.add_convolution(name, source, x, y, **arguments)


def test_ops_know_their_outputs(network):
    assert len(network) == 3
    assert [network.output_dims(op) for op in range(3)] == [(4, 3, 2), (4, 3, 5), (1, 1, 2)]
    assert [network.emits_potentials(op) for op in range(3)] == [False, False, True]
    assert _conv(network) == 3
    assert network.add_concat("join", (0, 1)) == 4
    assert network.output_dims(4) == (4, 3, 7)
    assert not network.emits_potentials(4)
    for op in (-1, 5):
        with pytest.raises(IndexError, match=f"op {op} does not exist"):
            network.output_dims(op)


CASES = {
    "second input": (lambda n: n.add_input("x", 1, 1, 1), "takes the network's input"),
    "image behind": (lambda n: _conv(n, source=None), "takes the network's input"),
    "later source": (lambda n: _conv(n, source=3), "op 3 does not exist"),
    "negative source": (lambda n: _conv(n, source=-1), "op -1 does not exist"),
    "potentials": (lambda n: _conv(n, source=2), "source 2 emits potentials"),
    "channels": (
        lambda n: _conv(n, weights_xycn=np.zeros((3, 3, 4, 6), np.int8)),
        r"dims \(4, 3, 5\), not \(4, 3, 4\)",
    ),
    "kernel": (
        lambda n: _conv(n, weights_xycn=np.zeros((2, 3, 5, 6), np.int8)),
        "kernel of 2 x 3, but the windows are 3 x 3",
    ),
    "no neurons": (
        lambda n: _conv(n, weights_xycn=np.zeros((3, 3, 5, 0), np.int8)),
        "neurons is 0",
    ),
    "lead": (lambda n: _conv(n, x=(4, 3, 1, 3, 4)), "outside the input"),
    "negative lead": (lambda n: _conv(n, x=(4, 3, 1, -1, 4)), "outside the input"),
    "behind the end": (lambda n: _conv(n, x=(4, 3, 2, 1, 4)), "outside the input"),
    "stride": (lambda n: _conv(n, x=(4, 3, 0, 1, 4)), "stride is 0"),
    "huge": (lambda n: _conv(n, x=(4, 2**31, 1, 1, 4)), "size is 2147483648"),
    "padding kernel": (
        lambda n: _conv(n, padding_xyn=np.zeros((3, 2, 6), np.int32)),
        "padding_xyn has a kernel of 3 x 2",
    ),
    "padding neurons": (
        lambda n: _conv(n, padding_xyn=np.zeros((3, 3, 5), np.int32)),
        "padding_xyn is for 5 neurons",
    ),
    "pooling kind": (lambda n: _conv(n, pooling=("mean", POINT, POINT)), "pooling is 'mean'"),
    "pooling map": (
        lambda n: _conv(n, pooling=("max", (5, 1, 1, 0, 5), (3, 1, 1, 0, 3))),
        "slides over 5 x 3 positions.*makes 4 x 3",
    ),
    "no levels": (
        lambda n: _conv(n, thresholds_mn=np.zeros((0, 6), np.int32)),
        r"shape \(0, 6\).*1 to 255 levels",
    ),
    "levels": (
        lambda n: _conv(n, thresholds_mn=np.zeros((256, 6), np.int32)),
        r"shape \(256, 6\)",
    ),
    "thresholds": (
        lambda n: _conv(n, thresholds_mn=np.zeros((3, 5), np.int32)),
        r"shape \(3, 5\).*6 features",
    ),
    "inputs": (
        lambda n: n.add_fully_connected("x", 1, np.zeros((59, 2), np.int8)),
        "not 59 inputs",
    ),
    "no inputs": (
        lambda n: n.add_fully_connected("x", 1, np.zeros((0, 2), np.int8)),
        "has 0 inputs",
    ),
    "pointwise": (
        lambda n: n.add_separable(
            "x",
            1,
            (4, 3, 1, 1, 4),
            (3, 3, 1, 1, 3),
            np.zeros((3, 3, 5), np.int8),
            np.zeros((4, 6), np.int8),
        ),
        "pointwise_cn has 4 channels",
    ),
    "one source": (lambda n: n.add_concat("x", [1]), "at least two"),
    "unlike sources": (lambda n: n.add_concat("x", [1, 2]), "must agree"),
    "unlike kinds": (
        lambda n: n.add_concat(
            "x", [n.add_fully_connected("a", 1, np.zeros((60, 2), np.int8), None), 1]
        ),
        "must agree",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_ops_that_do_not_fit_are_refused(network, case):
    call, message = CASES[case]
    with pytest.raises((ValueError, IndexError), match=message):
        call(network)
    if case != "unlike kinds":
        assert len(network) == 3
    rows = np.ones((1, 24), np.uint8)
    Plan(network).run(rows, [None] * len(network), np.empty((1, len(network), 3), np.int64))


@pytest.mark.parametrize(
    "weights",
    [
        np.zeros((3, 3, 5, 6), np.uint8),
        np.zeros((3, 3, 5, 6), np.int16),
        np.asfortranarray(np.zeros((3, 3, 5, 6), np.int8)),
        np.zeros((3, 3, 30), np.int8),
    ],
)
def test_arrays_of_another_kind_are_refused(network, weights):
    with pytest.raises(ValueError, match=r"(?i)buffer|contiguous"):
        _conv(network, weights_xycn=weights)


def test_too_large_maps_are_refused():
    network = Network()
    with pytest.raises(ValueError, match="1048576 x 1048576 x 1 values is too large"):
        network.add_input("in", 2**20, 2**20, 1)
    with pytest.raises(ValueError, match="width is 1048577"):
        network.add_input("in", 2**20 + 1, 1, 1)
    network.add_input("in", 2**10, 2**10, 1)
    window = (2**10, 1, 1, 0, 2**10)
    with pytest.raises(ValueError, match="too large"):
        network.add_convolution("c", 0, window, window, np.zeros((1, 1, 1, 2**11), np.int8))
    assert len(network) == 1


def test_an_empty_network_has_no_plan():
    with pytest.raises(ValueError, match="empty"):
        Plan(Network())
    with pytest.raises(TypeError):
        Plan(None)


def test_a_network_with_plans_takes_no_more_ops(network):
    Plan(network)
    with pytest.raises(RuntimeError, match="has plans already"):
        _conv(network)


def test_weights_outlive_their_arrays():
    network = Network()
    network.add_input("in", 1, 1, 3)
    weights = np.array([[1], [2], [3]], np.int8)
    network.add_fully_connected("f", 0, weights)
    with pytest.raises(ValueError, match="cannot resize"):
        weights.resize((300_000, 1))
    del weights
    plan = Plan(network)
    del network
    output = np.empty((1, 1), np.int32)
    plan.run(np.array([[1, 1, 1]], np.uint8), [None, output], np.empty((1, 2, 3), np.int64))
    assert output.item() == 6


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"form": "sparse"}, ValueError, "form is 'sparse'"),
        ({"inputs": np.zeros((2, 23), np.uint8)}, ValueError, "23 inputs, but takes 24"),
        ({"inputs": np.zeros((2, 24), np.int8)}, ValueError, "(?i)buffer"),
        ({"counters": np.zeros((1, 3, 3), np.int64)}, ValueError, r"shape \(1, 3, 3\)"),
        ({"counters": np.zeros((2, 2, 3), np.int64)}, ValueError, r"shape \(2, 2, 3\)"),
        ({"counters": np.zeros((2, 3, 4), np.int64)}, ValueError, r"shape \(2, 3, 4\)"),
        ({"outputs": [None, None]}, ValueError, "2 entries for 3 ops"),
        ({"outputs": [None, None, np.zeros((2, 2), np.uint8)]}, ValueError, "(?i)buffer"),
        (
            {"outputs": [None, None, np.zeros((2, 3), np.int32)]},
            ValueError,
            r"outputs\[2\].*\(2, 3\)",
        ),
        ({"outputs": [None, np.zeros((1, 60), np.uint8), None]}, ValueError, r"outputs\[1\]"),
        ({"outputs": [np.zeros((0, 0), np.uint8), None, None]}, ValueError, r"outputs\[0\]"),
    ],
)
def test_wrong_arrays_are_refused_by_run(network, changes, error, message):
    plan = Plan(network)
    arguments = {
        "inputs": np.zeros((2, 24), np.uint8),
        "outputs": [None, None, np.zeros((2, 2), np.int32)],
        "counters": np.zeros((2, 3, 3), np.int64),
        "form": "auto",
    }
    plan.run(*arguments.values())
    with pytest.raises(error, match=message):
        plan.run(*{**arguments, **changes}.values())
    plan.run(*arguments.values())  # not left marked as busy


def test_read_only_inputs_and_weights_are_taken():
    network = Network()
    network.add_input("in", 1, 1, 2)
    weights = np.ones((2, 1), np.int8)
    weights.flags.writeable = False
    network.add_fully_connected("f", 0, weights)
    rows = np.array([[3, 4]], np.uint8)
    rows.flags.writeable = False
    output = np.empty((1, 1), np.int32)
    Plan(network).run(rows, [None, output], np.empty((1, 2, 3), np.int64))
    assert output.item() == 7


def test_the_size_of_a_plan():
    """One aligned block: every buffer has 64 guard bytes and is rounded up to 64."""
    network = Network("scalar")
    network.add_input("in", 1, 1, 100)
    network.add_fully_connected("f", 0, np.ones((100, 10), np.int8))

    def rounded(size):
        return -(-(size + 64) // 64) * 64

    maps = rounded(100) + rounded(40)
    scratch = rounded(40) + rounded(2 * 4) + rounded(101 * 4) + rounded(101)
    empty = 5 * 64  # the guard in front; image, sums, pooled, narrow
    assert Plan(network).nbytes == maps + scratch + empty


@pytest.mark.parametrize("kernel", available_kernels())
@pytest.mark.parametrize("name", ["events", "image"])
def test_packed_weights_are_counted_once_and_without_the_variables(name, kernel):
    spec = every_kind()[name]
    compiled = CompiledNetwork(spec, kernel=kernel)
    variables = {
        id(values): values.nbytes
        for layer in spec.layers
        for key, values in layer.variables.items()
        if key.startswith("weights")
    }
    size = compiled.packed_nbytes
    assert size == CompiledNetwork(spec, kernel=kernel).packed_nbytes
    if kernel == "scalar":  # little more than the kernels reversed, and tables of fan-out
        assert size < 8 * sum(variables.values()) + 4096 * len(spec.layers)
    else:
        scalar = CompiledNetwork(spec, kernel="scalar").packed_nbytes
        assert size > scalar > 0
