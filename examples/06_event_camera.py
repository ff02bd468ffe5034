"""Follow a moving bar through the events of a camera, packet by packet, straight from a file.

A recording of a bar that moves right, down, left and up, with noise, is written as an AEDAT 3.1
file. Four detectors look for edges with brighter pixels on one side and darker ones on the other.
The last line says in how many packets of 3 ms the network tells the direction.
"""

import struct

import numpy as np

from kerasnsoc import Convolutional, InputData, Model, PoolingType, TimeWindow, make_events

SIDE, BAR, PACKET_US = 64, 3, 3000
DIRECTIONS = ("right", "down", "left", "up")


def moving_bar(rng):
    """One pixel per millisecond: the front of the bar brightens pixels, its back darkens them."""
    rows, truth = [], []
    for number in range(8 * 20):
        direction = number // 20 % 4
        truth.append(direction)
        for step in range(3):
            t = number * PACKET_US + step * 1000
            front = 4 + number % 20 * 3 % 50 + step
            for polarity, place in ((1, front), (0, front - BAR)):
                place = place if direction < 2 else SIDE - 1 - place
                for along in range(20, 44):
                    x, y = (place, along) if direction % 2 == 0 else (along, place)
                    rows.append((t + along, x, y, polarity))
        for _ in range(20):  # noise
            rows.append((t + rng.integers(100, 900), *rng.integers(0, SIDE, 2), rng.integers(0, 2)))
    return make_events(*np.array(sorted(rows)).T), truth


def write_aedat(path, events):
    """AEDAT 3.1: a text header, then one packet of polarity events."""
    data = events["x"].astype("<u4") << 17 | events["y"].astype("<u4") << 2
    data |= events["p"].astype("<u4") << 1 | 1
    records = np.stack([data, events["t"].astype("<u4")], axis=1).astype("<u4")
    count = len(events)
    with open(path, "wb") as file:
        file.write(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n")
        file.write(struct.pack("<HHIIIIII", 1, 0, 8, 4, 0, count, count, count))
        file.write(records.tobytes())


events, truth = moving_bar(np.random.default_rng(0))
write_aedat("bar.aedat", events)

# +1 for brighter pixels ahead and darker ones behind, -1 for the opposite; axes (x, y, polarity)
right = np.zeros((3, 3, 2), int)
right[2, :, 1] = right[0, :, 0] = 1
right[2, :, 0] = right[0, :, 1] = -1
down = right.transpose(1, 0, 2)
kernels = np.stack([right, down, -right, -down], axis=-1)

network = Model()
network.add(InputData(SIDE, SIDE, 2, input_bits=1))
network.add(Convolutional(3, 3, 4, "edges", weights_bits=2, threshold_fire=4))
network.add(
    Convolutional(
        1, 1, 4, "count", pooling_type=PoolingType.Average, activations_enabled=False
    )  # sums up over the whole map
)
network.get_layer("edges").variables["weights"] = kernels[::-1, ::-1]  # as events scatter them
network.get_layer("count").variables["weights"] = np.eye(4, dtype=int)[None, None]

told = []
for result in network.stream("bar.aedat", TimeWindow(PACKET_US, origin=0), method="predict"):
    told.append(result.outputs)
    if result.packet.index % 20 == 0:
        print(f"{result.packet.start / 1e3:6.0f} ms: {DIRECTIONS[result.outputs]}")
correct = sum(a == b for a, b in zip(told, truth, strict=True))
print(f"{len(events):,} events; direction told in {correct} of {len(truth)} packets")
