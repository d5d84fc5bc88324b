"""The depth study: train each depth under one budget, and put the paper's tables beside ours."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from minicnn import checkpoint
from minicnn.apps import paper_tables, plots, train
from minicnn.apps.evaluate import evaluate_weights
from minicnn.apps.run_folder import RunConfig, RunFolder
from minicnn.device import Device
from minicnn.errors import UserError
from minicnn.files import atomic_write


def study(
    config: RunConfig,
    layers: Sequence[int],
    seeds: Sequence[int],
    out: str | Path,
    *,
    device: Device = "cpu",
    on_run: Callable[[Path], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Train every depth with every seed in a folder of its own under `out`, and evaluate each on val.

    A run that was finished before is not repeated, one that was interrupted goes on. `on_run` hears the folder of
    each. Writes study.json, study.csv, study.txt and study.png; returns a row (layers, seed, epochs, seconds,
    parameters, metrics) for each run. Stops after an interrupted run with UserError.
    """
    folder = Path(out)
    rows = []
    for depth in layers:
        for seed in seeds:
            wanted = replace(config, recipe=replace(config.recipe, layers=depth, seed=seed))
            path = folder / f"layers-{depth}-seed-{seed}"
            on_run(path)
            rows.append(_row(wanted, path, device))
            _write(folder, rows)
    return rows


def _row(config: RunConfig, path: Path, device: Device) -> dict[str, Any]:
    folder = RunFolder(path)
    if folder["config.toml"].exists():
        if folder.config() != config:
            raise UserError(f"{path}: is a run with other options: give another --out")
        summary = train.resume(path, device=device)
    else:
        summary = train.start(config, path, device=device)
    if summary["ended"] != "finished":
        raise UserError(f"{path}: interrupted: the same command goes on from here")
    metrics, _ = evaluate_weights(path, split="val", device=device)
    weights, _ = checkpoint.load_weights(folder["best.safetensors"])
    parameters = sum(array.size for name, array in weights.items() if ".running_" not in name)
    return {
        "layers": config.recipe.layers,
        "seed": config.recipe.seed,
        "epochs": summary["epochs"],
        "seconds": summary["seconds"],
        "parameters": parameters,
        "metrics": metrics.to_json(),
    }


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The study as far as it has come."""
    with atomic_write(folder / "study.json") as file:
        file.write_text(json.dumps({"rows": rows}, indent=2) + "\n")
    with atomic_write(folder / "study.txt") as file:
        file.write_text(paper_tables.format_tables(rows) + "\n")
    paper_tables.write_csv(rows, folder / "study.csv")
    plots.plot_study(paper_tables.summarize(rows), folder / "study.png")
