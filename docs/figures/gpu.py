"""Chapter 15: sectors of memory that a warp touches, and what tiles save."""

import numpy as np
from style import BLUE, GREY, ORANGE, Figure, figure

WARP, SECTOR, NUMBER = 32, 32, 4
"""Threads that run together, and bytes of a sector of memory and of a float32."""


def sectors(stride: int) -> int:
    """How many sectors of memory a warp touches whose threads read float32 numbers `stride` apart."""
    return len(np.unique(np.arange(WARP) * stride * NUMBER // SECTOR))


def draw() -> Figure:
    """Strides on the left, tiles on the right."""
    drawn = figure(7.4, 2.4)
    left, right = drawn.subplots(1, 2)
    strides = np.arange(1, 17)
    left.step(strides, [sectors(stride) for stride in strides], where="mid", color=ORANGE)
    left.set(
        xlabel="numbers between neighboring threads", title="sectors of memory that a warp waits for", ylim=(0, 34)
    )
    tiles = np.array([1, 2, 4, 8, 16, 32, 64, 128])
    right.loglog(tiles, tiles / 2, "o-", color=BLUE)
    right.axhline(30, color=GREY, ls="--")
    right.text(1, 33, "what the card of exercise 3 asks for", color=GREY, va="bottom")
    right.set(xlabel="side of a tile", title="multiply-adds for each number read", ylim=(0.3, 150))
    right.set_xticks(tiles, tiles)
    return drawn
