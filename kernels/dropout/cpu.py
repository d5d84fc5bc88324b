"""Dropout in one pass: a random number is worked out in registers, a vector of them at a time."""

import math
from typing import Any

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._cpu import workspace
from minicnn.kernels._cpu.flat import in_pieces
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.layout import plain
from minicnn.kernels._cpu.uniform import INT, bits_of, halves
from minicnn.kernels.arrays import Array


def forward(x: Array, seed: int, p: float) -> Array:
    """Drop the elements of `x` whose uniform number is below `p`, and scale the others by 1 / (1 - p)."""
    if x.dtype != np.float32:
        return fall_back("dropout").forward(x, seed, p)
    y = workspace.empty(x.shape)
    scale: Any
    scale, threshold = np.float32(0 if p == 1 else 1 / (1 - p)), INT(math.ceil(p * 2**24))
    low, high = halves(seed)

    def drop(first: int, x: Array, y: Array) -> None:
        _drop(x, y, first, low, high, threshold, scale)

    in_pieces(drop, [plain(x).reshape(-1), y.reshape(-1)])
    return y


def backward(grad: Array, seed: int, p: float) -> Array:
    """The same elements, the same scale."""
    return forward(grad, seed, p)


@compiled
def _drop(x: Array, y: Array, first: int, low: int, high: int, threshold: int, scale: float) -> None:
    zero = np.float32(0)
    for i in range(x.size):
        y[i] = zero if bits_of(INT(first + i), low, high) < threshold else x[i] * scale
