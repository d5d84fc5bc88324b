"""A training so small that it can be done hundreds of times, and what must be the same at its end."""

import csv
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import checkpoint
from minicnn.apps import train
from tests.faults import children
from tests.programs import arrays, metrics_without_times, write_faces

MACHINE = ("--kernels", "im2col", "--threads", 1)
"""Array code starts at once; the compiled kernels, which other tests resume, take seconds to load."""

_SMALL = ("--layers", 2, "--batch-size", 8, "--epochs", 4)
RECIPES: tuple[tuple[object, ...], ...] = (
    (
        *(*_SMALL, "--optimizer", "sgd", "--lr", 0.1, "--seed", 3, "--class-weights", "yes", "--clip", 1),
        *("--mixup", 0.4, "--ema", 0.9, "--crop", 2, "--degrees", 10, "--erase", 0.5, "--label-smoothing", 0.1),
        *("--schedule", "plateau", "--warmup", 1.5),
    ),
    (*_SMALL, "--optimizer", "adamw", "--lr", 0.01, "--schedule", "onecycle", "--shuffle", "no"),
)
"""All that has a state of its own: averages, both optimizers, a schedule that listens, every augmentation."""

_TIMES = ("run", "seconds", "images_per_second")
"""What is different in every run."""


@dataclass(frozen=True)
class Straight:
    """A run that was never disturbed: its options, folder, metrics on public as JSON, and how long it took."""

    options: tuple[object, ...]
    folder: Path
    metrics: str
    seconds: float


def faces(folder: Path) -> Path:
    """The data: 23 drawn faces to train in 3 steps, 7 to validate, 20 to evaluate."""
    path = folder / "faces.csv"
    return path if path.exists() else write_faces(path, training=30)


def straight(folder: Path, options: tuple[object, ...]) -> Straight:
    """Train undisturbed."""
    run = folder / "straight"
    begun = time.monotonic()
    ended = children.run("train", "--data", faces(folder), *options, *MACHINE, "--out", run)
    seconds = time.monotonic() - begun
    assert ended.code == 0, ended.err
    return Straight(options, run, evaluated(run), seconds)


def evaluated(run: Path) -> str:
    """What `minicnn eval --json` prints."""
    ended = children.run("eval", run, "--json", *MACHINE)
    assert ended.code == 0, ended.err
    return ended.out


def summary(text: str) -> dict[str, Any]:
    """The JSON of a run's result but for names and times."""
    values: dict[str, Any] = json.loads(text)
    return {name: value for name, value in values.items() if name not in (*_TIMES, "sha256")}


def checkpoint_every(seconds: float) -> None:
    """Have this process take checkpoints so often."""
    train.CHECKPOINT_SECONDS = seconds


def assert_whole(run: Path) -> None:
    """Every file that has its final name is complete, at whatever moment this is."""
    for file in run.iterdir() if run.exists() else ():
        if file.name.startswith("."):
            continue
        if file.name == "state.safetensors":
            checkpoint.load_state(file)
        elif file.suffix == ".safetensors":
            checkpoint.load_model(file)
        elif file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".csv":
            rows = list(csv.reader(file.read_text().splitlines()))
            assert {len(row) for row in rows} == {8}, file
        else:
            end = {".png": b"IEND\xaeB`\x82", ".html": b"</html>", ".toml": b""}[file.suffix]
            assert file.read_bytes().rstrip().endswith(end), file


def assert_same_arrays(file: Path, expected: Path) -> None:
    """The arrays of two safetensors files have the same names and the same bits."""
    ours, theirs = arrays(file), arrays(expected)
    assert list(ours) == list(theirs), file.name
    for key, array in theirs.items():
        assert np.array_equal(ours[key], array, equal_nan=True), f"{file.name}: {key}"


def assert_same(run: Path, expected: Straight) -> None:
    """All that a run leaves behind has the bits of one that was never disturbed, but for times."""
    assert sorted(os.listdir(run)) == sorted(os.listdir(expected.folder)), sorted(os.listdir(run))
    for name in ("last.safetensors", "best.safetensors", "state.safetensors"):
        assert_same_arrays(run / name, expected.folder / name)
    for name in ("curves.png", "confusion.png"):
        assert (run / name).read_bytes() == (expected.folder / name).read_bytes(), name
    assert metrics_without_times(run) == metrics_without_times(expected.folder)
    ours, theirs = (summary((path / "result.json").read_text()) for path in (run, expected.folder))
    assert ours == theirs
    assert evaluated(run) == expected.metrics
