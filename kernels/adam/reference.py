"""The Adam step as loops: the definition.

Source: D. Kingma, J. Ba, "Adam", 2015, algorithm 1; decoupled weight decay as I. Loshchilov, F. Hutter, 2019.
"""

import math

import numpy as np

from minicnn.kernels.arrays import Array


def step(
    parameter: Array,
    grad: Array,
    first: Array,
    second: Array,
    count: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Update `parameter` and its `first` and `second` moments in place; `count` is 1 at the first step."""
    for index in np.ndindex(*parameter.shape):
        slope = grad[index]
        if decoupled:
            parameter[index] *= 1 - lr * weight_decay
        else:
            slope = slope + weight_decay * parameter[index]
        first[index] = betas[0] * first[index] + (1 - betas[0]) * slope
        second[index] = betas[1] * second[index] + (1 - betas[1]) * slope**2
        mean = first[index] / (1 - betas[0] ** count)
        square = second[index] / (1 - betas[1] ** count)
        parameter[index] -= lr * mean / (math.sqrt(square) + eps)
