"""Convolution of each channel for itself, as many groups as channels: there is no matrix to multiply by.

Arrays of images are (N, H, W, C), C-contiguous float32. A tile is a few pixels side by side, one vector of channels at
a time, whose results stay in registers while the taps run; nothing is copied. Taps beyond an image's edge are left out.
"""

from typing import Any

import numpy as np

from minicnn.kernels._cpu import runs, workspace
from minicnn.kernels._cpu.cuts import record, share_work
from minicnn.kernels._cpu.grids import Grid, forward_grid, input_gradient_grids
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.microkernel import FLOAT, WIDTH
from minicnn.kernels._cpu.parts import inlined, part
from minicnn.kernels._cpu.runs import address
from minicnn.kernels._cpu.strided import Steps, micro_kernel
from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows

_PIXELS, _TAPS = 8 if WIDTH == 16 else 4, 3
"""Rows of a tile: pixels (AVX-512 has registers for more), or for the weight's gradient taps side by side."""
_SLOWER = 4
"""A multiply-add takes about as long as so many of a matrix product's."""
_PARTS, _PART_LINES = 64, 4
"""Partial sums of the weight's gradient, at most; rows of images in each, at least."""

_pixels, _taps = micro_kernel(_PIXELS, 2, spread=False), micro_kernel(_TAPS, spread=False)
_one, _one_number = micro_kernel(1, spread=False), micro_kernel(1, kind=FLOAT, spread=False)


def pack(weight: Array) -> Array:
    """`weight` (C, 1, kH, kW) as `forward` multiplies by it: (kH * kW, C)."""
    return np.ascontiguousarray(weight.reshape(len(weight), -1).T)


def forward(x: Array, weight: Array, bias: Array | None, windows: Windows, packed: Array | None = None) -> Array:
    """Convolve `x` (N, H, W, C) with `weight` (C, 1, kH, kW) and add `bias` (C,): (N, H', W', C).

    `packed`, what `pack` made of the weight, saves the time to do so.
    """
    channels = len(weight)
    grid = forward_grid(x.shape, channels, windows, channels).grid
    y = workspace.empty((grid.images, grid.out_height, grid.out_width, channels))
    shift = np.zeros(channels, np.float32) if bias is None else np.ascontiguousarray(bias)
    _convolve(x, pack(weight) if packed is None else packed, shift, y, grid)
    return y


