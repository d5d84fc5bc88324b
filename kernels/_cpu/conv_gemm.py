"""Convolution of any kind as one matrix product: any kernel, stride, padding, dilation, groups, channels and sizes.

Arrays of images are (N, H, W, channels), C-contiguous float32. A block of pixels stays in a core's cache while the
micro-kernel (strided.py) multiplies its windows by the weight: where they lie if it can, else in a copy with padding,
or laid out as im2col does (cuts.py).
"""

import math

import numpy as np

from minicnn.kernels._cpu import depthwise, workspace
from minicnn.kernels._cpu.conv_blocks import convolve_blocks, pack_weight
from minicnn.kernels._cpu.cuts import results_work, share_work, sums_work
from minicnn.kernels._cpu.grids import Gathering, forward_grid, input_gradient_grids
from minicnn.kernels._cpu.strided import PANEL
from minicnn.kernels._cpu.weight_sums import add_parts, weight_parts
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import threads
from minicnn.kernels.windows import Windows


def pack(weight: Array, groups: int) -> Array:
    """`weight` (O, C / groups, kH, kW) as `forward` multiplies by it."""
    if _is_depthwise(weight, groups):
        return depthwise.pack(weight)
    windows = Windows(weight.shape[2:])
    return _pack(
        weight, forward_grid((1, *windows.kernel, weight.shape[1] * groups), len(weight), windows, groups), False
    )


def forward(
    x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int, packed: Array | None = None
) -> Array:
    """Convolve `x` (N, H, W, C) with `weight` (O, C / groups, kH, kW) and add `bias` (O,): (N, H', W', O).

    `packed`, what `pack` made of the weight, saves the time to do so.
    """
    if _is_depthwise(weight, groups):
        return depthwise.forward(x, weight, bias, windows, packed)
    gathering = forward_grid(x.shape, len(weight), windows, groups)
    y = workspace.empty((len(x), *windows.output_size(*x.shape[1:3]), len(weight)))
    _convolve(x, bias, y, [(gathering, _pack(weight, gathering, False) if packed is None else packed)])
    return y


def backward(
    grad: Array, x: Array, weight: Array, windows: Windows, groups: int, need_x: bool
) -> tuple[Array | None, Array, Array]:
    """Gradients of input (None unless asked for), weight and bias from `grad` (N, H', W', O)."""
    if _is_depthwise(weight, groups):
        return depthwise.backward(grad, x, weight, windows, need_x)
    dx = None
    if need_x:
        dx = workspace.empty(x.shape)
        gatherings = input_gradient_grids(x.shape, len(weight), windows, groups)
        _convolve(grad, None, dx, [(each, _pack(weight, each, True)) for each in gatherings])
    return dx, *_weight_gradient(x, grad, weight, forward_grid(x.shape, len(weight), windows, groups))


def _is_depthwise(weight: Array, groups: int) -> bool:
    """Whether each channel is convolved for itself."""
    return bool(groups == len(weight) and weight.shape[1] == 1)


def _convolve(x: Array, bias: Array | None, y: Array, gatherings: list[tuple[Gathering, Array]]) -> None:
    """Compute the pixels of `y` that each grid covers, with its packed weight."""
    if y.size == 0:
        return
    grid = gatherings[0][0].grid
    panels = gatherings[0][1].shape[0] // grid.groups
    shift = np.zeros((grid.groups, panels * PANEL), np.float32)
    if bias is not None:
        shift[:, : grid.group_outputs] = bias.reshape(grid.groups, -1)
    works = [results_work(gathering.grid, threads()) for gathering, _ in gatherings]
    scratch = workspace.empty((threads(), max(work.scratch for work in works)))

    def convolve(first: int, last: int, slot: int) -> None:
        for work, (_, packed) in zip(works, gatherings, strict=True):
            if first < work.items and last > 0:
                convolve_blocks(
                    x, packed, shift, y, scratch[slot], work.numbers, work.splits, max(first, 0), min(last, work.items)
                )
            first, last = first - work.items, last - work.items

    share_work(sum(work.products for work in works), sum(work.items for work in works), convolve)


def _pack(weight: Array, gathering: Gathering, swap: bool) -> Array:
    """Panels of the weight, (groups * panels, depth, PANEL); with `swap` the results are the input's channels."""
    grid, elements = gathering
    panels = grid.groups * -(-grid.group_outputs // PANEL)
    size = panels * len(elements) * grid.group_channels * PANEL
    # `workspace.empty` aligns only large arrays to cache lines
    packed = workspace.empty(max(size, 1 << 14))[:size].reshape(panels, -1, PANEL)
    if size:
        flat = np.ascontiguousarray(weight).reshape(*weight.shape[:2], -1)
        share_work(
            4 * size, panels,
            lambda first, last, slot: pack_weight(flat, elements, packed, grid.groups, swap, first, last),
        )  # fmt: skip
    return packed


def _weight_gradient(x: Array, grad: Array, weight: Array, gathering: Gathering) -> tuple[Array, Array]:
    """Gradients of weight and bias: partial sums, and these added up in their order."""
    if grad.size == 0:
        return np.zeros_like(weight), np.zeros(len(weight), np.float32)
    work = sums_work(gathering.grid, threads())
    partial, bias_sums = workspace.empty(work.shape), workspace.empty((work.shape[0], len(weight)))
    scratch = workspace.empty((threads(), work.scratch))
    zeros = np.zeros(PANEL, np.float32)

    def add(first: int, last: int, slot: int) -> None:
        weight_parts(x, grad, partial, bias_sums, scratch[slot], zeros, work.numbers, work.splits, first, last)

    share_work(work.products, work.items, add)
    result = workspace.empty((*weight.shape[:2], math.prod(weight.shape[2:])))
    parts, groups, rows, taps, depth = work.shape
    totals = np.empty((threads(), taps * depth), np.float32)
    rows_of_parts = partial.reshape(parts, groups * rows, -1)
    apart = depth if taps > 1 else weight.shape[1]  # a single tap holds the whole window
    share_work(
        4 * partial.size, len(weight),
        lambda first, last, slot: add_parts(rows_of_parts, totals[slot], result, groups, apart, first, last),
    )  # fmt: skip
    return result.reshape(weight.shape), bias_sums.sum(axis=0)
