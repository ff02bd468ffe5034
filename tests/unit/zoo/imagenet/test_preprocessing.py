"""ImageNet: names, geometry and the pipeline, on three tiny records."""

import numpy as np
import pytest

from kerasnsoc.zoo.imagenet import (
    get_filenames,
    index_to_label,
    input_fn,
    parse_record,
    preprocess_image,
    resize_and_crop,
)


def test_file_names():
    training = get_filenames(True, "data")
    assert len(training) == 1024
    assert training[17].endswith("train-00017-of-01024")
    validation = get_filenames(False, "data")
    assert len(validation) == 128
    assert validation[-1].endswith("validation-00127-of-00128")


def test_labels():
    assert "tench" in index_to_label(0)
    assert "tabby" in index_to_label(np.int64(281))
    assert "toilet" in index_to_label(999)
    names = {index_to_label(k) for k in range(1000)}
    # two classes share the name "crane" and two "maillot"
    assert len(names) >= 998
    for bad in (-1, 1000, np.int64(1000)):
        with pytest.raises(IndexError, match="0 to 999"):
            index_to_label(bad)
    with pytest.raises(TypeError):
        index_to_label(1.5)


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def ramp(tf, height=60, width=90):
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    return image, tf.io.encode_jpeg(image, quality=100).numpy()


@pytest.mark.keras
def test_evaluation_keeps_the_aspect_ratio_and_the_middle(tf):
    image, encoded = ramp(tf)
    found = resize_and_crop(encoded, 32, 32, 3)
    assert found.shape == (32, 32, 3)
    assert found.dtype == np.uint8
    # the middle 32 of a side of 37 (1.143 * 32) in height, of 55.5 in width
    rows, columns = np.arange(32) - 15.5, np.arange(32) - 15.5
    expected = [127.5 + columns * 255 / 55.5, 127.5 + rows * 255 / 37]
    # JPEG, rounding, and the ramp's own steps
    assert np.abs(found[16, :, 0] - expected[0]).max() < 7
    assert np.abs(found[:, 16, 1] - expected[1]).max() < 7
    wide = np.asarray(preprocess_image(image, None, 16, 48, 3, decode=False, alpha=1.0, beta=0.0))
    assert wide.shape == (16, 48, 3)
    scaled = np.asarray(preprocess_image(image, None, 16, 48, 3, decode=False))
    np.testing.assert_allclose(scaled, (wide - 128) / 128, rtol=1e-6, atol=1e-6)


@pytest.mark.keras
def test_resizing_uses_half_pixel_centres(tf):
    image = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    expected = tf.image.resize(image, (2, 2)).numpy()[..., 0]
    np.testing.assert_array_equal(expected, [[2.5, 4.5], [10.5, 12.5]])


@pytest.mark.keras
@pytest.mark.parametrize("decode", [True, False])
def test_training_takes_random_parts(tf, decode):
    image, encoded = ramp(tf)
    given = encoded if decode else image
    tf.random.set_seed(3)
    none = np.zeros((1, 0, 4), np.float32)
    found = [
        np.asarray(preprocess_image(given, none, 24, 20, 3, is_training=True, decode=decode))
        for _ in range(8)
    ]
    assert all(x.shape == (24, 20, 3) and -1 <= x.min() <= x.max() <= 1 for x in found)
    assert len({x.tobytes() for x in found}) > 1
    slopes = {bool(x[12, -1, 0] > x[12, 0, 0]) for x in found}
    assert slopes == {True, False}  # mirrored or not


def write_records(tf, folder, labels, name):
    _, encoded = ramp(tf)

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))

    records = []
    for index, label in enumerate(labels):
        fields = {"image/encoded": encoded, "image/class/label": label}
        if index % 2:
            for corner, value in zip(
                ("xmin", "ymin", "xmax", "ymax"), (0.1, 0.2, 0.6, 0.9), strict=True
            ):
                fields[f"image/object/bbox/{corner}"] = [value, value]
        features = tf.train.Features(feature={k: feature(v) for k, v in fields.items()})
        records.append(tf.train.Example(features=features).SerializeToString())
    with tf.io.TFRecordWriter(str(folder / name)) as writer:
        for record in records:
            writer.write(record)
    return records


@pytest.mark.keras
def test_records_become_batches(tf, tmp_path):
    records = write_records(tf, tmp_path, [1, 1000, 282], "part")
    image, label = parse_record(tf.constant(records[1]), 16, True, "float32")
    assert image.shape == (16, 16, 3)
    assert label.numpy().tolist() == [999]
    files = [str(tmp_path / "part")]
    batches = list(input_fn(False, tmp_path, 2, 16, filenames=files))
    assert [x.shape for x, _ in batches] == [(2, 16, 16, 3), (1, 16, 16, 3)]
    assert np.concatenate([y for _, y in batches]).tolist() == [[0], [999], [281]]
    options = {"drop_remainder": True, "datasets_num_private_threads": 1}
    half = input_fn(
        False,
        tmp_path,
        2,
        16,
        tf.float16,
        tf_data_experimental_slack=True,
        filenames=files,
        **options,
    )
    ((x, _),) = list(half)
    assert x.dtype == tf.float16
    training = input_fn(True, tmp_path, 2, 16, training_dataset_cache=True, filenames=files)
    assert len(list(training.take(4))) == 4  # for ever


@pytest.mark.keras
def test_pipelines_of_several_share_the_files(tf, tmp_path):
    names = []
    for index in range(4):
        write_records(tf, tmp_path, [index + 1], f"part-{index}")
        names.append(str(tmp_path / f"part-{index}"))
    seen = []
    for pipeline in range(2):
        context = tf.distribute.InputContext(2, pipeline, 2)
        part = input_fn(False, tmp_path, 4, 16, input_context=context, filenames=names)
        seen.append([int(y[0]) for _, batch in part for y in batch])
    assert seen == [[0, 2], [1, 3]]


@pytest.mark.keras
def test_an_absent_folder_is_named(tf, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*not downloaded"):
        input_fn(True, tmp_path / "nowhere", 2)
    with pytest.raises(FileNotFoundError, match=r"none of the 1024 files.*train-00000-of-01024"):
        input_fn(True, tmp_path, 2)


@pytest.mark.keras
def test_no_box_is_the_whole_image(tf):
    _, encoded = ramp(tf)
    assert preprocess_image(encoded, None, 16, 16, 3, is_training=True).shape == (16, 16, 3)


@pytest.mark.keras
@pytest.mark.parametrize("is_training", [False, True])
def test_the_pipeline_is_traced_without_warnings(tf, tmp_path, is_training, caplog):
    write_records(tf, tmp_path, [1], "part")
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        for function in (None, lambda *record: parse_record(*record)):
            names = [str(tmp_path / "part")]
            input_fn(is_training, tmp_path, 1, 16, parse_record_fn=function, filenames=names)
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records
