"""Chapter 9: the size of a signal, and of its gradient, through thirty layers from three beginnings."""

import math

import numpy as np
from style import BLUE, GREY, ORANGE, Figure, figure

from minicnn import Tensor
from minicnn import functional as F

WIDTH, DEPTH = 128, 30


def sizes(factor: float) -> tuple[list[float], list[float]]:
    """Root mean square of all layers' outputs and of their gradients, for weights of variance factor / fan_in."""
    random = np.random.default_rng(0)
    layers = [random.normal(size=(WIDTH, WIDTH)) * math.sqrt(factor / WIDTH) for _ in range(DEPTH)]
    arrays = [random.normal(size=(64, WIDTH))]
    for weight in layers:
        arrays.append(F.relu(F.linear(Tensor(arrays[-1]), Tensor(weight))).data)
    gradients = [random.normal(size=arrays[-1].shape)]
    for weight, array in zip(reversed(layers), reversed(arrays[:-1]), strict=True):
        x = Tensor(array, requires_grad=True)
        F.relu(F.linear(x, Tensor(weight))).backward(gradients[-1])
        gradients.append(x.grad)
    return [float(np.sqrt((a * a).mean())) for a in arrays], [float(np.sqrt((g * g).mean())) for g in gradients[::-1]]


def draw() -> Figure:
    """Signals on the left, gradients on the right."""
    drawn = figure(7.4, 2.6)
    panels = drawn.subplots(1, 2, sharey=True)
    for factor, color in ((1.0, GREY), (2.0, BLUE), (4.0, ORANGE)):
        for axes, values in zip(panels, sizes(factor), strict=True):
            axes.semilogy(range(DEPTH + 1), values, color=color, label=f"variance {factor:g} / fan-in")
    panels[0].set(title="size of the signal", xlabel="layer", ylim=(1e-6, 1e6))
    panels[1].set(title="size of its gradient", xlabel="layer")
    panels[0].legend(fontsize=7, frameon=False, loc="upper left")
    return drawn
