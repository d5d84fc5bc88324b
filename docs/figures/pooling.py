"""Chapter 7: max-pooling of a small image, and where its gradient goes."""

import numpy as np
from matplotlib.patches import Rectangle
from style import BLUE, GREEN, GREY, ORANGE, Figure, bare, figure

from minicnn import Tensor
from minicnn import functional as F


def table(axes, left: float, values: np.ndarray, color: str, filled: np.ndarray) -> None:
    """A grid of numbers with some cells filled."""
    for (row, column), value in np.ndenumerate(values):
        face = color if filled[row, column] else "white"
        axes.add_patch(Rectangle((left + column, 3 - row), 1, 1, facecolor=face, edgecolor=GREY, lw=0.6, alpha=0.35))
        axes.text(left + column + 0.5, 3.5 - row, f"{value:g}", ha="center", va="center")


def draw() -> Figure:
    """x, y, the gradient of y and that of x, from left to right."""
    x = Tensor(np.array([[3.0, 1, 0, 2], [2, 5, 0, 1], [0, 0, 4, 4], [0, 0, 7, 6]])[None, None], requires_grad=True)
    y = F.max_pool2d(x, 2)
    upstream = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    y.backward(upstream)

    drawn = figure(7.4, 2.2)
    axes = drawn.add_subplot()
    bare(axes, (-0.2, 19.2), (-0.6, 5.0))
    axes.set_aspect("equal")
    chosen = x.grad[0, 0] != 0
    everything = np.ones((2, 2), bool)
    table(axes, 0, x.data[0, 0], BLUE, chosen)
    table(axes, 5.8, y.data[0, 0], BLUE, everything)
    table(axes, 10, upstream[0, 0], ORANGE, everything)
    table(axes, 14.5, x.grad[0, 0], ORANGE, chosen)
    for left in (0, 14.5):
        for corner in ((0, 2), (2, 2), (0, 0), (2, 0)):
            axes.add_patch(Rectangle((left + corner[0], corner[1]), 2, 2, fill=False, edgecolor="black", lw=1.5))
    for left, text in ((2, "x"), (6.8, "y"), (11, "dL/dy"), (16.5, "dL/dx")):
        axes.text(left, 4.35, text, ha="center", color=GREEN)
    for left in (4.4, 12.6):
        axes.annotate("", (left + 1.2, 3), (left, 3), arrowprops={"arrowstyle": "-|>", "color": GREY})
    return drawn
