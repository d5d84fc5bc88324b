"""Dropout in array code, piece by piece: the random numbers take many passes over their piece."""

import math

from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.parallel import run_pieces
from minicnn.kernels.uniform import bits_of


def forward(x: Array, seed: int | Array, p: float) -> Array:
    """Drop the elements of `x` whose uniform number is below `p`, and scale the others by 1 / (1 - p)."""
    xp = array_module(x)
    y = xp.array(x, order="C")  # a copy
    scale, threshold, elements = y.dtype.type(0 if p == 1 else 1 / (1 - p)), math.ceil(p * 2**24), y.reshape(-1)

    def drop(piece: slice) -> None:
        part = elements[piece]
        part *= scale
        part[...] = xp.where(bits_of(xp, seed, piece) < threshold, 0, part)

    run_pieces(drop, elements, 2 * y.itemsize + 8)
    return y


def backward(grad: Array, seed: int | Array, p: float) -> Array:
    """The same elements, the same scale."""
    return forward(grad, seed, p)
