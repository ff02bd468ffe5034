"""`convert` and `freeze`: from a quantized Keras model to integers, on either side."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from kerasnsoc._version import __version__
from kerasnsoc.artifact import (
    ArtifactError,
    InputConvolutionalParameters,
    InputDataParameters,
    LayerBounds,
    LayerSpec,
    NetworkSpec,
    PoolingType,
    Reason,
    network_bounds,
    validate,
)
from kerasnsoc.conversion import frozen
from kerasnsoc.conversion.blocks import Block, ParsedModel, parse_blocks
from kerasnsoc.conversion.check import require_compatible
from kerasnsoc.conversion.integer import (
    IntegerBlock,
    concat_spec,
    integer_block,
    layer_spec,
)
from kerasnsoc.conversion.thresholds import INT32_MAX, Staircase, exact_thresholds, output_mapping
from kerasnsoc.conversion.time_blocks import TimeModel, is_over_time, parse_over_time
from kerasnsoc.conversion.time_integers import (
    CAP,
    RoundingReport,
    Start,
    TimeIntegers,
    time_integers,
    warn_about_rounding,
)
from kerasnsoc.quantization import QuantizedDense
from kerasnsoc.quantization.transforms import canonicalize
from kerasnsoc.runtime import Model

INPUT_STEP_LIMIT, INPUT_THRESHOLD_LIMIT = 2**20 - 1, 2**23 - 1
STEP_LIMIT, THRESHOLD_LIMIT = 2**16 - 1, 2**19 - 1
"""What the registers of published chips hold: input convolutions, and all other layers."""


@dataclass(frozen=True)
class IntegerModel:
    """A model on integers, before it takes the form of either side.

    Attributes
    ----------
    parsed : ParsedModel
    alpha, beta : Fraction, int
        The network's integers are ``alpha * x + beta`` of its real input.
    blocks : dict
        Blocks with weights, by name.
    stairs : dict
        Activation of every block, by name; None for an output block without one.
    spec : NetworkSpec
        The validated description of the runtime's network.
    """

    parsed: ParsedModel
    alpha: Fraction
    beta: int
    blocks: dict[str, IntegerBlock]
    stairs: dict[str, Staircase | None]
    spec: NetworkSpec


def convert(
    model: keras.Model,
    file_path: str | os.PathLike[str] | None = None,
    input_scaling: tuple[float, int] | None = None,
    input_is_sparse: bool = False,
    *,
    thresholds: Literal["exact", "linear"] = "exact",
    input_bits: int = 4,
    start: Start = "half",
    max_spikes: int | None = None,
    state_bits: int | None = None,
) -> Model:
    """Freeze a quantized Keras model to integers, and optionally to a file.

    Parameters
    ----------
    model : keras.Model
        With quantized layers and activations (`kerasnsoc.quantize`); it is not modified.
    file_path : path, optional
        Where to write the artifact. Missing folders are made, a missing extension becomes ``.h5``,
        an empty base name the model's name. Writing is atomic.
    input_scaling : (float, int), optional
        ``(a, b)``: the integers that the artifact takes are ``a * x + b`` of the values ``x`` that
        the Keras model was trained on. Pixels trained as ``x / 255`` give ``(255, 0)``, pixels
        trained as ``(x - 128) / 128`` give ``(128, 128)``. By default ``(1.0, 0)``, or what a
        leading ``Rescaling`` layer says.
    input_is_sparse : bool
        True for networks fed by events or small integers, whose first layer may be of any kind;
        False for images of 8 bits with 1 or 3 channels.
    thresholds : {"exact", "linear"}
        ``"exact"`` stores a table of integer thresholds that is equivalent to the Keras layers.
        ``"linear"`` stores only a base and a step per neuron, as the public description of the
        original engine has it; rounding of the base then moves some activations by one level.
    input_bits : int
        Bits of the events, with ``input_is_sparse``.
    start : {"half", "zero"}
        Potentials before the first step, of neurons over time that have no seed: half a threshold,
        with which the mean rate is right from the first step, or 0 as in `IAF`. Neurons with a seed
        start where that seed lets a batch of one start.
    max_spikes : int, optional
        Most spikes of a neuron in one step, where `SpikingActivation` and ``IAF(spike_fn="multi")``
        have no limit; what is left over stays in the potential. By default there is none, unless
        the worst case of a deep network would leave 32 bits: then it is 255, with a warning.
    state_bits : int, optional
        8 to 31: bits of a neuron's potential on the chip that is to run the network over time, 16
        on Speck. Thresholds then fit them, weights and biases stay within 8 bits, and potentials
        do not fall below what they hold. By default as many as 32-bit integers leave room for,
        which rounds less.

    Returns
    -------
    Model
        The runtime model. For a model with spiking layers or ``TimeDistributed`` it runs over time;
        what rounding changes in its rates is in its metadata and in `rounding_of`.

    Raises
    ------
    RuntimeError
        If the model breaks a structural rule; see `check_model_compatibility`.
    ValueError
        If the scaling, a bit width or a parameter cannot be converted.
    OverflowError
        If a potential could leave 32 bits, or a threshold `state_bits`.
    SystemError
        If called inside a compiled function.

    See Also
    --------
    freeze : the Keras model that computes the same integers.
    kerasnsoc.conversion.compare : count the values that differ.
    """
    if thresholds not in ("exact", "linear"):
        raise ValueError(f"thresholds is {thresholds!r}, but it must be 'exact' or 'linear'")
    if is_over_time(model):
        over_time = _time_integers_of(
            model, input_scaling, input_is_sparse, input_bits, start, max_spikes, state_bits
        )
        if over_time.parsed.dropped:
            _warn_about(over_time.parsed.dropped[0])
        warn_about_rounding(over_time.rounding)
        network = Model.from_spec(over_time.spec)
        if file_path is not None:
            network.save(_target(file_path, model.name))
        return network
    _refuse_state_bits(state_bits)
    integers = integers_of(
        model,
        input_scaling,
        input_is_sparse,
        input_bits=input_bits,
        tables=thresholds == "exact",
    )
    _warn_about_dropped(integers)
    _warn_about_registers(integers.spec)
    network = Model.from_spec(integers.spec)
    if file_path is not None:
        network.save(_target(file_path, model.name))
    return network


def freeze(
    model: keras.Model,
    input_scaling: tuple[float, int] | None = None,
    input_is_sparse: bool = False,
    *,
    input_bits: int = 4,
    start: Start = "half",
    max_spikes: int | None = None,
    state_bits: int | None = None,
) -> keras.Model:
    """The Keras model that computes exactly what the converted artifact computes.

    Its layers hold the integer weights and thresholds; they exchange real values like those of the
    source, but every activation in it equals the runtime's, for every input whose scaled values
    are integers in range.

    Parameters
    ----------
    model, input_scaling, input_is_sparse, input_bits, start, max_spikes, state_bits
        As for `convert`.

    Returns
    -------
    keras.Model
        A new functional model; each layer bears the name of the runtime's layer. An output layer
        without activation returns the same float32 values as `Model.evaluate`. Over time, layers
        with neurons return spikes in the unit of the source (Hz behind `SpikingActivation`, numbers
        behind `IAF`), equal to the runtime's in every step; the model returns all steps, also where
        the source returned the last one or a mean. Filters are those of the source, in float32.

    Notes
    -----
    Sums run in float32 where they are proven to stay within ``2**24``, else in float64. Potentials
    of neurons over time are 32-bit integers.
    """
    if is_over_time(model):
        from kerasnsoc.conversion.time_frozen import frozen_over_time  # which needs this module

        return frozen_over_time(
            _time_integers_of(
                model, input_scaling, input_is_sparse, input_bits, start, max_spikes, state_bits
            )
        )
    _refuse_state_bits(state_bits)
    integers = integers_of(model, input_scaling, input_is_sparse, input_bits=input_bits)
    return frozen_model(integers)


def rounding_of(
    model: keras.Model,
    input_scaling: tuple[float, int] | None = None,
    input_is_sparse: bool = False,
    *,
    input_bits: int = 4,
    max_spikes: int | None = None,
    state_bits: int | None = None,
) -> RoundingReport:
    """What rounding to integers changes in a model over time, layer by layer.

    Parameters
    ----------
    model, input_scaling, input_is_sparse, input_bits, max_spikes, state_bits
        As for `convert`.

    Returns
    -------
    RoundingReport
        Empty for a model of one pass, whose conversion is exact.
    """
    if not is_over_time(model):
        _refuse_state_bits(state_bits)
        return RoundingReport(())
    return _time_integers_of(
        model, input_scaling, input_is_sparse, input_bits, "half", max_spikes, state_bits
    ).rounding


def _refuse_state_bits(state_bits: int | None) -> None:
    if state_bits is not None:
        raise ValueError(
            f"state_bits is {state_bits!r}, but only neurons over time carry potentials from step "
            f"to step. Leave it out for a model without spiking layers."
        )


def _time_integers_of(
    model: keras.Model,
    input_scaling: tuple[float, int] | None,
    input_is_sparse: bool,
    input_bits: int,
    start: Start,
    max_spikes: int | None,
    state_bits: int | None,
) -> TimeIntegers:
    if not isinstance(input_is_sparse, bool):
        raise TypeError(f"input_is_sparse is {input_is_sparse!r}, but must be True or False")
    if start not in ("half", "zero"):
        raise ValueError(f"start is {start!r}, but it must be 'half' or 'zero'")
    if isinstance(input_bits, bool) or input_bits not in range(1, 9):
        raise ValueError(f"input_bits is {input_bits!r}, but it must be 1 to 8")
    if max_spikes is not None and (
        isinstance(max_spikes, bool) or not isinstance(max_spikes, int) or max_spikes < 1
    ):
        raise ValueError(f"max_spikes is {max_spikes!r}, but it must be None or at least 1")
    if state_bits is not None and (isinstance(state_bits, bool) or state_bits not in range(8, 32)):
        raise ValueError(f"state_bits is {state_bits!r}, but it must be None or 8 to 31")
    _require_eager()
    parsed = parse_over_time(model)
    alpha, beta = _scaling(parsed, input_scaling, input_is_sparse)

    def integers(most: int | None) -> TimeIntegers:
        return time_integers(
            parsed,
            alpha,
            beta,
            input_is_sparse=input_is_sparse,
            input_bits=int(input_bits),
            start=start,
            max_spikes=most,
            state_bits=state_bits,
            metadata=_metadata(parsed),
        )

    try:
        return integers(max_spikes)
    except OverflowError as error:
        if max_spikes is not None:
            raise
        reason = str(error)
    found = integers(CAP)
    warnings.warn(
        f"neurons spike at most {CAP} times per step: without a limit, {reason} Pass "
        f"max_spikes={CAP} to say that this is meant.",
        UserWarning,
        stacklevel=4,
    )
    return found


def integers_of(
    model: keras.Model,
    input_scaling: tuple[float, int] | None,
    input_is_sparse: bool,
    *,
    input_bits: int,
    tables: bool = True,
) -> IntegerModel:
    """Check a model, cut it into blocks and move each of them to integers."""
    if not isinstance(input_is_sparse, bool):
        raise TypeError(f"input_is_sparse is {input_is_sparse!r}, but must be True or False")
    _require_eager()
    require_compatible(model, input_is_sparse)
    parsed = parse_blocks(canonicalize(model, input_is_sparse=input_is_sparse))
    alpha, beta = _scaling(parsed, input_scaling, input_is_sparse)
    blocks: dict[str, IntegerBlock] = {}
    stairs: dict[str, Staircase | None] = {}
    specs: list[LayerSpec] = []
    if input_is_sparse:
        height, width, channels = parsed.input_shape
        specs.append(
            LayerSpec(
                _input_name(parsed),
                InputDataParameters(
                    input_width=width,
                    input_height=height,
                    input_channels=channels,
                    input_bits=input_bits,
                ),
            )
        )
    for block in parsed.blocks:
        if block.is_concat:
            step = _common_staircase(block, stairs)
            stairs[block.name] = step
            specs.append(concat_spec(block, step))
            continue
        producer = stairs[block.inbounds[0]] if block.inbounds else None
        block_alpha = alpha if producer is None else 1 / producer.step_height
        integers = integer_block(block, block_alpha, 0 if block.inbounds else beta)
        blocks[block.name] = integers
        stairs[block.name] = integers.stairs
        inbounds = block.inbounds or ((specs[0].name,) if input_is_sparse else ())
        specs.append(layer_spec(integers, inbounds, tables=tables))
    spec = NetworkSpec(tuple(specs), float(alpha), beta, _metadata(parsed))
    _require_int32(spec)
    validate(spec)
    return IntegerModel(parsed, alpha, beta, blocks, stairs, spec)


def _require_eager() -> None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # only TensorFlow knows whether a function is being traced

        if not tf.executing_eagerly():
            raise SystemError(
                "conversion reads the values of the weights, which is not possible inside a "
                "tf.function. Call it outside, with eager execution enabled."
            )


def _scaling(
    parsed: ParsedModel | TimeModel, given: tuple[float, int] | None, input_is_sparse: bool
) -> tuple[Fraction, int]:
    layer = parsed.rescaling
    if layer is not None:
        if given is not None:
            raise ValueError(
                f"input_scaling is {given}, but the model scales its input itself in layer "
                f"{layer.name!r}. Leave input_scaling out, or remove that layer."
            )
        # integers k enter the model, which computes x = scale * k + offset of them
        factor, offset = Fraction(float(layer.scale)), Fraction(float(layer.offset))
        if factor <= 0:
            raise ValueError(f"layer {layer.name!r}: scale is {layer.scale}, but it must exceed 0")
        scale, shift = 1 / factor, -offset / factor
    else:
        try:
            a, b = (1.0, 0) if given is None else given
            scale, shift = Fraction(float(a)), Fraction(float(b))
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"input_scaling is {given!r}, but it must be a pair (scale, shift) of finite "
                "numbers"
            ) from None
    if scale <= 0:
        raise ValueError(f"the input scale is {float(scale)}, but it must be greater than 0")
    if shift.denominator != 1:
        nearest = round(shift)
        if layer is None or abs(shift - nearest) > Fraction(1, 2**16):
            raise ValueError(
                f"the input shift is {float(shift)}, but it must be a whole number: it is the "
                f"integer that stands for 0 and pads the image. Train with a scaling whose shift "
                f"is one, such as (x - 128) / 128, which is Rescaling(1 / 128, -1)."
            )
        shift = Fraction(nearest)  # 1/255 and the like are not exact in float32
    if not 2.0**-64 < scale < 2.0**64:
        raise ValueError(
            f"the input scale is {float(scale)}, but it must lie between 2**-64 and 2**64: "
            f"thresholds are stored as 32-bit numbers. It is integers per unit of the Keras input."
        )
    if input_is_sparse and shift:
        raise ValueError(
            f"the input shift is {int(shift)}, but events have no value for 'nothing happened' "
            f"except 0. Use input_scaling=(scale, 0) with input_is_sparse=True."
        )
    if not 0 <= shift <= 255:
        raise ValueError(f"the input shift is {int(shift)}, but image values are 0 to 255")
    return scale, int(shift)


def _input_name(parsed: ParsedModel) -> str:
    taken = {block.name for block in parsed.blocks}
    name = f"{parsed.blocks[0].name}_input"
    while name in taken:
        name += "_"
    return name


def _common_staircase(block: Block, stairs: dict[str, Staircase | None]) -> Staircase:
    found = {stairs[name] for name in block.inbounds}
    alike = {(s.bits, s.step_height) for s in found if s is not None}
    if None in found or len(alike) != 1:
        raise RuntimeError(
            f"layer {block.name!r} joins {list(block.inbounds)}, whose activations differ in bits "
            f"or step height: {sorted((b, float(g)) for b, g in alike)}. Give them the same bits "
            f"with quantize_layer, and the same step with equalize_steps."
        )
    return next(s for s in found if s is not None)


def _require_int32(spec: NetworkSpec) -> None:
    try:
        bounds = network_bounds(spec)
    except ArtifactError as error:
        if error.reason is not Reason.OVERFLOW:
            raise
        raise OverflowError(str(error)) from None
    for name, bound in bounds.items():
        if bound.partial > INT32_MAX:
            raise OverflowError(
                f"layer {name!r}: a potential could reach {bound.partial}, beyond the 32-bit "
                f"{INT32_MAX}. Use fewer inputs per neuron, or fewer bits."
            )


def _metadata(parsed: ParsedModel | TimeModel) -> dict[str, Any]:
    return {
        "name": parsed.name,
        "producer": {
            "kerasnsoc": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }


def _warn_about_dropped(integers: IntegerModel) -> None:
    dropped = [name for block in integers.parsed.blocks for name in block.dropped]
    if dropped:
        _warn_about(dropped[0])


def _warn_about(dropped: str) -> None:
    warnings.warn(
        f"layer {dropped!r} behind the last neural layer is left out of the artifact: it "
        f"returns the values in front of it. Their argmax is the same if the function is "
        f"increasing.",
        UserWarning,
        stacklevel=4,
    )


def _warn_about_registers(spec: NetworkSpec) -> None:
    wide = []
    averaged = False
    for layer in spec.layers:
        if "threshold_fire" not in layer.variables or not layer.variables["threshold_fire"].size:
            continue
        is_input = isinstance(layer.parameters, InputConvolutionalParameters)
        fire_limit = INPUT_THRESHOLD_LIMIT if is_input else THRESHOLD_LIMIT
        step_limit = INPUT_STEP_LIMIT if is_input else STEP_LIMIT
        fire = np.abs(layer.variables["threshold_fire"].astype(np.int64)).max()
        step = layer.variables["threshold_fire_step"].max()
        if fire > fire_limit or step > step_limit:
            averaged |= getattr(layer.parameters, "pooling_type", None) is PoolingType.Average
            wide.append(
                f"{layer.name} (threshold {fire} of {fire_limit}, step {step:.6g} of {step_limit})"
            )
    if wide:
        warnings.warn(
            "these layers run in software, but exceed the registers of published chips: "
            + "; ".join(wide)
            + ". Large steps come from small weights or gammas (train with add_gamma_constraint)"
            + (", and from averaging over many positions (pool before)." if averaged else "."),
            UserWarning,
            stacklevel=3,
        )


def _target(file_path: str | os.PathLike[str], name: str) -> Path:
    text = os.fspath(file_path)
    if not isinstance(text, str) or "\0" in text:
        raise ValueError(f"file_path is {text!r}, but it must be a path as text")
    path = Path(text)
    if text.endswith(("/", os.sep)) or path.is_dir() or not path.name:
        path = path / name
    elif path.name == ".h5":
        path = path.with_name(name)
    if path.suffix == ".keras":
        raise ValueError(
            f"file_path is {text!r}, but an artifact is an HDF5 file and no Keras model. Name it "
            f"{path.with_suffix('.h5').name!r}, or save the Keras model with model.save."
        )
    if not path.suffix:
        path = path.with_name(path.name + ".h5")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def frozen_model(integers: IntegerModel) -> keras.Model:
    """The Keras model of these integers; see `freeze`."""
    parsed = integers.parsed
    bounds = network_bounds(integers.spec)
    source = keras.Input(parsed.keras_shape, name=f"{parsed.name}_values", dtype="float32")
    values = source
    if parsed.rescaling is not None:
        values = keras.layers.Rescaling.from_config(parsed.rescaling.get_config())(source)
    tensors: dict[str, Any] = {}
    pending: list[tuple[frozen.FrozenBlock, IntegerBlock]] = []
    for block in parsed.blocks:
        feeding = [tensors[name] for name in block.inbounds] or [values]
        if block.is_concat:
            tensors[block.name] = keras.layers.Concatenate(name=block.name)(feeding)
            continue
        layer = frozen_layer(integers.blocks[block.name], bounds[block.name])
        arriving = feeding[0]
        if len(arriving.shape) == 2 and not isinstance(layer, frozen.FrozenDense):
            arriving = keras.layers.Reshape(block.input_shape)(arriving)
        tensors[block.name] = layer(arriving)
        pending.append((layer, integers.blocks[block.name]))
    model = keras.Model(source, tensors[parsed.blocks[-1].name], name=f"{parsed.name}_frozen")
    for layer, block_integers in pending:
        require_dtypes(layer)
        fill(layer, block_integers)
    return model


def require_dtypes(layer: keras.layers.Layer) -> None:
    """JAX quietly makes float32 of float64 unless it is told not to."""
    for constant in layer.weights:
        stored = keras.backend.standardize_dtype(constant.value.dtype)
        if stored != constant.dtype:
            raise RuntimeError(
                f"layer {layer.name!r}: the exact forward needs {constant.dtype}, but the backend "
                f"{keras.backend.backend()!r} gives {stored}. Set JAX_ENABLE_X64=1 before Python "
                f"starts, or use the TensorFlow backend."
            )


def frozen_layer(
    integers: IntegerBlock, bound: LayerBounds, *, only_potentials: bool = False, codes: int = 255
) -> frozen.FrozenBlock:
    """A frozen layer, still empty, whose accumulator holds all sums; `codes` bounds its input."""
    block, stairs = integers.block, integers.stairs
    # the shift is added to sums of unshifted codes: twice the bound covers both
    partial = 2 * bound.partial if integers.affine.beta else bound.partial
    # the pointwise stage multiplies depthwise sums, of which TF32 keeps 11 bits
    depthwise = max(-bound.depthwise_low, bound.depthwise_high)
    largest = max(depthwise, codes)
    fits = partial <= frozen.FLOAT32_EXACT and largest < frozen.TF32_EXACT
    bits = None if only_potentials else 0
    common: dict[str, Any] = {
        "alpha": float(integers.affine.alpha),
        "beta": integers.affine.beta,
        "bits": bits if stairs is None else stairs.bits,
        "step_height": 1.0 if stairs is None else float(stairs.step_height),
        "pooling": block.pooling,
        "pool_size": block.pool_size,
        "pool_strides": block.pool_strides,
        "accumulator": "float32" if fits else "float64",
        "dtype": "float32",
        "name": block.name,
    }
    if isinstance(block.neural, QuantizedDense):
        return frozen.FrozenDense(integers.neurons, **common)
    kind = frozen.FrozenConv2D if integers.weights_pw is None else frozen.FrozenSeparableConv2D
    return kind(
        integers.neurons,
        kernel_size=block.neural.kernel_size,
        strides=block.neural.strides,
        padding=block.neural.padding,
        pool_padding=block.neural.padding,
        **common,
    )


def fill(layer: frozen.FrozenBlock, integers: IntegerBlock) -> None:
    """Give a built frozen layer its integers."""
    affine = integers.affine
    if integers.weights_pw is not None:
        layer.depthwise_kernel.assign(integers.weights)
        layer.pointwise_kernel.assign(integers.weights_pw)
    else:
        layer.kernel.assign(integers.weights)
    if affine.beta:
        layer.offset.assign(affine.beta * np.array(affine.weight_sums, np.float64))
    if layer.bits is None:
        return
    if integers.stairs is None:
        scale, shift = output_mapping(affine)
        layer.scale.assign(scale)
        layer.shift.assign(shift)
        return
    table = exact_thresholds(affine, integers.stairs).astype(np.float64)
    if layer.accumulator == "float32":
        # potentials stay within 2**24; these ends of the table compare like all beyond them
        table = np.clip(table, -frozen.FLOAT32_EXACT - 2, frozen.FLOAT32_EXACT)
    layer.thresholds.assign(table.ravel())
