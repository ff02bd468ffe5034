"""What a chip network may start from: a Keras model, an artifact, or core layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kerasnsoc.artifact.schema import NetworkSpec
from kerasnsoc.nsoc.core_graph import CoreGraph
from kerasnsoc.nsoc.errors import InputConfigurationError
from kerasnsoc.nsoc.transform import transform
from kerasnsoc.nsoc.transform_options import TransformOptions


def build_core_graph(
    model: Any,
    input_shape: tuple[int, int, int] | None = None,
    dvs_input: bool = False,
    options: TransformOptions | None = None,
) -> CoreGraph:
    """The core layers of a model, or of an artifact.

    Parameters
    ----------
    model : keras.Model, path, NetworkSpec, kerasnsoc.runtime.Model or CoreGraph
        A Keras model becomes core layers with float weights; an artifact's layers stay what they
        are. An object with an attribute ``spiking_model`` stands for that model.
    input_shape : tuple of int, (C, H, W), optional
        Only of a Keras model without one.
    dvs_input : bool
        Whether the sensor itself sends events.
    options : TransformOptions, optional

    Returns
    -------
    CoreGraph

    Raises
    ------
    NSoCError
        If the model has no counterpart on a chip; see `kerasnsoc.nsoc.errors`.
    ArtifactError
        If a file is no artifact.
    """
    if isinstance(model, CoreGraph):
        return model
    spec = artifact_of(model)
    if spec is not None:
        from kerasnsoc.nsoc.artifact_graph import artifact_graph

        if input_shape is not None and input_shape != _shape_of(spec):
            raise InputConfigurationError(
                f"input_shape is {input_shape} (features, height, width), but the artifact takes "
                f"{_shape_of(spec)}"
            )
        name = str(model) if isinstance(model, str | os.PathLike) else ""
        return artifact_graph(spec, Path(name).stem)
    from kerasnsoc.nsoc.keras_graph import read_keras

    keras_model = getattr(model, "spiking_model", model)
    return transform(read_keras(keras_model, input_shape), input_shape, dvs_input, options)


def _shape_of(spec: NetworkSpec) -> tuple[int, int, int]:
    height, width, channels = spec.input.shape_hwc
    return channels, height, width


def artifact_of(model: Any) -> NetworkSpec | None:
    """The description behind a path, a runtime model or a description; None for others."""
    if isinstance(model, NetworkSpec):
        return model
    if isinstance(model, str | os.PathLike):
        from kerasnsoc.artifact.reader import load

        return load(model)
    from kerasnsoc.runtime.model import Model

    return model.to_spec() if isinstance(model, Model) else None
