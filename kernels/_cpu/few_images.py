"""The block in evaluation for one image or a few, whose weights are frozen: a list of steps, made once (crew.py).

With many images a block of them is a thread's own from the first transform to the last. Here there are hardly more
blocks than threads, so these share out the channels: each part is a panel of them. Reading the weights takes as long
as multiplying by them, hence packed weights lie in the order in which they are read, and Winograd's algorithm, whose
transformed weights are larger, has to save that much more.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from minicnn.kernels._cpu import conv3x3, crew, vector, workspace
from minicnn.kernels._cpu.atomics import floats, pointer
from minicnn.kernels._cpu.blocks import finish_images, result_blocks
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.microkernel import SPARE_ROWS, product
from minicnn.kernels._cpu.plan import Plan
from minicnn.kernels._cpu.tiles import input_images
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import threads
from minicnn.kernels.windows import Windows

PANEL, WIDTH = vector.PANEL, vector.width()
_FEW_PIXELS = 64
"""Pixels whose windows, laid out one by one, and products with a panel of outputs stay in a core's cache."""


class Shape(NamedTuple):
    """Sizes of a convolution that is computed by its definition."""

    images: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    outputs: int
    taps_down: int
    taps_across: int
    step_down: int
    step_across: int
    top: int
    left: int
    tap_down: int
    tap_across: int


_WINOGRAD = crew.arguments(
    *("v", "u", "products", "staging", "bias", "statistics", "zeros", "spare"), "pool", "threads", *Plan._fields
)
_DIRECT = crew.arguments("a", "u", "staging", "bias", "pool", "threads", *Shape._fields)


def _kernel(
    record: np.dtype[Any], memory: list[Array], pool: bool, sizes: Any, *steps: tuple[crew.Task, int]
) -> crew.Kernel:
    addresses = (crew.address(array) for array in memory)
    return crew.Kernel(np.array([(0, 0, *addresses, pool, threads(), *sizes)], record), memory, *steps)


