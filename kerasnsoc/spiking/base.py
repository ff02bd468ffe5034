"""What all spiking cells and layers share: size, time step, phase, state, layout of time."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops

from kerasnsoc.spiking._graph import mask_of
from kerasnsoc.spiking._jax import refuse_fixed_time_step, refuse_lost_state
from kerasnsoc.spiking._recurrent import Recurrent
from kerasnsoc.spiking._time_step import TimeStep

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="kerasnsoc")
class KerasSpikingCell(keras.layers.Layer):
    """One time step of a spiking or filtering layer; the base of all cells.

    A subclass supplies `call_training` and `call_inference`. Cells work in a plain
    `keras.layers.RNN` as well, as long as their size has one dimension; note that
    ``RNN.reset_state`` writes zeros there, whatever the cell's initial state is, and that with the
    JAX backend a Variable as `dt` is refused in compiled functions only where no `initial_state` is
    given: inside the loop a cell cannot tell.

    Parameters
    ----------
    size : int, tuple of int, or object with ``as_list()``
        Shape of the input, the output and (by default) the state of one sample.
    state_size : int, optional
        Elements of the state of one sample; the product of `size` if left out.
    dt : float or Variable, optional
        Length of one time step in seconds; None is ``config.default.dt`` at this moment.
    always_use_inference : bool
        Whether `call_inference` also serves training.
    **kwargs
        As of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If a size is not a positive integer, or `dt` is not a finite number above 0.

    Notes
    -----
    *Input shape*: (batch, \\*size). *Output shape*: the same, and a list with one state.
    """

    def __init__(
        self,
        size: Any,
        state_size: int | None = None,
        dt: Any = None,
        always_use_inference: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _checked_size(size, self.name)
        self.state_size = math.prod(self.size) if state_size is None else state_size
        self.always_use_inference = always_use_inference
        self._time_step = TimeStep(dt, f"cell {self.name!r}")

    @property
    def dt(self) -> Any:
        """Seconds per step: the number in use, or the Variable that was passed."""
        return self._time_step.source

    @property
    def output_size(self) -> int | tuple[int, ...]:
        """An int for one dimension; `keras.layers.RNN` refuses a tuple loudly, as it must."""
        return self.size[0] if len(self.size) == 1 else self.size

    def call(self, inputs: Any, states: Any, training: Any = None) -> tuple[Any, list[Any]]:
        if self.always_use_inference:
            return self.call_inference(inputs, states)
        if training is None or isinstance(training, bool | int | np.bool_):
            step = self.call_training if training else self.call_inference
            return step(inputs, states)
        # Only the branch in force may run: a NaN of the other one would reach the gradient.
        return ops.cond(
            training,
            lambda: self.call_training(inputs, states),
            lambda: self.call_inference(inputs, states),
        )

    def call_training(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        """Step of the training phase: ``(output, [new_state])``."""
        raise NotImplementedError(f"{type(self).__name__} must implement call_training")

    def call_inference(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        """Step of the inference phase: ``(output, [new_state])``."""
        raise NotImplementedError(f"{type(self).__name__} must implement call_inference")

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: str | None = None
    ) -> list[Any]:
        """State before the first step: zeros.

        Parameters
        ----------
        inputs : tensor, optional
            Gives the batch size if `batch_size` is None.
        batch_size : int or tensor, optional
        dtype : str, optional
            Default: the cell's compute dtype.

        Returns
        -------
        list of one tensor
        """
        shape = self.size if self.state_size == math.prod(self.size) else (self.state_size,)
        batch, dtype = self._batch_and_dtype(inputs, batch_size, dtype)
        return [ops.zeros((batch, *shape), dtype=dtype)]

    def _batch_and_dtype(self, inputs: Any, batch_size: Any, dtype: str | None) -> tuple[Any, str]:
        # a plain RNN asks for the state outside its loop, inside of which everything is compiled
        refuse_fixed_time_step(self)
        if batch_size is None:
            if inputs is None:
                raise ValueError(
                    f"get_initial_state of cell {self.name!r} needs batch_size or inputs, got "
                    "neither"
                )
            batch_size = ops.shape(inputs)[0]
        return batch_size, dtype or self.compute_dtype

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": list(self.size), "dt": float(self._time_step)}


@keras.saving.register_keras_serializable(package="kerasnsoc")
class KerasSpikingLayer(keras.layers.Layer):
    """A cell stepped over the time axis; the base of all spiking and filtering layers.

    A subclass supplies `build_cell`. The cell and the loop around it are found as
    ``layer.layer.cell`` and ``layer.layer`` once the layer is built.

    Parameters
    ----------
    dt : float or Variable, optional
        Length of one time step in seconds; None is ``config.default.dt`` at this moment. A
        Variable is read at each call, also in compiled functions (JAX refuses those); it is not a
        weight of the layer, is not trained and not saved.
    return_sequences : bool
        Whether to return all time steps or only the last one.
    return_state : bool
        Whether to return the final state as well.
    stateful : bool
        Whether the next call goes on where this one ends, sample by sample. Needs a fixed batch
        size. The kept state is no weight and is not saved.
    unroll : bool
        Whether to write out the loop; needs a fixed number of time steps.
    time_major : bool
        Whether time is the first axis and the batch the second, in inputs, outputs and masks.
        States are batch-first in both layouts.
    **kwargs
        As of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If an argument is unknown or `dt` is not a finite number above 0; when it is built, if the
        input has fewer than three axes or an undefined feature axis, or if unrolling or
        statefulness lack a fixed shape.
    NotImplementedError
        With the JAX backend, if the layer is compiled with a Variable as `dt`, or is stateful in
        `fit`, `evaluate` or `predict`.

    Notes
    -----
    *Input shape*: (batch, time, \\*size), or (time, batch, \\*size) if `time_major`.
    *Output shape*: the same, or (batch, \\*size) without `return_sequences`; with `return_state` a
    tuple of it and the state.

    In half precision policies, the cell computes in float32 and only the output is cast.

    A mask freezes the state of masked steps and repeats their last output. Keras divides an
    ``activity_regularizer`` by the first axis of each output (by time if `time_major`) and also
    applies it to a returned state.
    """

    SPIKE_UNIT: ClassVar[Literal["hz", "count"] | None] = None
    """What outputs are: spikes per second, spikes per step, or no spikes at all."""

    def __init__(
        self,
        dt: Any = None,
        return_sequences: bool = True,
        return_state: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        time_major: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Keras would round inputs to half precision under a mixed policy before `call` sees them.
        self.autocast = False
        self.supports_masking = True
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.stateful = stateful
        self.unroll = unroll
        self.time_major = time_major
        self.layer: Any = None
        self.observer: Any = None
        self._time_step = TimeStep(dt, f"layer {self.name!r}")

    @property
    def dt(self) -> Any:
        """Seconds per step: the number in use, or the Variable that was passed."""
        return self._time_step.source

    @property
    def seconds_per_step(self) -> float:
        """The time step as a number, now."""
        return float(self._time_step)

    @property
    def inner_dtype(self) -> str:
        """What the cell computes in: float32 where the layer's own dtype is a half one.

        In half precision a filter's steps round to nothing before it has settled.
        """
        dtype: str = self.compute_dtype
        return "float32" if dtype in ("float16", "bfloat16") else dtype

    @property
    def cell_options(self) -> dict[str, Any]:
        """Arguments that `build_cell` should hand to its cell."""
        return {
            "dt": self.dt,
            "dtype": self.inner_dtype,
            # Always the same, so that paths of variables do not depend on what was made before.
            "name": "cell",
        }

    def build_cell(self, input_shape: Shape) -> KerasSpikingCell:
        """The cell for inputs of that shape, whose size is ``input_shape[2:]``."""
        raise NotImplementedError(f"{type(self).__name__} must implement build_cell")

    def state_shape(self, batch: int | None, size: tuple[int, ...]) -> Shape:
        """Shape of the state that the layer takes and returns."""
        return (batch, *size)

    def build(self, input_shape: Any) -> None:
        batch, time, size = self._checked_shape(input_shape)
        if self.unroll and time is None:
            raise ValueError(
                f"layer {self.name!r} cannot unroll a loop over an undefined number of time steps "
                f"(input shape {tuple(input_shape)}). Give the input a fixed length, or leave out "
                "unroll=True."
            )
        if self.stateful and batch is None:
            raise ValueError(
                f"layer {self.name!r} is stateful and needs a fixed batch size, but its input "
                f"shape is {tuple(input_shape)}. Pass batch_shape=... to keras.Input."
            )
        cell = self.build_cell(tuple(input_shape))
        loop = Recurrent(
            cell,
            return_sequences=self.return_sequences,
            return_state=self.return_state,
            stateful=self.stateful,
            unroll=self.unroll,
            dtype=cell.dtype_policy,
            name="loop",
        )
        self.layer = loop
        loop.build((batch, time, *size))
        loop.built = True
        if not self.trainable:
            # Keras passes this on only to layers that are there when it is set.
            loop.trainable = False

    def call(
        self,
        inputs: Any,
        training: Any = None,
        initial_state: Any = None,
        constants: Any = None,
        mask: Any = None,
    ) -> Any:
        self._check_constants(constants)
        refuse_fixed_time_step(self)
        refuse_lost_state(self)
        if mask is None:
            # Keras looks up the mask by itself only if there is no second tensor argument.
            mask = mask_of(inputs)
        inputs = ops.cast(inputs, self.layer.compute_dtype)
        if self.time_major:
            inputs = _swap_time_and_batch(inputs)
            mask = None if mask is None else _swap_time_and_batch(mask)
        arguments = {} if training is None else {"training": training}
        if initial_state is not None:
            arguments["initial_state"] = [self._taken_state(initial_state, inputs.shape[0])]
        outputs = self.layer(inputs, mask=mask, **arguments)
        y, *states = outputs if self.return_state else (outputs,)
        self._observe(y, training)
        if self.time_major and self.return_sequences:
            y = _swap_time_and_batch(y)
        y = ops.cast(y, self.compute_dtype)
        return (y, self._given_state(states[0])) if self.return_state else y

    def _observe(self, spikes: Any, training: Any) -> None:
        """Tell a monitor what a step of training put out."""
        if self.observer is None or not isinstance(training, bool | int) or not training:
            return
        if self.SPIKE_UNIT == "count":
            spikes = ops.divide(spikes, self._time_step.tensor(spikes.dtype))
        self.observer.add(spikes)

    def reset_states(self, states: Any = None) -> None:
        """Set the kept state of a stateful layer.

        Parameters
        ----------
        states : tensor, array or list of one, optional
            What to go on from; the cell's initial state if left out.

        Raises
        ------
        ValueError
            If `states` is given, but has the wrong shape or the layer keeps none.
        """
        kept = None if self.layer is None else self.layer.states
        if states is None:
            if kept is not None:
                self.layer.reset_state()
            return
        if kept is None:
            raise ValueError(
                f"layer {self.name!r} keeps no state that could be set: it is "
                f"{'not built yet' if self.stateful else 'not stateful'}"
            )
        self.layer.reset_state([self._taken_state(states, kept[0].shape[0])])

    def reset_state(self, states: Any = None) -> None:
        """The same as `reset_states`."""
        self.reset_states(states)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, _, size = self._checked_shape(input_shape)
        output = tuple(input_shape) if self.return_sequences else (batch, *size)
        return (output, self.state_shape(batch, size)) if self.return_state else output

    def compute_output_spec(
        self,
        inputs: Any,
        training: Any = None,
        initial_state: Any = None,
        constants: Any = None,
        mask: Any = None,
    ) -> Any:
        self._check_constants(constants)
        shape = self.compute_output_shape(inputs.shape)
        if not self.return_state:
            return keras.KerasTensor(shape, dtype=self.compute_dtype)
        return (
            keras.KerasTensor(shape[0], dtype=self.compute_dtype),
            keras.KerasTensor(shape[1], dtype=self.inner_dtype),
        )

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        if isinstance(previous_mask, list | tuple):
            previous_mask = previous_mask[0]
        mask = previous_mask if self.return_sequences else None
        return [mask, None] if self.return_state else mask

    def get_config(self) -> dict[str, Any]:
        """All arguments as plain values; of a Variable `dt`, the number that it holds now."""
        return {
            **super().get_config(),
            "dt": float(self._time_step),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "time_major": self.time_major,
        }

    def _checked_shape(self, input_shape: Any) -> tuple[int | None, int | None, tuple[int, ...]]:
        """Batch, time and size of an input shape."""
        shape = tuple(input_shape)
        layout = "(time, batch, ...)" if self.time_major else "(batch, time, ...)"
        if len(shape) < 3:
            raise ValueError(
                f"layer {self.name!r} got an input of shape {shape}, but it needs at least three "
                f"axes {layout}. Add the time axis, for instance with keras.layers.Reshape."
            )
        size = shape[2:]
        if any(length is None for length in size):
            raise ValueError(
                f"layer {self.name!r} got an input of shape {shape}, but only batch and time may "
                f"be undefined in {layout}. Define the feature axes."
            )
        batch, time = (shape[1], shape[0]) if self.time_major else shape[:2]
        return batch, time, size

    def _check_constants(self, constants: Any) -> None:
        if constants is not None:
            raise ValueError(
                f"layer {self.name!r} got constants, but its cells take none. Leave the argument "
                "out."
            )

    def _taken_state(self, state: Any, batch: int | None) -> Any:
        """A state as the user passes it, checked and in the layout of the cell."""
        if isinstance(state, list | tuple):
            if len(state) != 1:
                raise ValueError(
                    f"layer {self.name!r} has one state, but got a list of {len(state)}"
                )
            state = state[0]
        cell = self.layer.cell
        state = ops.convert_to_tensor(state, dtype=cell.compute_dtype)
        expected = self.state_shape(batch, cell.size)
        found = tuple(state.shape)
        if len(found) != len(expected) or any(
            None not in pair and pair[0] != pair[1] for pair in zip(found, expected, strict=True)
        ):
            raise ValueError(
                f"layer {self.name!r} got a state of shape {found}, but it must be {expected}"
            )
        return self._to_cell(state)

    def _to_cell(self, state: Any) -> Any:
        return state

    def _given_state(self, state: Any) -> Any:
        """A state of the cell in the layout that the user sees."""
        return state


def _swap_time_and_batch(tensor: Any) -> Any:
    return ops.swapaxes(tensor, 0, 1)


def _checked_size(size: Any, name: str) -> tuple[int, ...]:
    entries = size.as_list() if hasattr(size, "as_list") else size
    if isinstance(entries, int | np.integer):
        entries = (entries,)
    if (
        not isinstance(entries, list | tuple)
        or not entries
        or any(isinstance(n, bool) or not isinstance(n, int | np.integer) for n in entries)
        or min(entries) < 1
    ):
        raise ValueError(
            f"size of cell {name!r} is {size!r}, but it must be a positive integer or a tuple of "
            "positive integers"
        )
    return tuple(int(n) for n in entries)
