"""How a launch shares the rows and channels of an array (rows, channels) out among threads; see channel_sums.h."""

from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels._gpu.driver import driver
from minicnn.kernels.arrays import Array, array_module

THREADS = 256
"""Of a block in a pass through memory; a power of two."""

BLOCKS = 1024
"""What a launch aims at: several for each multiprocessor of a large GPU, and few enough sums of blocks to add up."""

LANES = 32
"""Threads side by side in a row, at most: 32 times 16 bytes are as much as a GPU reads at once."""

MOST_ROWS = 8
"""Rows that a thread goes through in an element-wise pass, at most; more would not hide its first loads better."""

SUM_ROWS = 4
"""Rows that a thread adds up before its block meets, at least."""

SUM_CHANNELS = 8
"""SUM_CHANNELS of channel_sums.h."""

SUM_SLOTS = 128
"""Threads that share the partial sums of a channel, at most."""


class Rows(NamedTuple):
    """A launch over (rows, channels).

    Attributes:
        suffix: which of the kernels: the dtype, and how many neighbors a thread takes at once.
        grid, block: its size.
        each: rows of a block.
        shared: bytes for the sums of a block, V numbers a thread.
    """

    suffix: str
    grid: tuple[int, int]
    block: tuple[int, int]
    each: int
    shared: int


def rows_of(rows: int, channels: int, dtype: Any, sums: bool = False) -> Rows:
    """The launch of a pass, element-wise or one that leaves the sums of each block."""
    wide = neighbors(channels, dtype)
    block, tiles = block_of(channels // wide, LANES)
    slots = block[1]
    a_thread = rows * tiles // (slots * BLOCKS)
    a_thread = max(a_thread, SUM_ROWS) if sums else min(max(a_thread, 1), MOST_ROWS)
    each = slots * a_thread
    return Rows(kind(dtype, wide), (-(-rows // each), tiles), block, each, 4 * wide * THREADS)


def neighbors(channels: int, dtype: Any) -> int:
    """How many channels make 16 bytes; 1 where they do not come out even."""
    wide = 16 // np.dtype(dtype).itemsize
    return wide if channels % wide == 0 else 1


def kind(dtype: Any, wide: int) -> str:
    """The suffix of a kernel's name."""
    return f"{'float' if dtype == np.float32 else 'bfloat'}{wide}"


def block_of(groups: int, lanes: int) -> tuple[tuple[int, int], int]:
    """A block of (lanes, slots) threads for so many groups of channels, and how many blocks side by side take all."""
    lanes = min(lanes, power_of_two(groups))
    return (lanes, THREADS // lanes), -(-groups // lanes)


def column_sums(channels: int, rows: int) -> tuple[tuple[int], tuple[int, int], int]:
    """Grid, block and shared bytes of a kernel that adds up `rows` partial sums a channel, in double."""
    slots = min(SUM_SLOTS, power_of_two(rows))
    return (-(-channels // SUM_CHANNELS),), (SUM_CHANNELS, slots), 8 * SUM_CHANNELS * slots


def power_of_two(number: int) -> int:
    """The smallest that is not below `number`."""
    return 1 << (number - 1).bit_length()


def channels_last(x: Array) -> Array:
    """(N, C, H, W) as (N, H, W, C), contiguous: a view where the memory is in that order."""
    return contiguous(x.transpose(0, 2, 3, 1))


def channels_first(x: Array) -> Array:
    """(N, H, W, C) as a view (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)


def contiguous(x: Array) -> Array:
    """An array in C order, as kernels read it; itself where it is."""
    return array_module(x).ascontiguousarray(x)


def floats(*shape: int) -> Array:
    """Uninitialized float32 numbers on the GPU."""
    return driver().empty(shape, np.float32)


def ints(*numbers: int) -> tuple[np.int32, ...]:
    """Numbers as a kernel's int arguments."""
    return tuple(np.int32(number) for number in numbers)


def bfloat16() -> Any:
    """The dtype; ml_dtypes, which has it, comes with CuPy's extra."""
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
