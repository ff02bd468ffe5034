"""What arrives at a chip: the sensor block against its definition, and numbers out of range."""

import itertools

import numpy as np
import pytest

from kerasnsoc.nsoc.config import XY, DvsConfig, MapShape, XYFlags
from kerasnsoc.nsoc.emulator import NSoCEmulator
from kerasnsoc.nsoc.emulator_input import noise_events, packets_from_frames, through_sensor
from tests.chips import config, core, random_events

WIDTH, HEIGHT = 9, 7


def sensor(**changes):
    arguments = {
        "input_shape": MapShape.of((2, HEIGHT, WIDTH)),
        "merge": False,
        "pooling": XY(1, 1),
        "origin": XY(0, 0),
        "cut": XY(WIDTH - 1, HEIGHT - 1),
        "mirror": XYFlags(),
        "mirror_diagonal": False,
        "pass_sensor_events": False,
        "destinations": [],
    }
    return DvsConfig(**{**arguments, **changes})


@pytest.mark.parametrize("flags", [*itertools.product((False, True), repeat=4)])
def test_every_pixel_goes_where_the_block_sends_it(flags):
    merge, mirror_x, mirror_y, diagonal = flags
    dvs = sensor(
        merge=merge,
        pooling=XY(2, 1),
        origin=XY(1, 2),
        cut=XY(3, 5),
        mirror=XYFlags(mirror_x, mirror_y),
        mirror_diagonal=diagonal,
    )
    c, y, x = (axis.ravel() for axis in np.indices((2, HEIGHT, WIDTH)))
    found = through_sensor(dvs, x, y, c)
    for n in range(len(x)):
        column, row = int(x[n]) // 2, int(y[n])
        inside = 1 <= column <= 3 and 2 <= row <= 5
        assert found[3][n] == inside
        if inside:
            column = 3 - column if mirror_x else column - 1
            row = 5 - row if mirror_y else row - 2
            if diagonal:
                column, row = row, column
            expected = (column, row, 0 if merge else int(c[n]))
            assert tuple(int(axis[n]) for axis in found[:3]) == expected
            assert column < dvs.output_chw[2]
            assert row < dvs.output_chw[1]


def test_noise_has_a_rate_that_is_possible():
    rng = np.random.default_rng(0)
    events = noise_events(sensor(), 100.0, 10**12, rng)
    assert abs(len(events) - 12_600) < 600  # a Poisson number: five standard deviations
    assert (np.diff(events["t_ps"]) >= 0).all()
    assert [int(events[axis].max()) for axis in ("x", "y", "c")] == [8, 6, 1]
    for rate in (1e9, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"dvs_noise_hz .* events; lower it"):
            noise_events(sensor(), rate, 10**12, rng)


CHIP = config([core(0, np.ones((1, 1, 1, 1)), (1, 2, 2))], (1, 2, 2))


@pytest.mark.parametrize("t_end", [-1, float("nan"), float("inf"), 1e300])
def test_the_end_of_a_run_is_a_time(t_end):
    with pytest.raises(ValueError, match=r"t_end is .* us, but must be 0 to"):
        NSoCEmulator(CHIP).run(random_events(CHIP, 0, 3, 3), t_end=t_end)


@pytest.mark.parametrize("period_us", [-1, float("nan"), float("inf"), 1e300])
def test_the_period_of_frames_is_a_time(period_us):
    with pytest.raises(ValueError, match=r"period_us is .* must be a number of at least 0"):
        packets_from_frames(np.zeros((2, 2, 2, 1), np.uint8), period_us)
