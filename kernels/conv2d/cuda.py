"""Convolution on the GPU: one matrix product a direction, on tensor cores where the precision allows (kernels/_gpu)."""

from typing import Any

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu import matrix
from minicnn.kernels._gpu.matrix import ROWS, input_gradient, multiply, weight_gradient
from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows

__all__ = ["ROWS", "backward", "covers", "forward", "input_gradient", "multiply", "weight_gradient"]


def forward(x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    """Convolve `x` (N, C, H, W) with `weight` (O, C/groups, kH, kW) and add `bias` (O,): (N, O, H', W')."""
    if not _covers(x, weight, windows, groups):
        return fall_back("conv2d").forward(x, weight, bias, windows, groups)
    y, _ = multiply(_channels_last(x), weight, windows, x.dtype, bias)
    return _channels_first(y)


def backward(
    grad: Array, x: Array, weight: Array, windows: Windows, groups: int, need_x: bool = True
) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O, H', W'); the input's is None unless asked for."""
    if not _covers(x, weight, windows, groups):
        gradients: tuple[Array | None, Array, Array] = fall_back("conv2d").backward(
            grad, x, weight, windows, groups, need_x
        )
        return gradients
    images, upstream = _channels_last(x), _channels_last(grad)
    grad_x = None
    if need_x:
        grad_x = _channels_first(input_gradient(upstream, weight, windows, x.shape[2:], x.dtype))
    return grad_x, weight_gradient(images, upstream, windows), matrix.bias_gradient(upstream)


def covers(channels: int, outputs: int, windows: Windows, groups: int, dtype: Any) -> bool:
    """Whether the functions of this rung take images of `dtype`: any window, but one group."""
    return groups == 1 and np.dtype(dtype).name in ("float32", "bfloat16")


def _covers(x: Array, weight: Array, windows: Windows, groups: int) -> bool:
    return x.size > 0 and x.dtype == np.float32 and covers(x.shape[1], len(weight), windows, groups, x.dtype)


def _channels_last(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1)


def _channels_first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2)
