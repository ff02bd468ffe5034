"""The loop over time inside a spiking layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Recurrent(keras.layers.RNN):
    """`keras.layers.RNN` for cells of any rank, whose reset returns to their own initial state."""

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        batch, time = sequences_shape[:2]
        size = self.cell.size
        output = (batch, time, *size) if self.return_sequences else (batch, *size)
        if not self.return_state:
            return output
        # One state; its elements are laid out as the cell keeps them.
        state = self.cell.get_initial_state(batch_size=1)[0]
        return output, (batch, *state.shape[1:])

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: Any = False
    ) -> tuple[Any, Any, list[Any]]:
        # On JAX the loop of Keras takes the state for the output that a masked step repeats, and
        # spreads the mask over the wrong axes of a state with more than two.
        if mask is None or self.unroll or keras.backend.backend() != "jax":
            return super().inner_loop(sequences, initial_state, mask, training)

        def step(carried: tuple[Any, Any], arrived: tuple[Any, Any]) -> tuple[Any, Any]:
            x, counts = arrived
            output, (state,) = self.cell(x, [carried[1]], training=training)
            carried = tuple(
                ops.where(ops.reshape(counts, (-1, *[1] * (new.ndim - 1))), new, old)
                for new, old in zip((output, state), carried, strict=True)
            )
            return carried, carried[0]

        sequences, mask = ops.swapaxes(sequences, 0, 1), ops.swapaxes(mask, 0, 1)
        (state,) = [initial_state] if not isinstance(initial_state, list | tuple) else initial_state
        start = (ops.zeros_like(sequences[0]), state)
        (last, state), outputs = ops.scan(step, start, (sequences, mask))
        return last, ops.swapaxes(outputs, 0, 1), [state]

    def reset_state(self, states: Any = None) -> None:
        """Refill the kept states: with `states`, or with what the cell starts from."""
        if self.states is None:
            return
        if states is None:
            states = self.get_initial_state(ops.shape(self.states[0])[0])
        for variable, value in zip(self.states, states, strict=True):
            variable.assign(ops.cast(value, variable.dtype))

    def reset_states(self, states: Any = None) -> None:
        self.reset_state(states)
