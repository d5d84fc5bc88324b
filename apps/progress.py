"""The progress bar of a training, on a terminal; a line an epoch elsewhere."""

import sys
from types import TracebackType
from typing import Self

from tqdm import tqdm

from minicnn.training import Row, Trainer


class TrainingBar:
    """Loss, accuracy, images a second and the time left, on stderr."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        steps = len(trainer.loader)
        self.bar = tqdm(
            total=trainer.recipe.epochs * steps,
            initial=trainer.epoch * steps + trainer.step,
            desc="training",
            unit="step",
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def step(self) -> None:
        """One step is done."""
        sums = self.trainer.sums
        self.bar.set_postfix_str(
            f"loss {sums['loss'] / sums['seen']:.3f}, accuracy {sums['correct'] / sums['seen']:.3f}, "
            f"{sums['seen'] / max(sums['seconds'], 1e-9):.0f} images/s",
            refresh=False,
        )
        self.bar.update()

    def epoch(self, row: Row) -> None:
        """One epoch is done: its figures stay on the screen."""
        tqdm.write(
            f"epoch {row['epoch']:.0f}/{self.trainer.recipe.epochs}: "
            f"train loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}; "
            f"val loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.4f}; "
            f"{row['images_per_second']:.0f} images/s",
            file=sys.stderr,
        )
