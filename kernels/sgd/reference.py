"""The SGD step as loops: the definition. Source: torch.optim.SGD (dampening 0)."""

import numpy as np

from minicnn.kernels.arrays import Array


def step(
    parameter: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Update `parameter` and `velocity` in place.

    Coupled weight decay adds weight_decay * parameter to the gradient; decoupled shrinks the parameter itself.
    """
    for index in np.ndindex(*parameter.shape):
        slope = grad[index]
        if decoupled:
            parameter[index] *= 1 - lr * weight_decay
        else:
            slope = slope + weight_decay * parameter[index]
        velocity[index] = momentum * velocity[index] + slope
        parameter[index] -= lr * (slope + momentum * velocity[index] if nesterov else velocity[index])
