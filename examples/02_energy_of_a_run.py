"""Build a network by hand on the runtime alone, feed it events, and price what it did.

No Keras here: this is what an embedded program looks like. Ends with the energy per inference.
"""

import numpy as np

from kerasnsoc.energy import energy_of_run
from kerasnsoc.runtime import Convolutional, FullyConnected, InputData, Model, PoolingType

rng = np.random.default_rng(0)
network = Model(
    layers=[
        InputData(32, 32, 2, input_bits=1, name="sensor"),
        Convolutional(
            3,
            3,
            16,
            name="edges",
            weights_bits=4,
            pooling_type=PoolingType.Max,
            pooling_width=2,
            pooling_height=2,
            threshold_fire=8,
            threshold_fire_step=4,
            threshold_fire_bits=4,
        ),
        FullyConnected(10, name="classes", weights_bits=4, activations_enabled=False),
    ]
)
for layer in network.layers[1:]:
    layer.set_variable("weights", rng.integers(-7, 8, layer.get_variable("weights").shape, "i1"))

for density in (0.01, 0.1, 0.5):
    statistics = network.get_statistics()
    before = sum(s.synaptic_ops for s in statistics.values())
    events = (rng.random((20, 32, 32, 2)) < density).astype("u1")
    network.forward(events)
    operations = sum(s.synaptic_ops for s in statistics.values()) - before
    print(
        f"{density:4.0%} of the pixels fire: {operations / len(events):10,.0f} synaptic operations"
    )

print(energy_of_run(network, "loihi"))
