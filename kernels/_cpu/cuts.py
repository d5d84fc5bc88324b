"""How a convolution is cut into blocks that stay in a core's cache, and how these find their source pixels."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels._cpu.grids import Grid
from minicnn.kernels._cpu.strided import FEW_ROWS, NARROW, PANEL, ROWS
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share

IN_PLACE, PADDED, COLUMNS = 0, 1, 2
"""Where the micro-kernel finds pixels: in the image itself, in a copy with padding, or laid out as im2col does."""

_BLOCK_NUMBERS = 1 << 16
"""Source numbers of a block: a quarter of a MiB, which leaves room for the weight in the second-level cache."""
_TASKS = 4
"""Blocks aimed at for each thread, so that all are done at nearly the same time."""
_PARTS, _PART_PIXELS, _PART_BYTES = 64, 512, 1 << 23
"""Partial sums of the weight's gradient, at most; pixels of each, at least; memory of all, at most."""


_SMALL = 1 << 20
"""Multiply-adds that are done sooner than another thread has woken up."""


def share_work(products: int, count: int, work: Callable[[int, int, int], None]) -> None:
    """`share`, unless so few multiply-adds cost less than sharing."""
    if products < _SMALL:
        work(0, count, 0)
    else:
        share(count, work)


class Blocks(NamedTuple):
    """Rectangles of grid pixels.

    A line is a row of one image; lines are numbered through all images. A block has `lines` x `columns` pixels, and
    only of COLUMNS may it reach from one image into the next.
    """

    mode: int
    block_lines: int
    block_columns: int
    stretch: int  # lines that are cut up: those of an image, or all
    blocks_down: int  # of a stretch
    blocks_across: int
    blocks: int
    copied: int  # numbers of a block's copy


class Work(NamedTuple):
    """All that the compiled functions need to know of a grid; `items` is what threads share out.

    `numbers` is the grid and its blocks as one array: to hand over two tuples takes as long as a small convolution.
    """

    numbers: Array
    splits: int  # of each block's results, or each part's
    items: int
    products: int
    scratch: int  # numbers that a thread needs
    shape: tuple[int, ...]  # of partial sums: (parts, groups, outputs, taps, depth) in whole tiles


@lru_cache(maxsize=256)
def record(*parts: Any) -> Array:
    """Named tuples as one structure in memory. Handing a tuple to a compiled function takes 0.1 us a number."""
    fields = [(name, np.int64) for part in parts for name in part._fields]
    return np.array([tuple(number for part in parts for number in part)], fields)


@lru_cache(maxsize=256)
def results_work(grid: Grid, threads: int) -> Work:
    """For computing a grid's pixels: enough blocks for all threads, or else each block's outputs are shared out too."""
    grid = grid.flattened()
    pixels = grid.images * grid.down * grid.across
    blocks = _cut(grid, _results_mode(grid), max(ROWS, pixels // (_TASKS * threads)) if threads > 1 else pixels)
    splits = min(-(-grid.group_outputs // PANEL), -(-2 * threads // blocks.blocks)) if threads > 1 else 1
    scratch = _scratch(grid, blocks, ROWS * PANEL)
    return Work(record(grid, blocks), splits, blocks.blocks * splits, grid.products, scratch, ())


@lru_cache(maxsize=256)
def sums_work(grid: Grid, threads: int) -> Work:
    """For the weight's gradient: partial sums, whose number depends on the grid alone, so that the bits do too."""
    grid = grid.flattened()
    taps, depth = grid.taps, grid.group_channels
    if _whole(depth, NARROW) * 8 > depth * 9:  # else much of each tile would be empty
        mode, taps, depth = COLUMNS, 1, grid.taps * grid.group_channels
    else:
        mode = PADDED if grid.needs_padding or depth % NARROW else IN_PLACE
    pixels = grid.images * grid.down * grid.across
    blocks = _cut(grid, mode, pixels)
    outputs = _whole(grid.group_outputs, ROWS)
    shape = grid.groups, outputs, taps, _whole(depth, NARROW)
    parts = max(1, min(blocks.blocks, pixels // _PART_PIXELS, _PART_BYTES // (4 * math.prod(shape)), _PARTS))
    splits = min(grid.groups * outputs // ROWS, -(-2 * threads // parts)) if threads > 1 else 1
    scratch = _scratch(grid, blocks, blocks.block_lines * blocks.block_columns * outputs)
    return Work(record(grid, blocks), splits, parts * splits, grid.products, scratch, (parts, *shape))


def _results_mode(grid: Grid) -> int:
    """A line's last tile may be partly empty. Laying windows out avoids that, and pays if there are many outputs."""
    empty = -grid.across % FEW_ROWS / grid.across
    copying = 0.25 if grid.group_channels >= NARROW else 1.5  # of the time for a product with NARROW outputs
    if empty * -(-grid.group_outputs // NARROW) > copying:
        return COLUMNS
    reads_beyond = grid.across % ROWS not in (0, FEW_ROWS)
    return PADDED if grid.needs_padding or reads_beyond else IN_PLACE


def _cut(grid: Grid, mode: int, most: int) -> Blocks:
    """Blocks of at most about _BLOCK_NUMBERS source numbers and `most` pixels."""
    stretch, stretches = (grid.images * grid.down, 1) if mode == COLUMNS else (grid.down, grid.images)
    lines, columns = stretch, grid.across

    def too_large(lines: int, columns: int) -> bool:
        return lines * columns > most or _numbers(grid, mode, lines, columns) > _BLOCK_NUMBERS

    while columns > ROWS and too_large(1, columns):
        columns, lines = _whole(-(-columns // 2), ROWS), 1
    while lines > 1 and too_large(lines, columns):
        lines = -(-lines // 2)
    down, across = -(-stretch // lines), -(-grid.across // columns)
    lines = -(-stretch // down)  # blocks of nearly one size
    copied = 0 if mode == IN_PLACE else _numbers(grid, mode, lines, columns)
    return Blocks(mode, lines, columns, stretch, down, across, stretches * down * across, copied)


def _numbers(grid: Grid, mode: int, lines: int, columns: int) -> int:
    """Numbers that a block's windows span, or hold one by one."""
    if mode == COLUMNS:
        return lines * columns * grid.taps * grid.group_channels
    height = (lines - 1) * grid.step_down + (grid.taps_down - 1) * grid.tap_down + 1
    width = (columns - 1) * grid.step_across + (grid.taps_across - 1) * grid.tap_across + 1
    return max(height, 0) * max(width, 0) * grid.channels


def _scratch(grid: Grid, blocks: Blocks, more: int) -> int:
    """Numbers of a block's copy, what a tile may read beyond it, and `more`; whole cache lines."""
    pixel = grid.taps * grid.group_channels if blocks.mode == COLUMNS else grid.step_across * grid.channels
    return _whole(blocks.copied + ROWS * pixel + PANEL + more, NARROW)


def _whole(count: int, unit: int) -> int:
    return -(-count // unit) * unit
