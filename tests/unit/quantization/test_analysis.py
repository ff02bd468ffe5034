"""What `analyze` measures, and the forms of data that it and its neighbours take."""

import json
import math
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kerasnsoc._progress import with_progress
from kerasnsoc.quantization import (
    ActivationDiscreteRelu,
    MaxQuantizer,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedReLU,
    WeightQuantizer,
    analyze,
    calibrate,
    create_trainable_quantizer_model,
    quantize,
    quantize_layer,
    suggest_bitwidths,
)
from kerasnsoc.quantization.samples import read_samples
from kerasnsoc.quantization.scoring import choose_metric, sqnr_db
from tests.unit.quantization.helpers import assert_unchanged, chain, images, numbers, snapshot
from tests.unit.quantization.trained import accuracy, trained_digits

pytestmark = pytest.mark.keras
layers = keras.layers


def small_model(shape=(3,)):
    return chain(
        layers.Dense(4, name="hidden"),
        layers.ReLU(name="relu"),
        layers.Dense(2, name="out"),
        shape=shape,
    )


def rows_by_name(report):
    return {row.layer: row for row in report.rows}


# Data


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y=None):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 4

    def __getitem__(self, index):
        part = slice(index * 3, index * 3 + 3)
        return self.x[part] if self.y is None else (self.x[part], self.y[part])


X = np.random.default_rng(0).normal(size=(10, 3)).astype("f4")
Y = np.arange(10) % 2


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (X.astype("f8"), Y.tolist()),
        (keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y)),
        [(X[:7], Y[:7]), (X[7:], Y[7:])],
        iter([[X[:7], Y[:7]], [X[7:], Y[7:]]]),
        Batches(X, Y),
    ],
    ids=["tuple", "lists", "tensors", "batches", "generator", "PyDataset"],
)
def test_data_with_labels_come_in_many_forms(data):
    samples = read_samples(data, small_model())
    assert samples.inputs.dtype == np.float32
    assert_array_equal(samples.inputs, X)
    assert_array_equal(samples.labels, Y)


@pytest.mark.parametrize(
    "data",
    [X, (X,), (X, None), [X[:4], X[4:]], Batches(X), keras.ops.convert_to_tensor(X)],
    ids=["array", "tuple", "None", "batches", "PyDataset", "tensor"],
)
def test_data_without_labels_come_in_many_forms(data):
    samples = read_samples(data, small_model())
    assert_array_equal(samples.inputs, X)
    assert samples.labels is None


def test_tensorflow_data_sets():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    samples = read_samples(data.batch(4), small_model())
    assert_array_equal(samples.inputs, X)
    assert_array_equal(samples.labels, Y)
    with pytest.raises(ValueError, match=r"repeats.*take\(n\)"):
        read_samples(data.batch(4).repeat(), small_model())
    with pytest.raises(ValueError, match="batch the data"):
        read_samples(data, small_model())


def test_integers_become_the_input_type_of_the_model():
    samples = read_samples(np.ones((2, 3), np.uint8), small_model())
    assert samples.inputs.dtype == np.float32


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        ("images", TypeError, "of type str"),
        ({"x": X}, TypeError, "of type dict"),
        (7, TypeError, "of type int"),
        ([{"x": X}], TypeError, "batch of data is of type dict"),
        ([], ValueError, "no batches"),
        (X[:0], ValueError, "no samples"),
        (X[:, :2], ValueError, r"shape \(10, 2\).*\(samples, 3\)"),
        ((X, Y[:9]), ValueError, "10 inputs but 9 labels"),
        ((X, Y, Y), ValueError, "3 parts.*weights are not supported"),
        ([(X, Y), X], ValueError, "batch 1 .*labels or not"),
        (np.array(["a"]), ValueError, "dtype"),
        (np.full((2, 3), np.nan), ValueError, "sample 0 .* not finite"),
    ],
)
def test_data_of_no_use_are_refused(data, error, match):
    with pytest.raises(error, match=match):
        read_samples(data, small_model())


def test_an_endless_dataset_is_refused():
    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return X

    with pytest.raises(ValueError, match="never ends"):
        read_samples(Endless(), small_model())


