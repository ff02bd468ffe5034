"""ImageNet's input pipeline [1]_; all but the names of the classes needs TensorFlow.

The images are for research and neither ship nor are they downloaded: every function takes them from
the records that the user has.

.. [1] O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 115, 2015.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kerasnsoc._extras import require

if TYPE_CHECKING:
    import tensorflow as tf

NUM_TRAINING_IMAGES = 1_281_167
NUM_VALIDATION_IMAGES = 50_000
NUM_CLASSES = 1000

SHUFFLE_BUFFER = 10_000
_TRAINING_FILES, _VALIDATION_FILES = 1024, 128
_FILES_AT_A_TIME = 10
_RESIZE_FACTOR = 1.143
"""The shorter side before cropping, per side of the crop: 256 for 224."""


def get_filenames(is_training: bool, data_dir: str | os.PathLike[str]) -> list[str]:
    """Names of the record files, whether they exist or not.

    Returns
    -------
    list of str
        1024 of training or 128 of validation.
    """
    if is_training:
        names = [f"train-{k:05d}-of-01024" for k in range(_TRAINING_FILES)]
    else:
        names = [f"validation-{k:05d}-of-00128" for k in range(_VALIDATION_FILES)]
    return [os.path.join(data_dir, name) for name in names]


def input_fn(
    is_training: bool,
    data_dir: str | os.PathLike[str],
    batch_size: int,
    im_size: int = 224,
    dtype: Any = "float32",
    datasets_num_private_threads: int | None = None,
    parse_record_fn: Callable[..., Any] | None = None,
    input_context: Any = None,
    drop_remainder: bool = False,
    tf_data_experimental_slack: bool = False,
    training_dataset_cache: bool = False,
    *,
    filenames: Iterable[str] | None = None,
) -> tf.data.Dataset:
    """Batches of images and labels from record files.

    Parameters
    ----------
    is_training : bool
        Whether images are varied, shuffled and repeated for ever.
    data_dir : path
        Folder of the files that `get_filenames` names.
    batch_size : int
    im_size : int
        Height and width of the images.
    dtype : tf.DType or str
        Of the images.
    datasets_num_private_threads : int, optional
        Threads of a pool for this data set alone.
    parse_record_fn : callable, optional
        By default `parse_record`.
    input_context : tf.distribute.InputContext, optional
        Which part of the files this pipeline of several reads.
    drop_remainder : bool
        Whether to leave out a smaller last batch.
    tf_data_experimental_slack : bool
    training_dataset_cache : bool
        Whether to keep the records of training in memory.
    filenames : iterable of str, optional
        Other files than those of `get_filenames`.

    Returns
    -------
    tf.data.Dataset
        Of images (batch, im_size, im_size, 3) and labels (batch, 1), float32, 0 to 999.

    Raises
    ------
    FileNotFoundError
        If the folder or all the files do not exist.
    ImportError
        If TensorFlow is not installed.
    """
    tf = require("tensorflow", "train")
    if not os.path.isdir(data_dir):
        raise FileNotFoundError(
            f"{os.fspath(data_dir)!r} is no folder. ImageNet is not downloaded: make the records "
            "from your copy and give their folder."
        )
    names = get_filenames(is_training, data_dir) if filenames is None else list(filenames)
    if not any(map(tf.io.gfile.exists, names)):
        raise FileNotFoundError(
            f"{os.fspath(data_dir)!r} holds none of the {len(names)} files"
            + (f", such as {names[0]!r}" if names else "")
            + ". ImageNet is not downloaded: make the records from your copy."
        )
    dataset = tf.data.Dataset.from_tensor_slices(names)
    if input_context is not None and input_context.num_input_pipelines > 1:
        dataset = dataset.shard(input_context.num_input_pipelines, input_context.input_pipeline_id)
    if is_training:
        dataset = dataset.shuffle(len(names))
    dataset = dataset.interleave(
        tf.data.TFRecordDataset,
        cycle_length=_FILES_AT_A_TIME,
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    if is_training and training_dataset_cache:
        dataset = dataset.cache()
    return process_record_dataset(
        dataset,
        is_training,
        batch_size,
        im_size,
        SHUFFLE_BUFFER,
        parse_record if parse_record_fn is None else parse_record_fn,
        dtype,
        datasets_num_private_threads,
        drop_remainder,
        tf_data_experimental_slack,
    )


def process_record_dataset(
    dataset: tf.data.Dataset,
    is_training: bool,
    batch_size: int,
    im_size: int,
    shuffle_buffer: int,
    parse_record_fn: Callable[..., Any],
    dtype: Any = "float32",
    datasets_num_private_threads: int | None = None,
    drop_remainder: bool = False,
    tf_data_experimental_slack: bool = False,
) -> tf.data.Dataset:
    """Shuffle, parse and batch records.

    Parameters
    ----------
    dataset : tf.data.Dataset
        Of serialized records.
    shuffle_buffer : int
        Records to draw the next one from, in training.
    parse_record_fn : callable
        ``(record, im_size, is_training, dtype) -> (image, label)``.

    Other parameters and the result are those of `input_fn`.
    """
    tf = require("tensorflow", "train")
    if datasets_num_private_threads:
        options = tf.data.Options()
        options.threading.private_threadpool_size = datasets_num_private_threads
        dataset = dataset.with_options(options)
    if is_training:
        dataset = dataset.shuffle(shuffle_buffer).repeat()
    dataset = dataset.map(
        lambda record: parse_record_fn(record, im_size, is_training, dtype),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    dataset = dataset.batch(batch_size, drop_remainder=drop_remainder).prefetch(tf.data.AUTOTUNE)
    if tf_data_experimental_slack:
        options = tf.data.Options()
        options.experimental_slack = True
        dataset = dataset.with_options(options)
    return dataset


def parse_record(raw_record: Any, im_size: int, is_training: bool, dtype: Any) -> tuple[Any, Any]:
    """Image and label of a serialized record.

    Parameters
    ----------
    raw_record : scalar string tensor
        An ``Example`` with the fields ``image/encoded``, ``image/class/label`` (1 to 1000) and
        ``image/object/bbox/{xmin,ymin,xmax,ymax}``.
    im_size : int
    is_training : bool
        Whether the image is varied at random.
    dtype : tf.DType or str

    Returns
    -------
    image : tensor, shape (im_size, im_size, 3)
        Of -1 to 1.
    label : tensor of float32, shape (1,)
        0 to 999.
    """
    tf = _tensorflow()
    corners = ("ymin", "xmin", "ymax", "xmax")
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string, ""),
        "image/class/label": tf.io.FixedLenFeature([1], tf.int64, [-1]),
        **{f"image/object/bbox/{name}": tf.io.VarLenFeature(tf.float32) for name in corners},
    }
    record = tf.io.parse_single_example(raw_record, features)
    boxes = [tf.sparse.to_dense(record[f"image/object/bbox/{name}"]) for name in corners]
    image = preprocess_image(
        record["image/encoded"],
        tf.transpose(tf.stack(boxes))[tf.newaxis],
        im_size,
        im_size,
        3,
        is_training,
    )
    return tf.cast(image, dtype), tf.cast(record["image/class/label"], tf.float32) - 1


def preprocess_image(
    image_buffer: Any,
    bbox: Any,
    output_height: int,
    output_width: int,
    num_channels: int,
    is_training: bool = False,
    alpha: float = 128.0,
    beta: float = 128.0,
    decode: bool = True,
) -> Any:
    """Crop and resize an image, at random or centrally, and scale its pixels.

    Parameters
    ----------
    image_buffer : scalar string tensor, or tensor of shape (height, width, channels)
        A JPEG, or its pixels with ``decode=False``.
    bbox : tensor of float32, shape (1, boxes, 4)
        Of objects as ymin, xmin, ymax, xmax, 0 to 1; only training looks at them. None stands for
        the whole image.
    output_height, output_width : int
    num_channels : int
        1 or 3.
    is_training : bool
        Whether a random part is taken, which covers a tenth of a box and 5 to 100 % of the image
        with an aspect ratio of 0.75 to 1.33, and mirrored in half of the cases. Otherwise the
        image is resized, its aspect ratio kept, to 1.143 times the output, and cropped centrally.
    alpha, beta : float
        The result is ``(pixels - beta) / alpha``.
    decode : bool

    Returns
    -------
    tensor of float32, shape (output_height, output_width, num_channels)
    """
    tf = _tensorflow()
    if is_training:
        if bbox is None:
            bbox = tf.zeros((1, 0, 4), tf.float32)
        shape = tf.io.extract_jpeg_shape(image_buffer) if decode else tf.shape(image_buffer)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape,
            bounding_boxes=bbox,
            min_object_covered=0.1,
            aspect_ratio_range=[0.75, 1.33],
            area_range=[0.05, 1.0],
            max_attempts=100,
            use_image_if_no_bounding_boxes=True,
        )
        if decode:
            window = tf.concat([begin[:2], size[:2]], axis=0)
            image = tf.image.decode_and_crop_jpeg(image_buffer, window, channels=num_channels)
        else:
            image = tf.slice(image_buffer, begin, size)
        image = tf.image.random_flip_left_right(image)
        image = tf.image.resize(image, (output_height, output_width))
    else:
        image = image_buffer
        if decode:
            image = tf.io.decode_jpeg(image_buffer, channels=num_channels)
        image = _central_crop(image, output_height, output_width)
    image = tf.ensure_shape(image, (output_height, output_width, num_channels))
    return (tf.cast(image, tf.float32) - beta) / alpha


def resize_and_crop(
    image_buffer: Any, output_height: int, output_width: int, num_channels: int
) -> npt.NDArray[np.uint8]:
    """A JPEG as pixels for an integer model: resized, cropped centrally, rounded.

    Parameters
    ----------
    image_buffer : bytes or scalar string tensor
    output_height, output_width, num_channels : int

    Returns
    -------
    ndarray of uint8, shape (output_height, output_width, num_channels)
    """
    image = preprocess_image(
        image_buffer, None, output_height, output_width, num_channels, alpha=1.0, beta=0.0
    )
    return np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8)


def index_to_label(index: int) -> str:
    """Names of a class, separated by commas.

    Parameters
    ----------
    index : int
        0 to 999, also as an integer of NumPy.

    Raises
    ------
    IndexError
        If there is no such class.

    Examples
    --------
    >>> index_to_label(281)
    'tabby, tabby cat'
    """
    place = operator.index(index)
    if not 0 <= place < NUM_CLASSES:
        raise IndexError(f"class {place} does not exist, indices are 0 to {NUM_CLASSES - 1}")
    return _labels()[place]


@lru_cache(maxsize=1)
def _labels() -> tuple[str, ...]:
    text = (files("kerasnsoc.zoo.imagenet") / "labels.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))


def _tensorflow() -> Any:
    """TensorFlow, for functions that are traced: AutoGraph warns that it cannot read `require`."""
    try:
        import tensorflow
    except ImportError:
        return require("tensorflow", "train")
    return tensorflow


def _central_crop(image: Any, height: int, width: int) -> Any:
    """Resize such that the crop fits with a margin, then take the middle."""
    tf = _tensorflow()
    shape = tf.shape(image)
    rows, columns = (tf.cast(shape[axis], tf.float64) for axis in (0, 1))
    wanted = (round(_RESIZE_FACTOR * height), round(_RESIZE_FACTOR * width))
    ratio = tf.maximum(wanted[0] / rows, wanted[1] / columns)
    size = [tf.cast(tf.round(side * ratio), tf.int32) for side in (rows, columns)]
    image = tf.image.resize(image, size)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return image[top : top + height, left : left + width]
