"""Batch normalization's loops with channels last: arrays are rows of channels (M, C), in blocks of `size` rows."""

import numpy as np

from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels.arrays import Array


@compiled
def moments(x: Array, size: int, parts: Array, first: int, last: int) -> None:
    """Each block's mean, and its squares around that: `parts` (blocks, 2, C)."""
    for block in range(first, last):
        mean, squares = parts[block, 0], parts[block, 1]
        rows = x[block * size : (block + 1) * size]
        mean[:] = 0
        squares[:] = 0
        for r in range(len(rows)):
            for c in range(len(mean)):
                mean[c] += rows[r, c]
        for c in range(len(mean)):
            mean[c] /= np.float32(len(rows))
        for r in range(len(rows)):
            for c in range(len(mean)):
                centered = rows[r, c] - mean[c]
                squares[c] += centered * centered


@compiled
def gradient_sums(grad: Array, x: Array, mean: Array, size: int, parts: Array, first: int, last: int) -> None:
    """Each block's sums of the gradient and of its products with x - mean: `parts` (blocks, 2, C)."""
    for block in range(first, last):
        total, products = parts[block, 0], parts[block, 1]
        rows, upstream = x[block * size : (block + 1) * size], grad[block * size : (block + 1) * size]
        total[:] = 0
        products[:] = 0
        for r in range(len(rows)):
            for c in range(len(mean)):
                total[c] += upstream[r, c]
                products[c] += upstream[r, c] * (rows[r, c] - mean[c])


@compiled
def normalize(x: Array, mean: Array, scale: Array, shift: Array, size: int, y: Array, first: int, last: int) -> None:
    """Y = (x - mean) * scale + shift."""
    rows, results = x[first * size : last * size], y[first * size : last * size]
    for r in range(len(rows)):
        for c in range(len(mean)):
            results[r, c] = (rows[r, c] - mean[c]) * scale[c] + shift[c]


@compiled
def input_gradient(
    grad: Array, x: Array, mean: Array, level: Array, slope: Array, scale: Array, size: int, grad_x: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    """Grad_x = (grad - level - (x - mean) * slope) * scale."""
    rows, upstream = x[first * size : last * size], grad[first * size : last * size]
    results = grad_x[first * size : last * size]
    for r in range(len(rows)):
        for c in range(len(mean)):
            results[r, c] = (upstream[r, c] - level[c] - (rows[r, c] - mean[c]) * slope[c]) * scale[c]
