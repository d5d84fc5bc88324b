"""Convolution on the CPU: Winograd's algorithm where it fits, else windows packed for the micro-kernel.

Winograd's error is within 1e-5 of the largest result at its largest tile (README.md has the table); the other path's is
that of any float32 sum.
"""

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._cpu import blocks, conv3x3, conv_gemm, workspace
from minicnn.kernels._cpu.layout import channels_first, channels_last
from minicnn.kernels._cpu.plan import winograd_plan
from minicnn.kernels.arrays import Array
from minicnn.kernels.frozen import derived
from minicnn.kernels.windows import Windows


def forward(x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    """Convolve `x` (N, C, H, W) with `weight` (O, C/groups, kH, kW) and add `bias` (O,): (N, O, H', W')."""
    if not covers(x):
        return fall_back("conv2d").forward(x, weight, bias, windows, groups)
    images = channels_last(x)
    cut = winograd_plan(images.shape, weight, windows, groups)
    if cut is None:
        return channels_first(conv_gemm.forward(images, weight, bias, windows, groups))
    y = workspace.empty((cut.images, cut.out_height, cut.out_width, cut.outputs))
    weights = derived(
        ("conv2d", cut.m, cut.side), (weight,), lambda: conv3x3.transform_weight(weight, cut, with_transposed=False)
    )
    conv3x3.forward(images, weights, cut, conv3x3.Finish(y, bias))
    return channels_first(y)


def backward(
    grad: Array, x: Array, weight: Array, windows: Windows, groups: int, need_x: bool = True
) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O, H', W'); the input's is None unless asked for."""
    if not covers(x):
        gradients: tuple[Array | None, Array, Array] = fall_back("conv2d").backward(
            grad, x, weight, windows, groups, need_x
        )
        return gradients
    images, upstream = channels_last(x), channels_last(grad)
    cut = winograd_plan(images.shape, weight, windows, groups)
    if cut is None:
        dx, dw, db = conv_gemm.backward(upstream, images, weight, windows, groups, need_x)
    else:
        dx, dw = conv3x3.backward(
            lambda first, last, slot, dm: blocks.grad_images(upstream, dm, cut, conv3x3.ZEROS, first, last),
            conv3x3.input_transform(images, cut),
            conv3x3.transform_weight(weight, cut, with_transposed=need_x),
            cut,
            need_x,
        )
        db = upstream.reshape(-1, cut.outputs).sum(axis=0)
    return None if dx is None else channels_first(dx), dw, db


def covers(x: Array) -> bool:
    """Whether this rung takes `x`: float32, and anything in it."""
    return bool(x.dtype == np.float32 and x.size > 0)