# Metrics


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (Y, "accuracy"),
        (Y[:, None], "accuracy"),
        (Y.astype("f4"), "accuracy"),
        (np.eye(2)[Y], "accuracy"),
        (X[:, :2], "output SQNR"),
        (X[:, 0], "output SQNR"),
        (None, "output SQNR"),
    ],
    ids=["numbers", "column", "floats", "one-hot", "vectors", "scalars", "none"],
)
def test_class_labels_choose_accuracy(labels, name):
    reference = np.eye(2)[1 - Y]
    reference[:4] = np.eye(2)[Y[:4]]
    samples = read_samples((X, labels), small_model())
    metric = choose_metric(None, samples, reference)
    assert metric.name == name
    expected = 0.4 if name == "accuracy" else math.inf
    assert metric.score(reference) == expected


def test_one_output_is_no_classifier():
    samples = read_samples((X, Y), small_model())
    assert choose_metric(None, samples, np.zeros((10, 1))).name == "output SQNR"


def test_own_metrics():
    samples = read_samples((X, Y), small_model())

    def negative_error(labels, outputs):
        return -np.abs(outputs[:, 0] - labels).mean()

    metric = choose_metric(negative_error, samples, np.zeros((10, 2)))
    assert metric.name == "negative_error"
    assert metric.score(np.zeros((10, 2))) == -0.5


def test_metrics_that_cannot_be_used_are_refused():
    labelled = read_samples((X, Y), small_model())
    with pytest.raises(TypeError, match="metric is 'accuracy', but must be a function"):
        choose_metric("accuracy", labelled, np.zeros((10, 2)))
    with pytest.raises(ValueError, match="metric needs labels"):
        choose_metric(min, read_samples(X, small_model()), np.zeros((10, 2)))
    with pytest.raises(ValueError, match=r"label 2 .* labels are 0 to 1"):
        choose_metric(None, read_samples((X, Y + 1), small_model()), np.zeros((10, 2)))


def test_signal_to_noise_ratio():
    assert sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20.0)
    assert sqnr_db(np.ones(2), np.ones(2)) == math.inf
    assert sqnr_db(np.zeros(2), np.ones(2)) == -math.inf


# Errors of weights and outputs


def test_weight_errors_are_those_of_the_formula():
    kernel = np.array([[-1.0], [0.5], [0.1], [0.05]], "f4")
    model = keras.Sequential(
        [
            keras.Input((4,)),
            QuantizedDense(1, use_bias=False, quantizer=MaxQuantizer(4), name="dense"),
        ]
    )
    model.set_weights([kernel])
    (row,) = analyze(model, model, np.eye(4)).rows
    quantized = np.array([[-7], [4], [1], [0]]) / 7
    noise = np.square(kernel - quantized).sum()
    assert row.weight_sqnr_db == pytest.approx(10 * np.log10(np.square(kernel).sum() / noise))
    assert (row.bits, row.weight_zeros, row.weight_clipped) == (4, 0.25, 0.0)
    assert row.output_zeros is None


def test_clipped_weights_are_counted():
    kernel = np.array([[3.0], [1.0], [-1.0], [-3.0]], "f4")  # standard deviation sqrt(5)
    model = chain(QuantizedDense(1, quantizer=WeightQuantizer(1, 4), name="dense"), shape=(4,))
    model.layers[0].kernel.assign(kernel)
    assert analyze(model, model, np.eye(4)).rows[0].weight_clipped == 0.5


def test_weights_on_the_grid_are_exact():
    model = chain(layers.Dense(2, name="dense"), shape=(3,))
    model.layers[0].kernel.assign(np.array([[7, -7], [1, 2], [0, 3]]) / 8)
    report = analyze(model, quantize(model, 4), X)
    assert report.rows[0].weight_sqnr_db == math.inf
    assert report.output_sqnr_db == math.inf
    assert "exact" in str(report)


def test_activation_shares_are_counted():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, name="d"), layers.ReLU(name="r")])
    model.set_weights([np.ones((1, 1), "f4"), np.zeros(1, "f4")])
    x = np.array([[-1.0], [0.4], [1.0], [2.0], [9.0]], "f4")
    row = rows_by_name(analyze(model, quantize(model, 8, 2), x))["r"]
    assert (row.bits, row.output_zeros, row.output_saturated) == (2, 0.4, 0.2)
    # 0.4 becomes 0 and 9 becomes 3
    signal, noise = 0.16 + 1 + 4 + 81, 0.16 + 36
    assert row.output_sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=1e-4)


# Each layer alone


@cache
def digits_report():
    trained = trained_digits()
    quantized = quantize(trained.model, 4, 4, 8)
    return analyze(trained.model, quantized, (trained.images, trained.labels))


