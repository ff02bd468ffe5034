"""Event cameras: recordings become labelled trials, trials become inputs of a network."""

from kerasnsoc.zoo.dvs.generator import DVS_DataGenerator
from kerasnsoc.zoo.dvs.preprocessing import Trial, generate_dataset, get_gesture_data
from kerasnsoc.zoo.dvs.synthetic import events_of_frames, moving_digits, moving_shapes

__all__ = [
    "DVS_DataGenerator",
    "Trial",
    "events_of_frames",
    "generate_dataset",
    "get_gesture_data",
    "moving_digits",
    "moving_shapes",
]
