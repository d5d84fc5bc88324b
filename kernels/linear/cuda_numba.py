"""The dense layer on a GPU in Numba CUDA: the matrix product, as anyone would write it and with shared memory.

In both directions there is nothing but products:

    forward     y   = x @ weight.T + bias
    backward    d x = grad @ weight           d weight = grad.T @ x           d bias = the sums of grad's columns
"""

import numpy as np
from numba import cuda

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.numba_launch import blocks, contiguous, covers, launch
from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.reduce.cuda_numba import row_sums

TILE = 16
"""Rows and columns of a tile: 16 x 16 threads make a block of 256, and two tiles take 2 KiB of shared memory."""


def naive_product_kernel(a: Array, b: Array, y: Array) -> None:
    """Product of a (M, K) and b (K, N) into y (M, N): one thread for each element of y.

    Threads of a warp differ in x. So x has to be the column: then the 32 threads read 32 neighbors of a row of b, which
    the memory hands over in one go (a *coalesced* access), and all of them the same element of a. With x as the row
    each thread would fetch a line of memory of its own. Either way the kernel reads 2 numbers for each multiply-add.
    """
    column, row = cuda.grid(2)
    if row < y.shape[0] and column < y.shape[1]:  # the grid is whole blocks and may stand out over y
        total = np.float32(0)
        for k in range(a.shape[1]):
            total += a[row, k] * b[k, column]
        y[row, column] = total


def tiled_product_kernel(a: Array, b: Array, y: Array) -> None:
    """The same, where a block of TILE x TILE threads shares what it reads.

    The block needs TILE rows of a and TILE columns of b. It walks along them tile by tile: every thread fetches one
    number of each tile into *shared memory*, which is inside the multiprocessor, and then every thread reads TILE
    numbers of both from there. Each number comes from memory once for TILE uses instead of once for every use.
    """
    tile_a = cuda.shared.array((TILE, TILE), np.float32)
    tile_b = cuda.shared.array((TILE, TILE), np.float32)
    column, row = cuda.grid(2)
    i, j = cuda.threadIdx.y, cuda.threadIdx.x
    total = np.float32(0)
    for first in range(0, a.shape[1], TILE):
        # outside of the matrix a tile is zero; no thread may leave early, since all are counted at the barriers
        inside_a = row < a.shape[0] and first + j < a.shape[1]
        inside_b = first + i < b.shape[0] and column < b.shape[1]
        tile_a[i, j] = a[row, first + j] if inside_a else np.float32(0)
        tile_b[i, j] = b[first + i, column] if inside_b else np.float32(0)
        cuda.syncthreads()  # the tiles are complete before anyone reads what others have fetched
        for k in range(TILE):
            total += tile_a[i, k] * tile_b[k, j]
        cuda.syncthreads()  # and everyone has read them before anyone fetches the next
    if row < y.shape[0] and column < y.shape[1]:
        y[row, column] = total


def product(a: Array, b: Array) -> Array:
    """`a` (M, K) @ `b` (K, N): (M, N). By tiles where K fills at least one.

    A transposed operand is copied first: that reads it once, against N / TILE or M / TILE times in the product, which
    would fetch a line of memory for every number of it.
    """
    rows, columns = len(a), b.shape[1]
    y = array_module(a).empty((rows, columns), dtype=a.dtype)
    kernel = tiled_product_kernel if a.shape[1] >= TILE else naive_product_kernel
    launch(kernel, (blocks(columns, TILE), blocks(rows, TILE)), (TILE, TILE), contiguous(a), contiguous(b), y)
    return y


def forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """Weighted sums of `x` (N, K) by `weight` (O, K), plus `bias` (O,): (N, O)."""
    if not covers(x, weight):
        return fall_back("linear").forward(x, weight, bias)
    y = product(x, weight.T)
    if bias is not None:
        y += bias
    return y


def backward(grad: Array, x: Array, weight: Array, need_x: bool = True) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O); the input's is None unless asked for."""
    if not covers(grad, x, weight):
        gradients: tuple[Array | None, Array, Array] = fall_back("linear").backward(grad, x, weight, need_x)
        return gradients
    return product(grad, weight) if need_x else None, product(grad.T, x), row_sums(grad.T)