def test_each_layer_alone_is_measured():
    trained = trained_digits()
    report = digits_report()
    assert report.metric == "accuracy"
    assert report.float_metric == accuracy(trained.model)
    assert report.quantized_metric == accuracy(quantize(trained.model, 4, 4, 8))
    for row in report.rows:
        alone = accuracy(quantize_layer(trained.model, row.layer, row.bits))
        assert row.metric_alone == alone, row.layer
        assert row.metric_change == alone - report.float_metric
    assert [row.layer for row in report.rows] == [
        "conv",
        "conv_relu",
        "separable",
        "separable_relu",
        "features",
        "features_relu",
        "classes",
    ]
    # raw pixels: what the first activation loses is what the whole network loses
    assert report.most_sensitive.layer == "conv_relu"


def test_batches_do_not_matter_and_nothing_is_random():
    model = float_with_norms()
    data = images(20), np.arange(20) % 3
    report = analyze(model, quantize(model, 4, 4), data)
    assert analyze(model, quantize(model, 4, 4), data) == report
    other = analyze(model, quantize(model, 4, 4), data, batch_size=3)
    for ours, theirs in zip(report.rows, other.rows, strict=True):
        assert (ours.metric_alone, ours.output_zeros) == (theirs.metric_alone, theirs.output_zeros)
        # Kernels may add in another order for another batch size.
        assert ours.output_sqnr_db == pytest.approx(theirs.output_sqnr_db, rel=1e-3)


def test_models_are_only_read():
    model = small_model()
    quantized = quantize(model, 4, 4)
    before = snapshot(model), snapshot(quantized)
    analyze(model, quantized, (X, Y))
    assert_unchanged(model, before[0])
    assert_unchanged(quantized, before[1])


