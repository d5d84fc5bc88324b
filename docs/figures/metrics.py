"""Chapter 13: a confusion matrix, and how often two intervals hold the truth."""

import math

import numpy as np
from style import BLUE, GREY, Figure, figure

import minicnn
from minicnn import Tensor, nn, optim
from minicnn import functional as F
from minicnn.apps.metrics import Z95, confusion_matrix, wilson_interval
from minicnn.data import CLASSES, synthetic
from minicnn.device import Array

TRIALS = 50


def small(n: int, seed: int) -> tuple[Array, Array]:
    """Drawn faces of 12x12 pixels, as rows."""
    images, labels = synthetic.draw_faces(n, seed=seed)
    return images.reshape(n, 12, 4, 12, 4).mean(axis=(2, 4)).reshape(n, 144) / 128 - 1, labels


def answers() -> tuple[Array, Array]:
    """Labels and predictions of a small network on 700 faces that it has not seen."""
    x, labels = small(2100, seed=0)
    minicnn.manual_seed(0)
    network = nn.Sequential(nn.Linear(144, 48), nn.ReLU(), nn.Linear(48, 7)).double()
    optimizer = optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(120):
        loss = F.cross_entropy(network(Tensor(x)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    other, other_labels = small(700, seed=1)
    return other_labels, network(Tensor(other)).data.argmax(axis=1)


def coverage(p: float, wilson: bool) -> float:
    """How often a 95 % interval of k successes in 50 holds p, over all k that can come."""
    total = 0.0
    for k in range(TRIALS + 1):
        if wilson:
            low, high = wilson_interval(k, TRIALS)
        else:
            half = Z95 * math.sqrt(k / TRIALS * (1 - k / TRIALS) / TRIALS)
            low, high = k / TRIALS - half, k / TRIALS + half
        if low <= p <= high:
            total += math.comb(TRIALS, k) * p**k * (1 - p) ** (TRIALS - k)
    return total


def draw() -> Figure:
    """The matrix on the left, the intervals on the right."""
    matrix = confusion_matrix(*answers(), 7)
    drawn = figure(7.4, 3.1)
    left, right = drawn.subplots(1, 2, width_ratios=(1, 1.1))
    left.imshow(matrix / matrix.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if count > 50 else "black"
        left.text(column, row, str(count), ha="center", va="center", fontsize=7, color=color)
    left.set_xticks(range(7), CLASSES, rotation=60, ha="right", fontsize=7)
    left.set_yticks(range(7), CLASSES, fontsize=7)
    left.set(xlabel="prediction", title="label (rows) and prediction (columns)")
    shares = np.linspace(0.01, 0.5, 99)
    for wilson, color, label in ((False, GREY, "p ± 1.96 standard errors"), (True, BLUE, "Wilson's")):
        right.plot(shares, [coverage(p, wilson) for p in shares], color=color, label=label, lw=1)
    right.axhline(0.95, color="black", lw=0.8, ls="--")
    right.set(ylim=(0.3, 1.02), xlabel="true share p", title="how often a 95 % interval of 50 trials holds p")
    right.legend(fontsize=7, frameon=False, loc="lower right")
    return drawn
