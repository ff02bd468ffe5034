"""The loss, the batches and the evaluation of a detector in Keras."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from kerasnsoc import Model, convert  # noqa: E402
from kerasnsoc.zoo.detection import (  # noqa: E402
    DetectionData,
    MapEvaluation,
    YoloLoss,
    annotation_targets,
    synthetic_shapes,
)
from kerasnsoc.zoo.detection.synthetic import SHAPES  # noqa: E402

pytestmark = pytest.mark.keras

ANCHORS = [(1, 1), (2, 0.5)]


def example():
    target = np.zeros((1, 2, 2, 2, 7), np.float32)
    target[0, 0, 1, 0] = [1.25, 0.5, 1.0, 0.8, 1, 0, 1]
    return target


def test_the_published_loss():
    boxes = [{"label": "b", "x1": 75, "y1": 10, "x2": 175, "y2": 90}]
    target = annotation_targets(boxes, (200, 200), ["a", "b"], ANCHORS, (2, 2))[None]
    np.testing.assert_allclose(target, example(), rtol=1e-6)
    zeros = np.zeros_like(target)
    parts = {
        "lambda_coord": 0.05125,
        "lambda_obj": None,
        "lambda_class": 0.5,
    }
    assert float(YoloLoss(ANCHORS, (2, 2))(target, zeros)) == pytest.approx(2.05125, rel=1e-6)
    none = dict.fromkeys([*parts, "lambda_noobj"], 0)
    for name, expected in parts.items():
        if expected is not None:
            loss = YoloLoss(ANCHORS, (2, 2), **{**none, name: 1})
            assert float(loss(target, zeros)) == pytest.approx(expected, rel=1e-6)
    objectness = YoloLoss(ANCHORS, (2, 2), lambda_coord=0, lambda_class=0)
    assert float(objectness(target, zeros)) == pytest.approx(1.5, rel=1e-6)
    best = np.array(YoloLoss(ANCHORS, (2, 2)).best_iou(target, zeros))[0, 0]
    np.testing.assert_allclose(best, [[0.125, 0.263158], [0.5, 0.384615]], rtol=0, atol=1e-6)


def test_the_loss_is_a_sum_over_images_and_empty_images_count():
    loss = YoloLoss(ANCHORS, (2, 2), batch_size=16)
    target = np.concatenate([example(), np.zeros_like(example())])
    zeros = np.zeros_like(target)
    # 8 free slots, half sure each: 8 / 4 / 2
    assert float(loss(target, zeros)) == pytest.approx(2.05125 + 1.0, rel=1e-6)
    assert np.array(loss.call(target, keras.ops.convert_to_tensor(zeros))).shape == (2,)
    assert not np.array(loss.best_iou(target, zeros))[1].any()


def test_the_weights_of_the_loss_follow_the_grid():
    given = YoloLoss(ANCHORS, (2, 2), 2, 3, 4, 5).get_config()
    names = ("lambda_coord", "lambda_noobj", "lambda_obj", "lambda_class")
    assert [given[name] for name in names] == [2, 3, 4, 5]


def test_a_box_that_overlaps_an_object_is_not_punished():
    target, found = example(), np.full((1, 2, 2, 2, 7), 0.0, np.float32)
    found[..., 4] = -20
    found[0, 0, 1, 1, 4] = 20
    strict = YoloLoss(ANCHORS, (2, 2), lambda_coord=0, lambda_class=0, lambda_obj=0)
    lenient = YoloLoss(
        ANCHORS, (2, 2), lambda_coord=0, lambda_class=0, lambda_obj=0, iou_filter=0.3
    )
    assert float(strict(target, found)) == pytest.approx(0.5, abs=1e-6)
    assert float(lenient(target, found)) == pytest.approx(0, abs=1e-6)


def test_the_loss_survives_serialization():
    loss = YoloLoss(ANCHORS, (3, 2), lambda_obj=4, iou_filter=0.5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    with pytest.raises(ValueError, match="columns, rows"):
        YoloLoss(ANCHORS, (3,))
    with pytest.raises(ValueError, match="anchors are"):
        YoloLoss([1, 2], (3, 3))


def test_batches_repeat_and_the_last_is_smaller():
    annotations = synthetic_shapes(5, side=32)

    def made(**options):
        return DetectionData(annotations, SHAPES, ANCHORS, (64, 32), (2, 4), 2, seed=1, **options)

    data = made()
    assert len(data) == 3
    images, targets = data[2]
    assert images.shape == (1, 64, 32, 3)
    assert targets.shape == (1, 4, 2, 2, 8)
    np.testing.assert_array_equal(data[0][0], made()[0][0])
    first = data[0][0]
    data.on_epoch_end()
    assert not np.array_equal(first, data[0][0])
    plain = made(is_training=False, normalize=False)
    assert plain[0][0].max() > 1
    assert first.min() >= -1
    with pytest.raises(IndexError):
        data[3]
    with pytest.raises(ValueError, match="batch_size is 0"):
        DetectionData(annotations, SHAPES, ANCHORS, (64, 32), (2, 4), 0)


class Oracle:
    """Stands in for an integer model that finds every object of the annotations exactly."""

    def __init__(self, annotations, grid, anchor, sure=8.0):
        self.annotations, self.grid, self.anchor, self.sure = annotations, grid, anchor, sure
        self.input_dims = (96, 96, 3)
        self.seen = 0

    def evaluate(self, images):
        assert images.dtype == np.uint8
        outputs = []
        for annotation in self.annotations[self.seen : self.seen + len(images)]:
            target = annotation_targets(
                annotation["boxes"], annotation["image_shape"], SHAPES, [self.anchor], self.grid
            ).astype(float)
            has = target[..., 4] == 1
            output = np.full_like(target, -20)
            row, column = np.mgrid[: self.grid[1], : self.grid[0]]
            place = target[..., :2] - np.stack([column, row], -1)[:, :, None]
            place = np.clip(place, 1e-9, 1 - 1e-9)
            output[has, :2] = np.log(place / (1 - place))[has]
            output[has, 2:4] = np.log(target[has, 2:4] / self.anchor)
            output[has, 4] = self.sure
            output[has, 5:] = 40 * target[has, 5:]
            outputs.append(output.reshape(*self.grid[::-1], -1))
        self.seen += len(images)
        return np.stack(outputs).transpose(0, 2, 1, 3).astype(np.float32)


def test_an_oracle_has_a_perfect_score():
    annotations = synthetic_shapes(12, seed=1)
    oracle = Oracle(annotations, (12, 12), (3.0, 3.0))
    evaluation = MapEvaluation(
        oracle, annotations, SHAPES, [(3.0, 3.0)], is_keras_model=False, batch_size=5
    )
    mean, per_class = evaluation.evaluate_map()
    assert mean == 1
    assert per_class == {0: 1, 1: 1, 2: 1}


def test_nothing_found_and_nothing_to_find_are_defined():
    annotations = synthetic_shapes(3)
    blind = Oracle(annotations, (12, 12), (3.0, 3.0), sure=-20)
    options = {"labels": SHAPES, "anchors": [(3.0, 3.0)], "is_keras_model": False}
    assert MapEvaluation(blind, annotations, **options).evaluate_map()[0] == 0
    assert MapEvaluation(blind, [], **options).evaluate_map() == (0, {0: 0, 1: 0, 2: 0})
    with pytest.raises(ValueError, match="batch_size is 0"):
        MapEvaluation(blind, [], **options, batch_size=0)


def tiny_detector(rescaling=False):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 64, 3), name="image"),
            *([layers.Rescaling(1 / 128, -1, name="rescaling")] if rescaling else []),
            layers.Conv2D(4, 3, strides=4, padding="same", name="conv"),
            layers.ReLU(6.0, name="relu"),
            layers.Conv2D(16, 3, strides=4, padding="same", name="detection"),
        ]
    )


def test_a_keras_model_is_evaluated_during_training(capsys):
    annotations = synthetic_shapes(4, side=32)
    model = tiny_detector()
    unfold = keras.layers.Reshape((2, 4, 2, 8), name="boxes")
    trained = keras.Sequential([model, unfold])
    data = DetectionData(annotations, SHAPES, ANCHORS, (32, 64), (4, 2), 2, normalize=True)
    # compiling costs more than it saves here
    trained.compile("adam", YoloLoss(ANCHORS, (4, 2)), run_eagerly=True)
    evaluation = MapEvaluation(model, annotations, SHAPES, ANCHORS, period=2, obj_threshold=0.1)
    history = trained.fit(data, epochs=3, verbose=0, callbacks=[evaluation]).history
    assert len(history["loss"]) == 3
    assert np.isfinite(history["loss"]).all()
    printed = capsys.readouterr().out
    assert printed.count("mAP: ") == 2
    assert printed.count("triangle ") == 2
    assert len(history["val_map"]) == 2


def test_a_model_that_rescales_gets_raw_pixels():
    annotations = synthetic_shapes(2, side=32)
    model = tiny_detector(rescaling=True)
    images = []
    model.predict = lambda x, **_: images.append(x) or np.zeros((len(x), 2, 4, 16), np.float32)
    MapEvaluation(model, annotations, SHAPES, ANCHORS).evaluate_map()
    assert images[0].max() > 100


def test_pixels_are_scaled_as_conversion_takes_them():
    white = synthetic_shapes(1, side=32)
    white[0]["image"] = np.full((32, 32, 3), 255, np.uint8)
    options = {"is_training": False, "scaling": (128.0, 128)}
    data = DetectionData(white, SHAPES, ANCHORS, (32, 64), (4, 2), **options)
    assert np.unique(data[0][0]).tolist() == [127 / 128]
    images = []
    model = tiny_detector()
    model.predict = lambda x, **_: images.append(x) or np.zeros((len(x), 2, 4, 16), np.float32)
    MapEvaluation(model, white, SHAPES, ANCHORS, scaling=(128.0, 128)).evaluate_map()
    np.testing.assert_array_equal(images[0], data[0][0])
    with pytest.raises(ValueError, match="with a above 0"):
        DetectionData(white, SHAPES, ANCHORS, (32, 64), (4, 2), scaling=(0, 1))
    with pytest.raises(ValueError, match="with a above 0"):
        MapEvaluation(model, white, SHAPES, ANCHORS, scaling=(1, float("nan")))


def test_an_integer_model_is_evaluated_the_right_way_round():
    annotations = synthetic_shapes(3, side=48)
    model = tiny_detector(rescaling=True)
    network = convert_quantized(model)
    assert isinstance(network, Model)
    options = {"labels": SHAPES, "anchors": ANCHORS, "obj_threshold": 0.05, "batch_size": 2}
    evaluation = MapEvaluation(network, annotations, is_keras_model=False, **options)
    mean, _ = evaluation.evaluate_map()
    assert 0 <= mean <= 1
    with pytest.raises(ValueError, match=r"is an integer model\. Pass is_keras_model=False"):
        MapEvaluation(network, annotations, **options)
    with pytest.raises(ValueError, match=r"is no integer model\. Pass is_keras_model=True"):
        MapEvaluation(model, annotations, is_keras_model=False, **options)
    (found,) = evaluation._predict(annotations[:1])
    assert len(found) <= 10


def convert_quantized(model):
    from kerasnsoc import calibrate, quantize

    quantized = quantize(model, 4, 4, 8)
    samples = np.random.default_rng(0).uniform(0, 255, (8, 32, 64, 3)).astype(np.float32)
    calibrate(quantized, samples)
    return convert(quantized)
