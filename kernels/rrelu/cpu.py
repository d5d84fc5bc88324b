"""Randomized leaky ReLU in one pass; images that lie channels last in memory stay so."""

from typing import Any

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._cpu import workspace
from minicnn.kernels._cpu.flat import in_pieces
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.layout import channels_first, channels_last, plain
from minicnn.kernels._cpu.uniform import INT, bits_of, halves
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share


def forward(x: Array, seed: int, lower: float, upper: float) -> Array:
    """Multiply the elements of `x` that are not above zero by their slopes."""
    return backward(x, x, seed, lower, upper)


def backward(grad: Array, y: Array, seed: int, lower: float, upper: float) -> Array:
    """Multiply `grad` by the same slopes in the same places."""
    if grad.dtype != np.float32:
        return fall_back("rrelu").backward(grad, y, seed, lower, upper)
    slopes: tuple[Any, ...] = (*halves(seed), np.float32(lower), np.float32((upper - lower) / 2**24))
    if y.ndim == 4 and y.transpose(0, 2, 3, 1).flags.c_contiguous:
        return _images(grad, y, slopes)
    grad_x = workspace.empty(grad.shape)

    def multiply(first: int, grad: Array, y: Array, grad_x: Array) -> None:
        _multiply(grad[None], y[None], grad_x[None], first, 0, 1, *slopes)

    in_pieces(multiply, [plain(grad).reshape(-1), plain(y).reshape(-1), grad_x.reshape(-1)])
    return grad_x


def _images(grad: Array, y: Array, slopes: tuple[Any, ...]) -> Array:
    """`backward` of images (N, C, H, W) that lie channels last."""
    upstream, images = channels_last(grad), channels_last(y)
    grad_x = workspace.empty(images.shape)
    pixels, channels = images.shape[1] * images.shape[2], images.shape[3]

    def multiply(first: int, last: int, slot: int) -> None:
        for n in range(first, last):
            grad, y, result = (array[n].reshape(pixels, channels) for array in (upstream, images, grad_x))
            _multiply(grad, y, result, n * channels * pixels, 1, pixels, *slopes)

    share(len(images), multiply)
    return channels_first(grad_x)


@compiled
def _multiply(
    grad: Array, y: Array, grad_x: Array, first: int, down: int, across: int, low: Any, high: Any, lower: float,
    width: float,
) -> None:  # fmt: skip
    """Rows whose elements have the numbers first + row * down + column * across."""
    one = np.float32(1)
    for i in range(grad.shape[0]):
        start, step = INT(first + i * down), INT(across)
        for j in range(grad.shape[1]):
            bits = bits_of(INT(start + INT(INT(j) * step)), low, high)
            slope = lower + np.float32(np.int32(bits)) * width
            grad_x[i, j] = grad[i, j] * (one if y[i, j] > 0 else slope)
