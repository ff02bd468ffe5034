"""Run an artifact event by event on integers: models, layers, statistics. Needs no Keras."""

from kerasnsoc._version import __version__
from kerasnsoc.artifact.schema import ConvolutionMode, LayerType, PoolingType
from kerasnsoc.runtime.backends import (
    Backend,
    BackendType,
    LearningParameters,
    LearningType,
    NsocVersion,
    backends,
    has_backend,
)
from kerasnsoc.runtime.benchmark import BenchmarkReport, BenchmarkRow, benchmark
from kerasnsoc.runtime.event_files import (
    EventFormat,
    iter_events,
    read_events,
    sniff_event_format,
)
from kerasnsoc.runtime.events import (
    EVENT_DTYPE,
    CountWindow,
    Packet,
    TimeWindow,
    bin_events,
    make_events,
)
from kerasnsoc.runtime.layers import (
    Concat,
    Convolutional,
    Filter,
    FullyConnected,
    InputConvolutional,
    InputData,
    Layer,
    Pooling,
    SeparableConvolutional,
)
from kerasnsoc.runtime.model import Model
from kerasnsoc.runtime.random_inputs import random_inputs
from kerasnsoc.runtime.statistics import LayerStatistics
from kerasnsoc.runtime.stream import StreamResult, event_batch
from kerasnsoc.runtime.tensors import Dense, events_to_dense

__all__ = [
    "EVENT_DTYPE",
    "Backend",
    "BackendType",
    "BenchmarkReport",
    "BenchmarkRow",
    "Concat",
    "ConvolutionMode",
    "Convolutional",
    "CountWindow",
    "Dense",
    "EventFormat",
    "Filter",
    "FullyConnected",
    "InputConvolutional",
    "InputData",
    "Layer",
    "LayerStatistics",
    "LayerType",
    "LearningParameters",
    "LearningType",
    "Model",
    "NsocVersion",
    "Packet",
    "Pooling",
    "PoolingType",
    "SeparableConvolutional",
    "StreamResult",
    "TimeWindow",
    "__version__",
    "backends",
    "benchmark",
    "bin_events",
    "event_batch",
    "events_to_dense",
    "has_backend",
    "iter_events",
    "make_events",
    "random_inputs",
    "read_events",
    "sniff_event_format",
]
