"""From images to probabilities: the one way that training, evaluation and programs ask a network."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from minicnn.data.preprocessing import Preprocessing
from minicnn.device import Array, array_module, module_for
from minicnn.function import no_grad
from minicnn.kernels.frozen import frozen_weights
from minicnn.nn.module import Module
from minicnn.planned import planned
from minicnn.tensor import Tensor

BATCH = 256
"""Images that go through the network at once."""

_SHIFTS = ((0, 0), (-3, -3), (-3, 3), (3, -3), (3, 3))
"""Test-time crops: the image, and the image moved towards each corner (rows, columns, in pixels)."""


@contextmanager
def frozen(model: Module) -> Iterator[None]:
    """Ask `model` inside this block, whose weights must not change meanwhile: evaluation mode, no graph.

    What kernels derive from weights (folded batch normalization, transforms) is made once for all batches, and a
    plan of kernels for few images at a time (minicnn.planned).
    """
    with no_grad(), model.evaluating(), frozen_weights(), planned(model):
        yield


def logits(model: Module, images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Logits (N, classes) of `images` (N, 48, 48), on the model's device and in evaluation mode."""
    with frozen(model):
        return np.concatenate([_forward(model, batch) for batch in _batches(model, images, preprocessing)])


def probabilities(
    model: Module, images: NDArray[np.uint8], preprocessing: Preprocessing, tta: bool = False
) -> NDArray[np.float32]:
    """Probabilities (N, classes) of `images` (N, 48, 48).

    With `tta` (test-time augmentation) the mean over ten views: the image and four shifts of it, each also mirrored.
    """
    parts = []
    with frozen(model):
        for batch in _batches(model, images, preprocessing):
            views = list(_views(batch)) if tta else [batch]
            parts.append(np.mean([_softmax(_forward(model, view)) for view in views], axis=0, dtype=np.float32))
    return np.concatenate(parts)


def _batches(model: Module, images: NDArray[np.uint8], preprocessing: Preprocessing) -> Iterator[Array]:
    """Normalized on the model's device, which a GPU gets as uint8: a quarter of the bytes."""
    xp = module_for(next(model.parameters()).device)
    for start in range(0, max(len(images), 1), BATCH):  # no images are one empty batch, which has logits (0, classes)
        yield preprocessing.normalized(xp.asarray(preprocessing.levels(images[start : start + BATCH])))


def _forward(model: Module, batch: Array) -> NDArray[np.float32]:
    output: NDArray[np.float32] = model(Tensor(batch)).numpy()
    return output


def _views(batch: Array) -> Iterator[Array]:
    height, width = batch.shape[2:]
    edge = max(max(map(abs, shift)) for shift in _SHIFTS)
    padded = array_module(batch).pad(batch, ((0, 0), (0, 0), (edge, edge), (edge, edge)), mode="edge")
    for down, right in _SHIFTS:
        view = padded[:, :, edge - down : edge - down + height, edge - right : edge - right + width]
        yield view
        yield view[:, :, :, ::-1]


def _softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return result
