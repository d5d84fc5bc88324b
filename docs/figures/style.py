"""What all figures share: their look, and how they are written so that the same numbers give the same file."""

import hashlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text

BLUE, ORANGE, GREEN, RED, GREY = "#2563eb", "#ea580c", "#059669", "#dc2626", "#6b7280"

LOOK = {
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "image.interpolation": "none",  # each pixel once, as the engine gave it
    "svg.fonttype": "none",  # text stays text: small, searchable, no shapes that depend on the fonts installed
    "svg.hashsalt": "minicnn",
}

Draw = Callable[[], Figure]


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    return plt.figure(figsize=(width, height), layout="constrained")


def box(axes: Any, x: float, y: float, text: str, color: str = BLUE) -> None:
    """A labelled node of a graph, in data coordinates."""
    frame = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": color}
    axes.text(x, y, text, ha="center", va="center", bbox=frame)


def arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], color: str = GREY, bend: float = 0) -> None:
    """An arrow between two nodes, in data coordinates."""
    style = {"arrowstyle": "-|>", "color": color, "shrinkA": 20, "shrinkB": 26, "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", end, start, arrowprops=style)


def bare(axes: Any, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Take the frame away and fix the limits."""
    axes.set(xlim=x, ylim=y)
    axes.axis("off")


def stamp(draw: Draw) -> tuple[Figure, str]:
    """Draw, and a hash of all that the drawing depends on: its script, this file, and the numbers the engine gave.

    Numbers count with three digits, so that another processor or NumPy makes no figure stale.
    """
    with matplotlib.rc_context(LOOK):
        drawn = draw()
    digest = hashlib.sha256()
    for source in (inspect.getsourcefile(draw), __file__):
        digest.update(Path(str(source)).read_bytes())
    for axes in drawn.axes:
        for artist in (*axes.lines, *axes.images, *axes.texts, *axes.patches, axes.title, axes.xaxis.label):
            digest.update(_content(artist).encode())
    return drawn, digest.hexdigest()


def save(draw: Draw, file: Path) -> None:
    """Draw into an SVG file that carries its stamp."""
    drawn, digest = stamp(draw)
    with matplotlib.rc_context(LOOK):
        drawn.savefig(file, format="svg", metadata={"Date": None, "Description": f"stamp {digest}"})
    plt.close(drawn)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def stamp_in(file: Path) -> str | None:
    """The stamp that an SVG file carries."""
    found = re.search(r"stamp ([0-9a-f]{64})", file.read_text(encoding="utf-8"))
    return found and found[1]


def _content(artist: Artist) -> str:
    if isinstance(artist, Annotation):
        return f"{artist.get_text()} {_digits(artist.xy)} {_digits(artist.xyann)}"
    if isinstance(artist, Text):
        return f"{artist.get_text()} {_digits(artist.get_position())}"
    if isinstance(artist, Line2D):
        return _digits(artist.get_xydata())
    if isinstance(artist, AxesImage):
        return _digits(artist.get_array())
    return _digits(artist.get_path().vertices)  # type: ignore[attr-defined]


def _digits(numbers: Any) -> str:
    array = np.asarray(numbers, dtype=float)
    size = float(np.abs(array).max(initial=0)) or 1.0
    return " ".join(f"{round(value / size, 3) + 0.0:.3f}" for value in array.reshape(-1)) + f" {size:.3g}"
