"""`kerasnsoc demo`: one real network from training to joules, with every claim checked."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasnsoc._extras import require
from kerasnsoc._quiet import native_messages_to
from kerasnsoc._tables import render
from kerasnsoc.demo.digits import PIXEL_SCALE, Digits, load_digits

if TYPE_CHECKING:
    import keras

    from kerasnsoc.conversion import ParityReport
    from kerasnsoc.runtime import Model

INPUT_SCALING = (16.0 * PIXEL_SCALE, 0)
"""The model is trained on pixels of 0 to 1; the artifact takes them as integers of 0 to 240."""

DEFAULT_EPOCHS = 30
DEVICES = ("cpu", "arm", "loihi", "spinnaker2", "cmos45-snn")


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured; accuracies are shares of the held-out digits."""

    artifact: Path
    float_accuracy: float
    quantized_accuracy: float
    integer_accuracy: float
    parity: ParityReport
    runtime: Model

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, numbers and strings."""
        from kerasnsoc.energy import compare_devices

        return {
            "artifact": str(self.artifact),
            "accuracy": {
                "float": self.float_accuracy,
                "quantized": self.quantized_accuracy,
                "integer": self.integer_accuracy,
            },
            "compared": self.parity.compared,
            "differing": self.parity.differing,
            "layers": [
                {
                    "name": name,
                    "events_in": s.events_in / s.nb_samples,
                    "events_out": s.nb_activations / s.nb_samples,
                    "synaptic_ops": s.synaptic_ops / s.nb_samples,
                    "dense_ops": s.connections,
                }
                for name, s in self.runtime.get_statistics().items()
            ],
            "energy": compare_devices(self.runtime, DEVICES).to_dict()["devices"],
        }


def run_demo(
    output: str | Path = "kerasnsoc-demo",
    seed: int = 0,
    epochs: int = DEFAULT_EPOCHS,
    *,
    echo: Callable[[str], None] = print,
) -> DemoResult:
    """Train, quantize, freeze, run and price a small digit recogniser.

    Parameters
    ----------
    output : path
        Folder for `digits.h5` (the artifact), `digits.keras` (the quantized model), and the
        held-out digits as `digits_images.npy` and `digits_labels.npy`; made if missing. What
        TensorFlow logs goes to `tensorflow.log` there.
    seed : int
        Of the split, the initial weights and the order of training; on a CPU, the same seed gives
        the same artifact again.
    epochs : int
        Of float training, at least 1; fine-tuning takes half as many.
    echo : callable
        Receives each finished piece of the report.

    Returns
    -------
    DemoResult

    Raises
    ------
    ImportError
        If Keras or TensorFlow is missing; the message names the extra.
    ValueError
        If ``epochs`` is below 1 or ``seed`` is negative.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}, but training takes at least 1")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}, but it must be 0 to 2**32 - 1")
    for module in ("keras", "tensorflow"):
        if importlib.util.find_spec(module) is None:
            require(module, "train")  # says how to install it, before anything is written
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    with native_messages_to(folder / "tensorflow.log"):
        return _run(folder, seed, epochs, echo)


