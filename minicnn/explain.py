"""Why a network says what it says: Grad-CAM, which parts of a face spoke for a class."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from minicnn import kernels, nn
from minicnn.device import array_module, to_numpy
from minicnn.function import no_grad
from minicnn.nn.module import Module
from minicnn.opencv import cv2
from minicnn.tensor import Tensor

_LEAST = 6
"""Rows and columns that maps must have: 3x3 of them cannot tell an eye from a mouth."""

Step = Callable[[Tensor], Tensor]


def grad_cam(model: Module, images: NDArray[np.float32], classes: Sequence[int]) -> NDArray[np.float32]:
    """Heat maps, float32 (N, H, W) in 0..1: how much each place of an image spoke for a class.

    The maps of the last layer that has at least 6x6 of them are weighted by the mean gradient of the class's logit
    and added up; what is left above 0 spoke for the class. Each image's strongest place is 1; where nothing spoke for
    the class, all are 0. Neither weights nor their gradients change.

    Args:
        model: a Sequential from images to logits (N, classes), such as minicnn.models.build gives.
        images: preprocessed, float32 (N, 1, H, W).
        classes: the class to explain, for each image.

    Raises:
        TypeError: the model is no Sequential.
        ValueError: there is not one class an image, or no layer with maps.
        RuntimeError: it is asked inside `no_grad`.

    Source: R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", 2017, equations 1 and 2.
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"grad_cam: expected a Sequential, got a {type(model).__name__}")
    if len(classes) != len(images):
        raise ValueError(f"grad_cam: expected a class for each of {len(images)} images, got {len(classes)}")
    if not len(images):
        return np.empty((0, *images.shape[2:]), np.float32)
    # array code: to go backward in evaluation mode is rare, and compiling kernels for it would take seconds
    with model.evaluating(), _fixed(model), kernels.using("im2col"):
        maps, after = _last_maps(list(_steps(model)), Tensor(images).to(next(model.parameters()).device))
        logits = _run(after, maps)
        xp = array_module(maps.data)
        asked = xp.zeros(logits.shape, logits.dtype)
        asked[xp.arange(len(classes)), xp.asarray(classes)] = 1
        logits.backward(asked)
    assert maps.grad is not None  # for mypy: the logits depend on the maps
    weights = maps.grad.mean(axis=(2, 3), keepdims=True)
    return _heat(to_numpy(xp.maximum((weights * maps.data).sum(axis=1), 0)), images.shape[2:])


@contextmanager
def _fixed(model: Module) -> Iterator[None]:
    """No parameter gets a gradient inside the block: a training may be going on with those that they have."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad = True


def _steps(model: nn.Sequential) -> Iterator[Step]:
    """The layers, with those that pool at their end taken in two, for what they see before they pool is finer."""
    for module in model:
        if type(module) is nn.Sequential:
            yield from _steps(module)
        elif type(module) is nn.ConvBlock and module.pool is not None:
            whole = copy.copy(module)
            whole.pool = None
            yield whole
            yield nn.MaxPool2d(module.pool)
        else:
            yield module


def _last_maps(steps: Sequence[Step], x: Tensor) -> tuple[Tensor, Sequence[Step]]:
    """The last maps of at least 6x6, as a leaf of a new graph, and the steps from there to the logits."""
    found = None
    with no_grad():
        for number, step in enumerate(steps, 1):
            x = step(x)
            if x.ndim == 4 and min(x.shape[2:]) >= _LEAST:
                found = x, number
    if found is None:
        raise ValueError(f"grad_cam: expected a network with maps of at least {_LEAST}x{_LEAST}, it has none")
    maps, number = found
    return Tensor(maps.data, requires_grad=True), steps[number:]


def _run(steps: Sequence[Step], x: Tensor) -> Tensor:
    for step in steps:
        x = step(x)
    return x


def _heat(maps: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Maps (N, h, w) from 0 up, each divided by its largest value and drawn out to (N, H, W)."""
    largest = maps.max(axis=(1, 2), keepdims=True)
    scaled = maps / np.where(largest > 0, largest, 1)
    height, width = size
    heat = np.stack([cv2().resize(one, (width, height), interpolation=cv2().INTER_CUBIC) for one in scaled])
    return np.asarray(np.clip(heat, 0, 1), np.float32)
