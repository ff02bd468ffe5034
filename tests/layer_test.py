"""One check for any Keras layer of the package: build, dtype, files, training, batch size 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_array_equal


def randomize(model: Any, seed: int = 0) -> None:
    """Give every weight a value that no initializer gives; scalars and variances stay positive."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            (
                w * rng.uniform(0.8, 1.2) if w.ndim == 0 else w + rng.uniform(0.05, 0.5, w.shape)
            ).astype(w.dtype)
            for w in model.get_weights()
        ]
    )


def check_layer(
    cls: type,
    kwargs: dict[str, Any],
    input_shape: tuple[int, ...],
    *,
    output_shape: tuple[int, ...] | None = None,
    variables: list[str] | None = None,
    tmp_path: Any,
) -> Any:
    """Check a layer from all sides; returns it built, in a model of its own.

    Parameters
    ----------
    cls, kwargs : class and arguments
        Of the layer.
    input_shape : tuple of int
        Without batch.
    output_shape : tuple of int, optional
        Expected, without batch.
    variables : list of str, optional
        Expected paths below the layer, in order.
    tmp_path : pathlib.Path
        Where models are saved.
    """
    import keras

    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, *input_shape)).astype("float32")

    # Build, shapes, dtype.
    layer = cls(**kwargs)
    assert not layer.weights or layer.built
    inputs = keras.Input(input_shape)
    outputs = layer(inputs)
    model = keras.Model(inputs, outputs)
    assert layer.built
    randomize(model)
    y = keras.ops.convert_to_numpy(model(x))
    assert y.dtype == np.float32
    assert y.shape == (3, *outputs.shape[1:])
    assert tuple(layer.compute_output_shape((3, *input_shape))) == y.shape
    if output_shape is not None:
        assert y.shape[1:] == output_shape
    if variables is not None:
        assert [w.path.split("/", 1)[-1] for w in layer.weights] == variables
    assert all(w.dtype == "float32" for w in layer.weights)

    # The configuration is complete and stable, also through Keras's serialization.
    config = layer.get_config()
    assert cls.from_config(config).get_config() == config
    serialized = keras.saving.serialize_keras_object(layer)
    assert keras.saving.deserialize_keras_object(serialized).get_config() == config

    # Files keep outputs and variables.
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        loaded = keras.models.load_model(
            tmp_path / name, compile=False, custom_objects={cls.__name__: cls}
        )
        assert [w.path for w in loaded.weights] == [w.path for w in model.weights]
        for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
            assert_array_equal(ours, theirs)
        assert_array_equal(keras.ops.convert_to_numpy(loaded(x)), y)

    # One training step moves every trainable weight of the layer to a finite value.
    front = keras.layers.Dense(input_shape[-1], kernel_initializer="identity")
    copy = cls.from_config(config)
    trained = keras.Sequential([keras.Input(input_shape), front, copy])
    copy.set_weights(layer.get_weights())
    before = [keras.ops.convert_to_numpy(keras.ops.copy(w)) for w in trained.trainable_weights]
    trained.compile(keras.optimizers.SGD(0.01), "mse")
    loss = trained.train_on_batch(x, y + 1)
    assert np.isfinite(loss)
    for old, weight in zip(before, trained.trainable_weights, strict=True):
        new = keras.ops.convert_to_numpy(keras.ops.copy(weight))
        assert np.isfinite(new).all(), weight.path
        assert (new != old).any(), weight.path

    # A frozen batch size of 1.
    single = cls.from_config(config)
    frozen = keras.Sequential([keras.Input(batch_shape=(1, *input_shape)), single])
    single.set_weights(layer.get_weights())
    one = keras.ops.convert_to_numpy(frozen(x[:1]))
    # Kernels may add in another order for another batch size.
    np.testing.assert_allclose(one, y[:1], rtol=1e-5, atol=1e-5)
    return layer
