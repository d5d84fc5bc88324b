"""The metrics evaluator: a trained network on a split of a data set."""

from pathlib import Path

import numpy as np

from minicnn import checkpoint, data, inference
from minicnn.apps.metrics import Metrics, evaluate
from minicnn.device import Device
from minicnn.errors import CheckpointError, DataError, UserError


def weights_of(source: str | Path) -> Path:
    """The weights file that `source` names: itself, or the best of a run folder."""
    path = Path(source)
    if not path.is_dir():
        return path
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path}: expected a run folder or a weights file, there is no best.safetensors in it")


def evaluate_weights(
    source: str | Path,
    *,
    data_name: str | None = None,
    protocol: str | None = None,
    split: str | None = None,
    tta: bool = False,
    device: Device = "cpu",
) -> tuple[Metrics, str]:
    """Metrics of a run's best weights, or of a weights file, and the data and split they are of.

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
    part = dataset.splits[chosen]
    probabilities = inference.probabilities(model.to(device), part.images, preprocessing, tta)
    if not np.isfinite(probabilities).all():
        raise CheckpointError(f"{source}: its weights overflow: they are damaged, or of a training that diverged")
    changed = data_name is None and protocol is None and dataset.sha256 != header.data.get("sha256")
    what = f"{dataset.name}, {chosen}" + (" (the data has changed since the training)" if changed else "")
    return evaluate(part.labels, probabilities, dataset.classes), what
