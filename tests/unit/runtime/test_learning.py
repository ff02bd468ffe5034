"""Learning as its users see it: preparing, fitting, adding classes, saving, refusing."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings

import numpy as np
import pytest

from kerasnsoc.artifact import ArtifactError, NetworkSpec, Reason
from kerasnsoc.runtime import (
    Concat,
    Convolutional,
    ConvolutionMode,
    FullyConnected,
    InputData,
    LearningParameters,
    LearningType,
    Model,
    PoolingType,
    SeparableConvolutional,
    batches,
    learning,
)
from kerasnsoc_ext._learning import available_kernels
from tests.unit.runtime.small import fill, model_of

ONE = 65536


def learner(inputs=64, neurons=8, *, bits=1, **arguments):
    """A fully connected layer that learns, without activation."""
    model = model_of(
        InputData(1, 1, inputs, bits, name="in"),
        FullyConnected(neurons, "learn", activations_enabled=False),
    )
    model.compile(**{"num_weights": inputs // 4, **arguments})
    return model


def variable(model, name):
    return model.layers[-1].get_variable(name)


def rows(model):
    """(neurons, connections)"""
    weights = variable(model, "weights")
    return weights.reshape(-1, weights.shape[-1]).T


def samples(count, inputs=64, ones=16, seed=0):
    """Random binary samples with equally many ones."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [np.isin(np.arange(inputs), rng.choice(inputs, ones, False)) for _ in range(count)]
    ).astype(np.uint8)


@pytest.fixture(params=["majority", "swap"])
def rule(request):
    return request.param


# Preparing.


def test_every_neuron_has_its_number_of_weights_and_nothing_learned():
    model = learner(neurons=10, num_classes=5)
    assert (rows(model).sum(axis=1) == 16).all()
    assert variable(model, "threshold_learning").tolist() == [0] * 10
    assert variable(model, "plasticity").tolist() == [1.0] * 10
    assert variable(model, "learning_steps").tolist() == [0] * 10
    assert not variable(model, "learning_counters").any()
    assert len({tuple(row) for row in rows(model)}) == 10


def test_the_arguments_can_be_read():
    model = learner(num_weights=7, num_classes=2, seed=2**64 - 1, rule="swap")
    assert model.layers[0].learning == LearningParameters()
    found = model.layers[1].learning
    assert found == LearningParameters(
        LearningType.AkidaUnsupervised, 7, 2, 1.0, 0.0, 0.1, 0.25, (3, 4), "swap", 2**64 - 1
    )
    assert model.layers[0].learning.learning_type is LearningType.NoLearning


def test_numbers_of_numpy_are_numbers():
    one = learner(num_weights=np.int64(7), initial_plasticity=np.float32(0.5), seed=np.uint64(3))
    assert one.to_buffer() == learner(num_weights=7, initial_plasticity=0.5, seed=3).to_buffer()


def test_compiling_again_starts_from_scratch(rule):
    model = learner(rule=rule)
    fresh = model.to_buffer()
    model.fit(samples(20))
    assert model.to_buffer() != fresh
    model.compile(16, rule=rule)
    assert model.to_buffer() == fresh
    model.compile(5, rule="swap" if rule == "majority" else "majority")
    assert (rows(model).sum(axis=1) == 5).all()


def test_the_seed_draws_the_first_weights():
    assert learner(seed=1).to_buffer() == learner(seed=1).to_buffer()
    assert (rows(learner(seed=1)) != rows(learner(seed=2))).any()


