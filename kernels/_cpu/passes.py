"""What a block does to its convolution's results, one pass each: normalize, cut at zero, pool; and back.

Arrays are (N, H, W, channels), C-contiguous float32. With pooling (2 x 2, stride 2) the choice of each window is kept:
0 to 3 for its elements, row by row, or OFF where ReLU let nothing through; and `peak`, the convolution's value there.
"""

import numpy as np

from minicnn.kernels._cpu.jit import compiled, compiled_reordered
from minicnn.kernels.arrays import Array

OFF = 4


@compiled_reordered
def sums(y: Array, pivot: Array, parts: Array, first: int, last: int) -> None:
    """Sums and sums of squares of y - pivot for each image and channel: `parts` (N, 2, channels)."""
    for n in range(first, last):
        parts[n] = 0
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for c in range(y.shape[3]):
                    value = y[n, i, j, c] - pivot[c]
                    parts[n, 0, c] += value
                    parts[n, 1, c] += value * value


@compiled_reordered
def activate(convolved: Array, scale: Array, shift: Array, y: Array, first: int, last: int) -> None:
    """Y = max(convolved * scale + shift, 0)."""
    zero = np.float32(0)
    for n in range(first, last):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for c in range(y.shape[3]):
                    value = convolved[n, i, j, c] * scale[c] + shift[c]
                    y[n, i, j, c] = zero if value < zero else value


@compiled_reordered
def activate_and_pool(
    convolved: Array, scale: Array, shift: Array, y: Array, choice: Array, peak: Array, first: int, last: int
) -> None:
    """The same, then the largest of each 2 x 2 pixels; the first of equals, and NaN beats every number."""
    zero = np.float32(0)
    for n in range(first, last):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for c in range(y.shape[3]):
                    best = convolved[n, 2 * i, 2 * j, c]
                    value = best * scale[c] + shift[c]
                    chosen = np.int32(0)
                    for k in range(1, 4):
                        other = convolved[n, 2 * i + k // 2, 2 * j + k % 2, c]
                        candidate = other * scale[c] + shift[c]
                        better = candidate > value or candidate != candidate
                        best = other if better else best
                        value = candidate if better else value
                        chosen = np.int32(k) if better else chosen
                    y[n, i, j, c] = zero if value < zero else value
                    choice[n, i, j, c] = chosen if value > zero else np.int32(OFF)
                    peak[n, i, j, c] = best


@compiled_reordered
def gradient_sums(
    grad: Array, mask: Array, values: Array, mean: Array, pooled: bool, parts: Array, first: int, last: int
) -> None:
    """For each image and channel the sums of g and of g * (value - mean), g being what ReLU lets through.

    `values` are the convolution's; `mask` is the choice of each window, or without pooling the block's output.
    """
    zero = np.float32(0)
    for n in range(first, last):
        parts[n] = 0
        for i in range(grad.shape[1]):
            for j in range(grad.shape[2]):
                for c in range(grad.shape[3]):
                    through = mask[n, i, j, c] < OFF if pooled else mask[n, i, j, c] > zero
                    g = grad[n, i, j, c] if through else zero
                    parts[n, 0, c] += g
                    parts[n, 1, c] += g * (values[n, i, j, c] - mean[c])


@compiled
def spread(
    grad: Array,
    mask: Array,
    convolved: Array,
    factors: Array,
    pooled: bool,
    target: Array,
    n: int,
    first: int,
    last: int,
) -> None:
    """The gradient of the convolution's results, rows `first` to `last` of image n, to `target` (rows, W, channels).

    It is factors[0] * g + factors[1] + factors[2] * convolved: batch normalization's means depend on every pixel.
    """
    zero = np.float32(0)
    height, width = convolved.shape[1], convolved.shape[2]
    scale, constant, slope = factors[0], factors[1], factors[2]
    for i in range(first, last):
        for j in range(width):
            inside = not pooled or (i // 2 < height // 2 and j // 2 < width // 2)
            row, column = (i // 2, j // 2) if pooled else (i, j)
            element = np.int32(i % 2 * 2 + j % 2)
            for c in range(convolved.shape[3]):
                value = constant[c] + slope[c] * convolved[n, i, j, c]
                if inside:
                    through = mask[n, row, column, c] == element if pooled else mask[n, row, column, c] > zero
                    value += scale[c] * (grad[n, row, column, c] if through else zero)
                target[i - first, j, c] = value
