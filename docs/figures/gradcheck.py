"""Chapter 4: the error of a measured slope, and what an upstream of ones sees of wrong backwards."""

from collections.abc import Callable

import numpy as np
from style import BLUE, GREY, ORANGE, RED, Figure, figure

from minicnn import Function, Tensor
from minicnn.device import Array
from minicnn.ops.softmax import Softmax


class PlainMean(Softmax):
    """Softmax whose backward takes the plain mean where it should weigh by the probabilities."""

    def backward(self, grad: Array) -> Array:
        return self.saved.y * (grad - grad.mean(axis=-1, keepdims=True))


class SwappedImages(Function):
    """2 x, whose backward turns the batch around."""

    def forward(self, x: Array) -> Array:
        return 2 * x

    def backward(self, grad: Array) -> Array:
        return 2 * grad[::-1]


class Blurred(Function):
    """2 x, whose backward takes the mean of each image's gradient."""

    def forward(self, x: Array) -> Array:
        return 2 * x

    def backward(self, grad: Array) -> Array:
        return 2 * np.broadcast_to(grad.mean(axis=-1, keepdims=True), grad.shape)


def error_of_slope(eps: float, dtype: str, sides: int) -> float:
    """Of x^3 at 1.7, measured with a step of eps to one or both sides."""

    def cube(x: float) -> float:
        t = Tensor(np.array(x, dtype))
        return (t * t * t).item()

    below = cube(1.7 - eps) if sides == 2 else cube(1.7)
    return abs((cube(1.7 + eps) - below) / (sides * eps) - 3 * 1.7**2)


def seen(function: Callable[[], Function], upstream: Array) -> float:
    """How far what backward promises is from what is measured, along a random direction."""
    random = np.random.default_rng(1)
    x, direction = random.normal(size=upstream.shape), random.normal(size=upstream.shape)
    tensor = Tensor(x, requires_grad=True)
    function()(tensor).backward(upstream)
    promised = float((tensor.grad * direction).sum())
    ends = [float((function()(Tensor(x + step * direction)).data * upstream).sum()) for step in (1e-5, -1e-5)]
    return abs(promised - (ends[0] - ends[1]) / 2e-5)


def draw() -> Figure:
    """Errors by the step, and what two upstreams see of three mistakes."""
    drawn = figure(7.4, 2.9)
    left, right = drawn.subplots(1, 2, width_ratios=(1.2, 1))
    steps = 2.0 ** -np.arange(1, 41)
    for label, dtype, sides, color in (
        ("one side, float64", "float64", 1, GREY),
        ("both sides, float64", "float64", 2, BLUE),
        ("both sides, float32", "float32", 2, ORANGE),
    ):
        errors = [max(error_of_slope(float(eps), dtype, sides), 1e-14) for eps in steps]
        left.loglog(steps, errors, ".-", color=color, label=label, lw=0.8, ms=3)
    left.set(xlabel="step ε", title="error of a measured slope", ylim=(1e-13, 1e2))
    left.legend(fontsize=7, frameon=False)

    mistakes = {
        "softmax:\nplain mean": lambda: PlainMean(-1),
        "images\nswapped": SwappedImages,
        "gradient\naveraged": Blurred,
    }
    random = np.random.default_rng(0).normal(size=(4, 5))
    for offset, label, upstream, color in ((-0.2, "ones", np.ones((4, 5)), GREY), (0.2, "random", random, RED)):
        found = [max(seen(mistake, upstream), 1e-6) for mistake in mistakes.values()]
        right.bar(np.arange(3) + offset, found, 0.4, color=color, label=label)
    for place in range(3):
        right.text(place - 0.2, 1.6e-6, "nothing", rotation=90, ha="center", va="bottom", color=GREY, fontsize=8)
    right.set(yscale="log", ylim=(1e-6, 1e3), title="what an upstream sees of a mistake")
    right.set_xticks(range(3), mistakes, fontsize=7)
    right.legend(fontsize=7, frameon=False, loc="upper left", ncols=2)
    return drawn
