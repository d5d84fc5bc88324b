"""The training loop: epochs of steps, each followed by a validation; it can stop and go on at any step."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn import distillation, inference, models, rng
from minicnn import functional as F
from minicnn.data.dataset import Dataset
from minicnn.data.loader import Batch, Loader
from minicnn.data.preprocessing import Preprocessing
from minicnn.device import Array, Device, check_precision, module_for, to_numpy
from minicnn.errors import UserError
from minicnn.kernels import precision
from minicnn.optim import EMA
from minicnn.recipes import Recipe, make_optimizer, make_schedule
from minicnn.steps import GpuSteps, Step
from minicnn.tensor import Tensor

READ_EVERY = 50
"""Steps on a GPU between two looks at the sums; each look waits for the GPU."""

ANSWERS = "answers"
"""The name in a state of what the teachers said."""

Row = dict[str, float]
"""One epoch's figures: a line of metrics.csv."""

COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "lr",
    "seconds",
    "images_per_second",
)
"""Their names. An answer counts as right in train_accuracy where it is the target's largest part: the label, or what
mixup and teachers have given most to. In val_accuracy it is the label always."""


class TrainingError(UserError):
    """Training that cannot go on."""


class Trainer:
    """A network in training.

    Everything random depends on the recipe's seed and on where training is, and `state` holds the rest, so that a
    Trainer restored from it goes on with the same bits as one that never stopped.

    Args:
        recipe: how to train.
        dataset: needs the splits train and val.
        device: where the network lives.
        answers: float32 (N, classes), what teachers say of the training images; without them labels alone are learned.

    Attributes:
        history: one Row an epoch.
        best: the highest validation accuracy so far, and `best_epoch` (counted from 1) where it was.
        epoch, step: finished epochs, and finished steps of the present one.
        sums: of the present epoch: loss, right answers and images seen, and the seconds that they took. On a GPU they
            are brought up to date every READ_EVERY steps, and by `settle`.
        gpu_steps: how steps are taken on a GPU; None on the CPU.
        stopping: set it to end training after the present step.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        device: Device = "cpu",
        answers: NDArray[np.float32] | None = None,
    ) -> None:
        check_precision(recipe.precision, device)
        rng.manual_seed(recipe.seed)
        self.recipe, self.dataset, self.device, self.answers = recipe, dataset, device, answers
        train = dataset.splits["train"]
        self.preprocessing = Preprocessing.fit(train.images, contrast=recipe.contrast, restored=recipe.restore)
        self.loader = Loader(
            train,
            self.preprocessing,
            recipe.batch_size,
            seed=recipe.seed,
            shuffle=recipe.shuffle,
            augmentation=recipe.augmentation,
            classes=len(dataset.classes),
            targets=self._soft_targets(),
            device=device,
        )
        self.model = models.build(recipe.layers, recipe.preset, len(dataset.classes)).to(device)
        self.optimizer = make_optimizer(recipe, self.model)
        self.schedule = make_schedule(recipe, len(self.loader))
        self.ema = EMA(self.model, recipe.ema) if recipe.ema else None
        self.class_weights = self._balanced_weights() if recipe.class_weights else None
        self._step = Step(self.model, self.optimizer, self.ema, recipe, self.class_weights)
        self.gpu_steps = GpuSteps(self._step) if device == "gpu" else None
        self.history: list[Row] = []
        self.best, self.best_epoch = -1.0, 0
        self.epoch, self.step = 0, 0
        self.sums = {"loss": 0.0, "correct": 0.0, "seen": 0.0, "seconds": 0.0}
        self._unsettled = {"seen": 0, "seconds": 0.0}
        self.stopping = False

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: all epochs done, or no better one for `patience` epochs."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.recipe.epochs or 0 < self.recipe.patience <= waited

    def fit(self, on_step: Callable[[], None], on_epoch: Callable[[Row], None]) -> None:
        """Train until finished or `stopping`.

        `on_step` is called after every step, `on_epoch` after every epoch with its Row; both may take a checkpoint.
        Raises TrainingError where the loss is no number any more, or there is too little memory.
        """
        try:
            with precision.using(self.recipe.precision):
                while not self.finished and not self.stopping:
                    self._epoch(on_step)
                    if self.step == len(self.loader):
                        on_epoch(self._end_epoch())
        except MemoryError as error:  # NumPy's and CuPy's
            raise TrainingError(
                f"batches of {self.recipe.batch_size} images do not fit the {self.device}'s memory: "
                "use a smaller --batch-size"
            ) from error

    def settle(self) -> None:
        """Bring `sums` up to the present step; raises TrainingError where the loss is no number any more."""
        if self.gpu_steps is not None and self._unsettled["seen"]:
            started = time.perf_counter()
            loss, correct = self.gpu_steps.take_sums()
            self._unsettled["seconds"] += time.perf_counter() - started  # what the GPU still had to do
            if not math.isfinite(loss):
                raise self._diverged(f"by step {self.step}: the loss", loss)
            self.sums["loss"] += loss
            self.sums["correct"] += correct
        for name, value in self._unsettled.items():
            self.sums[name] += value
        self._unsettled = {"seen": 0, "seconds": 0.0}

    def weights(self) -> dict[str, Array]:
        """What is evaluated and kept: the averaged weights where the recipe has them, else the present ones."""
        return self.model.state_dict() if self.ema is None else self.ema.average

    def validate(self) -> tuple[float, float]:
        """Loss and accuracy of `weights` on the validation split."""
        split = self.dataset.splits["val"]
        if self.ema is None:
            scores = inference.logits(self.model, split.images, self.preprocessing)
        else:
            with self.ema.applied():
                scores = inference.logits(self.model, split.images, self.preprocessing)
        loss = F.cross_entropy(Tensor(scores.astype(np.float64)), split.labels).item()
        return loss, float((scores.argmax(axis=1) == split.labels).mean())

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays and plain values from which `restore` goes on."""
        self.settle()
        arrays = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.state_dict().items()}
        if self.ema is not None:
            arrays |= {f"ema.{name}": array for name, array in self.ema.average.items()}
        if self.answers is not None:  # so that a run goes on where its teachers are gone, or others by now
            arrays[ANSWERS] = self.answers
        values = {
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "optimizer_count": self.optimizer.count,
            "ema_count": 0 if self.ema is None else self.ema.count,
            "schedule": self.schedule.state_dict(),
            "rng": rng.get_state(),
            "data": self.dataset.sha256,
        }
        return {name: to_numpy(array) for name, array in arrays.items()}, values

    def restore(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Go back to a `state`; raises ValueError where it is of another network, recipe or data set, or is none."""
        self._check_values(values)
        if values["data"] != self.dataset.sha256:
            raise ValueError("the data has changed since")
        if values["step"] > len(self.loader):
            raise ValueError(f"it is at step {values['step']} of an epoch of {len(self.loader)}")
        xp = module_for(self.device)
        if (ANSWERS in arrays) != (self.answers is not None):
            raise ValueError("one of the two has teachers, and the other has none")
        if self.answers is not None and not np.array_equal(arrays[ANSWERS], self.answers):
            raise ValueError("its teachers gave other answers")
        parts: dict[str, dict[str, Array]] = {"model": {}, "optimizer": {}, "ema": {}}
        for name, array in arrays.items():
            if name == ANSWERS:
                continue
            part, _, rest = name.partition(".")
            parts[part][rest] = xp.asarray(array)
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"], values["optimizer_count"])
        if self.ema is not None:
            self.ema.load_state_dict(parts["ema"], values["ema_count"])
        elif parts["ema"]:
            raise ValueError("EMA: the saved state has averages, and this recipe has none")
        self.schedule.load_state_dict(values["schedule"])
        self.epoch, self.step = values["epoch"], values["step"]
        self.sums, self.history = dict(values["sums"]), list(values["history"])
        self._unsettled = {"seen": 0, "seconds": 0.0}
        self.best, self.best_epoch = values["best"], values["best_epoch"]
        try:
            rng.set_state(values["rng"])
        except OverflowError as error:
            raise ValueError(f"rng: {error}") from error

    def _check_values(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError, KeyError or TypeError for values that no training leaves: a file may say anything."""
        rows, sums, schedule = values["history"], values["sums"], values["schedule"]
        if not (isinstance(rows, list) and all(isinstance(part, dict) for part in (*rows, sums, schedule))):
            raise TypeError("expected a list of epochs, sums and a schedule by name")
        counts = [values[name] for name in ("epoch", "step", "best_epoch", "optimizer_count", "ema_count")]
        figures = [value for part in (*rows, sums, schedule) for value in part.values()]
        if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts):
            raise ValueError(f"expected numbers of epochs and steps, got {counts}")
        if not all(_is_figure(value) for value in (*figures, values["best"])):
            raise TypeError("expected numbers in the history, the sums and the schedule")
        if sums.keys() != self.sums.keys() or any(row.keys() != set(COLUMNS) for row in rows):
            raise ValueError("the history or the sums have other columns")
        if not values["best_epoch"] <= values["epoch"] == len(rows):
            raise ValueError(f"it is at epoch {values['epoch']}, with a history of {len(rows)}")

    def _epoch(self, on_step: Callable[[], None]) -> None:
        """Train to the end of the epoch, or until `stopping`."""
        with closing(self.loader.epoch(self.epoch, self.step)) as batches:
            started = time.perf_counter()
            for batch in batches:
                self.optimizer.lr = self.schedule.lr(self.epoch * len(self.loader) + self.step)
                if self.gpu_steps is not None:
                    self.gpu_steps(batch)
                else:
                    self._train_on(batch)
                self.step += 1
                self._unsettled["seen"] += len(batch.images)
                self._unsettled["seconds"] += time.perf_counter() - started
                if self.gpu_steps is None or self.step % READ_EVERY == 1 or self.step == len(self.loader):
                    self.settle()
                on_step()
                if self.stopping:
                    break
                started = time.perf_counter()  # from here, so that waiting for the next batch counts

    def _train_on(self, batch: Batch) -> None:
        scores, loss = self._step.forward(*batch)
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"step {self.step + 1}: the loss", value)
        self._step.backward(loss)
        labels = batch.targets if batch.targets.ndim == 1 else batch.targets.argmax(axis=1)
        self.sums["loss"] += value * len(labels)
        self.sums["correct"] += float((scores.argmax(axis=1) == labels).sum())

    def _end_epoch(self) -> Row:
        val_loss, val_accuracy = self.validate()
        if not math.isfinite(val_loss):  # the epoch's last step went too far, and no other one noticed
            raise self._diverged("the validation loss", val_loss)
        sums = self.sums
        row: Row = {
            "epoch": self.epoch + 1,
            "train_loss": sums["loss"] / sums["seen"],
            "train_accuracy": sums["correct"] / sums["seen"],
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "lr": self.schedule.lr(self.epoch * len(self.loader) + self.step - 1),
            "seconds": round(sums["seconds"], 3),
            "images_per_second": round(sums["seen"] / max(sums["seconds"], 1e-9), 1),
        }
        self.schedule.observe(val_loss)
        self.epoch, self.step = self.epoch + 1, 0
        self.sums = dict.fromkeys(sums, 0.0)
        if val_accuracy > self.best:
            self.best, self.best_epoch = val_accuracy, self.epoch
        self.history.append(row)
        return row

    def _diverged(self, what: str, value: float) -> TrainingError:
        return TrainingError(
            f"epoch {self.epoch + 1}, {what} is {value}. Try a lower --lr (it was {self.optimizer.lr:.3g}), "
            "--clip 1, or a longer --warmup; the last checkpoint is whole"
        )

    def _soft_targets(self) -> NDArray[np.float32] | None:
        if self.answers is None:
            return None
        labels, classes = self.dataset.splits["train"].labels, len(self.dataset.classes)
        return distillation.targets(labels, self.answers, self.recipe.distill, classes)

    def _balanced_weights(self) -> NDArray[np.float32]:
        """N / (classes * count) for each class; a class without images weighs nothing."""
        labels, classes = self.dataset.splits["train"].labels, len(self.dataset.classes)
        counts = np.bincount(labels, minlength=classes)
        weights = np.where(counts > 0, len(labels) / (classes * np.maximum(counts, 1)), 0.0)
        balanced: NDArray[np.float32] = module_for(self.device).asarray(weights.astype(np.float32))
        return balanced


def _is_figure(value: object) -> bool:
    """A number that arithmetic can go on with: JSON's whole numbers may be larger than any float."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 53)
