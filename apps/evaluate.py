"""The metrics evaluator: a trained network on a split of a data set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minicnn import checkpoint, data, inference
from minicnn.apps.metrics import Metrics, evaluate
from minicnn.data.dataset import Split
from minicnn.data.preprocessing import Preprocessing
from minicnn.device import Device
from minicnn.errors import CheckpointError, DataError, UserError
from minicnn.nn.module import Module


def weights_of(source: str | Path) -> Path:
    """The weights file that `source` names: itself, or the best of a run folder."""
    path = Path(source)
    if not path.is_dir():
        return path
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path}: expected a run folder or a weights file, there is no best.safetensors in it")


def checked(probabilities: NDArray[np.float32], source: str | Path) -> NDArray[np.float32]:
    """The probabilities themselves; raises CheckpointError where the weights that `source` names gave no numbers."""
    if not np.isfinite(probabilities).all():
        raise CheckpointError(f"{source}: its weights overflow: they are damaged, or of a training that diverged")
    return probabilities


@dataclass(frozen=True)
class Subject:
    """A trained network and the images that it is measured on.

    Attributes:
        source: the run or file that the network comes from, for messages.
        what: the data and the split, in words.
        classes: the names of the labels.
    """

    source: str
    what: str
    model: Module
    preprocessing: Preprocessing
    split: Split
    classes: tuple[str, ...]

    def probabilities(self, images: NDArray[np.uint8], tta: bool = False) -> NDArray[np.float32]:
        """Probabilities (N, classes) of images (N, 48, 48); raises CheckpointError where weights overflow."""
        return checked(inference.probabilities(self.model, images, self.preprocessing, tta), self.source)

    def metrics(self, tta: bool = False) -> Metrics:
        """The metrics of the split's images as they are."""
        return evaluate(self.split.labels, self.probabilities(self.split.images, tta), self.classes)


def load_subject(
    source: str | Path,
    *,
    data_name: str | None = None,
    protocol: str | None = None,
    split: str | None = None,
    device: Device = "cpu",
) -> Subject:
    """A run's best weights, or a weights file, and a split of data.

    Data and protocol are those of the training unless given; the split is "public" where there is one, else "val".
    Raises UserError where weights, data or split do not do.
    """
    model, preprocessing, header = checkpoint.load_model(weights_of(source))
    dataset = data.load(data_name or header.data.get("name"), protocol or header.data.get("protocol", "official"))
    if list(dataset.classes) != header.labels:
        raise DataError(f"{dataset.name}: its classes are not those of {source}: {', '.join(header.labels)}")
    chosen = split or ("public" if "public" in dataset.splits else "val")
    if chosen not in dataset.splits:
        raise DataError(f"{dataset.name}: expected a split {chosen!r}, it has {', '.join(dataset.splits)}")
    what = f"{dataset.name}, {chosen}"
    if dataset.sha256 != header.data.get("sha256"):
        if data_name is None and protocol is None:
            what += " (the data has changed since the training)"
        elif chosen in ("train", "val"):  # which another protocol cuts elsewhere
            what += " (not the training's own: some images may have been learned)"
    return Subject(str(source), what, model.to(device), preprocessing, dataset.splits[chosen], dataset.classes)
