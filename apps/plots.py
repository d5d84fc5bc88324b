"""The figures: training curves, confusion matrix, and the study of depth beside the paper's figures.

Figures are drawn through `Figure` objects: nothing global is touched and no window is opened. Colors are
Okabe and Ito's, which color-blind people tell apart; lines also differ in dash and marker.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from minicnn.apps.paper_tables import PAPER
from minicnn.files import atomic_write

BLUE, VERMILION = "#0072B2", "#D55E00"
INK, FAINT, GRID = "#222222", "#666666", "#E3E3E3"
MARKERS_UP_TO = 30
"""More epochs than this are drawn without markers, which would touch each other."""


def plot_curves(history: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draw loss and accuracy of training and validation against the epoch (the paper's Figure 3) as a PNG.

    Args:
        history: one mapping an epoch with the keys epoch (from 1), train_loss, val_loss (nats),
            train_accuracy and val_accuracy (0..1); other keys are ignored, NaN leaves a gap.
        path: the PNG to write.

    Raises:
        ValueError: no epoch.
    """
    if not history:
        raise ValueError("plot_curves: expected at least one epoch, got an empty history")
    figure = Figure(figsize=(9.0, 3.6), layout=ConstrainedLayoutEngine(wspace=0.05))
    loss, accuracy = figure.subplots(1, 2)
    for axes, quantity, least, top in ((loss, "loss", 0.5, np.inf), (accuracy, "accuracy", 0.2, 1.01)):
        _style(axes)
        _draw_curves(axes, history, quantity)
        _widen(axes, least, top)
    loss.set_ylabel("cross-entropy loss (nats)", color=INK)
    loss.legend(frameon=False, labelcolor=INK)
    accuracy.set_ylabel("accuracy", color=INK)
    accuracy.yaxis.set_major_formatter(_percent)
    _mark_best(accuracy, history)
    _save(figure, path)


def plot_confusion(matrix: ArrayLike, class_names: Sequence[str], path: str | Path) -> None:
    """Draw a confusion matrix as a PNG: in each cell the count and its share of the row, which colors it.

    Args:
        matrix: counts, shape (C, C), rows true, columns predicted.
        class_names: the C names, in label order.
        path: the PNG to write.

    Raises:
        ValueError: a matrix that is not (C, C).
    """
    counts = np.asarray(matrix)
    classes = len(class_names)
    if counts.shape != (classes, classes):
        raise ValueError(f"plot_confusion: expected a matrix ({classes}, {classes}), got {counts.shape}")
    support = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(support, 1)

    figure = Figure(figsize=(1.3 + 0.8 * classes, 0.8 + 0.8 * classes), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    _label_cells(axes, counts, share, image.to_rgba(share))
    slant = 35 if max(map(len, class_names)) > 9 else 0
    axes.set_xticks(range(classes), labels=list(class_names), rotation=slant, ha="right" if slant else "center")
    rows = [f"{name}\n{n}" for name, n in zip(class_names, support[:, 0], strict=True)]
    axes.set_yticks(range(classes), labels=rows)
    axes.set_xlabel("prediction", color=INK, fontsize=11, labelpad=8)
    axes.set_ylabel("label, with its number of images", color=INK, fontsize=11, labelpad=8)
    axes.spines[:].set_visible(False)
    # White lines between the cells.
    axes.set_xticks(np.arange(1, classes) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, classes) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0, colors=INK)
    _save(figure, path)