def test_more_than_half_of_the_connections_warns():
    with pytest.warns(UserWarning, match="num_weights is 33.*64 connections"):
        learner(num_weights=33)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner(num_weights=32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_weights": 0}, "num_weights is 0, but must be an integer from 1 to 64"),
        ({"num_weights": 65}, "num_weights is 65"),
        ({"num_classes": 3}, "num_classes is 3, but must be a divisor of the 8 neurons"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"initial_plasticity": 1.01}, "initial_plasticity is 1.01, but must be a number from 0"),
        ({"learning_competition": -0.1}, "learning_competition is -0.1"),
        ({"min_plasticity": float("nan")}, "min_plasticity is nan"),
        ({"plasticity_decay": float("inf")}, "plasticity_decay is inf"),
        ({"rule": "hebb"}, "rule is 'hebb', but must be one of majority, swap"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"learning_ratio": (5, 4)}, r"learning_ratio is \(5, 4\)"),
        ({"learning_ratio": (0, 0)}, r"learning_ratio is \(0, 0\)"),
        ({"learning_ratio": (1, 2, 3)}, r"learning_ratio is \(1, 2, 3\)"),
    ],
)
def test_arguments_out_of_range_are_refused_and_change_nothing(arguments, message):
    model = learner()
    model.fit(samples(3))
    before = model.to_buffer()
    with pytest.raises(ValueError, match=f"layer 'learn': {message}"):
        model.compile(**{"num_weights": 16, **arguments})
    assert model.to_buffer() == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_weights": 16.0},
        {"num_weights": True},
        {"num_weights": "16"},
        {"num_weights": 16, "num_classes": None},
        {"num_weights": 16, "min_plasticity": "0.1"},
        {"num_weights": 16, "min_plasticity": False},
        {"num_weights": 16, "seed": 0.5},
        {"num_weights": 16, "learning_ratio": (0.5, 1)},
        {"num_weights": 16, "learning_ratio": 3},
    ],
)
def test_arguments_that_are_no_numbers(arguments):
    with pytest.raises(TypeError):
        learner().compile(**arguments)


def test_only_a_last_layer_of_the_right_kind_is_prepared():
    with pytest.raises(RuntimeError, match="0 layers"):
        Model().compile(1)
    with pytest.raises(RuntimeError, match="1 layers"):
        model_of(InputData(1, 1, 4)).compile(1)
    separable = model_of(InputData(4, 4, 2, 1), SeparableConvolutional(2, 2, 3))
    with pytest.raises(RuntimeError, match="SeparableConvolutional, but only a Convolutional or"):
        separable.compile(1)


def test_weights_and_inputs_must_be_binary():
    wide = model_of(InputData(1, 1, 4, 1), FullyConnected(2, weights_bits=2))
    with pytest.raises(ValueError, match=r"weights_bits is 2.*weights_bits=1"):
        wide.compile(1)
    graded = model_of(
        InputData(1, 1, 4), FullyConnected(3, "hidden", threshold_fire_bits=2), FullyConnected(2)
    )
    before = graded.to_buffer()
    with pytest.raises(ValueError, match="'hidden' sends on values of 2 bits"):
        graded.compile(1)
    assert graded.to_buffer() == before


def test_a_layer_that_learns_stays_the_last_one():
    model = learner()
    with pytest.raises(ValueError, match="'learn' learns, and only the last layer"):
        model.add(FullyConnected(2))
    assert model.get_layer_count() == 2


def test_a_layer_takes_its_learning_along():
    model = learner()
    model.fit(samples(5))
    buffer = model.to_buffer()
    layer = model.layers[-1]
    model.pop_layer()
    assert layer.get_variable("learning_steps").sum() == 5
    with pytest.raises(RuntimeError, match="needs an input layer"):
        model.compile(4)
    model.add(layer)
    assert model.to_buffer() == buffer
    model.pop_layer()
    model.pop_layer()
    graded = model_of(InputData(1, 1, 4), FullyConnected(64, "graded", threshold_fire_bits=4))
    with pytest.raises(ValueError, match="'graded' sends on values of 4 bits"):
        graded.add(layer)
    assert graded.get_layer_count() == 2


# Learning.


def test_a_fresh_neuron_learns_a_sample_in_one_step(rule):
    """With plasticity 1 it becomes the best binary match."""
    for ones in (1, 5, 16, 40):
        model = learner(rule=rule, neurons=1)
        (sample,) = samples(1, ones=ones)
        model.fit(sample[None])
        assert model.forward(sample[None]).item() == min(ones, 16)
        assert rows(model).sum() == 16


