"""Spikes of the runtime are those of the frozen Keras forward: every layer, every step."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from kerasnsoc.conversion import convert, freeze  # noqa: E402
from kerasnsoc.conversion.time_frozen import FrozenNeurons  # noqa: E402
from kerasnsoc.runtime import Model  # noqa: E402
from tests.time_models import RandomModel  # noqa: E402

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore::UserWarning")]

# A filter runs in single precision in Keras and in double precision here; steps and sums of a
# few thousand rates of up to 1e5 Hz leave five digits.
FILTER_TOLERANCE = 2e-5


def compare(made: RandomModel, samples: int, steps: int) -> tuple[int, int]:
    """Compared values, and how many of them are spikes."""
    runtime = convert(made.model, **made.arguments())
    frozen = freeze(made.model, **made.arguments())
    x = made.sequences(samples, steps)
    if not made.has_time_axis:
        x = x[:, :1]
    traced = runtime.trace(x)
    spec = runtime.to_spec()
    names = [n for n in traced if n in {layer.name for layer in frozen.layers}]
    probes = keras.Model(frozen.input, [frozen.get_layer(n).output for n in names])
    outputs = probes(made.reals(x))
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    compared = fired = 0
    for name, output in zip(names, outputs, strict=True):
        expected = np.asarray(output, np.float64)
        found = traced[name].reshape(expected.shape)
        layer = frozen.get_layer(name)
        if isinstance(layer, FrozenNeurons):
            unit = made.dt if layer.model_of_neurons.unit == "hz" else 1
            spikes = np.rint(expected * unit)
            np.testing.assert_array_equal(found, spikes, err_msg=name)
            compared += found.size
            fired += int(np.count_nonzero(spikes))
    last = spec.layers[-1]
    final = np.asarray(frozen(made.reals(x)))
    if last.neuron is not None or "output_scale" in last.variables:
        evaluated = runtime.evaluate(x).reshape(final.shape)
        if last.layer_type.name == "Filter":
            size = np.abs(final).max() + 1
            np.testing.assert_allclose(evaluated, final, atol=FILTER_TOLERANCE * size)
        else:
            np.testing.assert_array_equal(evaluated, final)
    whole = runtime.forward(x)
    if len(x):
        again = Model(serialized_buffer=runtime.to_buffer())
        cut = steps // 2
        parts = [again.forward(part, stateful=True) for part in (x[:, :cut], x[:, cut:])]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
        np.testing.assert_array_equal(again.forward(x[1:]), whole[1:])
    return compared, fired


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_random_networks_spike_alike(blocks):
    compared = fired = 0
    for seed in range(6):
        made = RandomModel(100 * blocks + seed, blocks)
        totals = compare(made, samples=2, steps=int(made.rng.integers(1, 25)))
        compared, fired = compared + totals[0], fired + totals[1]
    assert fired > compared // 100


@pytest.mark.parametrize("seed", range(3))
def test_frame_models_make_one_step(seed):
    compare(RandomModel(seed, 2, has_time_axis=False), samples=3, steps=1)


@pytest.mark.parametrize("seed", [11, 12])
def test_a_thousand_steps_spike_alike(seed):
    compared, fired = compare(RandomModel(seed, 2), samples=1, steps=1000)
    assert compared
    assert fired