def plot_study(rows: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draw accuracy, macro F1 and weighted F1 against the number of layers, with the paper's, as a PNG.

    Args:
        rows: one mapping a depth with the keys depth, accuracy, macro_f1, weighted_f1 (0..1), and where known
            accuracy_low and accuracy_high, the ends of the interval (`paper_tables.summarize` makes them).
        path: the PNG to write.

    Raises:
        ValueError: no row.
    """
    if not rows:
        raise ValueError("plot_study: expected at least one depth, got none")
    ours = sorted(rows, key=lambda row: row["depth"])
    depths = [row["depth"] for row in ours]
    figure = Figure(figsize=(9.0, 3.6), layout=ConstrainedLayoutEngine(wspace=0.05))
    panels = figure.subplots(1, 3, sharey=True)
    published = {
        "accuracy": [scores["accuracy"] for scores in PAPER.values()],
        "macro_f1": [scores["macro"]["f1"] for scores in PAPER.values()],
        "weighted_f1": [scores["weighted"]["f1"] for scores in PAPER.values()],
    }
    for axes, (quantity, paper) in zip(panels, published.items(), strict=True):
        _style(axes)
        axes.plot(list(PAPER), paper, "s--", color=VERMILION, mfc="white", label="the paper")
        axes.plot(depths, [row[quantity] for row in ours], "o-", color=BLUE, label="minicnn")
        axes.set_title(quantity.replace("_f1", " F1"), fontsize=11, color=INK)
        axes.set_xlabel("convolutional layers", color=INK)
        axes.set_xticks(sorted({*PAPER, *map(int, depths)}))
    _draw_intervals(panels[0], ours)
    panels[0].yaxis.set_major_formatter(_percent)
    panels[0].legend(frameon=False, labelcolor=INK)
    _save(figure, path)


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _percent(value: float, _position: int | None = None) -> str:
    return f"{100 * value:.4g} %"


def _widen(axes: Axes, least: float, top: float) -> None:
    """Show at least so much of the y axis, between 0 and `top`: a flat curve is not to look like a cliff."""
    low, high = axes.get_ylim()
    if high - low < least:
        high = min(max((low + high + least) / 2, least), top)
        axes.set_ylim(high - least, high)


def _column(history: Sequence[Mapping[str, float]], key: str) -> NDArray[np.float64]:
    return np.array([epoch[key] for epoch in history], dtype=np.float64)


def _draw_curves(axes: Axes, history: Sequence[Mapping[str, float]], quantity: str) -> None:
    epochs = _column(history, "epoch")
    with_markers = len(history) <= MARKERS_UP_TO
    for split, color, dash, marker in (("train", VERMILION, "--", "s"), ("val", BLUE, "-", "o")):
        axes.plot(
            epochs,
            _column(history, f"{split}_{quantity}"),
            dash,
            color=color,
            marker=marker if with_markers else None,
            markersize=4,
            mfc="white" if split == "train" else color,
            label={"train": "training", "val": "validation"}[split],
        )
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(history) == 1:  # a lone point has no width: leave room for the epochs beside it
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)


def _mark_best(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    values = _column(history, "val_accuracy")
    if np.isnan(values).all():
        return
    best = int(np.nanargmax(values))
    epoch = int(history[best]["epoch"])
    text = f"best validation accuracy {100 * values[best]:.1f} %, epoch {epoch}"
    axes.set_title(text, fontsize=9, color=FAINT, loc="right")
    axes.plot([epoch], [values[best]], "o", markersize=11, mfc="none", mec=BLUE, clip_on=False)


def _label_cells(
    axes: Axes, counts: NDArray[np.int64], share: NDArray[np.float64], colors: NDArray[np.float64]
) -> None:
    """Write count and share into each cell, dark on light cells and white on dark ones.

    At a luminance of 0.18 black and white stand out equally (WCAG 2.2, contrast ratio).
    """
    linear = ((colors[..., :3] + 0.055) / 1.055) ** 2.4
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    for (row, column), count in np.ndenumerate(counts):
        color = INK if luminance[row, column] > 0.18 else "white"
        weight = "bold" if row == column else "normal"
        percent = f"{100 * share[row, column]:.0f} %"
        axes.text(column, row - 0.13, str(count), ha="center", va="center", color=color, size=12, weight=weight)
        axes.text(column, row + 0.2, percent, ha="center", va="center", color=color, size=9)


def _draw_intervals(axes: Axes, rows: Sequence[Mapping[str, float]]) -> None:
    known = [row for row in rows if "accuracy_low" in row and "accuracy_high" in row]
    if not known:
        return
    axes.vlines(
        [row["depth"] for row in known],
        [row["accuracy_low"] for row in known],
        [row["accuracy_high"] for row in known],
        color=BLUE,
        linewidth=4,
        alpha=0.35,
        label="95 % interval",
    )


def _save(figure: Figure, path: str | Path) -> None:
    # The temporary name does not end in .png; without the version in the file, equal figures are equal bytes.
    with atomic_write(path) as temporary:
        figure.savefig(
            temporary,
            format="png",
            dpi=160,
            bbox_inches="tight",
            pad_inches=0.12,
            metadata={"Software": None},
        )
