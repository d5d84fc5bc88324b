"""How a 3x3 convolution of stride 1 is cut up for Winograd's algorithm.

A block is a few images whose tiles lie together. Channels lie in panels of PANEL, so position p = i * side + j of
tile t in panel c is

    V[block, p, c, t, :]

and each position's tiles are the rows of a matrix that the micro-kernel takes as it is. A panel has one row more than
it needs: positions a power of two apart would compete for the same lines of the cache.
"""

import functools
from typing import NamedTuple

from minicnn.kernels._cpu.vector import PANEL
from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows

_TILES = 32
"""Tiles aimed at in a block: its matrices then stay in a core's second-level cache."""
_READING = 8
"""Reading a number of the transformed weight takes as long as multiplying it with so many tiles.

Measured: 3 from the third-level cache, 14 from memory.
"""
SIZES = (6, 3, 2)
"""Tile sizes, see winograd.py: the largest is the quickest, the smallest the most exact."""
_WHOLE = 3
"""A map of this size, between zeros, is one tile of its own kind."""

_largest = SIZES[0]


class Plan(NamedTuple):
    """Counts.

    `out_` is the result, a tile gives m x m of it and reads from `padding` pixels before; it takes side x side
    positions. `across` and `down` are tiles an image, `rows` tiles a block rounded up to 4, `panel` the numbers from
    one panel to the next.
    """

    images: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    outputs: int
    padding: int
    m: int
    side: int
    down: int
    across: int
    block_images: int
    rows: int
    panel: int
    blocks: int

    @property
    def positions(self) -> int:
        """Matrix products: one for each number of a transformed tile."""
        return self.side**2


def set_largest_tile(m: int) -> None:
    """Use no tile larger than `m` from now on; raises ValueError unless it is one of SIZES."""
    global _largest
    if m not in SIZES:
        raise ValueError(f"tile: expected one of {', '.join(map(str, SIZES))}, got {m!r}")
    _largest = m
    plan.cache_clear()


@functools.lru_cache(maxsize=1024)
def plan(x_shape: tuple[int, ...], outputs: int, padding: int, m: int = 0) -> Plan | None:
    """For `x_shape` (N, H, W, C), with tiles of size `m` or, for 0, of the quickest: large for many images.

    None where Winograd's algorithm takes longer than the 9 products of the definition.
    """
    images, height, width, channels = x_shape
    out_height, out_width = height + 2 * padding - 2, width + 2 * padding - 2

    def is_whole(m: int) -> bool:
        return padding == 1 and height == width == m == _WHOLE

    def side(m: int) -> int:
        return m + 1 if is_whole(m) else m + 2

    def cost(m: int) -> int:
        tiles = images * -(-out_height // m) * -(-out_width // m)
        return side(m) ** 2 * (-(-tiles // 4) * 4 + _READING)

    if not m:
        m = min((size for size in SIZES if size <= _largest), key=cost)
        if cost(m) > 9 * (images * out_height * out_width + _READING):
            return None
    down, across = -(-out_height // m), -(-out_width // m)
    tiles = down * across
    block_images = max(1, min(_TILES // tiles, images))
    rows = -(-block_images * tiles // 4) * 4
    blocks = -(-images // block_images)
    return Plan(
        images, height, width, channels, out_height, out_width, outputs, 0 if is_whole(m) else padding, m, side(m),
        down, across, block_images, rows, (rows + 1) * PANEL, blocks,
    )  # fmt: skip


def winograd_plan(shape: tuple[int, ...], weight: Array, windows: Windows, groups: int) -> Plan | None:
    """How Winograd's algorithm goes about images of `shape` (N, H, W, C); None where it does not fit or pay."""
    outputs, channels, rows, columns = weight.shape
    vertical, horizontal = windows.padding
    fits = (
        (rows, columns) == (3, 3)
        and windows.stride == windows.dilation == (1, 1)
        and vertical == horizontal
        and groups == 1
        and channels % PANEL == outputs % PANEL == 0
    )
    return plan(shape, outputs, vertical) if fits else None
