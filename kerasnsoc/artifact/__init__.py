"""The artifact: typed description of a network, and its file.

Importing this package imports neither h5py nor Keras; h5py is needed only to write and to verify.
"""

from kerasnsoc.artifact.bounds import LayerBounds, layer_bounds, network_bounds
from kerasnsoc.artifact.errors import ArtifactError, Reason
from kerasnsoc.artifact.reader import load
from kerasnsoc.artifact.schema import (
    INPUT_LAYER_TYPES,
    LEARNING_LAYER_TYPES,
    LEARNING_RULES,
    PARAMETERS,
    RESETS,
    SPIKE_RULES,
    VARIABLE_DTYPES,
    ActivationParameters,
    ConcatParameters,
    ConvolutionalParameters,
    ConvolutionMode,
    FilterParameters,
    FullyConnectedParameters,
    InputConvolutionalParameters,
    InputDataParameters,
    InputSpec,
    LayerParameters,
    LayerSpec,
    LayerType,
    LearningSpec,
    NetworkSpec,
    NeuronSpec,
    PoolingParameters,
    PoolingType,
    SeparableConvolutionalParameters,
    SpatialParameters,
)
from kerasnsoc.artifact.upgrading import upgrade
from kerasnsoc.artifact.validation import validate
from kerasnsoc.artifact.writer import content_digest, save, to_bytes, verify

__all__ = [
    "INPUT_LAYER_TYPES",
    "LEARNING_LAYER_TYPES",
    "LEARNING_RULES",
    "PARAMETERS",
    "RESETS",
    "SPIKE_RULES",
    "VARIABLE_DTYPES",
    "ActivationParameters",
    "ArtifactError",
    "ConcatParameters",
    "ConvolutionMode",
    "ConvolutionalParameters",
    "FilterParameters",
    "FullyConnectedParameters",
    "InputConvolutionalParameters",
    "InputDataParameters",
    "InputSpec",
    "LayerBounds",
    "LayerParameters",
    "LayerSpec",
    "LayerType",
    "LearningSpec",
    "NetworkSpec",
    "NeuronSpec",
    "PoolingParameters",
    "PoolingType",
    "Reason",
    "SeparableConvolutionalParameters",
    "SpatialParameters",
    "content_digest",
    "layer_bounds",
    "load",
    "network_bounds",
    "save",
    "to_bytes",
    "upgrade",
    "validate",
    "verify",
]
