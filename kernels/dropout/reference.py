"""Dropout as loops: the definition."""

import math

import numpy as np

from minicnn.kernels.arrays import Array


def forward(x: Array, seed: int, p: float) -> Array:
    """Drop the elements of `x` whose uniform number is below `p`, and divide the others by 1 - p."""
    y = np.zeros_like(x)
    for number, index in enumerate(np.ndindex(*x.shape)):
        if _uniform(seed, number) >= p:
            y[index] = x[index] / (1 - p)
    return y


def backward(grad: Array, seed: int, p: float) -> Array:
    """The same elements, the same scale."""
    return forward(grad, seed, p)


def _uniform(seed: int, number: int) -> float:
    """A number in [0, 1) for each element."""
    low, high = seed % (1 << 32), seed >> 32
    return math.ldexp(_mix((_mix(number ^ low) + high) % (1 << 32)) >> 8, -24)


def _mix(h: int) -> int:
    h = (h ^ h >> 16) * 0x7FEB352D % (1 << 32)
    h = (h ^ h >> 15) * 0x846CA68B % (1 << 32)
    return h ^ h >> 16
