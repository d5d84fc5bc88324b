"""Average pooling as loops: the definition."""

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows


def forward(x: Array, windows: Windows, count_padding: bool) -> Array:
    """Mean of each window of `x` (N, C, H, W): (N, C, H', W'); padding is zero and counts where asked for."""
    rows, columns = windows.output_size(*x.shape[2:])
    y = np.zeros((*x.shape[:2], rows, columns), x.dtype)
    for n, c, r, k in np.ndindex(*y.shape):
        pixels = _window(x, windows, r, k)
        total = sum((x[(n, c, *pixel)] for pixel in pixels), start=x.dtype.type(0))
        y[n, c, r, k] = total / _divisor(pixels, windows, count_padding)
    return y


def backward(grad: Array, height: int, width: int, windows: Windows, count_padding: bool) -> Array:
    """Share `grad` (N, C, H', W') equally among the pixels of each window: (N, C, height, width)."""
    grad_x = np.zeros((*grad.shape[:2], height, width), grad.dtype)
    for n, c, r, k in np.ndindex(*grad.shape):
        pixels = _window(grad_x, windows, r, k)
        for pixel in pixels:
            grad_x[(n, c, *pixel)] += grad[n, c, r, k] / _divisor(pixels, windows, count_padding)
    return grad_x


def _divisor(pixels: list[tuple[int, int]], windows: Windows, count_padding: bool) -> int:
    return windows.kernel[0] * windows.kernel[1] if count_padding else len(pixels)


def _window(x: Array, windows: Windows, r: int, c: int) -> list[tuple[int, int]]:
    """The pixels of window (r, c) that lie inside the image."""
    top = r * windows.stride[0] - windows.padding[0]
    left = c * windows.stride[1] - windows.padding[1]
    return [
        (row, column)
        for row in range(max(top, 0), min(top + windows.kernel[0], x.shape[2]))
        for column in range(max(left, 0), min(left + windows.kernel[1], x.shape[3]))
    ]
