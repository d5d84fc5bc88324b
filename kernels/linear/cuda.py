"""The dense layer on the GPU: a convolution of images that are one pixel, whose channels are the features."""

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu import matrix
from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows

_PIXEL = Windows((1, 1))


def forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """Weighted sums of `x` (N, K), float32 or bfloat16, by `weight` (O, K), plus `bias` (O,): (N, O), float32."""
    if not _covers(x, weight):
        return fall_back("linear").forward(x, weight, bias)
    y, _ = matrix.multiply(_images(x), weight, _PIXEL, np.float32, bias)
    return y.reshape(len(x), len(weight))


def backward(grad: Array, x: Array, weight: Array, need_x: bool = True) -> tuple[Array | None, Array, Array]:
    """Gradients of input (in its dtype), weight and bias from `grad` (N, O); the input's is None unless asked for."""
    if not _covers(x, weight):
        gradients: tuple[Array | None, Array, Array] = fall_back("linear").backward(grad, x, weight, need_x)
        return gradients
    upstream = _images(grad)
    grad_x = None
    if need_x:
        grad_x = matrix.input_gradient(upstream, weight, _PIXEL, (1, 1), x.dtype).reshape(x.shape)
    grad_weight = matrix.weight_gradient(_images(x), upstream, _PIXEL).reshape(weight.shape)
    return grad_x, grad_weight, matrix.bias_gradient(upstream)


def _covers(x: Array, weight: Array) -> bool:
    return x.size > 0 and weight.dtype == np.float32 and x.dtype.name in ("float32", "bfloat16")


def _images(x: Array) -> Array:
    return x[:, None, None, :]
