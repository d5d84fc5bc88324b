"""Sums on a GPU: each block adds up a part, in double, and one block adds up the blocks' sums."""

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.rows import contiguous
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array

_SOURCE = Source("reduce")
_THREADS = 256
_BLOCKS = 1024
"""At most; fewer where each would have less than four numbers a thread."""


def total(x: Array) -> Array:
    """The sum of all elements."""
    if not _covers(x):
        return fall_back("reduce").total(x)
    return _sum(x, squared=False, result=driver().empty((), np.float32))


def squares(x: Array) -> Array:
    """The sum of all squares, in float64."""
    if not _covers(x):
        return fall_back("reduce").squares(x)
    return _sum(x, squared=True, result=driver().empty((), np.float64))


def _sum(x: Array, squared: bool, result: Array) -> Array:
    blocks = min(-(-x.size // (4 * _THREADS)), _BLOCKS)
    partial = driver().empty((blocks,), np.float64)
    flat = contiguous(x)
    shared = 8 * _THREADS
    _SOURCE.launch(
        "partial_sums", (blocks,), (1, _THREADS), flat, np.int64(x.size), np.int32(squared), partial, shared=shared
    )
    results = (None, result) if squared else (result, None)
    _SOURCE.launch("add_blocks", (1,), (1, _THREADS), partial, np.int32(blocks), *results, shared=shared)
    return result


def _covers(x: Array) -> bool:
    return bool(x.dtype == np.float32 and x.size > 0)
