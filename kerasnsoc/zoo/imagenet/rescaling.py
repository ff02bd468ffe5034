"""Networks for images of another size, with the same weights."""

from __future__ import annotations

import keras


def rescale_model(model: keras.Model, image_size: int) -> keras.Model:
    """Get a copy of a model that takes square images of another size.

    Parameters
    ----------
    model : keras.Model
        With one image as input, shape (rows, columns, channels); never modified. Its weights must
        not depend on the size, as in `mobilenet_imagenet`.
    image_size : int
        Rows and columns.

    Returns
    -------
    keras.Model
        Not compiled. A size in the name, as ``mobilenet_0.50_96_10`` has it, becomes the new one.

    Raises
    ------
    ValueError
        If the input is no image, the size is not positive or too small for the layers, or a weight
        depends on it.
    """
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = [tuple(tensor.shape) for tensor in model.inputs]
        raise ValueError(
            f"model {model.name!r} has inputs of shape {shapes}, but only a model with one image "
            "(batch, rows, columns, channels) can be rescaled"
        )
    if image_size < 1:
        raise ValueError(f"image_size is {image_size}, but must be at least 1")
    _, rows, _, channels = model.inputs[0].shape
    image = keras.Input((image_size, image_size, channels), name="input")
    # a functional model may have its one input in a list
    inputs = keras.tree.map_structure(lambda _: image, model.input)
    copied = keras.models.clone_model(model, input_tensors=inputs)
    weights = model.get_weights()
    for old, new in zip(model.weights, copied.weights, strict=True):
        if tuple(old.shape) != tuple(new.shape):
            raise ValueError(
                f"weight {old.path!r} has the shape {tuple(old.shape)}, but {tuple(new.shape)} for "
                f"images of {image_size} x {image_size}. Train a new model for this size."
            )
    copied.set_weights(weights)
    name = model.name.replace(f"_{rows}_", f"_{image_size}_")
    return keras.Model(image, copied.outputs[0], name=name)
