"""Quantization-aware training: quantizers, quantized layers and activations, model rewrites."""

try:
    import keras as _keras  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "kerasnsoc.quantization needs Keras and one of its backends, but "
        f"{error.name!r} is not installed. Install them with: "
        'pip install "kerasnsoc[train]"'
    ) from error

from kerasnsoc.quantization.activations import (
    ActivationDiscreteRelu,
    QuantizedActivation,
    QuantizedReLU,
)
from kerasnsoc.quantization.analysis import QuantizationReport, analyze
from kerasnsoc.quantization.calibration import CalibrationReport, calibrate
from kerasnsoc.quantization.constraints import MinValueConstraint, add_gamma_constraint
from kerasnsoc.quantization.joined import equalize_steps
from kerasnsoc.quantization.layers import (
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedSeparableConv2D,
)
from kerasnsoc.quantization.loading import load_partial_weights, load_quantized_model
from kerasnsoc.quantization.quantizers import (
    LinearWeightQuantizer,
    MaxPerAxisQuantizer,
    MaxQuantizer,
    Quantizer,
    ScaleFactorQuantizer,
    StdWeightQuantizer,
    TrainableStdWeightQuantizer,
    TrainableWeightQuantizer,
    WeightFloat,
    WeightQuantizer,
    integer_weights,
)
from kerasnsoc.quantization.rewriter import (
    create_trainable_quantizer_model,
    quantize,
    quantize_layer,
)
from kerasnsoc.quantization.sensitivity import BitwidthSuggestion, suggest_bitwidths
from kerasnsoc.quantization.transforms import (
    canonicalize,
    fold_batchnorms,
    invert_batchnorm_pooling,
    merge_separable_conv,
    move_pooling_before_activation,
    remove_dropout,
)

__all__ = [
    "ActivationDiscreteRelu",
    "BitwidthSuggestion",
    "CalibrationReport",
    "LinearWeightQuantizer",
    "MaxPerAxisQuantizer",
    "MaxQuantizer",
    "MinValueConstraint",
    "QuantizationReport",
    "QuantizedActivation",
    "QuantizedConv2D",
    "QuantizedDense",
    "QuantizedDepthwiseConv2D",
    "QuantizedReLU",
    "QuantizedSeparableConv2D",
    "Quantizer",
    "ScaleFactorQuantizer",
    "StdWeightQuantizer",
    "TrainableStdWeightQuantizer",
    "TrainableWeightQuantizer",
    "WeightFloat",
    "WeightQuantizer",
    "add_gamma_constraint",
    "analyze",
    "calibrate",
    "canonicalize",
    "create_trainable_quantizer_model",
    "equalize_steps",
    "fold_batchnorms",
    "integer_weights",
    "invert_batchnorm_pooling",
    "load_partial_weights",
    "load_quantized_model",
    "merge_separable_conv",
    "move_pooling_before_activation",
    "quantize",
    "quantize_layer",
    "remove_dropout",
    "suggest_bitwidths",
]
