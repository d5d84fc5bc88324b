"""Chapter 3: logits, probabilities and the gradient of the loss, and what a dense layer learns from drawn faces."""

import numpy as np
from style import BLUE, GREY, ORANGE, Figure, figure

from minicnn import Tensor
from minicnn import functional as F
from minicnn.data import CLASSES, synthetic

LABEL = 3


def learned_weights() -> np.ndarray:
    """The weights (7, 48, 48) of a dense layer after ten steps on 700 drawn faces."""
    images, labels = synthetic.draw_faces(700, seed=0)
    x = images.reshape(len(images), -1) / 255.0
    x = Tensor(x - x.mean(axis=0))
    weight = Tensor(np.zeros((7, x.shape[1])), requires_grad=True)
    for _ in range(10):
        weight.grad = None
        F.cross_entropy(F.linear(x, weight), labels).backward()
        weight.data -= 0.2 * weight.grad
    return weight.data.reshape(7, 48, 48)


def draw() -> Figure:
    """Three bar charts above seven templates."""
    logits = Tensor(np.array([[0.5, -1.0, 0.2, 1.0, 1.6, -0.3, 0.1]]), requires_grad=True)
    F.cross_entropy(logits, np.array([LABEL])).backward()
    rows = (
        ("logits z", logits.data[0], BLUE),
        ("probabilities p", F.softmax(logits).data[0], BLUE),
        ("gradient p − t", logits.grad[0], ORANGE),
    )
    drawn = figure(7.4, 3.8)
    top, bottom = drawn.subfigures(2, 1, height_ratios=(1.5, 1))
    for axes, (title, values, color) in zip(top.subplots(1, 3), rows, strict=True):
        axes.bar(range(7), values, color=[color if c == LABEL else GREY for c in range(7)])
        axes.axhline(0, color="black", lw=0.8)
        axes.set_title(title)
        axes.set_xticks(range(7), CLASSES, rotation=60, ha="right", fontsize=7)
    weights = learned_weights()
    for axes, image, name in zip(bottom.subplots(1, 7), weights, CLASSES, strict=True):
        size = np.abs(image).max()
        axes.imshow(image, cmap="RdBu", vmin=-size, vmax=size)
        axes.set_title(name, fontsize=7)
        axes.axis("off")
    return drawn
