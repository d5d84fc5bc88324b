"""How products on the GPU are cut: tiles, parts of long sums, and which kernel of conv2d/cuda.cu does what."""

from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np

from minicnn.kernels._gpu.driver import driver
from minicnn.kernels.windows import Pair

STAGES = 4
ROW_BYTES = 64
"""Of the dimension that is summed over, in one step: 32 numbers of bfloat16, 16 floats."""


class Shape(NamedTuple):
    """Of a convolution, as the kernels want it: the fields of `struct Shape` in convolution.h, in their order.

    `channels` are those in memory, which fill whole chunks of 16 bytes.
    """

    size: Pair
    channels: int
    out_size: Pair
    outputs: int
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    @property
    def length(self) -> int:
        """Of the sums: values in a window."""
        return prod(self.kernel) * self.channels

    @property
    def halo(self) -> int:
        """How many pixels before and after its own a centered window reaches, counted through memory."""
        return self.padding[0] * self.size[1] + self.padding[1]

    @property
    def keeps_size(self) -> bool:
        """Whether windows are centered on every pixel: the pixel under an element is the same way off everywhere."""
        return all(
            size == out and step == 1 and 2 * p == d * (k - 1)
            for size, out, step, p, d, k in zip(
                self.size, self.out_size, self.stride, self.padding, self.dilation, self.kernel, strict=True
            )
        )

    def arguments(self) -> tuple[np.int32, ...]:
        """What the kernels call SHAPE_PARAMETERS."""
        numbers: list[int] = []
        for field in self:
            numbers.extend(field if isinstance(field, tuple) else (field,))
        return tuple(np.int32(number) for number in numbers)


class Tile(NamedTuple):
    """What a block multiplies: see the tiles of the same names in conv2d/cuda.cu."""

    name: str
    rows: int
    columns: int
    threads: int
    blocks: int  # on one multiprocessor, as far as its registers go

    @property
    def shared(self) -> int:
        """Bytes for the stages, and for what comes after them."""
        return max(STAGES * (self.rows + self.columns) * ROW_BYTES, self.result)

    @property
    def result(self) -> int:
        """Bytes of the tile as float32, which goes out through shared memory."""
        return self.rows * self.columns * 4

    def cover(self, rows: int, columns: int) -> int:
        """How many tiles cover a matrix."""
        return ceil(rows, self.rows) * ceil(columns, self.columns)


TALL = Tile("tall", 256, 64, 128, 2)
SQUARE = Tile("square", 128, 128, 128, 2)
SMALL = Tile("small", 64, 64, 64, 4)
WIDE = Tile("wide", 64, 128, 64, 4)
NINE = Tile("3x3", 64, 9 * 32, 128, 2)


def for_neighborhoods(shape: Shape, pixels: int, math: str) -> tuple[Tile, int] | None:
    """The tile for neighborhood.h and its shared memory in bytes; None where another kernel has to do it.

    As wide as there are outputs, and none where multiprocessors would stay without work.
    """
    tile = TALL if shape.outputs <= TALL.columns else SQUARE
    # weights in stages, and two neighborhoods with a row of zeros each, in whole turns of the banks
    rows = STAGES * tile.columns + 2 * 2 * ceil(tile.rows + 2 * shape.halo + 1, 2)
    shared = max(rows * ROW_BYTES, tile.result)
    fits = shape.channels % step(math) == 0 and prod(shape.kernel) >= STAGES and shared <= driver().gpu.shared_bytes
    enough = tile.cover(pixels, shape.outputs) >= driver().gpu.multiprocessors
    return (tile, shared) if math != "float32" and shape.keeps_size and fits and enough else None


def for_windows(shape: Shape, pixels: int) -> Tile:
    """The tile for convolution.h: small where square ones would be half empty or leave multiprocessors without work."""
    few = SQUARE.cover(pixels, shape.outputs) < driver().gpu.multiprocessors
    return SMALL if few or shape.outputs <= SMALL.columns else SQUARE


def for_weight_gradient(outputs: int) -> Tile:
    """The tile for weight_gradient.h: wide where square ones would hang over the outputs by half or more."""
    return WIDE if (outputs - 1) % SQUARE.rows < WIDE.rows else SQUARE


def for_ring(shape: Shape, math: str) -> tuple[int, int] | None:
    """The rows of the ring of weight_gradient_3x3.h and its shared memory in bytes; None where that does not fit."""
    if math != "bfloat16" or not shape.keeps_size or shape.kernel != (3, 3) or shape.channels % 32:
        return None
    rows = 1 << (STAGES * step(math) + 2 * shape.halo - 1).bit_length()
    shared = (STAGES * NINE.rows + rows + 1) * ROW_BYTES
    return (rows, shared) if shared <= driver().gpu.shared_bytes else None


def split(tiles: int, steps: int, tile: Tile) -> tuple[int, int]:
    """In how many parts to sum up so that all multiprocessors work to the end, and steps of a part."""
    return _split(tiles, steps, tile.blocks * driver().gpu.multiprocessors)


@cache
def _split(tiles: int, steps: int, at_once: int) -> tuple[int, int]:
    """Blocks run in waves, `at_once` of them.

    A part costs as much as eight steps to begin and to write out; reading its sums of one tile takes the thirtieth part
    of a step.
    """

    def cost(parts: int) -> float:
        return ceil(tiles * parts, at_once) * (ceil(steps, parts) + 8) + (tiles * parts / 30 if parts > 1 else 0)

    parts = min(range(1, max(2, min(steps // 4, 4 * at_once) + 1)), key=cost)
    return ceil(steps, ceil(steps, parts)), ceil(steps, parts)


def chunk(math: str) -> int:
    """Numbers in 16 bytes."""
    return 8 if math == "bfloat16" else 4


def step(math: str) -> int:
    """Values that are summed over at once."""
    return ROW_BYTES // 16 * chunk(math)


def ceil(a: int, b: int) -> int:
    """The quotient, rounded up."""
    return -(-a // b)
