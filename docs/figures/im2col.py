"""Chapter 6: a 4x4 image, its nine 2x2 windows as columns, and the product."""

import numpy as np
from matplotlib.patches import Rectangle
from style import BLUE, GREEN, GREY, ORANGE, Figure, bare, figure

from minicnn.kernels.conv2d.im2col import forward, im2col
from minicnn.kernels.windows import Windows

WINDOWS = Windows((2, 2))
MARKED = {0: BLUE, 5: ORANGE}


def table(axes, left: float, top: float, values: np.ndarray) -> None:
    """A grid of numbers whose upper left corner is at (left, top)."""
    for (row, column), value in np.ndenumerate(values):
        place = (left + column, top - row - 1)
        axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=GREY, lw=0.6))
        axes.text(place[0] + 0.5, place[1] + 0.5, f"{value:g}", ha="center", va="center", fontsize=8)


def mark(axes, left: float, top: float, wide: int, high: int, color: str) -> None:
    """A thick frame."""
    axes.add_patch(Rectangle((left, top - high), wide, high, fill=False, edgecolor=color, lw=2))


def draw() -> Figure:
    """x on the left; weight, columns and output on the right."""
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    weight = np.array([[[[1.0, 2.0], [3.0, 4.0]]], [[[1.0, 0.0], [0.0, -1.0]]]])
    columns = im2col(x, WINDOWS).reshape(4, 9)
    y = forward(x, weight, None, WINDOWS, 1).reshape(2, 9)

    drawn = figure(7.4, 3.1)
    axes = drawn.add_subplot()
    bare(axes, (-0.2, 22), (-3.6, 5.3))
    axes.set_aspect("equal")
    table(axes, 0, 4, x[0, 0])
    table(axes, 12, 4, columns)
    table(axes, 7, -1, weight.reshape(2, 4))
    table(axes, 12, -1, y)
    for window, color in MARKED.items():
        row, column = divmod(window, 3)
        mark(axes, column, 4 - row, 2, 2, color)
        mark(axes, 12 + window, 4, 1, 4, color)
        mark(axes, 12 + window, -1, 1, 2, color)
    for left, top, text in (
        (2, 4.4, "x (4, 4)"),
        (16.5, 4.4, "columns (4, 9): a window each"),
        (9, -0.6, "weight (2, 4): an output each"),
        (16.5, -0.6, "y (2, 9)"),
    ):
        axes.text(left, top, text, ha="center", color=GREEN)
    axes.annotate("", (11.6, 2), (4.4, 2), arrowprops={"arrowstyle": "-|>", "color": GREY})
    axes.text(8, 2.3, "im2col copies", ha="center", color=GREY)
    return drawn
