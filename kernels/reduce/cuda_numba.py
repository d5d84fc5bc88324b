"""Sums on a GPU in Numba CUDA: a tree of warp shuffles, the same tree every time, so that the bits are the same."""

import numpy as np
from numba import cuda

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.numba_launch import MAX_BLOCKS, THREADS, blocks, contiguous, covers, launch
from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.reduce import im2col

WARP = 32
WARPS = THREADS // WARP
ALL = 0xFFFFFFFF
"""The lanes that take part in a shuffle, a bit each: here always the whole warp."""

ELEMENTS = 4
"""What each thread of a full sum adds up at least before it meets the others."""


def sum_kernel(x: Array, length: int, sums: Array) -> None:
    """Block b adds up `length` numbers of x, from b * length on, or as many as there are.

    Three steps: each thread adds every THREADS-th number (neighbors read neighbors: coalesced); the 32 lanes of a warp
    add theirs through *shuffles*, which read a register of another lane without any memory; the sums of the warps meet
    in shared memory, where the first warp adds them.
    """
    of_warps = cuda.shared.array(WARPS, np.float32)
    thread = cuda.threadIdx.x
    first = cuda.blockIdx.x * length
    total = np.float32(0)
    for i in range(first + thread, min(first + length, x.size), THREADS):
        total += x[i]

    distance = WARP // 2
    while distance > 0:  # 16, 8, 4, 2, 1: half as many lanes matter each time, and lane 0 ends up with the sum
        total += cuda.shfl_down_sync(ALL, total, distance)
        distance //= 2
    if thread % WARP == 0:
        of_warps[thread // WARP] = total

    cuda.syncthreads()  # all warps have written theirs
    if thread < WARP:
        total = of_warps[thread] if thread < WARPS else np.float32(0)
        distance = WARP // 2
        while distance > 0:
            total += cuda.shfl_down_sync(ALL, total, distance)
            distance //= 2
        if thread == 0:
            sums[cuda.blockIdx.x] = total


def total(x: Array) -> Array:
    """The sum of all elements: each block adds up a part, and one block adds up the blocks' sums."""
    if not covers(x):
        return fall_back("reduce").total(x)
    length = max(ELEMENTS * THREADS, blocks(x.size, MAX_BLOCKS))
    return _sums(_sums(x, blocks(x.size, length), length), 1, MAX_BLOCKS).reshape(())


def squares(x: Array) -> Array:
    """The sum of the squares, in float64, which kernels here leave to array code."""
    return im2col.squares(x)


def row_sums(x: Array) -> Array:
    """The sum of each row of `x` (R, L): (R,)."""
    rows, length = x.shape
    return _sums(x, rows, length)


def _sums(x: Array, count: int, length: int) -> Array:
    """A block for each `length` numbers of `x`, in C order: (count,)."""
    sums = array_module(x).empty(count, dtype=x.dtype)
    launch(sum_kernel, (count,), (THREADS,), contiguous(x).reshape(-1), length, sums)
    return sums
