"""Chapter 14: the ladder of conv2d as its README has it, and what larger tiles save and cost."""

import re
from pathlib import Path

from style import BLUE, GREY, ORANGE, Figure, figure

README = Path(__file__).parents[2] / "kernels" / "conv2d" / "README.md"
SECONDS = {"s": 1.0, "ms": 1e-3}


def measured() -> dict[str, float]:
    """Seconds of the forward pass by rung, from the table of the CPU's rungs."""
    rows = re.findall(
        r"^\| `(\w+)\.py` \| (?:about )?([\d,]+) (m?s) \|", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {rung: float(number.replace(",", "")) * SECONDS[unit] for rung, number, unit in rows}


def errors() -> dict[int, float]:
    """The relative error of float32 by the side of a tile, from the table of tiles; the larger end of a range."""
    rows = re.findall(r"^\| (\d) \| [\d.]+ \| 9 \| .*?(\de-\d) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    return {int(m): float(error) for m, error in rows}


def draw() -> Figure:
    """Times on the left, tiles on the right."""
    drawn = figure(7.4, 2.6)
    left, right = drawn.subplots(1, 2, width_ratios=(1.2, 1))
    times = measured()
    places = range(len(times))
    left.barh(places, list(times.values()), color=[GREY] * (len(times) - 1) + [BLUE])
    for place, seconds in zip(places, times.values(), strict=True):
        text = f"{seconds:,.0f} s" if seconds > 1 else f"{seconds * 1e3:.0f} ms"
        left.text(seconds * 1.4, place, text, va="center")
    left.set_yticks(places, list(times))
    left.set(xscale="log", xlim=(1e-2, 1e6), title="one convolution, forward")
    left.invert_yaxis()
    found = errors()
    right.bar(range(4), [9, *((m + 2) ** 2 / m**2 for m in found)], 0.5, color=BLUE)
    right.set_xticks(range(4), ["1", *map(str, found)])
    right.set(xlabel="results a side of a tile, m", title="products a result, and error of float32", ylim=(0, 11))
    errors_axes = right.twinx()
    errors_axes.semilogy(range(1, 4), list(found.values()), "s--", color=ORANGE)
    errors_axes.set(ylim=(1e-7, 1e-4))
    errors_axes.spines["right"].set_visible(True)
    errors_axes.tick_params(axis="y", colors=ORANGE)
    return drawn
