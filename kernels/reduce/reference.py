"""Sums as loops: the definition."""

import numpy as np

from minicnn.kernels.arrays import Array


def total(x: Array) -> Array:
    """The sum of all elements."""
    total = x.dtype.type(0)
    for index in np.ndindex(*x.shape):
        total += x[index]
    return np.asarray(total, x.dtype)


def squares(x: Array) -> Array:
    """The sum of all squares, in float64."""
    total = np.float64(0)
    for index in np.ndindex(*x.shape):
        total += np.float64(x[index]) ** 2
    return np.asarray(total)
