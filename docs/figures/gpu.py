"""Chapter 15: lines of memory that a warp touches, and what tiles save."""

import numpy as np
from style import BLUE, GREY, ORANGE, Figure, figure

WARP, LINE, NUMBER = 32, 128, 4
"""Threads that run together, and bytes of a line of memory and of a float32."""


def lines(stride: int) -> int:
    """How many lines of memory a warp touches whose threads read float32 numbers `stride` apart."""
    return len(np.unique(np.arange(WARP) * stride * NUMBER // LINE))


def draw() -> Figure:
    """Strides on the left, tiles on the right."""
    drawn = figure(7.4, 2.4)
    left, right = drawn.subplots(1, 2)
    strides = np.arange(1, 41)
    left.step(strides, [lines(stride) for stride in strides], where="mid", color=ORANGE)
    left.set(xlabel="numbers between neighboring threads", title="lines of memory that a warp waits for", ylim=(0, 34))
    tiles = np.array([1, 2, 4, 8, 16, 32, 64, 128])
    right.loglog(tiles, tiles / 2, "o-", color=BLUE)
    right.axhline(30, color=GREY, ls="--")
    right.text(1, 33, "what a large card asks for", color=GREY, va="bottom")
    right.set(xlabel="side of a tile", title="multiply-adds for each number read", ylim=(0.3, 150))
    right.set_xticks(tiles, tiles)
    return drawn
