"""What a chip computes, in plain Python: one event, one neuron at a time, no cleverness."""

from __future__ import annotations

import numpy as np


def clamp16(value):
    return max(-32768, min(32767, value))


class Reference:
    """A configuration of spiking cores, finished depth first (event mode) or packet by packet."""

    def __init__(self, config, *, touched_only=False, refractory=0, decay=0):
        self.config = config
        self.numeric = config.numeric
        self.touched_only, self.refractory, self.decay = touched_only, refractory, decay
        self.cores = {record.core: record for record in config.cores}
        self.order = [record.core for record in config.cores]  # the tests list them in order
        self.state = {
            record.core: record.neurons_initial_value.astype(int) for record in config.cores
        }
        self.sums = {record.core: np.zeros(record.out_shape, int) for record in config.cores}
        self.fired_in = {record.core: {} for record in config.cores}
        self.decimated = dict.fromkeys(self.cores, 0)
        self.spikes = {record.core: [] for record in config.cores}  # (root, x, y, c, n)
        self.synops = dict.fromkeys(self.cores, 0)
        self.packet = 0

    def ports(self):
        entries = [d for d in self.config.input.destinations if d.enable]
        return sorted(entries, key=lambda d: (self.order.index(d.layer), d.feature_shift))

    def enter(self, root, x, y, c, n=1):
        for d in self.ports():
            self.arrive(root, d.layer, x // d.pooling.x, y // d.pooling.y, c + d.feature_shift, n)

    def taps(self, core, x, y):
        record = self.cores[core]
        _, height, width = record.out_shape
        shape = record.dimensions
        for oy in range(height):
            ky = y + shape.padding.y - oy * shape.stride.y
            if not 0 <= ky < shape.kernel_size.y:
                continue
            for ox in range(width):
                kx = x + shape.padding.x - ox * shape.stride.x
                if 0 <= kx < shape.kernel_size.x:
                    yield oy, ox, ky, kx

    def arrive(self, root, core, x, y, c, n):
        if self.numeric.mode == "packet":
            record = self.cores[core]
            for oy, ox, ky, kx in self.taps(core, x, y):
                for f in range(record.out_shape[0]):
                    w = int(record.weights[f, c, ky, kx])
                    self.sums[core][f, oy, ox] += w * n
                    self.synops[core] += w != 0 or not self.numeric.skip_zero
            return
        emitted = []
        record = self.cores[core]
        for oy, ox, ky, kx in self.taps(core, x, y):
            for f in range(record.out_shape[0]):
                w = int(record.weights[f, c, ky, kx])
                if w == 0 and self.numeric.skip_zero:
                    continue
                self.synops[core] += 1
                if self.update(core, f, oy, ox, w):
                    emitted.append((f, oy, ox))
        self.follow(root, core, emitted)

    def update(self, core, f, oy, ox, w):
        record, state = self.cores[core], self.state[core]
        v = clamp16(int(state[f, oy, ox]) + w)
        fires = v >= record.threshold_high
        if fires:
            v = 0 if record.return_to_zero else v - record.threshold_high
        state[f, oy, ox] = max(v, record.threshold_low)
        if fires and record.output_decimator.enable:
            self.decimated[core] += 1
            if self.decimated[core] < record.output_decimator.interval:
                return False
            self.decimated[core] = 0
        return fires

    def follow(self, root, core, emitted):
        for f, oy, ox in emitted:
            self.spikes[core].append((root, ox, oy, f, 1))
        for f, oy, ox in emitted:
            self.send(root, core, f, oy, ox, 1)

    def send(self, root, core, f, oy, ox, n):
        record = self.cores[core]
        _, height, width = record.out_shape
        for d in record.destinations:
            x, y = ox // d.pooling.x, oy // d.pooling.y
            inside = x < width // d.pooling.x and y < height // d.pooling.y
            if d.layer is not None and inside:
                self.arrive(root, d.layer, x, y, f + d.feature_shift, n)

    def tick(self, root):
        for core in self.order:
            record = self.cores[core]
            if not record.leak_enable:
                continue
            features, height, width = record.out_shape
            emitted = []
            for oy in range(height):
                for ox in range(width):
                    for f in range(features):
                        if self.update(core, f, oy, ox, int(record.biases[f])):
                            emitted.append((f, oy, ox))
            self.follow(root, core, emitted)

    def end_packet(self, root):
        delayed = self.numeric.layer_delay
        for core in reversed(self.order) if delayed else self.order:
            self.fire(root, core)
        self.packet += 1

    def fire(self, root, core):
        record, state = self.cores[core], self.state[core]
        sums, self.sums[core] = self.sums[core], np.zeros(record.out_shape, int)
        features, height, width = record.out_shape
        most = {"multi": 10**9, "single": 1, "max": self.numeric.max_spikes}[self.numeric.spike_fn]
        for oy in range(height):
            for ox in range(width):
                for f in range(features):
                    here = f, oy, ox
                    a, b = int(sums[here]), int(record.biases[f])
                    if self.touched_only and a == 0 and b == 0:
                        continue
                    last = self.fired_in[core].get(here)
                    if last is not None and self.packet - last <= self.refractory:
                        if not self.numeric.persistent:
                            state[here] = 0
                        continue
                    v = int(state[here])
                    v -= int(np.sign(v)) * (abs(v) * self.decay // 4096)
                    v = clamp16(v + a + b)
                    if v >= record.threshold_high:
                        n = min(v // record.threshold_high, most)
                        v = 0 if record.return_to_zero else v - n * record.threshold_high
                        self.fired_in[core][here] = self.packet
                        self.emit(root, core, here, n)
                    v = max(v, record.threshold_low)
                    state[here] = v if self.numeric.persistent else 0

    def emit(self, root, core, here, n):
        f, oy, ox = here
        for _ in range(1 if self.numeric.graded else n):
            value = n if self.numeric.graded else 1
            self.spikes[core].append((root, ox, oy, f, value))
            self.send(root, core, f, oy, ox, value)
