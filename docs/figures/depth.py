"""Chapter 12: what a number of the last layer sees, the networks' weights, and accuracies with their intervals."""

import json
from pathlib import Path

from style import BLUE, GREY, ORANGE, Figure, figure

from minicnn import models, nn
from minicnn.apps.metrics import wilson_interval
from minicnn.apps.paper_tables import PAPER, summarize

STUDY = Path(__file__).parents[1] / "studies" / "default" / "study.json"
PAPER_IMAGES = 4709
DEPTHS = (3, 4, 5, 6)


def receptive_field(model: nn.Sequential) -> int:
    """Pixels a side that one number of the last map depends on."""
    field, jump = 1, 1
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            field += 2 * jump
        elif isinstance(layer, nn.MaxPool2d):
            field, jump = field + jump, 2 * jump
    return field


def draw() -> Figure:
    """Field and weights on the left, accuracies on the right."""
    drawn = figure(7.4, 2.8)
    left, right = drawn.subplots(1, 2, width_ratios=(1, 1.2))
    networks = [models.build(layers, "paper") for layers in DEPTHS]
    left.bar(DEPTHS, [receptive_field(network) for network in networks], 0.5, color=BLUE)
    left.axhline(48, color="black", lw=0.8, ls="--")
    left.text(2.6, 51, "the whole face", fontsize=7)
    left.set_xticks(DEPTHS)
    left.set(xlabel="layers", title="pixels seen (bars), weights (squares)", ylim=(0, 130))
    weights = left.twinx()
    weights.plot(DEPTHS, [sum(p.size for p in network.parameters()) / 1e6 for network in networks], "s", color=ORANGE)
    weights.set(ylim=(0, 50), ylabel="million weights")
    weights.spines["right"].set_visible(True)
    weights.tick_params(axis="y", colors=ORANGE)
    for layers in DEPTHS:
        accuracy = PAPER[layers]["accuracy"]
        ends = wilson_interval(round(accuracy * PAPER_IMAGES), PAPER_IMAGES)
        right.plot([layers - 0.08] * 2, ends, color=GREY, lw=3)
        right.plot(layers - 0.08, accuracy, "o", color=GREY, label="the paper" if layers == DEPTHS[0] else None)
    for number, row in enumerate(summarize(json.loads(STUDY.read_text())["rows"])):
        right.plot([row["depth"] + 0.08] * 2, [row["accuracy_low"], row["accuracy_high"]], color=BLUE, lw=3)
        right.plot(row["depth"] + 0.08, row["accuracy"], "o", color=BLUE, label=None if number else "ours, default")
    right.set_xticks(DEPTHS)
    right.set(xlabel="layers", title="accuracy, with 95 % intervals")
    right.legend(fontsize=7, frameon=False)
    return drawn
