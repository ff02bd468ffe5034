"""Energy of a Keras model; the estimator itself lives in `kerasnsoc.energy.model_energy`."""

from kerasnsoc.energy.model_energy import ModelEnergy
from kerasnsoc.spiking.layer_statistics import *  # noqa: F403
from kerasnsoc.spiking.layer_statistics import __all__ as _statistics

__all__ = ["ModelEnergy", *_statistics]
