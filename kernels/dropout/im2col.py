"""Dropout in array code, piece by piece: the random numbers take many passes over their piece."""

import math
from types import ModuleType
from typing import Any

from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.parallel import run_pieces


def forward(x: Array, seed: int | Array, p: float) -> Array:
    """Drop the elements of `x` whose uniform number is below `p`, and scale the others by 1 / (1 - p)."""
    xp = array_module(x)
    y = xp.array(x, order="C")  # a copy
    scale, threshold, elements = y.dtype.type(0 if p == 1 else 1 / (1 - p)), math.ceil(p * 2**24), y.reshape(-1)

    def drop(piece: slice) -> None:
        part = elements[piece]
        part *= scale
        part[...] = xp.where(_bits(xp, seed, piece) < threshold, 0, part)

    run_pieces(drop, elements, 2 * y.itemsize + 8)
    return y


def backward(grad: Array, seed: int | Array, p: float) -> Array:
    """The same elements, the same scale."""
    return forward(grad, seed, p)


def _bits(xp: ModuleType, seed: int | Array, piece: slice) -> Array:
    """24 random bits for each element of a piece."""
    h = xp.arange(piece.start, piece.stop, dtype=xp.uint32)
    low, high = _halves(xp, seed)
    h ^= low
    _mix(h)
    h += high
    _mix(h)
    h >>= 8
    return h


def _halves(xp: ModuleType, seed: int | Array) -> tuple[Any, Any]:
    """The low and the high 32 bits."""
    if isinstance(seed, int):
        return xp.uint32(seed % (1 << 32)), xp.uint32(seed >> 32)
    return seed.astype(xp.uint32), (seed >> 32).astype(xp.uint32)


def _mix(h: Array) -> None:
    h ^= h >> 16
    h *= 0x7FEB352D
    h ^= h >> 15
    h *= 0x846CA68B
    h ^= h >> 16