def backward(grad: Array, x: Array, weight: Array, windows: Windows, need_x: bool) -> tuple[Array | None, Array, Array]:
    """Gradients of input (None unless asked for), weight and bias from `grad` (N, H', W', C)."""
    dx, channels = None, len(weight)
    if need_x:
        dx, taps, no_shift = workspace.empty(x.shape), pack(weight), np.zeros(channels, np.float32)
        for each in input_gradient_grids(x.shape, channels, windows, channels):
            _convolve(grad, taps[each.elements], no_shift, dx, each.grid)
    grid = forward_grid(x.shape, channels, windows, channels).grid
    parts = max(1, min(grid.images * grid.down // _PART_LINES, _PARTS))
    sums, numbers = np.zeros((parts, grid.taps + 1, channels), np.float32), record(grid)
    share_work(
        _SLOWER * grid.products, parts, lambda first, last, slot: _weight_parts(x, grad, sums, numbers, first, last)
    )
    total = sums.sum(axis=0)
    return dx, np.ascontiguousarray(total[:-1].T).reshape(weight.shape), total[-1]


def _convolve(x: Array, taps: Array, shift: Array, y: Array, grid: Grid) -> None:
    """Compute the pixels of `y` that `grid` covers; `taps` (taps, C) is its part of the weight."""
    lines, numbers = grid.images * grid.down, record(grid)
    share_work(
        _SLOWER * grid.products, lines, lambda first, last, slot: _lines(x, taps, shift, y, numbers, first, last)
    )


@compiled
def _lines(x: Array, taps: Array, shift: Array, y: Array, numbers: Array, first: int, last: int) -> None:
    """The results of some lines; `numbers` is the grid."""
    grid = numbers[0]
    channels, span = grid.channels, (grid.taps_across - 1) * grid.tap_across
    whole_first, whole_last = runs.inside(grid.left, grid.step_across, grid.width - span, grid.across)
    for line in range(first, last):
        image, row = line // grid.down, line % grid.down
        top = grid.top + row * grid.step_down
        first_tap, last_tap = runs.inside(top, grid.tap_down, grid.height, grid.taps_down)
        source = address(x) + 4 * ((image * grid.height + top + first_tap * grid.tap_down) * grid.width) * channels
        weight = address(taps) + 4 * first_tap * grid.taps_across * channels
        place = (image * grid.out_height + grid.first_row + row * grid.row_step) * grid.out_width + grid.first_column
        column = 0
        while column < grid.across:
            rows, low, high = 1, 0, grid.taps_across
            if whole_first <= column < whole_last and whole_last - whole_first >= _PIXELS:
                rows = _PIXELS
                column = min(column, whole_last - _PIXELS)  # the last tile computes some pixels once more
            left = grid.left + column * grid.step_across
            if rows == 1:
                low, high = runs.inside(left, grid.tap_across, grid.width, grid.taps_across)
            steps = Steps(
                1, last_tap - first_tap, high - low, 0, grid.tap_down * grid.width * channels,
                grid.tap_across * channels, grid.step_across * channels, 0, grid.taps_across * channels, channels,
                grid.column_step * channels, 0, 0, 0, 0, 0, 0,
            )  # fmt: skip
            here = source + 4 * (left + low * grid.tap_across) * channels
            target = address(y) + 4 * (place + column * grid.column_step) * channels
            _multiply(rows, channels, steps, here, weight + 4 * low * channels, target, address(shift))
            column += rows


@part
def _multiply(rows: int, channels: int, steps: Steps, a: int, b: int, c: int, start: int) -> None:
    """A tile of _PIXELS or _TAPS rows, or of one, for all channels: as many at a time as fit, then one by one."""
    done = 0
    if rows == _PIXELS:
        done = channels - channels % (2 * WIDTH)
        _pixels(_for_channels(steps, done, 2 * WIDTH), a, b, c, start)
    elif rows == _TAPS:
        done = channels - channels % WIDTH
        _taps(_for_channels(steps, done, WIDTH), a, b, c, start)
    vectors = channels - channels % WIDTH - done
    for row in range(rows if done < channels else 0):
        a_row, c_row, start_row = (
            a + 4 * row * steps.a_row,
            c + 4 * row * steps.c_row,
            start + 4 * row * steps.start_row,
        )
        here = 4 * done
        _one(_for_channels(steps, vectors, WIDTH), a_row + here, b + here, c_row + here, start_row + here)
        here = 4 * (done + vectors)
        _one_number(_for_channels(steps, channels % WIDTH, 1), a_row + here, b + here, c_row + here, start_row + here)


@inlined
def _for_channels(steps: Steps, channels: int, each: int) -> Steps:
    """The same tile for `channels` channels, `each` at a time."""
    return Steps(
        steps.outer, steps.middle, steps.inner, steps.a_outer, steps.a_middle, steps.a_inner, steps.a_row,
        steps.b_outer, steps.b_middle, steps.b_inner, steps.c_row, steps.start_row, channels // each, each, each, each,
        each,
    )  # fmt: skip


@compiled
def _weight_parts(x: Array, grad: Array, sums: Array, numbers: Array, first: int, last: int) -> None:
    """Some partial sums (parts, taps + 1, C): of the weight's gradient and, last, of the bias's."""
    grid = numbers[0]
    lines, parts, channels = grid.images * grid.down, len(sums), grid.channels
    for number in range(first, last):
        line, stop = number * lines // parts, (number + 1) * lines // parts
        target = address(sums) + 4 * number * sums.shape[1] * channels
        while line < stop:
            count = min(stop - line, grid.down - line % grid.down)  # lines of one image
            upstream = address(grad) + 4 * line * grid.across * channels
            runs.add_up(upstream, channels, target + 4 * (sums.shape[1] - 1) * channels, count * grid.across, channels)
            for i in range(grid.taps_down):
                top = grid.top + line % grid.down * grid.step_down + i * grid.tap_down
                low, high = runs.inside(top, grid.step_down, grid.height, count)
                row = line // grid.down * grid.height + top + low * grid.step_down
                _add_lines(
                    address(x) + 4 * row * grid.width * channels, upstream + 4 * low * grid.across * channels,
                    target + 4 * i * grid.taps_across * channels, grid, high - low,
                )  # fmt: skip
            line += count


@inlined
def _add_lines(source: int, upstream: int, target: int, grid: Any, lines: int) -> None:
    """Add some lines of one image to the sums of one row of taps."""
    channels, step, tap = grid.channels, grid.step_across, 0
    while tap < grid.taps_across:
        taps = _TAPS if tap + _TAPS <= grid.taps_across else 1
        left = grid.left + tap * grid.tap_across
        # columns where all these taps lie on the image, for all at once; then what is left for each, on both sides
        low, high = runs.inside(left, step, grid.width - (taps - 1) * grid.tap_across, grid.across)
        if taps == 1 or high <= low:
            low = high = 0
        for run in range(1 + 2 * taps):
            rows, own = (taps if run == 0 else 1), max(run - 1, 0) // 2
            own_left = left + own * grid.tap_across
            first, last = runs.inside(own_left, step, grid.width, grid.across)
            if run == 0:
                first, last = low, high
            elif run % 2:
                last = min(last, low)
            else:
                first = max(first, high)
            if first < last:
                steps = Steps(
                    1, lines, last - first, 0, grid.step_down * grid.width * channels, step * channels,
                    grid.tap_across * channels, 0, grid.across * channels, channels, channels, channels, 0, 0, 0, 0, 0,
                )  # fmt: skip
                here, total = source + 4 * (own_left + first * step) * channels, target + 4 * (tap + own) * channels
                _multiply(rows, channels, steps, here, upstream + 4 * first * channels, total, total)
        tap += taps
