"""Chapter 11: what copies across a split and what choosing on a test set add to an accuracy that is not there."""

import numpy as np
from style import BLUE, GREY, ORANGE, Figure, figure

from minicnn.data import synthetic
from minicnn.device import Array

TRUE_ACCURACY, IMAGES = 0.6, 3589


def nearest(x: Array, labels: Array, asked: Array) -> Array:
    """The label of the nearest of `x` for each image asked for."""
    distances = (x * x).sum(axis=1) - 2 * asked @ x.T
    return labels[distances.argmin(axis=1)]


def with_copies(x: Array, labels: Array, share: float) -> float:
    """Accuracy of the nearest of 500 images for 200 others, a share of which are copies of these."""
    asked, answers = x[500:].copy(), labels[500:].copy()
    copies = round(share * len(asked))
    asked[:copies], answers[:copies] = x[:copies], labels[:copies]
    return float((nearest(x[:500], labels[:500], asked) == answers).mean())


def best_of(k: int) -> float:
    """The mean of the best of k measured accuracies, each of a network that is right for 60 %."""
    measured = np.random.default_rng(0).binomial(IMAGES, TRUE_ACCURACY, size=(4000, k)) / IMAGES
    return float(measured.max(axis=1).mean())


def draw() -> Figure:
    """Copies on the left, choosing on the right."""
    drawn = figure(7.4, 2.5)
    left, right = drawn.subplots(1, 2)
    images, labels = synthetic.draw_faces(700, seed=0)
    x = images.reshape(700, 12, 4, 12, 4).mean(axis=(2, 4)).reshape(700, 144) / 255
    shares = np.linspace(0, 1, 11)
    left.plot(shares, [with_copies(x, labels, share) for share in shares], "o-", color=ORANGE, ms=4)
    left.set(
        xlabel="share of the test images that were in training",
        title="accuracy of the nearest neighbor",
        ylim=(0, 1.02),
    )
    counts = [1, 2, 3, 5, 10, 20, 50, 100]
    right.semilogx(counts, [best_of(k) for k in counts], "o-", color=BLUE, ms=4)
    right.axhline(TRUE_ACCURACY, color=GREY, ls="--")
    right.set(xlabel="epochs to choose from", title="the best of them, measured on 3,589 images")
    right.set_xticks([1, 10, 100], ["1", "10", "100"])
    right.text(100, TRUE_ACCURACY + 0.0005, "the truth", ha="right", va="bottom", color=GREY)
    return drawn
