"""Dropout as loops: the definition. The caller draws the random numbers, so that all rungs drop the same."""

import numpy as np

from minicnn.kernels.arrays import Array


def forward(x: Array, uniform: Array, p: float) -> tuple[Array, Array]:
    """Drop the elements of `x` whose `uniform` number in [0, 1) is below `p`: the output and what was kept."""
    y, kept = np.zeros_like(x), np.zeros(x.shape, np.bool_)
    for index in np.ndindex(*x.shape):
        kept[index] = uniform[index] >= p
        if kept[index]:
            y[index] = x[index] / (1 - p)
    return y, kept


def backward(grad: Array, kept: Array, p: float) -> Array:
    """Pass the gradient through where the element was kept."""
    grad_x = np.zeros_like(grad)
    for index in np.ndindex(*grad.shape):
        if kept[index]:
            grad_x[index] = grad[index] / (1 - p)
    return grad_x
