"""The paper's Tables 1 and 2 as data, and a study's results printed and written beside them.

Source: Yang, Zhang, Zheng, Recognizing facial emotion leveraging convolutional neural network, its
Tables 1 and 2, measured on the images of FER2013's Training part after the first 24,000, which it trained on.

A row of a study is one training: layers (int), seed (int), metrics (the dict of `Metrics.to_json`), epochs
(int), seconds (of training), parameters (int).
"""

import csv
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from minicnn.apps.metrics import Z95
from minicnn.files import atomic_write

SCORES = ("precision", "recall", "f1")
AVERAGES = ("macro", "weighted")

PAPER: dict[int, dict[str, Any]] = {
    layers: {
        "accuracy": accuracy,
        "macro": dict(zip(SCORES, macro, strict=True)),
        "weighted": dict(zip(SCORES, weighted, strict=True)),
    }
    for layers, accuracy, macro, weighted in (
        (3, 0.47, (0.53, 0.56, 0.46), (0.61, 0.47, 0.51)),
        (4, 0.48, (0.49, 0.56, 0.46), (0.56, 0.48, 0.50)),
        (5, 0.43, (0.47, 0.51, 0.41), (0.55, 0.43, 0.46)),
        (6, 0.48, (0.52, 0.56, 0.47), (0.59, 0.48, 0.51)),
    )
}
"""The paper's scores by number of layers, under the names of `Metrics.to_json`."""

Row = Mapping[str, Any]
Column = tuple[str, ...]
"""Where a score lies in `Metrics.to_json` and in `PAPER`, such as ("macro", "f1")."""

# 0.975 quantiles of Student's t with 1 to 10 degrees of freedom.
_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def half_width(values: Sequence[float]) -> float:
    """Half the 95 % t interval of the mean, t·s/√k; 0 for a single value, of which nothing is known.

    Source: Student, Biometrika 6 (1908) 1. Beyond 10 degrees of freedom the quantile is expansion 26.7.5 of
    Abramowitz and Stegun, Handbook of Mathematical Functions (1964), to its third term, right to 0.0002.
    """
    if len(values) < 2:
        return 0.0
    freedom = len(values) - 1
    if freedom <= len(_T):
        t = _T[freedom - 1]
    else:
        z = Z95
        t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return t * stdev(values) / sqrt(len(values))


def summarize(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Average over the seeds: one dict a depth, as `plots.plot_study` takes them.

    Its keys are depth, seeds (how many), accuracy, macro_f1, weighted_f1, accuracy_low and accuracy_high: the
    ends of the t interval over the seeds or, with one seed, of the interval that its own metrics carry.
    """
    summary = []
    for depth, group in _by_depth(rows).items():
        accuracies = _values(group, ("accuracy",))
        mean, half = fmean(accuracies), half_width(accuracies)
        several = len(group) > 1
        low, high = (mean - half, mean + half) if several else group[0]["metrics"]["interval"]["accuracy"]
        summary.append(
            {
                "depth": depth,
                "seeds": len(group),
                "accuracy": mean,
                "macro_f1": fmean(_values(group, ("macro", "f1"))),
                "weighted_f1": fmean(_values(group, ("weighted", "f1"))),
                "accuracy_low": low,
                "accuracy_high": high,
            }
        )
    return summary


def format_tables(rows: Sequence[Row]) -> str:
    """The paper's two tables with ours beside them, and what ours cost, for a terminal."""
    groups = _by_depth(rows)
    macro = {"accuracy": ("accuracy",), **{name: ("macro", name) for name in SCORES}}
    weighted = {name: ("weighted", name) for name in SCORES}
    seeds = max(map(len, groups.values()))
    images = sorted({row["metrics"]["n"] for row in rows})
    lines = [
        "Table 1. Macro average performances of different layers",
        *_table(groups, macro),
        "",
        "Table 2. Weighted average performances of different layers",
        *_table(groups, weighted),
        "",
        *_costs(groups),
        "",
        f"ours: measured on {' or '.join(map(str, images))} images"
        + ("; mean over the seeds ± half of its 95 % t interval" if seeds > 1 else ""),
        "paper: as printed there, measured on 4,710 images of FER2013's Training part",
    ]
    return "\n".join(line.rstrip() for line in lines)


def write_csv(rows: Sequence[Row], path: str | Path) -> None:
    """Write one line a training: its scores, not rounded, then the paper's, empty where it has none."""
    columns = {
        "accuracy": ("accuracy",),
        **{f"{average}_{name}": (average, name) for average in AVERAGES for name in SCORES},
    }
    plain = ("layers", "seed", "epochs", "seconds", "parameters")
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*plain, "n", *columns, *(f"paper_{name}" for name in columns)])
        for row in rows:
            paper = PAPER.get(row["layers"])
            writer.writerow(
                [
                    *(row[name] for name in plain),
                    row["metrics"]["n"],
                    *(_score(row["metrics"], column) for column in columns.values()),
                    *(_score(paper, column) if paper else "" for column in columns.values()),
                ]
            )


def _by_depth(rows: Sequence[Row]) -> dict[int, list[Row]]:
    if not rows:
        raise ValueError("expected at least one row of a study, got none")
    depths = sorted({row["layers"] for row in rows})
    return {depth: [row for row in rows if row["layers"] == depth] for depth in depths}


def _score(metrics: Mapping[str, Any], column: Column) -> float:
    value: Any = metrics
    for key in column:
        value = value[key]
    return float(value)


def _values(group: Sequence[Row], column: Column) -> list[float]:
    return [_score(row["metrics"], column) for row in group]


def _table(groups: Mapping[int, Sequence[Row]], columns: Mapping[str, Column]) -> list[str]:
    width = 11 if any(len(group) > 1 for group in groups.values()) else 5
    cell = 5 + 2 + width
    titles = [name if name != "f1" else "f1-score" for name in columns]
    lines = [
        " " * 8 + "".join(f"  {title:^{cell}}" for title in titles),
        " " * 8 + f"  paper  {'ours':>{width}}" * len(columns),
    ]
    for depth, group in groups.items():
        paper = PAPER.get(depth)
        cells = []
        for column in columns.values():
            theirs = f"{_score(paper, column):.2f}" if paper else "-"
            cells.append(f"  {theirs:>5}  {_estimate(_values(group, column)):>{width}}")
        lines.append(f"{depth} layers{''.join(cells)}")
    return lines


def _estimate(values: Sequence[float]) -> str:
    spread = f"±{half_width(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def _costs(groups: Mapping[int, Sequence[Row]]) -> list[str]:
    lines = ["ours       seeds  parameters  epochs  seconds per training"]
    for depth, group in groups.items():
        epochs = fmean(row["epochs"] for row in group)
        seconds = fmean(row["seconds"] for row in group)
        lines.append(f"{depth} layers   {len(group):5}  {group[0]['parameters']:10,}  {epochs:6.4g}  {seconds:20,.0f}")
    return lines
