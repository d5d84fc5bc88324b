"""Randomized leaky ReLU on a GPU, in one pass; images that lie channels last in memory stay so."""

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.recording import on_gpu
from minicnn.kernels._gpu.rows import channels_first, channels_last, contiguous, ints
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array

_SOURCE = Source("rrelu")
_THREADS = 256
_EACH = 4
"""Elements of a thread: 16 bytes."""
_MOST = 1 << 30
"""Elements from which on 32 bits no longer count them."""


def forward(x: Array, seed: int | Array, lower: float, upper: float) -> Array:
    """Multiply the elements of `x` that are not above zero by their slopes."""
    return backward(x, x, seed, lower, upper)


def backward(grad: Array, y: Array, seed: int | Array, lower: float, upper: float) -> Array:
    """Multiply `grad` by the same slopes in the same places."""
    if grad.dtype != np.float32 or not 0 < grad.size < _MOST:
        return fall_back("rrelu").backward(grad, y, seed, lower, upper)
    images = y.ndim == 4 and y.transpose(0, 2, 3, 1).flags.c_contiguous
    in_order = channels_last if images else contiguous
    upstream, places = in_order(grad), in_order(y)
    pixels, channels = (places.shape[1] * places.shape[2], places.shape[3]) if images else (1, 1)
    grad_x = driver().empty(places.shape, np.float32)
    _SOURCE.launch(
        "rrelu", (-(-grad.size // (_EACH * _THREADS)),), (_THREADS,),
        upstream, places, grad_x, *ints(grad.size, pixels, channels), on_gpu(seed),
        np.float32(lower), np.float32((upper - lower) / 2**24),
    )  # fmt: skip
    return channels_first(grad_x) if images else grad_x
