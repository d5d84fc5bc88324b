"""Softmax cross-entropy on a GPU: one launch a direction."""

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.rows import contiguous, floats, ints
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array

_SOURCE = Source("cross_entropy")
_WARPS = 8
"""Rows of a block."""


def forward(logits: Array, target: Array) -> tuple[Array, Array]:
    """Loss (N,) and softmax probabilities (N, C) of `logits` (N, C) against `target` (N, C)."""
    if not _covers(logits, target):
        loss, probabilities = fall_back("cross_entropy").forward(logits, target)
        return loss, probabilities
    loss, probabilities = floats(len(logits)), floats(*logits.shape)
    _launch("forward", logits, target, shape=logits.shape, out=(loss, probabilities))
    return loss, probabilities


def backward(grad: Array, probabilities: Array, target: Array) -> Array:
    """Gradient of the logits (N, C) from that of the losses (N,): probability * (sum of targets) - target."""
    if not _covers(grad, probabilities, target):
        return fall_back("cross_entropy").backward(grad, probabilities, target)
    grad_logits = floats(*probabilities.shape)
    _launch("backward", grad, probabilities, target, shape=probabilities.shape, out=(grad_logits,))
    return grad_logits


def _launch(kernel: str, *arrays: Array, shape: tuple[int, ...], out: tuple[Array, ...]) -> None:
    _SOURCE.launch(kernel, (-(-shape[0] // _WARPS),), (32, _WARPS), *map(contiguous, arrays), *ints(*shape), *out)


def _covers(*arrays: Array) -> bool:
    return all(array.dtype == np.float32 and array.size > 0 for array in arrays)
