"""One self-contained report.html of a run: nothing in it is loaded from elsewhere, and it needs no script."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from minicnn.apps.metrics import Interval, Metrics
from minicnn.files import atomic_write

CAPTIONS = {
    "curves": "Loss and accuracy of training and validation by epoch. The ring marks the best validation accuracy.",
    "confusion": "Confusion matrix: each row is a label, each column a prediction. The percentage and the color "
    "are the share of the row.",
}
"""What is written under the figures of these names; any other is captioned with its name."""

PLACED = frozenset({"data", "split", "sha256", "notes", "command"})
"""The keys of the summary that are shown elsewhere than in the table of all others."""


def write_report(
    path: str | Path,
    *,
    title: str,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    metrics: Metrics,
    network: str,
    figures: Mapping[str, Path],
) -> None:
    """Write the report of one run; every text in it is escaped.

    Args:
        path: the HTML file to write.
        title: the heading, such as the run's name.
        summary: facts of the run, any of which may be missing: data (the data set's name), split (which split
            `metrics` are of), sha256 (of the data), notes (texts on the data), command (which reproduces the run).
            All others are listed as they are; parameters, layers, epochs, seconds and images_per_second (of the
            training) also stand at the top.
        config: the run's configuration; nested tables are shown with dotted names.
        history: one mapping an epoch, as in `plots.plot_curves`, with lr, seconds and images_per_second besides.
        metrics: what was measured on the split.
        network: the network's summary as text, kept as it is laid out.
        figures: PNG files by name; `curves` and `confusion` have captions.

    Raises:
        FileNotFoundError: a figure that is not there.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, interval=_interval, duration=_duration, value=_value, label=_label)
    html = environment.get_template("report.html").render(
        title=title,
        headline=_headline(metrics, summary),
        data={key: summary[key] for key in ("data", "split", "sha256") if key in summary},
        notes=summary.get("notes", ()),
        command=summary.get("command"),
        facts={key: value for key, value in summary.items() if key not in PLACED},
        config=_flatten(config),
        history=history,
        metrics=metrics,
        network=network,
        figures=[(CAPTIONS.get(name, name), _data_uri(figure)) for name, figure in figures.items()],
    )
    with atomic_write(path) as temporary:
        # the name of a file may hold bytes that are no UTF-8
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")


def _headline(metrics: Metrics, summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The figures at the top: what, value, remark."""
    headline = [
        ("Accuracy", _percent(metrics.accuracy), _interval(metrics.accuracy_interval)),
        ("Macro F1", _percent(metrics.macro.f1), _interval(metrics.macro_intervals.f1)),
        ("Weighted F1", _percent(metrics.weighted.f1), _interval(metrics.weighted_intervals.f1)),
        ("Log loss", f"{metrics.log_loss:.3f}", f"calibration error {_percent(metrics.calibration_error)}"),
    ]
    if "seconds" in summary:
        remarks = []
        if "epochs" in summary:
            remarks.append("1 epoch" if summary["epochs"] == 1 else f"{summary['epochs']} epochs")
        if "images_per_second" in summary:
            remarks.append(f"{summary['images_per_second']:,.0f} images/s")
        headline.append(("Training time", _duration(summary["seconds"]), " · ".join(remarks)))
    if "parameters" in summary:
        layers = f"{summary['layers']} convolutional layers" if "layers" in summary else ""
        headline.append(("Parameters", f"{summary['parameters']:,}", layers))
    return headline


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _data_uri(png: Path) -> str:
    return "data:image/png;base64," + b64encode(png.read_bytes()).decode("ascii")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(interval: Interval) -> str:
    return f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f} %"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _value(value: Any) -> str:
    """A setting as a reader would write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    return str(value)


def _label(key: str) -> str:
    return key.replace("_", " ")
