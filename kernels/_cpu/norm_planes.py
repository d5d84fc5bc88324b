"""The loops of norm_rows.py with channels first: arrays are planes (N, C, L), in blocks of `size` images."""

import numpy as np

from minicnn.kernels._cpu.jit import compiled, compiled_reordered
from minicnn.kernels.arrays import Array


@compiled_reordered
def moments(x: Array, size: int, parts: Array, first: int, last: int) -> None:
    """Each block's mean, and its squares around that: `parts` (blocks, 2, C)."""
    for block in range(first, last):
        images = x[block * size : (block + 1) * size]
        for c in range(images.shape[1]):
            total = squares = np.float32(0)
            for n in range(len(images)):
                plane = images[n, c]
                for k in range(len(plane)):
                    total += plane[k]
            mean = total / np.float32(len(images) * images.shape[2])
            for n in range(len(images)):
                plane = images[n, c]
                for k in range(len(plane)):
                    squares += (plane[k] - mean) * (plane[k] - mean)
            parts[block, 0, c], parts[block, 1, c] = mean, squares


@compiled_reordered
def gradient_sums(grad: Array, x: Array, mean: Array, size: int, parts: Array, first: int, last: int) -> None:
    """Each block's sums of the gradient and of its products with x - mean: `parts` (blocks, 2, C)."""
    for block in range(first, last):
        for c in range(len(mean)):
            total = products = np.float32(0)
            for n in range(block * size, min((block + 1) * size, len(x))):
                plane, upstream = x[n, c], grad[n, c]
                for k in range(len(plane)):
                    total += upstream[k]
                    products += upstream[k] * (plane[k] - mean[c])
            parts[block, 0, c], parts[block, 1, c] = total, products


@compiled
def normalize(x: Array, mean: Array, scale: Array, shift: Array, size: int, y: Array, first: int, last: int) -> None:
    """Y = (x - mean) * scale + shift."""
    for n in range(first * size, min(last * size, len(x))):
        for c in range(len(mean)):
            plane, result = x[n, c], y[n, c]
            for k in range(len(plane)):
                result[k] = (plane[k] - mean[c]) * scale[c] + shift[c]


@compiled
def input_gradient(
    grad: Array, x: Array, mean: Array, level: Array, slope: Array, scale: Array, size: int, grad_x: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    """Grad_x = (grad - level - (x - mean) * slope) * scale."""
    for n in range(first * size, min(last * size, len(x))):
        for c in range(len(mean)):
            plane, upstream, result = x[n, c], grad[n, c], grad_x[n, c]
            for k in range(len(plane)):
                result[k] = (upstream[k] - level[c] - (plane[k] - mean[c]) * slope[c]) * scale[c]
