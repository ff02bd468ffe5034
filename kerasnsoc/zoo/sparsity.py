"""How many activations are zero, in Keras or on integers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras

    from kerasnsoc.runtime import Model

RANDOM_SAMPLES = 10
"""That are made when none are given."""

_BATCH = 32


def activation_sparsity(
    model: keras.Model | Model, samples: npt.NDArray[Any] | None = None
) -> dict[str, float]:
    """Share of zeros among the activations of each layer.

    Parameters
    ----------
    model : keras.Model or kerasnsoc.Model
        Of a Keras model the outputs of its ReLU, `Activation` and quantized activation layers
        count, of an integer model those of all layers that send events.
    samples : ndarray, shape (n, …), optional
        Inputs as the model takes them. Default: 10 random ones, uniform from 0 to 1 for a Keras
        model (to 255 if it has a `Rescaling` layer), otherwise `kerasnsoc.runtime.random_inputs`.
        Random inputs tell little about real ones.

    Returns
    -------
    dict of str to float
        0 to 1 by layer name, in the order of the model.

    Raises
    ------
    ValueError
        If the samples do not fit the input, or the model has no such layers.
    """
    from kerasnsoc.runtime import Model

    found = _of_integers(model, samples) if isinstance(model, Model) else _of_keras(model, samples)
    if not found:
        raise ValueError("the model has no layer with activations, so that nothing can be sparse")
    return found


def read_samples(path: Path) -> npt.NDArray[Any]:
    """Inputs from an .npy, or from the array ``samples`` or the only one of an .npz.

    Raises
    ------
    ValueError
        If there is no such array.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except (EOFError, ValueError) as error:
        # NumPy's own words advise to allow pickles, which are programs.
        raise ValueError(f"{path} is neither .npy nor .npz, as numpy.save writes it") from error
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded as file:
        names = sorted(file)
        if "samples" not in names and len(names) != 1:
            raise ValueError(
                f"{path} holds the arrays {names}; it must have one alone, or one named 'samples'"
            )
        array: npt.NDArray[Any] = file["samples" if "samples" in names else names[0]]
    return array


def _of_integers(network: Model, samples: npt.NDArray[Any] | None) -> dict[str, float]:
    from kerasnsoc.runtime import Model, random_inputs

    spec = network.to_spec()
    if samples is not None and samples.dtype.kind not in "biu":
        raise ValueError(
            f"the samples are {samples.dtype}, but the network takes integers of 0 to "
            f"{2**spec.input.bits - 1}: {spec.input.scale:g} * x + {spec.input.shift} of what the "
            "Keras model took, rounded"
        )
    if samples is None:
        samples = random_inputs(network, RANDOM_SAMPLES)
    fresh = Model.from_spec(spec)  # the statistics of the given one may have counted other samples
    fresh.forward(samples)
    statistics = fresh.get_statistics()
    return {
        layer.name: float(statistics[layer.name].output_sparsity)
        for layer in spec.layers
        if layer.name in statistics and getattr(layer.parameters, "activations_enabled", True)
    }


def _of_keras(model: keras.Model, samples: npt.NDArray[Any] | None) -> dict[str, float]:
    import keras

    from kerasnsoc.quantization import QuantizedActivation

    kinds = (keras.layers.ReLU, keras.layers.Activation, QuantizedActivation)
    layers = [layer for layer in model.layers if isinstance(layer, kinds)]
    if not layers:
        return {}
    shape = model.input_shape[1:]
    if samples is None:
        if None in shape:
            raise ValueError(
                f"the model's input has the open shape {shape}, so that no random samples can be "
                "made. Give samples."
            )
        is_raw = any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
        samples = np.random.default_rng(0).random((RANDOM_SAMPLES, *shape), np.float32)
        samples = np.rint(samples * 255) if is_raw else samples
    fits = len(samples.shape) == len(shape) + 1 and all(
        want in (None, got) for got, want in zip(samples.shape[1:], shape, strict=True)
    )
    if not fits or not len(samples):
        raise ValueError(
            f"the samples have the shape {samples.shape}, but the model takes (n, "
            f"{', '.join(map(str, shape))}), at least one"
        )
    watched = keras.Model(model.inputs, [layer.output for layer in layers])
    zeros, sizes = np.zeros(len(layers), np.int64), np.zeros(len(layers), np.int64)
    for start in range(0, len(samples), _BATCH):
        outputs = watched.predict_on_batch(samples[start : start + _BATCH])
        # a single output comes without its list
        for index, output in enumerate(outputs if len(layers) > 1 else [outputs]):
            array = np.asarray(output[0] if isinstance(output, list) else output)
            zeros[index] += array.size - np.count_nonzero(array)
            sizes[index] += array.size
    return {
        layer.name: float(zero / size)
        for layer, zero, size in zip(layers, zeros, sizes, strict=True)
    }
