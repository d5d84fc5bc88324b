"""What all kernels know of arrays: which module made one, and how large a piece of work fits the cache."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A NumPy array or a CuPy array. They answer to the same methods but share no type, hence Any to a type checker."""

CACHE_BYTES = 1 << 20
"""Working set aimed at by kernels that go through a batch piece by piece: one core's second-level cache."""


def array_module(array: Array) -> ModuleType:
    """NumPy or CuPy, whichever made `array` (the field calls it `xp`)."""
    return np if is_numpy(array) else sys.modules["cupy"]


def is_numpy(array: Array) -> bool:
    """Whether `array` lives on the CPU."""
    return isinstance(array, np.ndarray | np.generic)


def rows_of(*arrays: Array) -> tuple[list[Array], Iterator[slice]]:
    """Arrays of one shape, and slices of their first axis that keep a piece of all of them in the cache.

    Slices of any array are views, so that a piece can be changed in place. A flattened array is a copy where the
    array's memory is in another order, and changes to it are lost.
    """
    rows = [array_module(array).atleast_1d(array) for array in arrays]
    count = len(rows[0])
    return rows, pieces(count, sum(array.nbytes for array in rows) // max(count, 1))


def pieces(length: int, bytes_each: int, least: int = 0) -> Iterator[slice]:
    """Cut a batch of `length` items of `bytes_each` bytes into slices of CACHE_BYTES, or `least` bytes if more.

    Array code makes one pass through memory for each operation. Piece by piece the passes after the first find
    their data in the cache. An empty batch is one empty piece, so that sums over pieces have a part to start from.
    """
    step = max(1, max(CACHE_BYTES, least) // max(bytes_each, 1))
    for start in range(0, max(length, 1), step):
        yield slice(start, min(start + step, length))


def bytes_each(batch: Array) -> int:
    """What one item of a batch takes; 0 for an empty batch."""
    return int(batch.nbytes) // max(len(batch), 1)
