"""What every data set is once it has been read: splits of 48x48 grey images with a label each."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven emotions in the order of FER2013's CSV labels 0..6 (folder names sort otherwise: map by name)."""

IMAGE_SIZE = 48
"""Height and width of every image, in pixels."""


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8, shape (N, 48, 48), grey levels 0..255.
        labels: int64, shape (N,), indices into the data set's classes.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.ndim != 3 or len(self.images) != len(self.labels):
            raise ValueError(
                f"Split: expected images (N, H, W) with N labels, got {self.images.shape} and {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, n: int) -> "Split":
        """The first `n` images, or all where there are fewer."""
        return Split(self.images[:n], self.labels[:n])


@dataclass(frozen=True)
class Dataset:
    """A data set cut into named splits (train, val, public, private).

    Attributes:
        name: what the data set is called in messages and in the header of trained weights.
        classes: the name of each label.
        splits: the images by split name.
        sha256: hash of all images and labels in their splits, so that two figures can be known to be comparable.
        notes: what a reader of the results should know (duplicates dropped, splits merged, ...).
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    sha256: str
    notes: tuple[str, ...] = field(default=())
