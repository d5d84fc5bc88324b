"""Chapter 2: what broadcasting copies on the way forward is summed on the way back."""

import numpy as np
from matplotlib.patches import Rectangle
from style import BLUE, GREY, ORANGE, Figure, bare, figure

from minicnn import Tensor


def table(axes, left: float, top: float, values: np.ndarray, color: str, faint: bool = False) -> None:
    """A grid of numbers whose upper left corner is at (left, top)."""
    for (row, column), value in np.ndenumerate(np.atleast_2d(values)):
        edge = GREY if faint else color
        axes.add_patch(Rectangle((left + column, top - row - 1), 1, 1, fill=False, edgecolor=edge, lw=0.8))
        axes.text(left + column + 0.5, top - row - 0.5, f"{value:g}", ha="center", va="center", color=edge)


def draw() -> Figure:
    """x (3, 4) + b (4,): forward on the left, backward on the right."""
    x = Tensor(np.arange(12.0).reshape(3, 4))
    b = Tensor(np.array([10.0, 20.0, 30.0, 40.0]), requires_grad=True)
    y = x + b
    upstream = np.array([[1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 3.0, 1.0], [2.0, 0.0, 1.0, 1.0]])
    y.backward(upstream)

    drawn = figure(7.4, 2.1)
    axes = drawn.add_subplot()
    bare(axes, (-0.3, 22.6), (-1.6, 4.2))
    axes.set_aspect("equal")
    table(axes, 0, 3, x.data, BLUE)
    axes.text(4.5, 1.5, "+", ha="center", va="center")
    table(axes, 5, 3, b.data, BLUE)
    table(axes, 5, 2, np.tile(b.data, (2, 1)), BLUE, faint=True)
    axes.text(9.5, 1.5, "=", ha="center", va="center")
    table(axes, 10, 3, y.data, BLUE)
    axes.text(7, 3.4, "b, copied", ha="center", color=BLUE)
    table(axes, 18, 3, upstream, ORANGE)
    axes.text(20, 3.4, "dL/dy", ha="center", color=ORANGE)
    for column in range(4):
        axes.text(18.5 + column, -0.3, "↓", ha="center", va="center", color=ORANGE)
    table(axes, 18, -0.6, b.grad, ORANGE)
    axes.text(17.7, -1.1, "dL/db, summed", ha="right", va="center", color=ORANGE)
    return drawn
