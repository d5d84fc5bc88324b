"""Randomized leaky ReLU as loops: the definition."""

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.uniform import uniform


def forward(x: Array, seed: int, lower: float, upper: float) -> Array:
    """Multiply the elements of `x` that are not above zero by their slopes."""
    return backward(x, x, seed, lower, upper)


def backward(grad: Array, y: Array, seed: int, lower: float, upper: float) -> Array:
    """Multiply `grad` by the same slopes in the same places."""
    grad_x = np.empty_like(grad)
    for number, index in enumerate(np.ndindex(*grad.shape)):
        slope = lower + (upper - lower) * uniform(seed, number)
        grad_x[index] = grad[index] * (1 if y[index] > 0 else slope)
    return grad_x
