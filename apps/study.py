"""The depth study: train each depth under one budget, and put the paper's tables beside ours."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from minicnn import checkpoint
from minicnn.apps import paper_tables, plots, train
from minicnn.apps.evaluate import load_subject
from minicnn.apps.run_folder import RunConfig, RunFolder
from minicnn.data.preprocessing import renamed
from minicnn.device import Device
from minicnn.errors import UserError
from minicnn.files import atomic_write
from minicnn.recipes import Recipe


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

    What study.json knows already is not repeated, even where the run's folder is gone; a run that was interrupted
    goes on. `on_run` hears the folder of each run. Writes study.json, study.csv, study.txt and study.png, with all that
    is known; returns a row (layers, seed, epochs, seconds, parameters, metrics) for each run that was asked for.
    Raises UserError after an interrupted run, and where `out` holds a study with other options or data.
    """
    folder, settings = Path(out), _settings(config)
    known = _known(folder / "study.json", settings)
    wanted = [(depth, seed) for depth in layers for seed in seeds]
    for depth, seed in wanted:
        path = folder / f"layers-{depth}-seed-{seed}"
        on_run(path)
        if (depth, seed) not in known:
            known[depth, seed] = _row(
                replace(config, recipe=replace(config.recipe, layers=depth, seed=seed)), path, device
            )
        _write(folder, settings, [known[key] for key in sorted(known)])
    return [known[key] for key in wanted]


def _settings(config: RunConfig) -> dict[str, Any]:
    """What all runs of a study have in common: options, and the data's hash in place of its name."""
    values = {name: value for name, value in config.to_dict().items() if name not in ("layers", "seed", "data")}
    return {**values, "sha256": train.load_data(config).sha256}


def _known(file: Path, settings: dict[str, Any]) -> dict[tuple[int, int], dict[str, Any]]:
    """The rows of an earlier study, by layers and seed."""
    if not file.exists():
        return {}
    try:
        earlier = json.loads(file.read_text())
        rows = {(row["layers"], row["seed"]): row for row in earlier["rows"]}
        if rows:
            paper_tables.format_tables(list(rows.values()))  # hear now, and not after hours, if a row cannot be shown
        before = {**RunConfig(Recipe(), "").to_dict(), **renamed(earlier["settings"])}  # what is younger was not used
        others = {name for name, value in settings.items() if before.get(name) != value}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: expected a study's results, it is damaged: give another --out") from error
    if others:
        raise UserError(
            f"{file.parent}: is a study with other options ({', '.join(sorted(others))}): give another --out"
        )
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
    subject = load_subject(path, split="val", device=device)
    if config.limit:
        subject = replace(subject, split=subject.split.take(config.limit))
    metrics = subject.metrics()
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


def _write(folder: Path, settings: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The study as far as it has come."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "study.json") as file:
        file.write_text(json.dumps({"settings": settings, "rows": rows}, indent=2) + "\n")
    with atomic_write(folder / "study.txt") as file:
        file.write_text(paper_tables.format_tables(rows) + "\n")
    paper_tables.write_csv(rows, folder / "study.csv")
    plots.plot_study(paper_tables.summarize(rows), folder / "study.png")
