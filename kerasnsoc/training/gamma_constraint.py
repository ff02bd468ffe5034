"""The lower bound of batch-normalization scales, under the name that users of training know."""

from kerasnsoc.quantization.constraints import (
    MinValueConstraint,
    add_gamma_constraint,
)

__all__ = ["MinValueConstraint", "add_gamma_constraint"]