def float_with_norms():
    return chain(
        layers.Conv2D(4, 3, name="conv"),
        layers.MaxPooling2D(2, name="pool"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(3, name="out"),
    )


def test_folded_batch_normalizations_are_no_error():
    model = float_with_norms()
    report = analyze(model, quantize(model, 8), images(8))
    rows = rows_by_name(report)
    # The pooling comes behind the folded layer, so that only its own rounding is left.
    assert rows["conv"].output_sqnr_db > 35
    assert report.output_sqnr_db > 30


# pytest.warns raises Keras's own deprecations again, here instead of in Keras.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_batch_normalizations_that_stay_are_compared_as_they_are():
    model = chain(
        layers.Conv2D(4, 3, name="conv"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
    )
    with pytest.warns(UserWarning, match="stays behind a float layer"):
        quantized = quantize(model, 8, fold_BN=False)
    assert analyze(model, quantized, images(8)).rows[0].output_sqnr_db > 35


def test_what_quantizers_and_activations_learned_counts():
    model = small_model()
    learning = create_trainable_quantizer_model(quantize(model, 4, 4))
    relu = learning.get_layer("relu")
    assert isinstance(relu, QuantizedReLU)
    relu.set_weights([np.float32(0.01), np.float32(0.02)])
    report = analyze(model, learning, X)
    row = rows_by_name(report)["relu"]
    alone = keras.Sequential(
        [keras.Input((3,)), model.layers[0], QuantizedReLU(4), layers.Dense(2)]
    )
    alone.layers[1].set_weights(relu.get_weights())
    alone.layers[2].set_weights(model.layers[2].get_weights())
    assert row.metric_alone == pytest.approx(sqnr_db(numbers(model(X)), numbers(alone(X))))
    assert row.metric_change is None  # the SQNR of the float model is infinite


def test_layers_that_only_the_quantized_model_has_are_not_compared():
    model = small_model()
    more = keras.Sequential(
        [keras.Input((3,)), *quantize(model, 4, 4).layers, ActivationDiscreteRelu(4, name="more")]
    )
    row = rows_by_name(analyze(model, more, X))["more"]
    assert row.output_sqnr_db is None
    assert row.metric_alone is None
    assert row.output_zeros is not None


def test_models_that_do_not_belong_together_are_refused():
    model = small_model()
    with pytest.raises(ValueError, match=r"no quantized layer whose name is in model 'chain'"):
        analyze(model, model, X)
    other = chain(
        QuantizedDense(5, quantizer=MaxQuantizer(4), name="hidden"),
        QuantizedDense(2, quantizer=MaxQuantizer(4), name="out"),
        shape=(3,),
    )
    with pytest.raises(ValueError, match="'hidden' gives shape"):
        analyze(model, other, X)
    wrong = chain(
        layers.Dense(4, name="relu"), ActivationDiscreteRelu(4, name="hidden"), shape=(3,)
    )
    with pytest.raises(ValueError, match="'hidden' is a ActivationDiscreteRelu in the quantized"):
        analyze(model, wrong, X)
    kernels = chain(layers.Conv2D(2, 3, padding="same", name="conv"), layers.Conv2D(2, 1), name="k")
    larger = chain(
        QuantizedConv2D(2, 5, padding="same", quantizer=MaxQuantizer(4), name="conv"),
        layers.Conv2D(2, 1),
    )
    with pytest.raises(ValueError, match=r"'conv' has kernels of shape \[\(5, 5, 3, 2\)\]"):
        analyze(kernels, larger, images())
    with pytest.raises(ValueError, match="batch_size is 0"):
        analyze(model, quantize(model, 4), X, batch_size=0)
    with pytest.raises(RuntimeError, match="has no input shape yet"):
        analyze(keras.Sequential([layers.Dense(2)]), quantize(model, 4), X)


# The report


def test_the_report_as_text_dict_and_frame():
    report = digits_report()
    text = str(report)
    assert "accuracy alone" in text
    assert "separable_relu" in text
    assert f"float {report.float_metric:.2%}" in text
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["rows"][1]["output_saturated"] == report.rows[1].output_saturated
    assert found["samples"] == 359
    pytest.importorskip("pandas")
    frame = report.to_frame()
    assert list(frame["layer"]) == [row.layer for row in report.rows]
    assert frame["metric_alone"].min() == report.most_sensitive.metric_alone


def test_the_report_as_plot(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    report = digits_report()
    ax = Figure().add_subplot()
    assert report.plot(ax) is ax
    assert [text.get_text() for text in ax.get_yticklabels()] == [r.layer for r in report.rows]
    widths = [bar.get_width() for bar in ax.containers[1]]
    assert widths == [row.output_sqnr_db for row in report.rows]
    ax = Figure().add_subplot()
    report.plot(ax, what="metric")
    widths = [bar.get_width() for bar in ax.containers[0]]
    assert widths == [row.metric_alone for row in report.rows]
    with pytest.raises(ValueError, match="what is 'bits'"):
        report.plot(ax, what="bits")
    own = report.plot()
    assert own.get_xlabel() == "SQNR [dB]"
    from matplotlib import pyplot

    pyplot.close(own.figure)


@pytest.mark.parametrize(
    ("module", "extra", "use"),
    [
        ("pandas", "report", lambda r: r.to_frame()),
        ("matplotlib.pyplot", "plot", lambda r: r.plot()),
    ],
)
def test_a_missing_library_names_its_extra(module, extra, use, monkeypatch):
    report = digits_report()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"kerasnsoc\[{extra}\]"):
        use(report)


# Progress


def test_progress_on_demand(monkeypatch):
    shown = []

    def tqdm(items, desc, leave):
        shown.append((desc, len(items), leave))
        return items

    fake = ModuleType("tqdm")
    fake.tqdm = tqdm
    monkeypatch.setitem(sys.modules, "tqdm", fake)
    assert list(with_progress([1, 2], "work", True)) == [1, 2]
    assert list(with_progress([1, 2], "work", False)) == [1, 2]
    assert shown == [("work", 2, False)]

    class Terminal:
        def isatty(self):
            return True

    assert list(with_progress([3], "work", None)) == [3]  # captured output is no terminal
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(with_progress([4], "more", None)) == [4]
    assert shown == [("work", 2, False), ("more", 1, False)]


def test_progress_without_tqdm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"kerasnsoc\[report\]"):
        with_progress([1], "work", True)


# The guide


def test_the_guide_names_what_there_is():
    import kerasnsoc

    page = Path(__file__).parents[3] / "docs" / "quantization.md"
    text = page.read_text(encoding="utf-8")
    imported = re.findall(r"from kerasnsoc import (.*)", text)
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert len(named) >= 8
    for name in [*named, *", ".join(imported).split(", ")]:
        assert hasattr(kerasnsoc, name), name
    for function in (analyze, calibrate, suggest_bitwidths, quantize):
        assert f"## `{function.__name__}`" in text
