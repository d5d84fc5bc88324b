"""Convolution as loops: the definition that every other rung is held against.

y[n, o, r, c] = bias[o] + sum over i, j, k of weight[o, k, i, j] * x[n, k', r s + i d - p, c s + j d - p]

(cross-correlation, as every framework's "convolution"; k' runs over the input channels of the group of o; pixels
outside the image count as zero). Source: torch.nn.Conv2d.
"""

from collections.abc import Iterator

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows


def forward(x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    """Convolve `x` (N, C, H, W) with `weight` (O, C/groups, kH, kW) and add `bias` (O,): (N, O, H', W')."""
    rows, columns = windows.output_size(*x.shape[2:])
    y = np.zeros((len(x), len(weight), rows, columns), x.dtype)
    for n, o, r, c in np.ndindex(*y.shape):
        if bias is not None:
            y[n, o, r, c] = bias[o]
        for k, i, j, pixel in _window(x, weight, windows, groups, o, r, c):
            y[n, o, r, c] += weight[o, k, i, j] * x[(n, *pixel)]
    return y


def backward(
    grad: Array, x: Array, weight: Array, windows: Windows, groups: int, need_x: bool = True
) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O, H', W'); the input's is None unless asked for.

    Each product weight * x of the forward pass sends grad * x to the weight and grad * weight to the input.
    """
    grad_x, grad_weight = np.zeros_like(x), np.zeros_like(weight)
    grad_bias = np.zeros(len(weight), x.dtype)
    for n, o, r, c in np.ndindex(*grad.shape):
        grad_bias[o] += grad[n, o, r, c]
        for k, i, j, pixel in _window(x, weight, windows, groups, o, r, c):
            grad_weight[o, k, i, j] += grad[n, o, r, c] * x[(n, *pixel)]
            grad_x[(n, *pixel)] += grad[n, o, r, c] * weight[o, k, i, j]
    return grad_x if need_x else None, grad_weight, grad_bias


def _window(
    x: Array, weight: Array, windows: Windows, groups: int, o: int, r: int, c: int
) -> Iterator[tuple[int, int, int, tuple[int, int, int]]]:
    """The weight elements (k, i, j) of output (o, r, c) and the pixel (channel, row, column) under each."""
    outputs, channels = len(weight) // groups, weight.shape[1]
    for k, i, j in np.ndindex(*weight.shape[1:]):
        row = r * windows.stride[0] + i * windows.dilation[0] - windows.padding[0]
        column = c * windows.stride[1] + j * windows.dilation[1] - windows.padding[1]
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            yield k, i, j, (o // outputs * channels + k, row, column)
