"""Results of commands as text, for those who did not ask for JSON."""

from pathlib import Path
from typing import Any


def describe_run(summary: dict[str, Any]) -> str:
    """What a training came to; see minicnn.apps.run_folder.SUMMARY."""
    folder = Path(summary["run"])
    if summary["val_accuracy"] is None:
        return f"{folder}: no epoch was finished"
    epochs = "1 epoch" if summary["epochs"] == 1 else f"{summary['epochs']} epochs"
    return (
        f"{epochs} in {summary['seconds']:.0f} s, {summary['images_per_second']:.0f} images/s; "
        f"best validation accuracy {summary['val_accuracy']:.4f} (epoch {summary['best_epoch']})\n"
        f"report: {folder / 'report.html'}"
    )


def describe_export(written: dict[str, Any]) -> str:
    """What was exported."""
    size = f"{written['bytes'] / 1e6:.1f} MB"
    return f"{written['onnx']}: {written['weights']} as ONNX (opset {written['opset']}), {size}"


def describe_data(info: dict[str, Any]) -> str:
    """A table of classes and splits, and what is to be known of the images."""
    from minicnn.data import fer2013

    width = max(map(len, info["classes"]))
    splits = list(info["counts"])
    lines = [" " * width + "".join(f"{split:>10}" for split in splits)]
    for name in info["classes"]:
        lines.append(name.ljust(width) + "".join(f"{info['counts'][split][name]:>10,}" for split in splits))
    notes = [*fer2013.notes_on_blur(info.get("blur", {})), *info["notes"]]
    lines.append("all".ljust(width) + "".join(f"{sum(info['counts'][split].values()):>10,}" for split in splits))
    near = [
        f"{found['photos']:,} photos are within {split} in two forms, {found['conflicting']:,} with different labels"
        for split, found in info.get("near_copies", {}).items()
    ]
    return "\n".join([*lines, *_describe_copies(info["duplicates"]), *near, f"sha256 {info['sha256']}", *notes])


def _describe_copies(duplicates: dict[str, Any]) -> list[str]:
    """A line for each split with exact copies in it, and for each two that share images."""
    within = [
        f"{found['copies']:,} exact copies within {split}, {found['conflicting']:,} of {found['groups']:,} groups with "
        "different labels"
        for split, found in duplicates["within"].items()
        if found["copies"]
    ]
    shared = [f"{n:,} images in both {pair.replace('+', ' and ')}" for pair, n in duplicates["shared"].items() if n]
    return within + shared or ["no exact copies"]
