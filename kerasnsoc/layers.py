"""Every Keras layer of the package, quantized and spiking, in one place."""

from kerasnsoc.quantization import (
    ActivationDiscreteRelu,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedReLU,
    QuantizedSeparableConv2D,
)
from kerasnsoc.spiking import (
    IAF,
    LIF,
    Alpha,
    Crop2D,
    DVSInput,
    FlipDims,
    Lowpass,
    Merge,
    SpikingActivation,
    SumPooling2D,
)

__all__ = [
    "IAF",
    "LIF",
    "ActivationDiscreteRelu",
    "Alpha",
    "Crop2D",
    "DVSInput",
    "FlipDims",
    "Lowpass",
    "Merge",
    "QuantizedConv2D",
    "QuantizedDense",
    "QuantizedDepthwiseConv2D",
    "QuantizedReLU",
    "QuantizedSeparableConv2D",
    "SpikingActivation",
    "SumPooling2D",
]
