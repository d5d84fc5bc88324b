"""Memory that is used again: a training step asks for the same arrays every time.

Fresh memory is dear (the system clears every page at its first touch), so an array's memory goes back to a list when
nobody holds the array any more, and the next array of that size takes it. PyTorch's GPU allocator works likewise.
"""

import math
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minicnn.kernels.arrays import Array

_SMALL = 1 << 16
_ALIGNMENT = 64  # bytes: no vector then lies across two cache lines
_idle: defaultdict[int, list[Array]] = defaultdict(list)


class _Loan:
    """Memory in use; every array made of it holds this object, and it gives the memory back when the last one goes."""

    def __init__(self, memory: Array) -> None:
        self.memory = memory
        self.__array_interface__: dict[str, Any] = memory.__array_interface__

    def __del__(self, idle: defaultdict[int, list[Array]] = _idle) -> None:
        idle[self.memory.size].append(self.memory)


def empty(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """An array with any contents, C-contiguous and aligned to cache lines."""
    shape = (shape,) if isinstance(shape, int) else shape
    count = math.prod(shape) * np.dtype(dtype).itemsize
    if count < _SMALL:
        return np.empty(shape, dtype)
    size = _size_class(count + _ALIGNMENT)
    try:
        memory = _idle[size].pop()
    except IndexError:
        memory = np.empty(size, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return np.asarray(_Loan(memory))[start : start + count].view(dtype).reshape(shape)


def release() -> None:
    """Give all memory that is not in use back to the system."""
    _idle.clear()


def _size_class(count: int) -> int:
    """`count` rounded up by at most an eighth, so that arrays of nearly one size share memory."""
    step = 1 << max(count.bit_length() - 4, 12)
    return -(-count // step) * step
