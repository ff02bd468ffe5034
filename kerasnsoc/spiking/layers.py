"""Spiking and filtering layers, with their cells."""

from kerasnsoc.spiking.activation import SpikingActivation, SpikingActivationCell
from kerasnsoc.spiking.base import KerasSpikingCell, KerasSpikingLayer
from kerasnsoc.spiking.dvs import Crop2D, DVSInput, FlipDims, Merge
from kerasnsoc.spiking.filters import Alpha, AlphaCell, Lowpass, LowpassCell
from kerasnsoc.spiking.neurons import IAF, LIF, IAFCell, LIFCell
from kerasnsoc.spiking.pooling import SumPooling2D

__all__ = [
    "IAF",
    "LIF",
    "Alpha",
    "AlphaCell",
    "Crop2D",
    "DVSInput",
    "FlipDims",
    "IAFCell",
    "KerasSpikingCell",
    "KerasSpikingLayer",
    "LIFCell",
    "Lowpass",
    "LowpassCell",
    "Merge",
    "SpikingActivation",
    "SpikingActivationCell",
    "SumPooling2D",
]
