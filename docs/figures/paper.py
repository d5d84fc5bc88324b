"""Chapter 12: the paper's recipe with 6 layers, as the paper shows it: losses, accuracies, confusion matrix."""

import csv
import json
from pathlib import Path

import numpy as np
from style import BLUE, ORANGE, Figure, figure

from minicnn.data import CLASSES

STUDY = Path(__file__).parents[1] / "studies" / "paper"
LAYERS = 6


def draw() -> Figure:
    """Loss and accuracy by epoch, and what was taken for what."""
    with (STUDY / f"layers-{LAYERS}-seed-0.csv").open(newline="") as file:
        epochs = list(csv.DictReader(file))
    rows = json.loads((STUDY / "study.json").read_text())["rows"]
    [row] = [row for row in rows if (row["layers"], row["seed"]) == (LAYERS, 0)]
    matrix = np.array(row["metrics"]["confusion"])
    drawn = figure(7.4, 2.7)
    *curves, right = drawn.subplots(1, 3, width_ratios=(1, 1, 1.3))
    numbers = [int(epoch["epoch"]) for epoch in epochs]
    for axes, figure_of in zip(curves, ("loss", "accuracy"), strict=True):
        for part, color, label in (("train", ORANGE, "training"), ("val", BLUE, "validation")):
            axes.plot(numbers, [float(epoch[f"{part}_{figure_of}"]) for epoch in epochs], color=color, label=label)
        axes.set(title=figure_of, xlabel="epoch")
    curves[0].legend(fontsize=7, frameon=False)
    right.imshow(matrix / matrix.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
    for (label, answer), count in np.ndenumerate(matrix):
        color = "white" if count > 0.5 * matrix[label].sum() else "black"
        right.text(answer, label, str(count), ha="center", va="center", fontsize=6, color=color)
    right.set_xticks(range(7), CLASSES, rotation=60, ha="right", fontsize=7)
    right.set_yticks(range(7), CLASSES, fontsize=7)
    right.set(title="label (rows) and prediction")
    return drawn