def _run(folder: Path, seed: int, epochs: int, echo: Callable[[str], None]) -> DemoResult:
    require("tensorflow", "train")
    keras = require("keras", "train")
    from kerasnsoc.conversion import compare, convert, freeze
    from kerasnsoc.energy import compare_devices
    from kerasnsoc.quantization import quantize
    from kerasnsoc.runtime import Model

    keras.utils.set_random_seed(seed)
    digits = load_digits(seed=seed)
    echo(
        f"{len(digits.train_images)} digits to train on, {len(digits.test_images)} held out "
        "(UCI optical recognition of handwritten digits, 8x8 pixels)"
    )

    network = digits_network()
    echo(f"training in float ({_epochs(epochs)}) …")
    _fit(network, digits, epochs, 4e-3)
    float_accuracy = _keras_accuracy(network, digits)
    echo(f"float: {float_accuracy:.2%} of the held-out digits are right")

    quantized = quantize(
        network, weight_quantization=4, activ_quantization=4, input_weight_quantization=8
    )
    fine_tuning = max(1, epochs // 2)
    echo(f"quantized to 8/4/4 bits, fine-tuning ({_epochs(fine_tuning)}) …")
    _fit(quantized, digits, fine_tuning, 1e-3)
    quantized_accuracy = _keras_accuracy(quantized, digits)
    quantized.save(folder / "digits.keras")
    echo(f"quantized: {quantized_accuracy:.2%}")

    artifact = folder / "digits.h5"
    convert(quantized, artifact, input_scaling=INPUT_SCALING)
    runtime = Model(artifact)
    np.save(folder / "digits_images.npy", digits.test_images)
    np.save(folder / "digits_labels.npy", digits.test_labels)
    predicted = runtime.predict(digits.test_images, num_classes=10)
    integer_accuracy = float(np.mean(predicted == digits.test_labels))

    parity = compare(freeze(quantized, input_scaling=INPUT_SCALING), runtime, digits.test_images)
    echo("")
    echo(
        render(
            ["model", "arithmetic", "held-out accuracy"],
            [
                ["Keras, as trained", "float32", f"{float_accuracy:.2%}"],
                ["Keras, quantized", "float32, 8/4/4-bit values", f"{quantized_accuracy:.2%}"],
                ["artifact, event by event", "integers only", f"{integer_accuracy:.2%}"],
            ],
            title="Accuracy",
        )
    )
    echo(f"\nExactness\n{parity.summary()}\n")
    echo(_layer_table(runtime))
    echo(f"\nEnergy\n{compare_devices(runtime, DEVICES)}")
    size = artifact.stat().st_size
    echo(f"\nArtifact: {artifact} ({size:,} bytes)")
    echo(
        f"Next: kerasnsoc info {artifact}\n"
        f"      kerasnsoc run {artifact} {folder / 'digits_images.npy'} "
        f"--labels {folder / 'digits_labels.npy'}"
    )
    return DemoResult(
        artifact, float_accuracy, quantized_accuracy, integer_accuracy, parity, runtime
    )


def digits_network() -> keras.Model:
    """A small convolutional network for 8×8 digits; ten outputs without softmax."""
    keras = require("keras", "train")
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="pixels"),
            layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv"),
            layers.BatchNormalization(momentum=0.9, name="conv_norm"),
            layers.ReLU(6.0, name="conv_relu"),
            layers.SeparableConv2D(32, 3, padding="same", use_bias=False, name="separable"),
            layers.BatchNormalization(momentum=0.9, name="separable_norm"),
            layers.ReLU(6.0, name="separable_relu"),
            layers.MaxPooling2D(2, padding="same", name="pool"),
            layers.Conv2D(64, 3, padding="same", use_bias=False, name="features"),
            layers.BatchNormalization(momentum=0.9, name="features_norm"),
            layers.ReLU(6.0, name="features_relu"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.3, name="dropout", seed=1),
            layers.Dense(10, name="classes"),
        ],
        name="digits",
    )


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def _fit(model: keras.Model, digits: Digits, epochs: int, rate: float) -> None:
    keras = require("keras", "train")
    batch = 64
    steps = epochs * -(-len(digits.train_images) // batch)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        _keras_inputs(digits.train_images),
        digits.train_labels,
        batch_size=batch,
        epochs=epochs,
        verbose=1 if sys.stdout.isatty() else 0,
    )


def _keras_inputs(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    return images.astype(np.float32) / np.float32(INPUT_SCALING[0])


def _keras_accuracy(model: keras.Model, digits: Digits) -> float:
    logits = model.predict(_keras_inputs(digits.test_images), batch_size=256, verbose=0)
    return float(np.mean(logits.argmax(axis=-1) == digits.test_labels))


def _layer_table(runtime: Model) -> str:
    rows = []
    for layer, statistics in zip(runtime.layers, runtime.get_statistics().values(), strict=True):
        samples = statistics.nb_samples
        width, height, features = layer.output_dims
        rows.append(
            [
                layer.name,
                layer.parameters.layer_type.name,
                f"{width}x{height}x{features}",
                f"{statistics.events_in / samples:.1f}",
                f"{statistics.nb_activations / samples:.1f}",
                f"{statistics.output_sparsity:.1%}",
                f"{statistics.synaptic_ops / samples:,.0f}",
                f"{statistics.connections:,}",
            ]
        )
    return render(
        [
            "layer",
            "type",
            "output (w x h x f)",
            "events in",
            "events out",
            "sparsity",
            "synaptic ops",
            "dense ops",
        ],
        rows,
        title="Per inference, mean over the held-out digits",
    )
