"""Teachers: trained networks, asked about the images that another one is to learn from."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn import checkpoint, inference
from minicnn.apps.evaluate import checked, weights_of
from minicnn.apps.output import say
from minicnn.data.dataset import Dataset
from minicnn.data.preprocessing import Preprocessing
from minicnn.device import Device
from minicnn.errors import CheckpointError, UserError
from minicnn.nn.module import Module


class Teacher(NamedTuple):
    """A trained network, the run folder or file that it comes from, and the hash of what it was trained on."""

    name: str
    data: str | None
    model: Module
    preprocessing: Preprocessing


def load(names: str, dataset: Dataset) -> list[Teacher]:
    """The networks of weights files or run folders, separated by commas.

    Raises UserError where one cannot be read, or knows other classes.
    """
    found = []
    for name in filter(None, names.split(",")):
        path = weights_of(name)
        if path != Path(name) and path.name != "best.safetensors":
            raise UserError(f"{name}: expected a trained network as teacher, this run has not finished an epoch")
        model, preprocessing, header = checkpoint.load_model(path)
        if header.labels != list(dataset.classes):
            raise CheckpointError(
                f"{name}: expected a teacher of {', '.join(dataset.classes)}, it knows {', '.join(header.labels)}"
            )
        found.append(Teacher(name, header.data.get("sha256"), model, preprocessing))
    return found


def answers(teachers: Sequence[Teacher], dataset: Dataset, device: Device) -> NDArray[np.float32] | None:
    """The mean of their probabilities (N, classes) of the training images as they are; None without teachers.

    Raises CheckpointError where one's weights overflow.
    """
    images, said = dataset.splits["train"].images, []
    for name, data, model, preprocessing in teachers:
        say(f"minicnn: asking {name} about {len(images):,} images")
        if data != dataset.sha256:  # then val says too much good of the student
            say(f"minicnn: {name} was trained on other data or another split: it may know images of val")
        said.append(checked(inference.probabilities(model.to(device), images, preprocessing), name))
    return np.mean(said, axis=0, dtype=np.float32) if said else None
