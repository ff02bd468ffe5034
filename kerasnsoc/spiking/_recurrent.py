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