def test_the_threshold_lies_between_chance_and_the_potential_reached(rule):
    (sample,) = samples(1, ones=16)
    chance = 16 * 16 // 64
    for ratio, expected in (((3, 4), (3 * 16 + chance) // 4), ((0, 1), chance), ((1, 1), 16)):
        model = learner(rule=rule, neurons=1, learning_ratio=ratio)
        model.fit(sample[None])
        assert variable(model, "threshold_learning").tolist() == [expected]
        model.fit(samples(1, seed=9))
        assert variable(model, "threshold_learning").tolist() == [expected]


def test_at_most_one_row_changes_and_it_belongs_to_the_label(rule):
    model = learner(neurons=12, num_classes=4, rule=rule)
    for index, sample in enumerate(samples(40)):
        before = rows(model)
        steps = variable(model, "learning_steps")
        model.fit(sample[None], index % 4)
        changed = np.nonzero((rows(model) != before).any(axis=1))[0]
        (stepped,) = np.nonzero(variable(model, "learning_steps") != steps)
        assert len(stepped) == 1
        assert set(changed) <= set(stepped)
        assert stepped[0] // 3 == index % 4
        assert (rows(model).sum(axis=1) == 16).all()


def plasticities(model, steps):
    """Of the one neuron, before each step and after the last."""
    found = [variable(model, "plasticity").item()]
    for sample in samples(steps):
        model.fit(sample[None])
        found.append(variable(model, "plasticity").item())
    return found


def test_plasticity_falls_to_its_floor(rule):
    found = plasticities(learner(neurons=1, rule=rule), 5)
    assert found == [1, 0.75, 0.5, 0.25, round(0.1 * ONE) / ONE, round(0.1 * ONE) / ONE]
    relative = plasticities(learner(neurons=1, initial_plasticity=0.5), 3)
    assert relative == [0.5, 0.375, 0.25, 0.125]
    never_grows = plasticities(learner(neurons=1, initial_plasticity=0.25, min_plasticity=0.75), 3)
    assert never_grows == [0.25] * 4


def test_without_plasticity_nothing_is_learned(rule):
    model = learner(rule=rule, initial_plasticity=0)
    before = model.to_buffer()
    outputs = model.fit(samples(10), 0)
    assert model.to_buffer() == before
    np.testing.assert_array_equal(outputs, model.forward(samples(10)))


def test_an_empty_sample_teaches_nothing(rule):
    model = learner(rule=rule)
    before = model.to_buffer()
    assert not model.fit(np.zeros((3, 64), np.uint8)).any()
    assert model.to_buffer() == before


def test_competition_leaves_similar_samples_to_who_has_learned(rule):
    """13 of 16 ones in common: below the threshold of 13, but above half of it."""
    (one,) = samples(1)
    other = one.copy()
    other[np.nonzero(one)[0][:6]] = 0
    other[np.nonzero(1 - one)[0][:6]] = 1
    for competition, learned in ((0.0, 2), (0.5, 1)):
        model = learner(rule=rule, learning_competition=competition)
        model.fit(np.stack([one, other]))
        assert np.count_nonzero(variable(model, "threshold_learning")) == learned
        assert variable(model, "learning_steps").sum() == learned


def test_full_competition_lets_nobody_join(rule):
    model = learner(rule=rule, learning_competition=1.0)
    model.fit(samples(10))
    assert np.count_nonzero(variable(model, "threshold_learning")) == 1


def test_once_all_have_learned_the_best_one_goes_on(rule):
    model = learner(rule=rule, neurons=1)
    first, second = samples(2, seed=4)
    model.fit(np.stack([first, second]))
    assert variable(model, "learning_steps").tolist() == [2]


def test_neurons_share_two_patterns_between_them(rule):
    """Packets of two event patterns: learners are disjoint, and answer to their own only."""
    rng = np.random.default_rng(7)
    inputs = 10 * 10 * 2
    patterns = [rng.permutation(inputs)[:60] for _ in range(2)]
    model = learner(inputs, 32, num_weights=40, rule=rule, learning_competition=0.1)

    def packet(pattern):
        sample = np.zeros(inputs, np.uint8)
        sample[rng.choice(pattern, 45, False)] = 1
        return sample

    learned = []
    for pattern in patterns:
        steps = variable(model, "learning_steps").astype(int)
        model.fit(np.stack([packet(pattern) for _ in range(8)]))
        learned.append(set(np.nonzero(variable(model, "learning_steps") - steps)[0]))
    assert learned[0]
    assert learned[1]
    assert not learned[0] & learned[1]
    for own, pattern in zip(learned, patterns, strict=True):
        answers = model.forward(np.stack([packet(pattern) for _ in range(8)]))[:, 0, 0]
        others = sorted((learned[0] | learned[1]) - own)
        assert answers[:, sorted(own)].max(axis=1).min() > answers[:, others].max()


def test_similar_samples_are_told_apart_after_one_look(rule):
    """Four prototypes in 2,048 inputs; a third of the ones of each test sample is elsewhere."""
    rng = np.random.default_rng(1)
    prototypes = samples(4, 2048, 350, seed=2)
    model = learner(2048, 4, num_weights=350, num_classes=4, rule=rule)
    model.fit(prototypes, np.arange(4))
    views, labels = [], []
    for label, prototype in enumerate(prototypes):
        for _ in range(20):
            view = prototype.copy()
            view[rng.choice(np.nonzero(prototype)[0], 122, False)] = 0
            view[rng.choice(np.nonzero(view == 0)[0], 122, False)] = 1
            views.append(view)
            labels.append(label)
    assert (model.predict(np.stack(views), 4) == labels).all()


def test_what_the_model_learned_counts_in_the_next_inference():
    model = learner()
    inputs = samples(6)
    for sample in inputs:
        outputs = model.fit(sample[None])
        np.testing.assert_array_equal(
            model.forward(inputs)[:, 0, 0], inputs.astype(int) @ rows(model).T
        )
        assert outputs.shape == (1, 1, 1, 8)
    assert model.forward(inputs).max() == 16


def test_the_layers_in_front_stay_as_they_are():
    model = fill(
        model_of(
            InputData(4, 3, 2),
            Convolutional(3, 3, 6, weights_bits=2, threshold_fire=3, name="features"),
            FullyConnected(4, "learn", threshold_fire=5),
        )
    )
    inputs = np.random.default_rng(0).integers(0, 16, (30, 4, 3, 2), dtype=np.uint8)
    before = model.get_layer("features").get_variable("weights")
    model.compile(num_weights=12, num_classes=2)
    frozen = Model(serialized_buffer=model.to_buffer())
    outputs = model.fit(inputs, [0, 1] * 15)
    assert (outputs.dtype, outputs.shape) == (np.uint8, (30, 1, 1, 4))
    np.testing.assert_array_equal(outputs[0], frozen.forward(inputs[:1])[0])
    np.testing.assert_array_equal(model.get_layer("features").get_variable("weights"), before)
    assert variable(model, "learning_steps").sum() == 30
    frozen = Model(serialized_buffer=frozen.to_buffer())
    frozen.forward(inputs)
    for name in ("input_data_0", "features"):
        for counted in ("events_in", "nb_activations", "synaptic_ops", "nb_samples"):
            found = getattr(model.statistics[name], counted)
            assert found == getattr(frozen.statistics[name], counted)
    assert model.metrics["inference_frames"] == 30


def test_joined_binary_features_can_be_learned():
    model = model_of(InputData(3, 3, 1))
    source = model.layers[0]
    branches = [Convolutional(1, 1, 2, f"b{i}") for i in range(2)]
    for branch in branches:
        model.add(branch, [source])
    model.add(Concat("join", activations_enabled=False), branches)
    model.add(FullyConnected(2, "learn"))
    model.compile(num_weights=4)
    assert model.fit(np.ones((2, 3, 3, 1), np.uint8)).shape == (2, 1, 1, 2)


def test_threads_do_not_change_what_is_learned(monkeypatch):
    inputs = np.random.default_rng(0).integers(0, 16, (90, 4, 3, 2), dtype=np.uint8)
    buffers = set()
    for cores in (1, 4):
        monkeypatch.setattr(batches, "cores", lambda cores=cores: cores)
        monkeypatch.setattr(batches, "WORK_PER_THREAD", 1)
        features = Convolutional(3, 3, 6, weights_bits=2, threshold_fire=3)
        model = fill(model_of(InputData(4, 3, 2), features, FullyConnected(4, "learn")))
        model.compile(num_weights=12)
        model.fit(inputs)
        buffers.add(model.to_buffer())
    assert len(buffers) == 1


def test_several_threads_learn_one_after_the_other():
    model = learner(1024, 64)
    batch = samples(50, 1024, 200)
    threads = [threading.Thread(target=model.fit, args=(batch,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert variable(model, "learning_steps").sum() == 300
    assert (rows(model).sum(axis=1) == 256).all()


# Convolutions.


def test_a_batch_may_be_learned_in_parts(monkeypatch):
    images = (np.random.default_rng(0).random((25, 8, 8, 3)) < 0.3).astype(np.uint8)
    found = []
    for size in (1, learning.CHUNK_BYTES):
        monkeypatch.setattr(learning, "CHUNK_BYTES", size)
        layer = Convolutional(3, 3, 5, "learn", pooling_type=PoolingType.Max)
        model = model_of(InputData(8, 8, 3, 1), layer)
        model.compile(num_weights=8)
        found.append((model.fit(images).tolist(), model.to_buffer()))
    assert found[0] == found[1]


def test_a_kernel_becomes_the_patch_it_saw():
    """Weights are stored as an event scatters them: the patch, turned by half."""
    rng = np.random.default_rng(3)
    for mode in ConvolutionMode:
        model = model_of(
            InputData(6, 5, 2, 1),
            Convolutional(3, 2, 4, "learn", convolution_mode=mode, activations_enabled=False),
        )
        patch = (rng.random((3, 2, 2)) < 0.5).astype(np.uint8)
        patch[0, 0, 0] = patch[2, 1, 1] = 1
        image = np.zeros((6, 5, 2), np.uint8)
        image[2:5, 1:3] = patch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.compile(num_weights=int(patch.sum()))
        model.fit(image[None])
        (learned,) = np.nonzero(variable(model, "threshold_learning"))
        # the position is where the first weights fitted best; a fresh kernel then matches fully
        potentials = model.forward(image[None])[0]
        assert potentials[..., learned[0]].max() == variable(model, "weights")[..., 0].sum()
    single = model_of(
        InputData(3, 2, 2, 1),
        Convolutional(3, 2, 1, convolution_mode=ConvolutionMode.Valid, activations_enabled=False),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        single.compile(num_weights=int(patch.sum()))
    single.fit(patch[None])
    np.testing.assert_array_equal(variable(single, "weights")[..., 0], patch[::-1, ::-1])


def test_one_position_of_a_sample_teaches_one_neuron():
    model = model_of(
        InputData(8, 8, 3, 1), Convolutional(3, 3, 5, "learn", pooling_type=PoolingType.Max)
    )
    model.compile(num_weights=8)
    images = (np.random.default_rng(0).random((25, 8, 8, 3)) < 0.3).astype(np.uint8)
    outputs = model.fit(images)
    assert (outputs.shape, outputs.dtype) == ((25, 1, 1, 5), np.uint8)
    assert variable(model, "learning_steps").sum() == 25
    kernels = variable(model, "weights").reshape(-1, 5)
    assert (kernels.sum(axis=0) == 8).all()


# Labels.


def test_a_label_for_each_or_one_for_all():
    inputs = samples(6)
    labels = [0, 1, 1, 0, 1, 0]
    one = learner(num_classes=2)
    one.fit(inputs, labels)
    for same in (np.array(labels, np.uint8), tuple(labels)):
        other = learner(num_classes=2)
        other.fit(inputs, same)
        assert other.to_buffer() == one.to_buffer()
    every, all_same = learner(num_classes=2), learner(num_classes=2)
    every.fit(inputs, [1] * 6)
    all_same.fit(inputs, 1)
    assert all_same.to_buffer() == every.to_buffer()
    all_same = learner(num_classes=2)
    all_same.fit(inputs, np.array([1]))
    assert all_same.to_buffer() == every.to_buffer()
    assert not variable(every, "threshold_learning")[:4].any()


@pytest.mark.parametrize("label", [2, -1, 2**40, np.uint64(2**64 - 1)])
def test_a_label_that_is_no_class_discards_its_sample(label):
    model = learner(num_classes=2)
    model.fit(samples(4), [0, 1, 0, 1])
    before = model.to_buffer()
    inputs = samples(3, seed=5)
    expected = model.forward(inputs)
    np.testing.assert_array_equal(model.fit(inputs, label), expected)
    assert model.to_buffer() == before


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ([0.0, 1.0], TypeError),
        ("01", TypeError),
        ([True, False], TypeError),
        ([0, 1, 0], ValueError),
        ([[0], [1]], ValueError),
        ([], ValueError),
    ],
)
def test_labels_that_do_not_fit(labels, error):
    model = learner(num_classes=2)
    before = model.to_buffer()
    with pytest.raises(error, match="input_labels"):
        model.fit(samples(2), labels)
    assert model.to_buffer() == before


def test_columns_and_one_hot_labels_are_refused_with_a_remedy():
    model = learner(num_classes=2)
    with pytest.raises(ValueError, match=r"shape \(2, 1\).*pass labels\.ravel\(\)"):
        model.fit(samples(2), [[0], [1]])
    with pytest.raises(ValueError, match=r"shape \(2, 3\).*pass labels\.argmax\(axis=1\)"):
        model.fit(samples(2), np.eye(2, 3, dtype=int))


# More classes.


def test_more_classes_leave_the_old_neurons_alone(rule):
    model = learner(neurons=6, num_classes=3, rule=rule)
    inputs = samples(60)
    model.fit(inputs, np.arange(60) % 3)
    model.layers[-1].set_variable("threshold_fire", 4)
    old, before = rows(model), model.forward(inputs)
    model.add_classes(2)
    layer = model.layers[-1]
    assert model.output_dims == (1, 1, 10)
    assert layer.parameters.num_neurons == 10
    assert layer.learning.num_classes == 5
    assert layer.get_variable("threshold_fire").tolist() == [4] * 6 + [0] * 4
    np.testing.assert_array_equal(model.forward(inputs)[..., :6], before)
    # the new ones begin as in a layer that has them from the start
    whole = learner(neurons=10, num_classes=5, rule=rule)
    np.testing.assert_array_equal(rows(model)[6:], rows(whole)[6:])
    assert variable(model, "plasticity")[6:].tolist() == [1.0] * 4
    model.fit(samples(20, seed=3), 3)
    np.testing.assert_array_equal(rows(model)[:6], old)
    assert variable(model, "learning_steps")[6:8].sum() == 20
    np.testing.assert_array_equal(model.forward(inputs)[..., :6], before)
    assert model.predict(inputs, 5).max() <= 4


def test_optional_variables_grow_too():
    model = learner(neurons=2, num_classes=2)
    layer = model.layers[-1]
    layer.set_variable("output_scale", [2.0, 3.0])
    inputs = samples(5)
    before = model.evaluate(inputs)
    model.add_classes(1)
    np.testing.assert_array_equal(model.evaluate(inputs)[..., :2], before)
    np.testing.assert_array_equal(model.evaluate(inputs)[..., 2], model.forward(inputs)[..., 2])
    fires = model_of(
        InputData(1, 1, 8, 1), FullyConnected(2, "f", threshold_fire=1, threshold_fire_bits=2)
    )
    fires.layers[-1].set_variable("thresholds", [[0, 1, 2], [5, 6, 7]])
    fires.compile(4, 2)
    fires.add_classes(1)
    expected = [[0, 1, 2], [5, 6, 7], [1, 5, 9]]
    assert variable(fires, "thresholds").tolist() == expected
    assert fires.forward(np.ones((1, 8), np.uint8)).ravel().tolist() == [3, 0, 1]


def test_statistics_of_a_layer_that_grows_begin_anew():
    model = learner(neurons=4, num_classes=2)
    row = model.statistics["learn"]
    model.fit(samples(10), 0)
    model.add_classes(1)
    assert (row.nb_samples, row.possible_spikes) == (0, 6)
    model.forward(samples(3))
    assert row.synaptic_ops == 3 * 16 * 6
    assert model.metrics["inference_frames"] == 13


@pytest.mark.parametrize(
    ("count", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (2**20, ValueError)]
)
def test_numbers_of_classes_that_do_not_fit(count, error):
    model = learner(neurons=4, num_classes=2)
    before = model.to_buffer()
    with pytest.raises(error):
        model.add_classes(count)
    assert model.to_buffer() == before


def test_the_plain_kernel_can_be_asked_for(monkeypatch):
    buffers = set()
    for asked in ("scalar", ""):
        monkeypatch.setenv("KERASNSOC_KERNEL", asked)
        model = learner()
        model.fit(samples(20))
        kernel = model.layers[-1].session()._learner.kernel
        assert kernel == ("scalar" if asked else available_kernels()[0])
        buffers.add(model.to_buffer())
    assert len(buffers) == 1


def test_without_compile_there_is_no_learning():
    model = model_of(InputData(1, 1, 4, 1), FullyConnected(2, "plain"))
    for action in (
        lambda: model.fit(np.zeros((1, 4), np.uint8)),
        lambda: model.add_classes(1),
        model.layers[-1].get_learning_histogram,
    ):
        with pytest.raises(RuntimeError, match=r"'plain'.*Model\.compile"):
            action()
    with pytest.raises(KeyError, match="threshold_learning"):
        model.layers[-1].get_variable("threshold_learning")
    with pytest.raises(ValueError, match="empty"):
        Model().fit(np.zeros((1, 4), np.uint8))


# Looking at it.


def test_the_histogram_counts_every_neuron(rule):
    model = learner(neurons=12, rule=rule)
    layer = model.layers[-1]
    assert layer.get_learning_histogram().tolist() == [[0, 12]]
    model.fit(samples(5))
    found = layer.get_learning_histogram()
    assert found.dtype == np.int64
    assert found[:, 1].sum() == 12
    assert (np.diff(found[:, 0]) > 0).all()
    expected = 100 * variable(model, "threshold_learning").astype(int) // 16
    assert {int(p): int(n) for p, n in found} == {
        int(p): int((expected == p).sum()) for p in expected
    }


def test_the_summary_tells_of_learning():
    text = learner(num_weights=9).summary()
    rows = [line.replace("|", " ").split() for line in text.splitlines()]
    assert ["learn", "64", "9"] in rows
    assert "Learning" not in model_of(InputData(1, 1, 4)).summary()


# Variables by hand.


def test_weights_by_hand_keep_their_number():
    model = learner(8, 2, num_weights=3)
    layer = model.layers[-1]
    weights = np.zeros((1, 1, 8, 2), np.int8)
    weights[0, 0, :3, 0] = weights[0, 0, 5:, 1] = 1
    layer.set_variable("weights", weights)
    model.fit(np.array([[0, 0, 0, 0, 0, 1, 1, 1]], np.uint8))
    assert variable(model, "learning_steps").tolist() == [0, 1]
    before = model.to_buffer()
    weights[0, 0, 3, 1] = 1
    with pytest.raises(ValueError, match=r"neuron 1 has 4 weights of 1.*num_weights = 3"):
        layer.set_variable("weights", weights)
    assert model.to_buffer() == before


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("threshold_learning", -1, ValueError),
        ("threshold_learning", 1.5, TypeError),
        ("plasticity", 1.5, ValueError),
        ("plasticity", 0.3, ValueError),
        ("plasticity", float("nan"), ValueError),
        ("learning_steps", -1, ValueError),
        ("learning_steps", 2**32, ValueError),
        ("learning_counters", np.full((1, 1, 64, 8), -1), ValueError),
        ("learning_counters", 5, ValueError),
    ],
)
def test_learning_variables_out_of_range(name, value, error):
    model = learner()
    before = model.to_buffer()
    with pytest.raises(error, match=name):
        model.layers[-1].set_variable(name, value)
    assert model.to_buffer() == before


def test_learning_variables_by_hand_take_effect():
    model = learner(neurons=2)
    layer = model.layers[-1]
    layer.set_variable("plasticity", [0.5, 0.25])
    layer.set_variable("threshold_learning", [1, 0])
    layer.set_variable("learning_steps", [7, 2**32 - 1])
    model.fit(samples(1))
    assert variable(model, "learning_steps").tolist() == [8, 2**32 - 1]
    assert variable(model, "plasticity").tolist() == [0.25, 0.25]


# Saving.


def test_training_goes_on_after_every_kind_of_copy(rule, tmp_path):
    inputs, labels = samples(40), np.arange(40) % 4
    model = learner(neurons=12, num_classes=4, rule=rule, seed=2**63 + 5, learning_competition=0.1)
    model.fit(inputs[:17], labels[:17])
    model.save(tmp_path / "net.h5")
    copies = [
        Model(tmp_path / "net.h5"),
        Model(serialized_buffer=model.to_buffer()),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        Model(layers=model.layers),
        Model.from_spec(model.to_spec()),
    ]
    expected = model.fit(inputs[17:], labels[17:])
    uninterrupted = learner(
        neurons=12, num_classes=4, rule=rule, seed=2**63 + 5, learning_competition=0.1
    )
    uninterrupted.fit(inputs, labels)
    assert uninterrupted.to_buffer() == model.to_buffer()
    for other in copies:
        np.testing.assert_array_equal(other.fit(inputs[17:], labels[17:]), expected)
        assert other.to_buffer() == model.to_buffer()


def test_a_copy_learns_on_its_own():
    model = learner()
    model.fit(samples(3))
    before = model.to_buffer()
    spec = model.to_spec()
    other = Model(layers=model.layers)
    other.fit(samples(10, seed=8))
    assert model.to_buffer() == before
    assert Model.from_spec(spec).to_buffer() == before


def test_a_layer_can_be_copied_while_it_learns():
    model = learner()
    model.fit(samples(5))
    layer = copy.deepcopy(model.layers[-1])
    np.testing.assert_array_equal(layer.get_variable("weights"), variable(model, "weights"))
    model.fit(samples(5, seed=3))
    assert layer.get_variable("learning_steps").sum() == 5


def test_a_described_layer_that_cannot_learn_is_refused():
    spec = learner().to_spec()
    layer = spec.layers[-1]
    weights = layer.variables["weights"].copy()
    weights[0, 0, :, 3] = 0
    broken = type(layer)(
        layer.name,
        layer.parameters,
        layer.inbounds,
        {**layer.variables, "weights": weights},
        layer.learning,
    )
    with pytest.raises(ArtifactError, match="neuron 3 has 0 weights") as caught:
        Model.from_spec(NetworkSpec((spec.layers[0], broken)))
    assert caught.value.reason is Reason.VALUE


# Refusals.


def test_a_value_above_one_is_refused_before_anything_is_learned():
    model = learner(bits=4)
    model.fit(samples(2))
    before = model.to_buffer()
    counted = model.statistics["learn"].nb_samples
    inputs = samples(5, seed=1)
    inputs[3, 17] = 2
    with pytest.raises(ValueError, match="sample 3 brings the value 2 at x 0, y 0, feature 17"):
        model.fit(inputs)
    assert model.to_buffer() == before
    assert model.statistics["learn"].nb_samples == counted
    model.forward(inputs)  # inference takes them


def test_inputs_are_checked_as_for_inference():
    model = learner()
    with pytest.raises(TypeError, match="ndarray"):
        model.fit([[0] * 64])
    with pytest.raises(TypeError, match="integers"):
        model.fit(np.zeros((1, 64)))
    with pytest.raises(ValueError, match="shape"):
        model.fit(np.zeros((1, 63), np.uint8))
    with pytest.raises(ValueError, match="takes 0 to 1"):
        model.fit(np.full((1, 64), 2, np.uint8))
    assert model.fit(np.zeros((0, 64), np.uint8)).shape == (0, 1, 1, 8)
    assert model.fit(samples(2).astype(bool)).shape == (2, 1, 1, 8)
    assert model.fit(np.asfortranarray(samples(2)).astype(np.int64)).dtype == np.int32


def test_a_sum_that_could_leave_32_bits_is_refused_before_anything_is_learned():
    pooled = {"pooling_type": PoolingType.Average, "activations_enabled": False}
    model = model_of(InputData(2**11, 2**11, 1, 1), Convolutional(32, 32, 1, **pooled))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.compile(1024)
    before = variable(model, "weights")
    with pytest.raises(OverflowError, match="pooling window can reach 4294967296"):
        model.fit(np.zeros((0, 2**11, 2**11, 1), np.uint8))
    np.testing.assert_array_equal(variable(model, "weights"), before)
