"""Training as a program: a run folder, checkpoints, a progress bar, a clean end, a report."""

import hashlib
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn import calibration, checkpoint, data, inference, training
from minicnn.apps import metrics, plots, report, teachers
from minicnn.apps.profile import Profile, format_profile
from minicnn.apps.progress import TrainingBar
from minicnn.apps.run_folder import RunConfig, RunFolder
from minicnn.data.dataset import Dataset
from minicnn.data.preprocessing import Preprocessing, renamed
from minicnn.device import Array, Device, check_precision
from minicnn.errors import CheckpointError, DataError, UserError
from minicnn.files import remove_leftovers
from minicnn.nn.module import Module

CHECKPOINT_SECONDS = 60.0
"""How much work a power cut may cost."""


def start(
    config: RunConfig,
    out: str | Path,
    *,
    device: Device = "cpu",
    time_limit: float = 0.0,
    command: str = "",
    profile: bool = False,
) -> dict[str, Any]:
    """Train a new run in the folder `out`; returns its summary (see `_summary`).

    `time_limit` is in minutes, 0 for none; `profile` prints on stderr where the time of a step went. Raises UserError
    where the data, the device, the folder or a teacher does not do.
    """
    check_precision(config.recipe.precision, device)
    dataset = load_data(config)
    asked = teachers.load(config.teachers, dataset)
    folder = RunFolder(out)
    with folder.locked(), _told_how_to_go_on(folder):
        folder.check_free()
        said = teachers.answers(asked, dataset, device)  # before the folder holds a run that a bad teacher would spoil
        folder.create(config)
        run = _Run(folder, config, dataset, device, command, said)
        run.checkpoint()
        return run.train(time_limit, profile)


def resume(
    out: str | Path, *, device: Device = "cpu", time_limit: float = 0.0, command: str = "", profile: bool = False
) -> dict[str, Any]:
    """Go on with the run in `out` from its last checkpoint; a run that has ended gives its summary again."""
    folder = RunFolder(out)
    config = folder.config()
    result = folder.result()
    if result is not None:
        return result
    with folder.locked(), _told_how_to_go_on(folder):
        state = _state(folder, config)
        dataset = load_data(config)
        if state is None:  # killed before its first checkpoint
            said = teachers.answers(teachers.load(config.teachers, dataset), dataset, device)
            run = _Run(folder, config, dataset, device, command, said)
        else:
            run = _restored(folder, config, dataset, device, command, *state)
        remove_leftovers(folder.path)
        if state is None:
            run.checkpoint()
        return run.train(time_limit, profile)


def _state(folder: RunFolder, config: RunConfig) -> tuple[dict[str, Array], dict[str, Any]] | None:
    """The last checkpoint, None before the first; raises CheckpointError where it is of another configuration."""
    file = folder["state.safetensors"]
    if not file.exists():
        return None
    arrays, values = checkpoint.load_state(file)
    now = config.to_dict()
    # data may have been moved: its hash is compared later. Checkpoints of format 1 do not know the configuration
    for name, value in renamed(values.get("config", {})).items():
        if name != "data" and now.get(name) != value:
            raise CheckpointError(
                f"{file}: does not fit the run's configuration: config.toml says {name} = {now.get(name)}, "
                f"the run was begun with {value}: put that back"
            )
    return arrays, values


def _restored(
    folder: RunFolder,
    config: RunConfig,
    dataset: Dataset,
    device: Device,
    command: str,
    arrays: dict[str, Array],
    values: dict[str, Any],
) -> "_Run":
    """The run as its last checkpoint left it; raises CheckpointError where that does not fit."""
    said = arrays.get(training.ANSWERS)
    try:
        if values["data"] != dataset.sha256:  # said first: answers to other images fit nothing
            raise ValueError("the data has changed since")
        if (said is not None) != bool(config.teachers):
            raise ValueError("what the teachers said is missing, or there were none")
        run = _Run(folder, config, dataset, device, command, said)
        run.trainer.restore(arrays, values)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder['state.safetensors']}: does not fit the run's configuration: {error}"
        ) from error
    if run.trainer.best_epoch:
        checkpoint.load_weights(folder["best.safetensors"])  # the report needs them: hear now if they are bad
    folder.write_metrics(run.trainer.history)  # a killed run may have written a line more
    return run


@contextmanager
def _told_how_to_go_on(folder: RunFolder) -> Iterator[None]:
    """Where a file cannot be written, say that nothing is lost, and what to do."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"{error.filename or folder.path}: {error.strerror or error}; what was saved is whole: "
            f"once this is mended, minicnn train --resume {folder.path} goes on"
        ) from error


def load_data(config: RunConfig) -> Dataset:
    """The run's data set, cut to its limit; raises DataError where it has no train or val split."""
    dataset = data.load(config.data, config.protocol)
    for split in ("train", "val"):
        if split not in dataset.splits:
            raise DataError(f"{config.data}: expected a split {split!r} to train, it has {', '.join(dataset.splits)}")
    if config.limit:
        cut = {name: part.take(config.limit) for name, part in dataset.splits.items() if name in ("train", "val")}
        dataset = replace(dataset, splits={**dataset.splits, **cut})
    return dataset


