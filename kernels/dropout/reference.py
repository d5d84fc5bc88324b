"""Dropout as loops: the definition."""

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.uniform import uniform


def forward(x: Array, seed: int, p: float) -> Array:
    """Drop the elements of `x` whose uniform number is below `p`, and divide the others by 1 - p."""
    y = np.zeros_like(x)
    for number, index in enumerate(np.ndindex(*x.shape)):
        if uniform(seed, number) >= p:
            y[index] = x[index] / (1 - p)
    return y


def backward(grad: Array, seed: int, p: float) -> Array:
    """The same elements, the same scale."""
    return forward(grad, seed, p)
