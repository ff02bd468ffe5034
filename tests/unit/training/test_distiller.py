import keras
import numpy as np
import pytest

from kerasnsoc.training import Distiller, KLDistillationLoss

pytestmark = pytest.mark.keras

LABELS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(name, hidden=6, outputs=3, **kwargs):
    return keras.Sequential(
        [
            keras.Input((4,), name=f"{name}_input"),
            keras.layers.Dense(hidden, name=f"{name}_hidden", **kwargs),
            keras.layers.BatchNormalization(name=f"{name}_BN"),
            keras.layers.ReLU(6.0, name=f"{name}_relu"),
            keras.layers.Dense(outputs, name=f"{name}_logits"),
        ],
        name=name,
    )


def distiller(student, teacher, alpha=0.1, optimizer="sgd", **kwargs):
    made = Distiller(student, teacher)
    made.compile(
        optimizer,
        ["accuracy"],
        LABELS,
        KLDistillationLoss(3),
        alpha=alpha,
        jit_compile=False,
        **kwargs,
    )
    return made


def data(n=8):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 4)).astype("f4"), rng.integers(0, 3, n)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1, 0.379738), (3, 0.0550935), (10, 0.00468513)]
)
def test_divergence(temperature, expected):
    loss = KLDistillationLoss(temperature)
    # the sum of logarithms cancels to a hundredth of its terms in float32
    one = float(loss([[2.0, 0.0, -1.0]], [[1.0, 1.0, 0.0]]))
    assert one == pytest.approx(expected, rel=1e-4)
    # the mean over a batch; equal logits cost nothing
    two = float(loss([[2.0, 0.0, -1.0], [1.0, 2.0, 3.0]], [[1.0, 1.0, 0.0], [1.0, 2.0, 3.0]]))
    assert two == pytest.approx(expected / 2, rel=1e-4)


def test_the_loss_is_serialized_with_its_temperature():
    text = keras.saving.serialize_keras_object(KLDistillationLoss(7))
    assert keras.saving.deserialize_keras_object(text).temperature == 7


@pytest.mark.parametrize("temperature", [0, -1, float("nan")])
def test_temperatures_are_above_zero(temperature):
    with pytest.raises(ValueError, match="temperature is"):
        KLDistillationLoss(temperature)


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_alpha_is_a_share(alpha):
    with pytest.raises(ValueError, match="alpha is"):
        distiller(network("student"), network("teacher"), alpha)


def test_training_adds_both_losses_and_the_regularization_of_the_student():
    x, y = data()
    l2 = keras.regularizers.L2(0.1)
    student = network("student", kernel_regularizer=l2, activity_regularizer=l2)
    # the teacher's regularizers must not count
    teacher = network("teacher", kernel_regularizer=l2, activity_regularizer=l2)
    made = distiller(student, teacher, alpha=0.25, optimizer=keras.optimizers.SGD(0.0))
    outputs = student(x, training=True)
    regularization = float(sum(keras.ops.sum(term) for term in student.losses))
    expected = {
        "student_loss": float(LABELS(y, outputs)),
        "distillation_loss": float(KLDistillationLoss(3)(teacher(x, training=False), outputs)),
    }
    total = 0.25 * expected["student_loss"] + 0.75 * expected["distillation_loss"]
    logs = made.fit(x, y, batch_size=8, verbose=0).history
    assert set(logs) == {"accuracy", "student_loss", "distillation_loss", "loss"}
    assert logs["student_loss"][0] == pytest.approx(expected["student_loss"], rel=1e-5)
    assert logs["distillation_loss"][0] == pytest.approx(expected["distillation_loss"], rel=1e-5)
    assert logs["loss"][0] == pytest.approx(total + regularization, rel=1e-5)


def test_only_the_student_learns():
    x, y = data()
    student, teacher = network("student"), network("teacher", 9)
    before = [w.copy() for w in teacher.get_weights()]
    first = [w.copy() for w in student.get_weights()]
    made = distiller(student, teacher)
    made.fit(x, y, epochs=2, batch_size=4, verbose=0)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all(
        not np.array_equal(old, new)
        for old, new in zip(first, student.get_weights(), strict=True)
        if old.any()
    )
    assert [w.path for w in made.trainable_variables] == [
        w.path for w in student.trainable_variables
    ]
    assert not teacher.trainable


def test_evaluation_does_without_the_teacher():
    x, y = data()
    student = network("student", kernel_regularizer=keras.regularizers.L2(0.1))
    made = distiller(student, network("teacher"))
    history = made.fit(x, y, epochs=2, validation_data=(x, y), verbose=0).history
    assert set(history) == {
        *("accuracy", "student_loss", "distillation_loss", "loss"),
        *("val_accuracy", "val_student_loss", "val_loss"),
    }
    made.teacher = None  # would be missed if it were called
    logs = made.evaluate(x, y, verbose=0, return_dict=True)
    assert set(logs) == {"accuracy", "student_loss", "loss"}
    outputs = student(x, training=False)
    assert logs["student_loss"] == pytest.approx(float(LABELS(y, outputs)), rel=1e-5)
    regularization = float(student.losses[0])
    assert logs["loss"] == pytest.approx(logs["student_loss"] + regularization, rel=1e-5)
    # two compiled functions, whose sums may be ordered differently
    np.testing.assert_allclose(
        made.predict(x, verbose=0), student.predict(x, verbose=0), rtol=1e-5, atol=1e-6
    )


def test_weights_of_samples_reach_both_losses():
    x, y = data()
    student, teacher = network("student"), network("teacher")
    made = distiller(student, teacher, alpha=0.5, optimizer=keras.optimizers.SGD(0.0))
    weights = np.zeros(8, "f4")
    weights[0] = 1
    outputs, target = student(x, training=True), teacher(x, training=False)
    loss = 0.5 * float(LABELS(y, outputs, sample_weight=weights))
    loss += 0.5 * float(KLDistillationLoss(3)(target, outputs, sample_weight=weights))
    logs = made.fit(x, y, batch_size=8, sample_weight=weights, verbose=0).history
    assert logs["loss"][0] == pytest.approx(loss, rel=1e-5)


def test_functions_and_names_serve_as_losses():
    x, y = data()
    made = Distiller(network("student"), network("teacher"))
    made.compile(
        "sgd",
        None,
        lambda y, p: keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True),
        "mean_squared_error",
        jit_compile=False,
    )
    logs = made.fit(x, y, verbose=0).history
    mean = 0.1 * logs["student_loss"][0] + 0.9 * logs["distillation_loss"][0]
    assert logs["loss"][0] == pytest.approx(mean, rel=1e-5)


def test_outputs_of_different_shapes_are_refused():
    x, y = data()
    made = distiller(network("student"), network("teacher", outputs=4))
    with pytest.raises(ValueError, match=r"returns the shape \(4,\), but the student.*\(3,\)"):
        made.fit(x, y, verbose=0)


def test_files_hold_the_student(tmp_path, capsys):
    student = network("student")
    made = distiller(student, network("teacher"))
    made.save(tmp_path / "s.keras")
    assert keras.saving.load_model(tmp_path / "s.keras").count_params() == student.count_params()
    made.save_weights(tmp_path / "s.weights.h5")
    other = distiller(network("other"), network("teacher"))
    other.load_weights(tmp_path / "s.weights.h5")
    np.testing.assert_array_equal(other.student.get_weights()[0], student.get_weights()[0])
    made.summary()
    assert "student_hidden" in capsys.readouterr().out
    with pytest.raises(NotImplementedError, match="save the student"):
        made.get_config()
