"""What the Winograd convolution does to one block, or to one square of channels: products between the transforms."""

import numpy as np

from minicnn.kernels._cpu import vector
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.microkernel import product, transposed_product
from minicnn.kernels._cpu.plan import Plan
from minicnn.kernels._cpu.tiles import (
    grad_tiles,
    input_grad_tiles,
    result_tiles,
    weight_grad_tiles,
    weight_tiles,
)
from minicnn.kernels.arrays import Array

PANEL = vector.PANEL
POSITION = PANEL * PANEL + 16
"""Numbers from one square of a transformed weight to the next: a power of two apart they compete for cache lines."""
_SUM_ROWS = 256
"""Rows of both operands of the weight's gradient that fit the first-level cache."""


@compiled
def weight_square(
    weight: Array, u: Array, u_t: Array, both: bool, plan: Plan, scratch: Array, row: int, column: int
) -> None:
    """Transform the square of channels `row` and outputs `column` into `u`, and with `both` into `u_t`."""
    square = PANEL * PANEL
    taps, swapped = scratch[: 9 * square], scratch[9 * POSITION : 9 * POSITION + 9 * square]
    for k in range(PANEL):
        line = weight[column * PANEL + k, row * PANEL : (row + 1) * PANEL].reshape(-1)
        for tap in range(9):
            target = swapped[tap * square + k * PANEL : tap * square + (k + 1) * PANEL]
            for j in range(PANEL):
                target[j] = line[9 * j + tap]
    for tap in range(9):
        source, target = swapped[tap * square : (tap + 1) * square], taps[tap * square : (tap + 1) * square]
        for j in range(PANEL):
            for k in range(PANEL):
                target[j * PANEL + k] = source[k * PANEL + j]
    transform_square(taps, u, plan, scratch[18 * POSITION :], row, column)
    if both:
        transform_square(swapped, u_t, plan, scratch[18 * POSITION :], column, row)


@compiled
def transform_square(taps: Array, u: Array, plan: Plan, transformed: Array, row: int, column: int) -> None:
    """Transform `taps` (9, PANEL, PANEL) into panel `column` of `u`, by way of the cache."""
    weight_tiles(plan, taps.ctypes.data, transformed.ctypes.data, POSITION)
    for p in range(plan.side**2):
        target = u[column, p, row * PANEL : (row + 1) * PANEL].reshape(-1)
        target[:] = transformed[p * POSITION : p * POSITION + PANEL * PANEL]


