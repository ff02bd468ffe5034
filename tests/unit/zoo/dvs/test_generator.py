"""Trials become packets and images; generated recordings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnsoc.demo import load_digits
from kerasnsoc.runtime import make_events
from kerasnsoc.zoo.dvs import DVS_DataGenerator, events_of_frames, moving_digits, moving_shapes
from kerasnsoc.zoo.dvs.synthetic import SHAPE_CLASSES


def trial(label=4, subject=1, count=400, duration_us=10_000, side=16, seed=0):
    rng = np.random.default_rng(seed)
    events = np.column_stack([rng.integers(side, size=(count, 2)), rng.integers(2, size=count)])
    times = np.sort(rng.integers(duration_us, size=count))
    times[0], times[-1] = 0, duration_us - 1
    return {
        "label": label,
        "subject": subject,
        "lighting": "lab",
        "events": events.astype(np.uint16),
        "ev_times": times,
    }


def generator(trials=None, **options):
    given = {"subpacket_length": 2, "camera_dims": (16, 16, 2), "seed": 0}
    return DVS_DataGenerator(trials or [trial(4), trial(6, seed=1)], **{**given, **options})


def test_labels_begin_at_zero_in_a_copy():
    trials = [trial(6), trial(4)]
    made = generator(trials)
    assert [t["label"] for t in made.dataset] == [2, 0]
    assert [t["label"] for t in trials] == [6, 4]


@pytest.mark.parametrize("overlapping", [True, False])
@pytest.mark.parametrize("polarity", [True, False])
def test_continuous_windows_hold_the_events_of_their_time(overlapping, polarity):
    one = trial()
    made = generator([one], subpackets_per_packet=2, downscale=3, include_polarity=polarity)
    samples, labels, full = made.get_continuous_sample(
        1, 0, start_time=1, overlapping_samples=overlapping
    )
    starts = range(1000, 10_000 - 4000 + 1, 2000 if overlapping else 4000)
    assert len(samples) == len(labels) == len(full) == len(starts)
    assert made.sample_shape == (5, 5, 4 if polarity else 2)
    for start, sample, events in zip(starts, samples, full, strict=True):
        expected, whole = [], []
        for (x, y, p), t in zip(one["events"].tolist(), one["ev_times"], strict=True):
            if start <= t < start + 4000:
                whole.append([x, y, p])
                window = int(t - start) // 2000
                if x // 3 < 5 and y // 3 < 5:
                    expected.append([x // 3, y // 3, p + 2 * window if polarity else window])
        assert sample.tolist() == expected
        assert events.tolist() == whole


def test_random_samples_fit_into_their_trials():
    made = generator(subpackets_per_packet=4)
    samples, labels = made.get_random_samples([0, 2], samples_per_trial=3)
    assert labels.tolist() == [0, 0, 0, 2, 2, 2]
    assert all(sample[:, 2].max() <= 7 for sample in samples)
    again, _ = generator(subpackets_per_packet=4).get_random_samples([0, 2], samples_per_trial=3)
    assert all(np.array_equal(a, b) for a, b in zip(samples, again, strict=True))


def test_classes_may_have_names():
    made = generator()
    _, labels = made.get_random_samples(["wave"], {"wave": 2}, samples_per_trial=1)
    assert labels.tolist() == [2]
    with pytest.raises(ValueError, match="'clap' is not in class_key; its names: 'wave'"):
        made.get_random_samples(["clap"], {"wave": 2})
    with pytest.raises(ValueError, match="no trial of subject 9"):
        made.get_continuous_sample(9, "wave", {"wave": 2})


def test_short_trials_are_skipped_and_late_ends_cut_with_a_warning():
    with pytest.warns(UserWarning, match=r"2 trials end before a packet of 20 ms"):
        samples, labels = generator(subpacket_length=20).get_random_samples([0, 2])
    assert samples == []
    assert labels.shape == (0,)
    with pytest.warns(UserWarning, match=r"stop_time is 50 ms.*ends after 10 ms"):
        assert len(generator().get_random_samples([0], stop_time=50)[0]) == 5
    with pytest.warns(UserWarning, match="1 trials end"):
        generator().get_random_samples([0], stop_time=1)


def test_events_out_of_order_are_sorted_by_time():
    one = trial()
    order = np.random.default_rng(3).permutation(len(one["events"]))
    shuffled = {**one, "events": one["events"][order], "ev_times": one["ev_times"][order]}
    found = generator([shuffled], allow_duplicate_events=True).get_continuous_sample(1, 0)[0]
    expected = generator([one], allow_duplicate_events=True).get_continuous_sample(1, 0)[0]
    made = generator([one], allow_duplicate_events=True)
    np.testing.assert_array_equal(made.samples_evs2images(found), made.samples_evs2images(expected))


def test_images_tell_or_count():
    events = [[3, 1, 0]] * 20 + [[0, 2, 1]]
    telling, counting = generator(), generator(allow_duplicate_events=True)
    assert telling.events2matrix(events)[1, 3, 0] == 1
    assert counting.events2matrix(events)[1, 3, 0] == 20
    assert counting.events2matrix(events).sum() == 21
    image = counting.samples_evs2images([events, []])
    assert image.shape == (2, 16, 16, 2)
    assert image.dtype == np.uint8
    assert image[0, 1, 3, 0] == 15
    assert not image[1].any()
    with pytest.raises(ValueError, match=r"event 0 is \[16, 0, 0\].*16 columns"):
        telling.events2matrix([[16, 0, 0]])


def test_flips_mirror_about_the_centre():
    events = np.array([[0, 1, 0], [15, 2, 1]])
    made = generator()
    found = {
        tuple(map(tuple, made.augment_data([events], True, True, True)[0].tolist()))
        for _ in range(100)
    }
    expected = set()
    for flip_x in (False, True):
        for flip_y in (False, True):
            for flip_p in (0, 1):
                expected.add(
                    tuple(
                        (15 - x if flip_x else x, 15 - y if flip_y else y, p ^ flip_p)
                        for x, y, p in events.tolist()
                    )
                )
    assert found == expected
    assert events.tolist() == [[0, 1, 0], [15, 2, 1]]


@given(seed=st.integers(0, 999), degrees=st.floats(0, 180), stretch=st.floats(1, 3))
def test_varied_events_stay_inside(seed, degrees, stretch):
    made = generator(seed=seed)
    samples = [trial(seed=seed)["events"]]
    (found,) = made.augment_data(
        samples, rotation_range=degrees, width_shift_range=stretch, height_shift_range=stretch
    )
    made.events2matrix(found)
    assert len(found) <= len(samples[0])


def test_a_stretch_moves_away_from_or_towards_the_centre():
    made = generator(camera_dims=(101, 101, 2))
    for _ in range(20):
        (found,) = made.augment_data([[[70, 50, 0]]], width_shift_range=2)
        assert 60 <= found[0, 0] <= 90
        assert found[0, 1] == 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subpacket_length": 0}, "subpacket_length is 0"),
        ({"downscale": 0}, "downscale is 0"),
        ({"downscale": 17}, "camera_dims"),
        ({"camera_dims": (16, 16, 3)}, "2 polarities"),
    ],
)
def test_bad_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        generator(**options)


def test_bad_data_and_variations_are_refused():
    with pytest.raises(ValueError, match="no trials"):
        DVS_DataGenerator([])
    with pytest.raises(ValueError, match=r"width_shift_range is 0\.5"):
        generator().augment_data([], width_shift_range=0.5)
    with pytest.raises(ValueError, match="include_polarity=True"):
        generator(include_polarity=False).augment_data([], polarity_flip=True)


def test_a_pixel_sends_an_event_per_threshold():
    frames = np.zeros((4, 1, 2))
    frames[1:, 0, 0] = [0.1, 1.0, 0.0]
    events = events_of_frames(frames, threshold=np.log(2) * 0.999)
    # 0.1 -> 0.2 is one doubling, 0.2 -> 1.1 two and a half, back down three and a half
    assert events["p"].tolist() == [1, 1, 1, 0, 0, 0]
    assert not events["x"].any()
    assert (events["t"] // 1000).tolist() == [0, 1, 1, 2, 2, 2]
    assert len(events_of_frames(frames[:1])) == 0
    with pytest.raises(ValueError, match="threshold 0"):
        events_of_frames(frames, threshold=0)
    with pytest.raises(ValueError, match=r"\(4, 1\)"):
        events_of_frames(frames[..., 0])


def test_generated_digits_fill_packets_and_repeat():
    digits = load_digits()
    trials = moving_digits(digits.test_images[:5], digits.test_labels[:5], seed=3)
    again = moving_digits(digits.test_images[:5], digits.test_labels[:5], seed=3)
    assert [t["label"] for t in trials] == digits.test_labels[:5].tolist()
    for one, other in zip(trials, again, strict=True):
        np.testing.assert_array_equal(one["events"], other["events"])
        np.testing.assert_array_equal(one["ev_times"], other["ev_times"])
        assert one["events"][:, :2].max() < 32
        make_events(one["ev_times"], *one["events"].T)
    made = DVS_DataGenerator(trials, 20, 5, (32, 32, 2), seed=0)
    samples, labels = made.get_random_samples(range(10), samples_per_trial=1)
    assert len(labels) == 5
    images = made.samples_evs2images(samples)
    assert images.shape == (5, 32, 32, 10)
    assert 0.02 < images.mean() < 0.4
    with pytest.raises(ValueError, match="labels"):
        moving_digits(digits.test_images[:5], digits.test_labels[:4])


def test_generated_shapes_move_as_their_class_says():
    trials = moving_shapes(1, side=32, noise=0)
    assert [t["label"] for t in trials] == list(range(len(SHAPE_CLASSES)))
    for one in trials[:8]:
        early = one["ev_times"] < 100_000
        # brighter pixels are in front
        bright = one["events"][:, 2] == 1
        moved = one["events"][~early & bright, :2].mean(0) - one["events"][early & bright, :2].mean(
            0
        )
        angle = one["label"] * np.pi / 4
        direction = moved / np.hypot(*moved)
        assert direction @ [np.cos(angle), np.sin(angle)] > 0.9, one["label"]


@pytest.mark.parametrize(
    ("numbers", "name"), [((200, 2.5), "subpackets_per_packet"), ((200, 1), "downscale")]
)
def test_counts_are_integers(numbers, name):
    trial = {
        "label": 0,
        "subject": 1,
        "lighting": "led",
        "events": np.zeros((1, 3), np.uint16),
        "ev_times": np.zeros(1, np.int64),
    }
    options = {"downscale": 1.5} if name == "downscale" else {}
    with pytest.raises(ValueError, match=f"{name} is .*an integer"):
        DVS_DataGenerator([trial], *numbers, **options)
