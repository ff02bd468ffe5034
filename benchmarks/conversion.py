"""How long `quantize` and `convert` take for MobileNet v1 with random weights.

python -m benchmarks.conversion --alpha 1.0 --size 224
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasnsoc as ns

layers = keras.layers
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
BLOCKS += [(1024, 2), (1024, 1)]


def mobilenet(alpha: float, size: int) -> keras.Model:
    """Layers of MobileNet v1 (A. Howard et al., arXiv 1704.04861), as separable convolutions."""

    def norm_relu() -> list[Any]:
        return [layers.BatchNormalization(), layers.ReLU(6.0)]

    stack = [
        keras.Input((size, size, 3)),
        layers.Conv2D(int(32 * alpha), 3, strides=2, padding="same", use_bias=False),
        *norm_relu(),
    ]
    for index, (filters, stride) in enumerate(BLOCKS):
        stack.append(
            layers.SeparableConv2D(
                int(filters * alpha), 3, strides=stride, padding="same", use_bias=False
            )
        )
        if index == len(BLOCKS) - 1:
            stack.append(layers.GlobalAveragePooling2D())
        stack += norm_relu()
    return keras.Sequential([*stack, layers.Dense(1000)], name="mobilenet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "these layers run in software")
    keras.utils.set_random_seed(0)
    model = mobilenet(options.alpha, options.size)
    seconds = {}

    def timed(name: str, function: Any) -> Any:
        started = time.perf_counter()
        result = function()
        seconds[name] = round(time.perf_counter() - started, 2)
        return result

    quantized = timed("quantize", lambda: ns.quantize(model, 4, 4, 8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mobilenet.h5"
        timed("convert", lambda: ns.convert(quantized, path, input_scaling=(255, 0)))
        network = timed("load", lambda: ns.Model(path))
        size = path.stat().st_size
    image = np.zeros((1, options.size, options.size, 3), np.uint8)
    timed("first inference", lambda: network.forward(image))
    print(
        json.dumps({"parameters": model.count_params(), "artifact_bytes": size, "seconds": seconds})
    )


if __name__ == "__main__":
    main()