@compiled
def weight_grad_square(grad: Array, plan: Plan, scratch: Array, row: int, column: int) -> None:
    """Transform a square of the weight's gradient back, and lay it out as (O, C, 3, 3)."""
    square = PANEL * PANEL
    taps, transformed = scratch[: 9 * square], scratch[18 * POSITION :]
    weight_grad_tiles(plan, transformed.ctypes.data, POSITION, taps.ctypes.data)
    for k in range(PANEL):
        for j in range(PANEL):
            for tap in range(9):
                grad[column * PANEL + k, row * PANEL + j, tap // 3, tap % 3] = taps[tap * square + j * PANEL + k]


@compiled
def gather_square(du: Array, scratch: Array, plan: Plan, row: int, column: int) -> None:
    """A square of dU, from all positions, to where `weight_grad_square` looks for it."""
    transformed = scratch[18 * POSITION :]
    for p in range(plan.side**2):
        source = du[p, column, row * PANEL : (row + 1) * PANEL].reshape(-1)
        transformed[p * POSITION : p * POSITION + PANEL * PANEL] = source


@compiled
def result_blocks(
    v: Array, u: Array, products: Array, y: Array, staging: Array, bias: Array, relu: bool, pool: bool, direct: bool,
    statistics: Array, spare: Array, plan: Plan, block: int, slot: int, group: int, first_group: int, last_group: int,
) -> None:  # fmt: skip
    """Multiply and transform back some groups of a block's results."""
    positions, channels, panel = plan.side**2, plan.channels, plan.panel
    panels, out_panels = channels // PANEL, plan.outputs // PANEL
    first = block * plan.block_images
    count = min(plan.block_images, plan.images - first)
    tiles = count * plan.down * plan.across
    a = v.ctypes.data + 4 * block * v.shape[1]
    c = products.ctypes.data + 4 * slot * products.shape[1]
    for g in range(first_group, last_group):
        first_panel = g * group
        here = min(group, out_panels - first_panel)
        for p in range(positions):
            for k in range(here):
                product(
                    a + 4 * p * panels * panel,
                    u.ctypes.data + 4 * ((first_panel + k) * positions + p) * channels * PANEL,
                    c + 4 * (p * here + k) * panel, tiles, panels, PANEL, panel,
                )  # fmt: skip
        if direct:
            address, width = y.ctypes.data + 4 * (first * plan.out_height * plan.out_width * plan.outputs), plan.outputs
            address += 4 * first_panel * PANEL
        else:
            width = group * PANEL
            address = staging.ctypes.data + 4 * slot * plan.block_images * plan.out_height * plan.out_width * width
        result_tiles(
            products, address, plan.out_height * plan.out_width * width, plan.out_width * width, width, statistics,
            spare, plan, block, slot, here, first_panel,
        )  # fmt: skip
        if not direct:
            finish_images(staging[slot], bias, y, relu, pool, first, count, first_panel * PANEL, here * PANEL)


@compiled
def finish_images(
    results: Array,
    bias: Array,
    y: Array,
    relu: bool,
    pool: bool,
    first: int,
    count: int,
    first_channel: int,
    channels: int,
) -> None:
    """Add the bias, cut at zero, pool: `count` images of `results` to `y` from image `first` and `first_channel` on."""
    zero = np.float32(0)
    step = 2 if pool else 1
    for n in range(count):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for c in range(channels):
                    value = results[n, step * i, step * j, c]
                    if pool:
                        value = larger(value, results[n, 2 * i, 2 * j + 1, c])
                        value = larger(value, results[n, 2 * i + 1, 2 * j, c])
                        value = larger(value, results[n, 2 * i + 1, 2 * j + 1, c])
                    value += bias[first_channel + c]
                    y[first + n, i, j, first_channel + c] = zero if relu and value < zero else value


@compiled
def larger(x: float, y: float) -> float:
    """The larger number; NaN beats every number."""
    return y if y > x or y != y else x


@compiled
def grad_images(grad: Array, dm: Array, plan: Plan, zeros: Array, first: int, last: int) -> None:
    """Transform some images of the upstream gradient (N, H', W', O)."""
    for n in range(first, last):
        for ty in range(plan.down):
            row = (n * plan.out_height + ty * plan.m) * plan.out_width * plan.outputs
            grad_tiles(grad.ctypes.data + 4 * row, dm, zeros, plan, n, ty)


@compiled
def input_grad_block(
    dm: Array, u_t: Array, products: Array, dx: Array, spare: Array, plan: Plan, block: int, slot: int, group: int
) -> None:
    """Add to the gradient of a block's input."""
    panels, in_panels, panel = plan.outputs // PANEL, plan.channels // PANEL, plan.panel
    positions = plan.side**2
    count = min(plan.block_images, plan.images - block * plan.block_images)
    tiles = count * plan.down * plan.across
    a = dm.ctypes.data + 4 * block * dm.shape[1]
    c = products.ctypes.data + 4 * slot * products.shape[1]
    for first_panel in range(0, in_panels, group):
        here = min(group, in_panels - first_panel)
        for p in range(positions):
            for k in range(here):
                product(
                    a + 4 * p * panels * panel,
                    u_t.ctypes.data + 4 * ((first_panel + k) * positions + p) * plan.outputs * PANEL,
                    c + 4 * (p * here + k) * panel, tiles, panels, PANEL, panel,
                )  # fmt: skip
        input_grad_tiles(products, dx, spare, plan, block, slot, here, first_panel)


@compiled
def weight_grad_positions(v: Array, dm: Array, du: Array, plan: Plan, first: int, last: int) -> None:
    """DU = V^T dM for some positions, in chunks of blocks that stay in the first-level cache."""
    panel, square = plan.panel, PANEL * PANEL
    panels, out_panels = plan.channels // PANEL, plan.outputs // PANEL
    chunk = max(1, _SUM_ROWS // plan.rows)
    per_image = plan.down * plan.across
    whole = plan.images // plan.block_images  # the last block may have fewer rows
    left = ((plan.images - whole * plan.block_images) * per_image + 3) // 4 * 4
    for p in range(first, last):
        start = 0
        while start < plan.blocks:
            blocks = min(chunk, whole - start) if start < whole else 1
            rows = plan.rows if start < whole else left
            a = v.ctypes.data + 4 * (start * v.shape[1] + p * panels * panel)
            b = dm.ctypes.data + 4 * (start * dm.shape[1] + p * out_panels * panel)
            for k in range(out_panels):
                for c in range(panels):
                    to = du.ctypes.data + 4 * ((p * out_panels + k) * panels + c) * square
                    transposed_product(
                        a + 4 * c * panel, b + 4 * k * panel, to, blocks, rows, v.shape[1], dm.shape[1], start
                    )
            start += blocks
