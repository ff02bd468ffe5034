"""ImageNet: records of images for training, names of the classes."""

from kerasnsoc.zoo.imagenet.preprocessing import (
    get_filenames,
    index_to_label,
    input_fn,
    parse_record,
    preprocess_image,
    process_record_dataset,
    resize_and_crop,
)

__all__ = [
    "get_filenames",
    "index_to_label",
    "input_fn",
    "parse_record",
    "preprocess_image",
    "process_record_dataset",
    "resize_and_crop",
]
