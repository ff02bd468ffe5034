"""The models that users bring: what is wrong with them, and what `fix` makes of them."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kerasnsoc import quantize
from kerasnsoc.conversion import advise, compare, convert, fix

kl = keras.layers


def chain(*layers, shape=(8, 8, 1)):
    return keras.Sequential([keras.Input(shape), *layers])


def functional(layers, shape=(8, 8, 1)):
    source = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(source, x)


def fused():
    return [
        kl.Conv2D(4, 3, activation="relu", name="conv"),
        kl.MaxPooling2D(2),
        kl.Flatten(),
        kl.Dense(6, activation="relu", name="hidden"),
        kl.Dropout(0.5),
        kl.Dense(3, activation="softmax", name="head"),
    ]


def half_precision():
    policy = "mixed_float16"
    return chain(
        kl.Conv2D(4, 3, dtype=policy, name="conv"),
        kl.ReLU(dtype=policy, name="relu"),
        kl.Flatten(dtype=policy),
        kl.Dense(3, dtype="float32"),
    )


def nested():
    inner = chain(kl.Conv2D(4, 3), kl.BatchNormalization(), kl.ReLU(), shape=(None, None, 1))
    source = keras.Input((8, 8, 1))
    x = kl.RandomFlip()(kl.Rescaling(1 / 255)(source))
    x = kl.AveragePooling2D(2, name="average")(inner(x))
    return keras.Model(source, kl.Dense(3)(kl.Flatten()(x)))


def one_relu_for_all():
    relu = kl.ReLU(name="relu")
    source = keras.Input((8, 8, 1))
    x = relu(kl.Conv2D(4, 3)(source))
    x = relu(kl.Conv2D(4, 3)(x))
    return keras.Model(source, kl.Dense(3)(kl.Flatten()(x)))


def operations():
    source = keras.Input((8, 8, 1))
    x = keras.ops.relu6(kl.Conv2D(4, 3)(source))
    x = keras.activations.relu(kl.Conv2D(4, 3)(x))
    x = keras.ops.relu(kl.Conv2D(4, 3)(x))
    return keras.Model(source, keras.ops.softmax(kl.Dense(3)(kl.Flatten()(x))))


def mobile():
    return chain(
        kl.ZeroPadding2D(((0, 1), (0, 1)), name="pad"),
        kl.Conv2D(4, 3, strides=2, use_bias=False),
        kl.BatchNormalization(),
        kl.ReLU(6.0),
        kl.DepthwiseConv2D(3, padding="same", name="apart"),
        kl.BatchNormalization(),
        kl.ReLU(6.0),
        kl.Conv2D(6, 1),
        kl.ReLU(),
        kl.DepthwiseConv2D(3, name="biased"),
        kl.Conv2D(5, 1),
        kl.ReLU(),
        kl.GlobalAveragePooling2D(name="mean"),
        kl.Dense(3),
    )


FIXABLE = {
    "functional": lambda: functional(fused()),
    "sequential": lambda: chain(*fused()),
    "average over the map": lambda: chain(
        kl.Conv2D(4, 3, strides=2), kl.AveragePooling2D(3), kl.ReLU(), kl.Flatten(), kl.Dense(3)
    ),
    "average behind an activation": lambda: chain(
        kl.Conv2D(4, 3), kl.ReLU(), kl.AveragePooling2D(2), kl.Flatten(), kl.Dense(3)
    ),
    "global average behind an activation": lambda: chain(
        kl.Conv2D(4, 3, activation="relu"), kl.GlobalAveragePooling2D(), kl.Dense(3)
    ),
    "sigmoid head": lambda: chain(kl.Conv2D(4, 8), kl.ReLU(), kl.Dense(1, activation="sigmoid")),
    "mixed precision": half_precision,
    "nested": nested,
    "one relu for all": one_relu_for_all,
    "operations": operations,
    "mobile": mobile,
    "dense on a map": lambda: chain(
        kl.Conv2D(4, 3), kl.ReLU(), kl.Dense(3, activation="relu"), kl.Flatten(), kl.Dense(2)
    ),
    "norms behind activations": lambda: chain(
        kl.Conv2D(4, 3, activation="relu"),
        kl.BatchNormalization(),
        kl.MaxPooling2D(2),
        kl.Conv2D(5, 2, use_bias=False, activation="relu"),
        kl.BatchNormalization(scale=False),
        kl.Flatten(),
        kl.Dropout(0.5),
        kl.Dense(3, activation="relu"),
        kl.BatchNormalization(center=False),
        kl.Dense(3),
    ),
    "norm in front of an average": lambda: chain(
        kl.Conv2D(4, 3),
        kl.ReLU(),
        kl.BatchNormalization(),
        kl.AveragePooling2D(2),
        kl.Conv2D(5, 2),
        kl.ReLU(),
        kl.BatchNormalization(),
        kl.GlobalAveragePooling2D(),
        kl.Dense(3),
    ),
    "layers of training": lambda: chain(
        kl.GaussianNoise(0.1),
        kl.Conv2D(4, 3),
        kl.Activation("linear"),
        kl.ReLU(),
        kl.SpatialDropout2D(0.5),
        kl.Flatten(),
        kl.Dense(3),
    ),
}


def randomize(model):
    """Biases and statistics are zeros and ones in a new model, which would hide mistakes."""
    rng = np.random.default_rng(3)
    for variable in model.variables:
        if "seed" not in variable.path:
            variable.assign(rng.uniform(0.1, 0.9, variable.shape) * rng.choice([1, 1, -0.4]))
        if variable.path.endswith(("moving_variance", "gamma")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:layer .* is left out of the artifact")
@pytest.mark.parametrize("name", FIXABLE)
def test_what_needs_no_training_is_mended(name):
    model = randomize(FIXABLE[name]())
    advice = advise(model)
    assert advice
    assert all(a.fix for a in advice), advice
    fixed = fix(model)
    assert not fixed.remaining
    assert fixed.changes
    assert advise(fixed.model) == []

    images = np.random.default_rng(0).integers(0, 256, (6, *model.input_shape[1:]))
    x = images if "rescal" in str([layer.name for layer in model.layers]) else images / 255
    expected = np.asarray(model(x.astype("f4"), training=False))
    found = np.asarray(fixed.model(x.astype("f4"), training=False))
    # sums in another order; float16 has 11 bits
    assert_allclose(found, expected, rtol=1e-2 if name == "mixed precision" else 2e-5, atol=1e-5)
    assert_array_equal(found.argmax(-1), expected.argmax(-1))

    quantized = quantize(fixed.model, 4, 4, 8)
    scaling = None if x is images else (255.0, 0)
    network = convert(quantized, input_scaling=scaling)
    report = compare(quantized, network, images.astype(np.uint8))
    assert report.differing == 0
    assert report.compared


def residual():
    source = keras.Input((8, 8, 1))
    trunk = kl.Conv2D(4, 3, padding="same", activation="relu")(source)
    branch = kl.Conv2D(4, 3, padding="same", activation="relu")(trunk)
    x = kl.Add(name="sum")([trunk, branch])
    return keras.Model(source, kl.Dense(3)(kl.Flatten()(x)))


def two_heads():
    source = keras.Input((8, 8, 1))
    x = kl.Conv2D(4, 3, activation="tanh", name="conv")(source)
    return keras.Model(source, [kl.Dense(1)(kl.Flatten()(x)), kl.Dense(2)(kl.Flatten()(x))])


class Subclassed(keras.Model):
    def call(self, x):
        return x


class Secret(kl.Layer):
    def __init__(self, secret):
        super().__init__(name="secret")
        self.secret = secret

    def call(self, x):
        return x


UNFIXABLE = {
    "residual": (residual, {("graph", "sum"): "Concatenate"}),
    "recurrent": (
        lambda: chain(kl.LSTM(4, name="lstm"), kl.Dense(3), shape=(10, 5)),
        {
            ("layer", "lstm"): "time",
            ("input", None): "fixed sizes",
            ("first layer", None): "events",
        },
    ),
    "tanh inside": (
        lambda: chain(kl.Conv2D(4, 3, activation="tanh", name="conv"), kl.Flatten(), kl.Dense(3)),
        {("argument", "conv"): "train again"},
    ),
    "two heads": (two_heads, {("graph", None): "Split", ("argument", "conv"): "train again"}),
    "subclassed": (lambda: Subclassed(name="own"), {("graph", "own"): "keras.Sequential"}),
    "not built": (
        lambda: keras.Sequential([kl.Dense(3)], name="shapeless"),
        {("graph", "shapeless"): "keras.Input"},
    ),
    "division": (
        lambda: (lambda s: keras.Model(s, kl.Conv2D(3, 3)(s / 255.0)))(keras.Input((8, 8, 1))),
        {("graph", None): "Rescaling"},
    ),
    "leaky relu": (
        lambda: chain(kl.Conv2D(4, 3), kl.ReLU(negative_slope=0.1, name="leaky")),
        {("argument", "leaky"): "negative_slope=0"},
    ),
    "no config": (
        lambda: chain(Secret(3), kl.Conv2D(3, 3)),
        {("layer", "secret"): "Use (Quantized)Conv2D"},
    ),
    "average in front of the activation": (
        lambda: chain(kl.Conv2D(4, 3), kl.AveragePooling2D(2, name="mean"), kl.ReLU()),
        {("layer", "mean"): "strides"},
    ),
    "norm in front of padding": (
        lambda: chain(
            kl.Conv2D(4, 3, activation="relu"),
            kl.BatchNormalization(name="norm", beta_initializer="ones"),
            kl.Conv2D(4, 3, padding="same", activation="relu"),
        ),
        {("batch norm", "norm"): "directly behind"},
    ),
    "norm behind a fused activation": (
        lambda: chain(kl.Conv2D(4, 3, activation="relu"), kl.BatchNormalization(name="norm")),
        {("batch norm", "norm"): "directly behind"},
    ),
}


@pytest.mark.keras
@pytest.mark.parametrize("name", UNFIXABLE)
def test_what_needs_training_is_named_with_its_remedy(name):
    make, expected = UNFIXABLE[name]
    advice = [a for a in advise(make()) if not a.fix]
    for (rule, layer), words in expected.items():
        found = [a for a in advice if a.rule == rule and layer in (None, a.layer)]
        assert any(words in a.remedy + a.message for a in found), advice
        assert all(a.remedy and a.blocks for a in found)
    assert len({(a.rule, a.layer) for a in advice}) == len(expected), advice


@pytest.mark.keras
def test_what_cannot_be_built_anew_is_refused_with_all_reasons():
    with pytest.raises(RuntimeError, match=r"cannot be rewritten:\n- Model .* 2 outputs"):
        fix(two_heads())
    with pytest.raises(TypeError, match="a Keras model was expected"):
        fix("model.keras")
    with pytest.raises(RuntimeError, match=r"'secret' \(Secret\) cannot be made anew"):
        fix(chain(Secret(3), kl.Conv2D(3, 3)))


@pytest.mark.keras
def test_every_reason_is_listed_in_one_go():
    model = two_heads()
    rules = {a.rule for a in advise(model)}
    assert rules >= {"graph", "argument"}
    mixed = chain(
        kl.Conv2D(4, 3, dilation_rate=2, activation="tanh", dtype="mixed_float16"),
        kl.UpSampling2D(),
        kl.Flatten(),
        kl.Dense(3, activation="softmax"),
    )
    assert {a.rule for a in advise(mixed)} >= {"dtype", "argument", "layer"}


@pytest.mark.keras
def test_reasons_come_in_the_order_of_the_layers_with_the_remedy_of_their_place():
    model = chain(
        kl.Conv2D(4, 3, name="conv", dtype="mixed_float16"),
        kl.ReLU(name="relu", dtype="mixed_float16"),
        kl.Flatten(name="flatten"),
        kl.Dense(6, activation="relu", name="hidden"),
        kl.Dense(3, activation="softmax", name="head"),
    )
    advice = advise(model)
    assert [a.layer for a in advice] == ["conv", "relu", "hidden", "head"]
    hidden, head = advice[2:]
    assert "such as ReLU" in hidden.remedy
    assert "from_logits=True" in head.remedy
    assert "ReLU" not in head.remedy


@pytest.mark.keras
def test_a_large_layer_is_a_remark(monkeypatch):
    monkeypatch.setattr("kerasnsoc.conversion.advice.LARGE_LAYER", 100)
    model = chain(kl.Conv2D(4, 3), kl.ReLU(), kl.Flatten(), kl.Dense(3, name="huge"))
    (remark,) = advise(model)
    assert (remark.rule, remark.layer, remark.blocks) == ("memory", "huge", False)
    assert "435 weights" in remark.message
    assert "remark" in str(remark)


@pytest.mark.keras
def test_paths_are_advised_on_too(tmp_path):
    model = chain(kl.Conv2D(4, 3, name="conv"), kl.ReLU(), kl.Flatten(), kl.Dense(3))
    model.save(tmp_path / "good.keras")
    assert advise(tmp_path / "good.keras") == []
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").touch()
    (advice,) = advise(folder)
    assert advice.rule == "file"
    assert "SavedModel" in advice.message
    assert "model.save('name.keras')" in advice.remedy


@pytest.mark.keras
def test_a_quantized_model_is_advised_on():
    model = quantize(chain(kl.Conv2D(4, 3), kl.ReLU(), kl.Flatten(), kl.Dense(3)), 4, 4, 8)
    assert advise(model) == []
    broken = keras.Sequential([*model.layers[:-1], kl.AveragePooling2D(1), model.layers[-1]])
    assert not fix(model).changes
    assert [a.fix for a in advise(broken)] == [""] * len(advise(broken))
