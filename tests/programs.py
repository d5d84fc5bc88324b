"""What the tests of the programs share: tiny data, and `minicnn` run in this process or in one of its own."""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from safetensors.numpy import load_file

from minicnn import kernels
from minicnn.apps import cli, train
from minicnn.apps.progress import TrainingBar
from minicnn.data.synthetic import draw_faces
from minicnn.kernels import parallel

ROOT = Path(__file__).parent.parent
TINY = ("--layers", "2", "--batch-size", "16", "--epochs", "2")
"""A network and a training that take well under a second on `write_faces`."""

PLAIN = ("--layers", 2, "--batch-size", 8, "--epochs", 3, "--optimizer", "sgd", "--lr", 0.1)
"""Three epochs of 3 steps on 23 of 30 faces; the network drops out and images are mirrored."""


class Result(NamedTuple):
    """What a program left on its streams, and its exit code."""

    code: int
    out: str
    err: str


def write_faces(path: Path, training: int = 60, public: int = 20, seed: int = 0) -> Path:
    """Drawn faces as a CSV in FER2013's own form; 53 of 60 train in 4 steps of 16, and 7 validate."""
    lines = ["emotion,pixels,Usage"]
    for usage, n, stream in (("Training", training, 0), ("PublicTest", public, 1)):
        if n == 0:
            continue
        images, labels = draw_faces(n, (seed, stream))
        rows = zip(labels.tolist(), images.reshape(n, -1).tolist(), strict=True)
        lines += [f"{label},{' '.join(map(str, pixels))},{usage}" for label, pixels in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def minicnn(*arguments: object, terminal: bool = False) -> Result:
    """Run the command line in this process, from its `main` on; stderr may be a terminal."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = (Terminal if terminal else io.TextIOWrapper)(io.BytesIO(), "utf-8", write_through=True)
    argv = ["minicnn", *map(str, arguments)]
    try:
        with (
            patch.object(sys, "argv", argv),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main()
    finally:
        kernels.choose("fast")
        parallel.set_threads(1)
    return Result(int(ended.value.code or 0), *(stream.buffer.getvalue().decode() for stream in (out, err)))


def command(*arguments: object) -> list[str]:
    """The command line as a program, whether it is installed or not."""
    return [sys.executable, "-c", "from minicnn.apps.cli import main; main()", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    """The environment of a program that finds this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def in_process_of_its_own(*arguments: object, **changes: str) -> Result:
    """Run the command line as a user does."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(**changes), timeout=120, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int, by: Callable[[], object]) -> None:
    """Call `by` after so many steps of training."""
    left = steps
    step = TrainingBar.step

    def stepped(bar: TrainingBar) -> None:
        nonlocal left
        step(bar)
        left -= 1
        if left == 0:
            by()

    monkeypatch.setattr(TrainingBar, "step", stepped)


def leave_out_reports(patch: pytest.MonkeyPatch) -> None:
    """A report takes longer than so small a training."""
    patch.setattr(train._Run, "_write_report", lambda *_: None)


def arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file."""
    return load_file(file)


def metrics_without_times(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.csv, but for how long they took."""
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")}
            for row in csv.DictReader(file)
        ]
