"""The block in evaluation, when no gradient is asked for: batch normalization folded into the convolution.

With scale = gamma / sqrt(var + eps), the block is the ReLU and pooling of a convolution with weight * scale and bias
beta - mean * scale.
"""

import numpy as np

from minicnn.kernels._cpu import blocks, conv3x3, conv_gemm, first_layer, workspace
from minicnn.kernels._cpu.plan import winograd_plan
from minicnn.kernels.arrays import Array
from minicnn.kernels.frozen import derived
from minicnn.kernels.parallel import share
from minicnn.kernels.windows import Windows


def forward(
    x: Array,
    weight: Array,
    gamma: Array,
    beta: Array,
    running: tuple[Array, Array],
    eps: float,
    windows: Windows,
    groups: int,
    pool: bool,
) -> Array:
    """The block's output (N, H', W', O) for `x` (N, H, W, C)."""
    sources = (weight, gamma, beta, *running)

    def folded() -> tuple[Array, Array]:
        return fold(*sources, eps)

    height, width = windows.output_size(*x.shape[1:3])
    size = (height // 2, width // 2) if pool else (height, width)
    y = workspace.empty((len(x), *size, len(weight)))
    if pool and first_layer.fits(x.shape, weight, windows):
        taps, shift = derived(("first layer", eps), sources, lambda: first_layer.as_taps(*folded()))
        first_layer.forward(first_layer.pad(x), taps, shift, y, workspace.empty(y.shape, np.uint8))
        return y
    plan = winograd_plan(x.shape, weight, windows, groups)
    if plan is None:

        def pack() -> tuple[Array, Array, Array]:
            scaled, shift = folded()
            return scaled, conv_gemm.pack(scaled, groups), shift

        scaled, packed, shift = derived(("general", eps), sources, pack)
        convolved = conv_gemm.forward(x, scaled, shift, windows, groups, packed)
        zero = np.zeros_like(shift)
        share(
            len(x),
            lambda first, last, slot: blocks.finish_images(
                convolved[first:last], zero, y, True, pool, first, last - first, 0, len(weight)
            ),
        )
        return y

    def transform() -> tuple[conv3x3.Weights, Array]:
        scaled, shift = folded()
        return conv3x3.transform_weight(scaled, plan, with_transposed=False), shift

    weights, shift = derived(("winograd", plan.m, plan.side, eps), sources, transform)
    conv3x3.forward(x, weights, plan, conv3x3.Finish(y, shift, relu=True, pool=pool))
    return y


def fold(weight: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> tuple[Array, Array]:
    """Weight and bias of the convolution that normalizes as well."""
    scale = gamma / np.sqrt(var + np.float32(eps))
    return weight * scale[:, None, None, None], beta - mean * scale
