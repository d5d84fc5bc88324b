"""Chapter 10: four optimizers in a narrow valley, and four schedules."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, RED, Figure, figure

from minicnn import Tensor, optim, schedule

STEEP = 60.0


def path(make: type[optim.Optimizer], **options: float) -> np.ndarray:
    """Forty steps from (-10, 1.2) on (x^2 + 60 y^2) / 2."""
    point = Tensor(np.array([-10.0, 1.2]), requires_grad=True)
    optimizer = make([point], **options)
    places = [point.data.copy()]
    for _ in range(40):
        loss = (point * point * np.array([0.5, STEEP / 2])).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        places.append(point.data.copy())
    return np.array(places)


def draw() -> Figure:
    """The valley on the left, learning rates on the right."""
    drawn = figure(7.4, 2.9)
    valley, rates = drawn.subplots(1, 2, width_ratios=(1.5, 1))
    x, y = np.meshgrid(np.linspace(-11, 4, 80), np.linspace(-1.6, 1.6, 60))
    valley.contour(
        x, y, x * x + STEEP * y * y, levels=np.array([2, 8, 20, 45, 80, 120]), colors="#d1d5db", linewidths=0.8
    )
    for label, places, color in (
        ("SGD, lr 0.03", path(optim.SGD, lr=0.03), GREY),
        ("momentum 0.8, lr 0.02", path(optim.SGD, lr=0.02, momentum=0.8), BLUE),
        ("Adam, lr 0.6", path(optim.Adam, lr=0.6), ORANGE),
    ):
        valley.plot(*places.T, ".-", color=color, lw=1, ms=4, label=label)
    valley.plot(0, 0, "x", color=RED)
    valley.set(xlim=(-11, 4), ylim=(-1.6, 1.6), title="40 steps in a narrow valley")
    valley.legend(fontsize=7, frameon=False, loc="lower right")
    steps = range(200)
    for label, schedule_, color in (
        ("step", schedule.Step(1.0, every=70, gamma=0.3), GREY),
        ("warm-up and cosine", schedule.Warmup(schedule.Cosine(1.0, 200), 15), BLUE),
        ("one-cycle", schedule.OneCycle(1.0, 200), GREEN),
    ):
        rates.plot(steps, [schedule_.lr(step) for step in steps], color=color, label=label)
    rates.set(title="learning rate", xlabel="step")
    rates.legend(fontsize=7, frameon=False)
    return drawn
