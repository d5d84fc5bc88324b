"""Max-pooling as loops: the definition."""

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows


def forward(x: Array, windows: Windows) -> tuple[Array, Array]:
    """Pool `x` (N, C, H, W): the maxima (N, C, H', W') and, for each, which element of its window it was.

    Elements count row by row, the first of equals wins, and NaN beats every number. Padding is never chosen.
    """
    rows, columns = windows.output_size(*x.shape[2:])
    y = np.full((*x.shape[:2], rows, columns), -np.inf, x.dtype)
    choice = np.zeros(y.shape, windows.element_dtype)
    for n, c, r, k in np.ndindex(*y.shape):
        window = _window(x, windows, r, k)
        choice[n, c, r, k] = window[0][0] if window else 0  # a dilated window may see padding alone: minus infinity
        for element, pixel in window:
            value = x[(n, c, *pixel)]
            if value > y[n, c, r, k] or (np.isnan(value) and not np.isnan(y[n, c, r, k])):
                y[n, c, r, k], choice[n, c, r, k] = value, element
    return y, choice


def backward(grad: Array, choice: Array, height: int, width: int, windows: Windows) -> Array:
    """Send `grad` (N, C, H', W') to the pixel that was chosen in each window: (N, C, height, width)."""
    grad_x = np.zeros((*grad.shape[:2], height, width), grad.dtype)
    for n, c, r, k in np.ndindex(*grad.shape):
        for element, pixel in _window(grad_x, windows, r, k):
            if element == choice[n, c, r, k]:
                grad_x[(n, c, *pixel)] += grad[n, c, r, k]
    return grad_x


def _window(x: Array, windows: Windows, r: int, c: int) -> list[tuple[int, tuple[int, int]]]:
    """The elements of window (r, c) that lie inside the image, each with its pixel."""
    inside = []
    for i, j in np.ndindex(*windows.kernel):
        row = r * windows.stride[0] + i * windows.dilation[0] - windows.padding[0]
        column = c * windows.stride[1] + j * windows.dilation[1] - windows.padding[1]
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            inside.append((i * windows.kernel[1] + j, (row, column)))
    return inside
