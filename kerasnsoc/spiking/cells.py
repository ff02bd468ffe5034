"""Single time steps of the layers, for loops of one's own and for `keras.layers.RNN`."""

from kerasnsoc.spiking.activation import SpikingActivationCell
from kerasnsoc.spiking.base import KerasSpikingCell
from kerasnsoc.spiking.filters import AlphaCell, LowpassCell
from kerasnsoc.spiking.neurons import IAFCell, LIFCell

__all__ = [
    "AlphaCell",
    "IAFCell",
    "KerasSpikingCell",
    "LIFCell",
    "LowpassCell",
    "SpikingActivationCell",
]