class _Run:
    """A Trainer and the folder that it leaves its work in."""

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        dataset: Dataset,
        device: Device,
        command: str,
        answers: NDArray[np.float32] | None,
    ) -> None:
        self.folder, self.config, self.dataset, self.command = folder, config, dataset, command
        self.trainer = training.Trainer(config.recipe, dataset, device, answers)
        self.saved_at = time.monotonic()
        self.ended = "finished"

    def train(self, time_limit: float, profile: bool) -> dict[str, Any]:
        """Train to the end, or until interrupted or out of time; then write what is to be seen."""
        deadline = time.monotonic() + 60 * time_limit if time_limit else float("inf")
        watch = Profile(self.trainer) if profile else None
        watching = nullcontext() if watch is None else watch.watching()
        with self._interruptible(), TrainingBar(self.trainer) as bar, watching:

            def on_step() -> None:
                if watch is not None:
                    watch.step()
                bar.step()
                if time.monotonic() > deadline:
                    self._stop("time limit")
                if time.monotonic() - self.saved_at > CHECKPOINT_SECONDS:
                    self.checkpoint()

            def on_epoch(row: training.Row) -> None:
                bar.epoch(row)
                if self.trainer.best_epoch == self.trainer.epoch:
                    self._save_weights("best.safetensors")
                self.folder.write_metrics(self.trainer.history)
                self.checkpoint()

            self.trainer.fit(on_step, on_epoch)
        if watch is not None:
            print(format_profile(watch), file=sys.stderr)
        self.checkpoint()
        summary = self._summary()
        if self.trainer.finished and self.trainer.history:
            self._calibrate()
        if self.trainer.history:
            self._write_report(summary)
        if self.trainer.finished:
            self.folder.write_result(summary)
        return summary

    def checkpoint(self) -> None:
        """Save the present weights, and the state to resume from."""
        arrays, values = self.trainer.state()  # first, since it raises where the weights are no numbers any more
        self._save_weights("last.safetensors")
        checkpoint.save_state(self.folder["state.safetensors"], arrays, {**values, "config": self.config.to_dict()})
        self.saved_at = time.monotonic()

    def _save_weights(self, name: str) -> None:
        trainer, recipe = self.trainer, self.config.recipe
        header = checkpoint.Header(
            architecture={"layers": recipe.layers, "preset": recipe.preset, "classes": len(self.dataset.classes)},
            labels=list(self.dataset.classes),
            preprocessing=trainer.preprocessing.to_dict(),
            metrics=dict(trainer.history[-1]) if trainer.history else {},
            data=self._data_described(),
            recipe=recipe.to_dict(),
        )
        checkpoint.save_weights(self.folder[name], trainer.weights(), header)

    def _data_described(self) -> dict[str, str]:
        described = {"name": self.config.data, "protocol": self.config.protocol, "sha256": self.dataset.sha256}
        if self.trainer.answers is not None:
            described["answers"] = hashlib.sha256(self.trainer.answers.tobytes()).hexdigest()
        return described

    def _calibrate(self) -> None:
        """Divide the best weights' logits by the temperature that fits val best; once, should this be interrupted."""
        file, val = self.folder["best.safetensors"], self.dataset.splits["val"]
        model, preprocessing, header = checkpoint.load_model(file)
        if "temperature" in header.metrics:
            return
        errors = {"calibration_error_before": self._calibration_error(model, preprocessing)}
        temperature = calibration.temperature(inference.logits(model, val.images, preprocessing), val.labels)
        calibration.divide_logits(model, temperature)
        errors["calibration_error"] = self._calibration_error(model, preprocessing)
        found = {**header.metrics, "temperature": temperature, **errors}
        checkpoint.save_weights(file, model.state_dict(), replace(header, metrics=found))

    def _calibration_error(self, model: Module, preprocessing: Preprocessing) -> float:
        val = self.dataset.splits["val"]
        probabilities = inference.probabilities(model, val.images, preprocessing)
        return metrics.calibration_error(probabilities.argmax(axis=1) == val.labels, probabilities.max(axis=1))

    def _summary(self) -> dict[str, Any]:
        """The keys that `minicnn train --json` promises, and how training ended."""
        history = self.trainer.history
        best = history[self.trainer.best_epoch - 1] if history else {}
        seconds = sum(row["seconds"] for row in history)
        images = sum(row["seconds"] * row["images_per_second"] for row in history)
        return {
            "run": str(self.folder.path),
            "layers": self.config.recipe.layers,
            "epochs": len(history),
            "best_epoch": self.trainer.best_epoch,
            "val_accuracy": best.get("val_accuracy"),
            "val_loss": best.get("val_loss"),
            "images_per_second": round(images / seconds, 1) if seconds else None,
            "seconds": round(seconds, 1),
            "ended": "finished" if self.trainer.finished else self.ended,
        }

    def _write_report(self, summary: dict[str, Any]) -> None:
        """Curves, confusion matrix and report of the best weights on the validation split."""
        model, preprocessing, _ = checkpoint.load_model(self.folder["best.safetensors"])
        val = self.dataset.splits["val"]
        result = metrics.evaluate(
            val.labels, inference.probabilities(model, val.images, preprocessing), self.dataset.classes
        )
        plots.plot_curves(self.trainer.history, self.folder["curves.png"])
        plots.plot_confusion(result.confusion, self.dataset.classes, self.folder["confusion.png"])
        report.write_report(
            self.folder["report.html"],
            title=f"minicnn: {self.config.recipe.layers} layers on {self.dataset.name}",
            summary={
                **summary,
                "data": self.dataset.name,
                "split": "val",
                "sha256": self.dataset.sha256,
                "notes": list(self.dataset.notes),
                "command": self.command,
                "parameters": sum(parameter.size for parameter in model.parameters()),
            },
            config=self.config.to_dict(),
            history=self.trainer.history,
            metrics=result,
            network=model.summary(),
            figures={name: self.folder[f"{name}.png"] for name in ("curves", "confusion")},
        )

    def _stop(self, reason: str) -> None:
        self.trainer.stopping, self.ended = True, reason

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end training after the present step; a second one ends it at once."""

        def stop(number: int, _frame: FrameType | None) -> None:
            self._stop("interrupted")
            signal.signal(number, before[signal.Signals(number)])

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
