import keras
import numpy as np
import pytest

from kerasnsoc.training import CyclicLR, constant_then_exponential, freeze_model_before

pytestmark = pytest.mark.keras


def test_triangles():
    cyclic = CyclicLR(5e-6, 2e-3, 4)
    expected = [5e-6, 5.0375e-4, 1.0025e-3, 2e-3, 5e-6, 2e-3]
    for iteration, rate in zip((0, 1, 2, 4, 8, 12), expected, strict=True):
        assert cyclic.rate(iteration) == pytest.approx(rate, rel=1e-12)


def test_shrinking_triangles():
    halved = CyclicLR(5e-6, 2e-3, 4, mode="triangular2")
    rates = [halved.rate(iteration) for iteration in (4, 12, 20)]
    assert rates == pytest.approx([2e-3, 1.0025e-3, 5.0375e-4], rel=1e-12)
    shrinking = CyclicLR(1.0, 2.0, 4, mode="exp_range", gamma=0.5)
    assert shrinking.rate(4) == 1 + 0.5**4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_lr": 0}, "base_lr is 0"),
        ({"base_lr": 2, "max_lr": 1}, "max_lr is 1"),
        ({"step_size": 0}, "step_size is 0"),
        ({"mode": "square"}, "mode is 'square'"),
        ({"gamma": 0}, "gamma is 0"),
    ],
)
def test_refused_triangles(arguments, message):
    with pytest.raises(ValueError, match=message):
        CyclicLR(**arguments)


def test_the_optimizer_follows_the_triangle_over_several_fits():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    x = np.ones((6, 2), "f4")
    cyclic = CyclicLR(0.1, 0.5, 2)
    for expected in (0.5, 0.3):  # batches 2 and 5
        history = model.fit(x, x[:, :1], batch_size=2, callbacks=[cyclic], verbose=0).history
        assert history["lr"] == [pytest.approx(expected)]
        assert float(model.optimizer.learning_rate) == pytest.approx(expected)


def test_constant_then_exponential():
    rate = constant_then_exponential(20, 0.1, 1e-4, 10)
    found = [rate(epoch) for epoch in (0, 9, 10, 15, 19)]
    assert found == pytest.approx([0.1, 0.1, 0.0501187, 0.00158489, 1e-4], rel=1e-5)
    assert rate(19) == 1e-4
    assert constant_then_exponential(3, 1, 0.1, 3)(2) == 1.0
    assert keras.callbacks.LearningRateScheduler(rate)


@pytest.mark.parametrize("arguments", [(0, 1, 1, 0), (5, 1, 1, -1), (5, 0, 1, 1), (5, 1, -1, 1)])
def test_refused_exponentials(arguments):
    with pytest.raises(ValueError, match=" is "):
        constant_then_exponential(*arguments)


def test_freezing():
    model = keras.Sequential(
        [keras.Input((2,)), *(keras.layers.Dense(2, name=f"d{i}") for i in range(3))]
    )
    freeze_model_before(model, "d1")
    assert [layer.trainable for layer in model.layers] == [False, True, True]
    with pytest.raises(ValueError, match=r"no layer 'd9'; it has d0, d1, d2"):
        freeze_model_before(model, "d9")
