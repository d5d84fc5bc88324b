"""Launches of first_layer.h: a block on images of one channel, whose convolution's results are never stored."""

from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.rows import block_of, column_sums, contiguous, floats, ints, kind
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows

SAME = Windows((3, 3), padding=(1, 1))

_SOURCE = Source("conv_block")
_LANES = 16
_STRIP = 8
"""Rows of 2x2 windows in a strip, at most."""

_TILE_BYTES = 24 << 10
"""What a strip may take of a block's shared memory."""

_BLOCKS = 528
"""Of a pass that adds up: four for each multiprocessor of an H200."""

_MOMENTS = 54
_THREADS = 256
_WARPS = 8

Statistics = tuple[Array, Array]


class Strips(NamedTuple):
    """How images (N, 1, H, W) are cut: `number` strips in all, of `rows` rows of windows, in a tile of `bytes`."""

    number: int
    rows: int
    bytes: int


class Saved(NamedTuple):
    """What backward needs; `moments` is None in evaluation, and `choice` where nothing is pooled."""

    x: Array
    weight: Array
    gamma: Array
    beta: Array
    running: Statistics | None
    statistics: Statistics
    eps: float
    moments: Array | None
    y: Array
    choice: Array | None


def fits(x: Array, weight: Array, windows: Windows) -> bool:
    """Whether this is the block for `x` (N, C, H, W)."""
    return bool(
        x.dtype == np.float32
        and x.size > 0
        and weight.shape[1] == 1 == x.shape[1]
        and windows == SAME
        and _tile_bytes(1, x.shape[3]) <= _TILE_BYTES
    )


def forward(
    x: Array,
    weight: Array,
    gamma: Array,
    beta: Array,
    running: Statistics | None,
    eps: float,
    pooled: bool,
    dtype: Any,
    needs_grad: bool,
) -> tuple[Array, Statistics, Saved]:
    """The block's output (N, H', W', O) in `dtype`, its statistics, and what backward needs."""
    x, weight = contiguous(x), contiguous(weight)
    images, _, height, width = x.shape
    outputs, count = len(weight), np.float64(x.size)
    moments = None if running is not None else _moments(x)
    statistics = (floats(outputs), floats(outputs)) if running is None else running
    folded, shifts = floats(9, outputs), floats(outputs)
    _SOURCE.launch(
        "first_statistics", (-(-outputs // _THREADS),), (_THREADS,),
        moments, count, weight, gamma, beta, np.float64(eps), np.int32(outputs), *statistics, folded, shifts,
    )  # fmt: skip
    size = (height // 2, width // 2) if pooled else (height, width)
    y = driver().empty((images, *size, outputs), dtype)
    choice = driver().empty(y.shape, np.uint8) if pooled and needs_grad else None
    strips, (block, tiles) = _strips(x), block_of(outputs // _wide(outputs), _LANES)
    _SOURCE.launch(
        f"first_forward_{_kind(y, pooled)}", (strips.number, tiles), block,
        x, folded, shifts, *ints(height, width, outputs, strips.rows), y, choice, shared=strips.bytes,
    )  # fmt: skip
    return y, statistics, Saved(x, weight, gamma, beta, running, statistics, eps, moments, y, choice)


def backward(grad: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """Gradients of weight, gamma and beta from `grad` (N, H', W', O)."""
    x, outputs = saved.x, len(saved.weight)
    strips, (block, tiles) = _strips(x), block_of(outputs // _wide(outputs), _LANES)
    blocks = min(strips.number, _BLOCKS)
    partial = floats(blocks, 10, outputs)
    _SOURCE.launch(
        f"first_gradient_sums_{_kind(grad, saved.choice is not None)}", (blocks, tiles), block,
        x, grad, saved.y, saved.choice, *ints(strips.number, *x.shape[2:], outputs, strips.rows), partial,
        shared=strips.bytes + 4 * _wide(outputs) * _THREADS,
    )  # fmt: skip
    grads = floats(*saved.weight.shape), floats(outputs), floats(outputs)
    grid, block, shared = column_sums(outputs, blocks)
    _SOURCE.launch(
        "first_gradients", grid, block,
        partial, *ints(blocks, outputs), saved.moments, np.float64(x.size), saved.weight, saved.gamma,
        *saved.statistics, np.float64(saved.eps), *grads, shared=shared,
    )  # fmt: skip
    return grads


def _moments(x: Array) -> Array:
    """Sums of all patches and of their products, in float64."""
    strips = _strips(x)
    blocks = min(strips.number, _BLOCKS)
    partial = floats(blocks, _MOMENTS)
    _SOURCE.launch(
        "first_moments", (blocks,), (32, _WARPS),
        x, *ints(strips.number, *x.shape[2:], strips.rows), partial, shared=strips.bytes + 4 * _WARPS * _MOMENTS,
    )  # fmt: skip
    moments = driver().empty((_MOMENTS,), np.float64)
    grid, block, shared = column_sums(_MOMENTS, blocks)
    _SOURCE.launch("add_moments", grid, block, partial, np.int32(blocks), moments, shared=shared)
    return moments


def _strips(x: Array) -> Strips:
    windows = (x.shape[2] + 1) // 2
    rows = min(_STRIP, windows)
    while _tile_bytes(rows, x.shape[3]) > _TILE_BYTES:
        rows -= 1
    return Strips(len(x) * -(-windows // rows), rows, _tile_bytes(rows, x.shape[3]))


def _tile_bytes(rows: int, width: int) -> int:
    return 4 * (2 * rows + 2) * ((width + 1) // 2 * 2 + 2)


def _kind(like: Array, pooled: bool) -> str:
    return ("pooled_" if pooled else "") + kind(like.dtype, _wide(like.shape[3]))


def _wide(outputs: int) -> int:
    """Channels of a thread: each has nine weights and ten sums in registers, so four will do for bfloat16 too."""
    return 4 if outputs % 4 == 0 else 1