def winograd(weight: Array, shift: Array, plan: Plan, pool: bool) -> crew.Kernel:
    """By Winograd's algorithm, with `weight` (O, C, 3, 3)."""
    memory = [
        conv3x3.empty_blocks(plan, plan.channels),
        conv3x3.transform_weight(weight, plan, with_transposed=False).u,
        workspace.empty((threads(), plan.positions * plan.panel)),
        workspace.empty((threads(), plan.block_images, plan.out_height, plan.out_width, PANEL)),
        shift,
        np.zeros((plan.blocks, plan.outputs // WIDTH, 2, WIDTH), np.float32),  # which nobody reads
        conv3x3.ZEROS,
        np.empty(WIDTH, np.float32),
    ]
    transform = _transform, plan.images * plan.channels // PANEL
    multiply = _multiply_tiles, plan.blocks * plan.outputs // PANEL
    return _kernel(_WINOGRAD, memory, pool, plan, transform, multiply)


def direct_shape(x_shape: tuple[int, ...], weight: Array, windows: Windows, groups: int) -> Shape | None:
    """How to go about images of `x_shape` (N, H, W, C) by the definition; None where it does not fit or pay."""
    outputs, channels, *_ = weight.shape
    size = windows.output_size(*x_shape[1:3])
    pixels = x_shape[0] * size[0] * size[1]
    if groups > 1 or channels % PANEL or outputs % PANEL or not 0 < pixels <= _FEW_PIXELS:
        return None
    images, height, width, _ = x_shape
    return Shape(
        images, height, width, channels, *size, outputs,
        *windows.kernel, *windows.stride, *windows.padding, *windows.dilation,
    )  # fmt: skip


def direct(weight: Array, shift: Array, shape: Shape, pool: bool) -> crew.Kernel:
    """By the definition: windows laid out one by one times the packed `weight` (O, C, kH, kW)."""
    panels, taps = shape.outputs // PANEL, shape.taps_down * shape.taps_across
    packed = workspace.empty((panels, taps, shape.channels, PANEL))
    packed[:] = weight.reshape(panels, PANEL, shape.channels, taps).transpose(0, 3, 2, 1)
    rows = shape.images * shape.out_height * shape.out_width
    memory = [
        workspace.empty((taps * shape.channels // PANEL * (rows + 1) + SPARE_ROWS, PANEL)),
        packed,
        workspace.empty((threads(), rows + SPARE_ROWS, PANEL)),
        shift,
    ]
    return _kernel(_DIRECT, memory, pool, shape, (_lay_out, taps), (_multiply_windows, panels))


@compiled
def _plan(a: Any) -> Plan:
    return Plan(
        a.images, a.height, a.width, a.channels, a.out_height, a.out_width, a.outputs, a.padding, a.m, a.side,
        a.down, a.across, a.block_images, a.rows, a.panel, a.blocks,
    )  # fmt: skip


@compiled
def _results(a: Any) -> Array:
    step = 2 if a.pool else 1
    return floats(a.y, (a.images, a.out_height // step, a.out_width // step, a.outputs))


@compiled
def _transform(arguments: int, part: int, slot: int) -> None:
    """A panel of channels of an image."""
    a = carray(pointer(arguments), (1,), _WINOGRAD)[0]
    plan = _plan(a)
    panels = plan.channels // PANEL
    n, panel = part // panels, part % panels
    x = floats(a.x, (plan.images, plan.height, plan.width, plan.channels))
    v = floats(a.v, (plan.blocks, plan.side**2 * panels * plan.panel))
    input_images(x, v, floats(a.zeros, (WIDTH,)), plan, n, n + 1, panel, panel + 1)


@compiled
def _multiply_tiles(arguments: int, part: int, slot: int) -> None:
    """A panel of outputs of a block."""
    a = carray(pointer(arguments), (1,), _WINOGRAD)[0]
    plan = _plan(a)
    panels, positions = plan.outputs // PANEL, plan.side**2
    v = floats(a.v, (plan.blocks, positions * plan.channels // PANEL * plan.panel))
    u = floats(a.u, (panels, positions, plan.channels, PANEL))
    products = floats(a.products, (a.threads, positions * plan.panel))
    staging = floats(a.staging, (a.threads, plan.block_images, plan.out_height, plan.out_width, PANEL))
    statistics = floats(a.statistics, (plan.blocks, plan.outputs // WIDTH, 2, WIDTH))
    block, panel = part // panels, part % panels
    result_blocks(
        v, u, products, _results(a), staging, floats(a.bias, (plan.outputs,)), True, a.pool != 0, False, statistics,
        floats(a.spare, (WIDTH,)), plan, block, slot, 1, panel, panel + 1,
    )  # fmt: skip


@compiled
def _lay_out(arguments: int, part: int, slot: int) -> None:
    """What a tap meets in all windows, as the micro-kernel wants its rows; beyond the image it meets zeros."""
    a = carray(pointer(arguments), (1,), _DIRECT)[0]
    i, j = part // a.taps_across, part % a.taps_across
    pixels, panels = a.images * a.out_height * a.out_width, a.channels // PANEL
    x = floats(a.x, (a.images, a.height, a.width, a.channels))
    target = floats(a.a, (a.taps_down * a.taps_across, panels, pixels + 1, PANEL))[part]
    for pixel in range(pixels):
        n, row, column = pixel // (a.out_height * a.out_width), pixel // a.out_width % a.out_height, pixel % a.out_width
        y, z = row * a.step_down - a.top + i * a.tap_down, column * a.step_across - a.left + j * a.tap_across
        inside = 0 <= y < a.height and 0 <= z < a.width
        for panel in range(panels):
            for k in range(PANEL):
                target[panel, pixel, k] = x[n, y, z, panel * PANEL + k] if inside else np.float32(0)


@compiled
def _multiply_windows(arguments: int, part: int, slot: int) -> None:
    """A panel of outputs."""
    a = carray(pointer(arguments), (1,), _DIRECT)[0]
    pixels, chunks = a.images * a.out_height * a.out_width, a.taps_down * a.taps_across * a.channels // PANEL
    products = a.staging + 4 * slot * (pixels + SPARE_ROWS) * PANEL
    product(a.a, a.u + 4 * part * chunks * PANEL * PANEL, products, pixels, chunks, PANEL, (pixels + 1) * PANEL)
    staging = floats(products, (a.images, a.out_height, a.out_width, PANEL))
    bias = floats(a.bias, (a.outputs,))
    finish_images(staging, bias, _results(a), True, a.pool != 0, 0, a.images, part * PANEL, PANEL)
