"""The engines that kerasnsoc is compared with, each as a function that runs one batch.

The int8 models come from the same Keras model: LiteRT's converter quantizes it per channel, and for
ONNX Runtime and OpenVINO the same layers are written as ONNX and quantized with scales per channel.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import ARCHITECTURES, Architecture, Conv, Separable

Run = Callable[[], object]

MODULES = {"litert": "ai_edge_litert", "onnxruntime": "onnxruntime", "openvino": "openvino"}


def installed(name: str) -> bool:
    return importlib.util.find_spec(MODULES[name]) is not None


def prepare(names: list[str], folder: Path) -> None:
    """Write the peers' models in a process of its own, so that TensorFlow's threads end with it."""
    missing = [n for n in names if not (folder / f"{n}.int8.onnx").exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        command = [sys.executable, "-m", "benchmarks.peers", str(folder), *missing]
        subprocess.run(command, check=True, env=environment)


def litert(path: Path, shape: tuple[int, ...], batch: int, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path) + ".tflite", num_threads=threads)
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, (batch, *shape))
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]["index"]
    inputs = np.random.default_rng(0).integers(-128, 128, (batch, *shape)).astype(np.int8)

    def run() -> object:
        interpreter.set_tensor(index, inputs)
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return run


def onnxruntime(path: Path, shape: tuple[int, ...], batch: int, threads: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        str(path) + ".int8.onnx", options, providers=["CPUExecutionProvider"]
    )
    inputs = _channels_first(shape, batch)
    return lambda: session.run(None, {"x": inputs})


def openvino(path: Path, shape: tuple[int, ...], batch: int, threads: int) -> Run:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(str(path) + ".int8.onnx")
    inputs = _channels_first(shape, batch)
    model.reshape(list(inputs.shape))
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(inputs))
    return lambda: request.infer()


PEERS: dict[str, Callable[[Path, tuple[int, ...], int, int], Run]] = {
    "litert": litert,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
}


def _channels_first(shape: tuple[int, ...], batch: int) -> np.ndarray:
    height, width, channels = shape
    rng = np.random.default_rng(0)
    return rng.random((batch, channels, height, width), dtype=np.float32)


def write_litert(architecture: Architecture, path: Path) -> None:
    import tensorflow as tf

    from benchmarks.networks import keras_model

    rng = np.random.default_rng(0)
    shape = (1, *architecture.shape_hwc)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras_model(architecture))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([rng.random(shape, np.float32)] for _ in range(4))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(str(path) + ".tflite").write_bytes(converter.convert())


def write_onnx(architecture: Architecture, path: Path) -> None:
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    height, width, channels = architecture.shape_hwc

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            shape = (1, channels, height, width)
            self.left = [{"x": rng.random(shape, dtype=np.float32)} for _ in range(2)]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    onnx.save(_onnx_model(architecture), str(path) + ".onnx")
    quantize_static(
        str(path) + ".onnx",
        str(path) + ".int8.onnx",
        Samples(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _onnx_model(architecture: Architecture) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    nodes: list[Any] = []
    arrays: list[Any] = []
    height, width, channels = architecture.shape_hwc

    def array(shape: tuple[int, ...], fan_in: int) -> str:
        values = (rng.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        arrays.append(numpy_helper.from_array(values, f"w{len(arrays)}"))
        return f"w{len(arrays) - 1}"

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def convolution(
        x: str, filters: int, kernel: tuple[int, int], stride: int, per_channel: bool = False
    ) -> str:
        nonlocal height, width, channels
        pads = [_same(n, k, stride) for n, k in zip((height, width), kernel, strict=True)]
        fan_in = kernel[0] * kernel[1] * (1 if per_channel else channels)
        weights = array((filters, 1 if per_channel else channels, *kernel), fan_in)
        height, width = -(-height // stride), -(-width // stride)
        x = node(
            "Conv",
            x,
            weights,
            array((filters,), 100),
            kernel_shape=list(kernel),
            strides=[stride, stride],
            pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
            group=channels if per_channel else 1,
        )
        channels = filters
        return node("Relu", x)

    x, flat = "x", 0
    for layer in architecture.layers:
        if isinstance(layer, Conv):
            x = convolution(x, layer.filters, layer.kernel, layer.stride)
            if layer.pool:
                size = [layer.pool, layer.pool]
                x = node("MaxPool", x, kernel_shape=size, strides=size)
                height, width = height // layer.pool, width // layer.pool
        elif isinstance(layer, Separable):
            x = convolution(x, channels, (3, 3), layer.stride, per_channel=True)
            x = convolution(x, layer.filters, (1, 1), 1)
            if layer.average:
                x, flat = node("Flatten", node("GlobalAveragePool", x), axis=1), channels
        else:
            if not flat:
                x, flat = node("Flatten", x, axis=1), height * width * channels
            x = node("Gemm", x, array((flat, layer.neurons), flat), array((layer.neurons,), 100))
            x, flat = (x if layer.last else node("Relu", x)), layer.neurons
    shape = ["N", architecture.shape_hwc[2], *architecture.shape_hwc[:2]]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        arrays,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


def _same(length: int, size: int, stride: int) -> tuple[int, int]:
    total = max((-(-length // stride) - 1) * stride + size - length, 0)
    return total // 2, total - total // 2


if __name__ == "__main__":
    for name in sys.argv[2:]:
        target = Path(sys.argv[1]) / name
        write_litert(ARCHITECTURES[name](), target)
        write_onnx(ARCHITECTURES[name](), target)
        print(f"wrote the models of {name}", flush=True)
