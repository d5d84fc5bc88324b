"""3x3 convolution of stride 1 by Winograd's algorithm, block by block: forward, and both gradients.

Arrays of images are (N, H, W, channels), C-contiguous float32; channels and outputs are multiples of PANEL. What each
function does to one block is compiled; the blocks are shared out among the threads (kernels/parallel.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minicnn.kernels._cpu import vector, workspace
from minicnn.kernels._cpu.blocks import (
    POSITION,
    gather_square,
    input_grad_block,
    result_blocks,
    weight_grad_positions,
    weight_grad_square,
    weight_square,
)
from minicnn.kernels._cpu.plan import Plan
from minicnn.kernels._cpu.tiles import input_images
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share, threads

PANEL, WIDTH = vector.PANEL, vector.width()
_GROUP = 4
"""Panels of results that are multiplied before they are transformed: their products then stay in the cache."""
ZEROS, _NOWHERE = np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
"""What tiles read beyond an image's edge, and where they write there; nobody reads that."""


class Weights(NamedTuple):
    """A weight, transformed: `u` (O/PANEL, positions, C, PANEL); `u_t`, for the input's gradient, swaps O and C.

    All that a panel of results is multiplied by lies together, to be fetched ahead.
    """

    u: Array
    u_t: Array | None


def transform_weight(weight: Array, plan: Plan, with_transposed: bool) -> Weights:
    """Transform `weight` (O, C, 3, 3)."""
    weight = np.ascontiguousarray(weight)
    positions, panels, in_panels = plan.positions, plan.outputs // PANEL, plan.channels // PANEL
    u = workspace.empty((panels, positions, plan.channels, PANEL))
    u_t = workspace.empty((in_panels, positions, plan.outputs, PANEL)) if with_transposed else None
    scratch = _square_scratch(plan)

    def squares(first: int, last: int, slot: int) -> None:
        for square in range(first, last):
            row, column = square // panels, square % panels
            weight_square(weight, u, u if u_t is None else u_t, with_transposed, plan, scratch[slot], row, column)

    share(panels * in_panels, squares)
    return Weights(u, u_t)


def _square_scratch(plan: Plan) -> Array:
    """For each thread, a square of PANEL x PANEL channels as it is, its rows and columns swapped, and transformed."""
    return workspace.empty((threads(), (18 + plan.positions) * POSITION))


class Finish(NamedTuple):
    """What becomes of the results: written to `y` (N, H', W', O), with bias (O,), ReLU, 2 x 2 pooling if asked for."""

    y: Array
    bias: Array | None = None
    relu: bool = False
    pool: bool = False


def forward(x: Array, weights: Weights, plan: Plan, finish: Finish) -> tuple[Array, Array]:
    """Convolve `x` (N, H, W, C); `finish` says what becomes of the results.

    Returns V, which the weight's gradient needs, and the statistics (blocks, O / WIDTH, 2, WIDTH): sums and sums of
    squares of each output channel.
    """
    v = empty_blocks(plan, plan.channels)
    positions, panels, in_panels = plan.positions, plan.outputs // PANEL, plan.channels // PANEL
    # with too few blocks to keep the threads busy they share out the groups too, which had better be small
    by_groups = plan.blocks < 2 * threads()
    group = 1 if by_groups else min(_GROUP, panels)
    groups = -(-panels // group)
    products = workspace.empty((threads(), positions * group * plan.panel))
    statistics = np.zeros((plan.blocks, plan.outputs // WIDTH, 2, WIDTH), np.float32)
    direct = finish.bias is None and not finish.relu and not finish.pool
    bias = np.zeros(plan.outputs, np.float32) if finish.bias is None else finish.bias
    # a block's results, for Finish to find in the cache
    images = 0 if direct else plan.block_images
    staging = workspace.empty((threads(), images, plan.out_height, plan.out_width, group * PANEL))

    def multiply(block: int, slot: int, first_group: int, last_group: int) -> None:
        result_blocks(
            v, weights.u, products, finish.y, staging, bias, finish.relu, finish.pool, direct, statistics, _NOWHERE,
            plan, block, slot, group, first_group, last_group,
        )  # fmt: skip

    def whole_blocks(first: int, last: int, slot: int) -> None:
        for block in range(first, last):
            input_images(x, v, ZEROS, plan, block * plan.block_images, (block + 1) * plan.block_images, 0, in_panels)
            multiply(block, slot, 0, groups)

    def groups_of_blocks(first: int, last: int, slot: int) -> None:
        for part in range(first, last):
            multiply(part // groups, slot, part % groups, part % groups + 1)

    if by_groups:
        share(plan.images, lambda first, last, slot: input_images(x, v, ZEROS, plan, first, last, 0, in_panels))
        share(plan.blocks * groups, groups_of_blocks)
    else:
        share(plan.blocks, whole_blocks)
    return v, statistics


def input_transform(x: Array, plan: Plan) -> Array:
    """V for all blocks, (blocks, numbers): see plan.py."""
    v, in_panels = empty_blocks(plan, plan.channels), plan.channels // PANEL
    share(plan.images, lambda first, last, slot: input_images(x, v, ZEROS, plan, first, last, 0, in_panels))
    return v


def empty_blocks(plan: Plan, channels: int) -> Array:
    """Memory for the transformed tiles of all blocks, (blocks, numbers)."""
    return workspace.empty((plan.blocks, plan.positions * channels // PANEL * plan.panel))


def backward(
    transform_grad: Callable[[int, int, int, Array], None], v: Array, weights: Weights, plan: Plan, need_x: bool
) -> tuple[Array | None, Array]:
    """Gradients of the input (N, H, W, C) and of the weight (O, C, 3, 3).

    `transform_grad(first, last, slot, dm)` writes the transformed upstream gradient of some images to `dm`.
    """
    dm = empty_blocks(plan, plan.outputs)
    group = min(_GROUP, plan.channels // PANEL)
    products = workspace.empty((threads(), plan.positions * group * plan.panel))
    dx = workspace.empty((plan.images, plan.height, plan.width, plan.channels)) if need_x else None

    def block_gradients(first: int, last: int, slot: int) -> None:
        for block in range(first, last):
            images = block * plan.block_images, min((block + 1) * plan.block_images, plan.images)
            transform_grad(*images, slot, dm)
            if dx is not None:
                dx[slice(*images)] = 0
                input_grad_block(dm, weights.u_t, products, dx, _NOWHERE, plan, block, slot, group)

    share(plan.blocks, block_gradients)
    return dx, _weight_gradient(v, dm, plan)


def _weight_gradient(v: Array, dm: Array, plan: Plan) -> Array:
    """The weight's gradient, a position at a time, from all squares of channels."""
    positions, panels = plan.positions, plan.outputs // PANEL
    du = workspace.empty((positions, panels, plan.channels, PANEL))
    share(positions, lambda first, last, slot: weight_grad_positions(v, dm, du, plan, first, last))
    grad = workspace.empty((plan.outputs, plan.channels, 3, 3))
    scratch = _square_scratch(plan)

    def squares(first: int, last: int, slot: int) -> None:
        for square in range(first, last):
            row, column = square // panels, square % panels
            gather_square(du, scratch[slot], plan, row, column)
            weight_grad_square(grad, plan, scratch[slot], row, column)

    share(plan.outputs * plan.channels // PANEL**2, squares)
    return grad
