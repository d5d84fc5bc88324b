"""Dropout on a GPU, in one pass; the seed may be a number or an array (1,) on the GPU, which recorded steps have."""

import math

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.recording import on_gpu
from minicnn.kernels._gpu.rows import contiguous
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array

_SOURCE = Source("dropout")
_THREADS = 256


def forward(x: Array, seed: int | Array, p: float) -> Array:
    """Drop the elements of `x` whose uniform number is below `p`, and scale the others by 1 / (1 - p)."""
    if x.dtype.name not in ("float32", "bfloat16") or x.size == 0:
        return fall_back("dropout").forward(x, seed, p)
    y = driver().empty(x.shape, x.dtype)
    _SOURCE.launch(
        f"drop_{x.dtype.name}", (-(-x.nbytes // (16 * _THREADS)),), (_THREADS,),
        contiguous(x), y, np.int64(x.size), on_gpu(seed), np.uint32(math.ceil(p * 2**24)),
        np.float32(0 if p == 1 else 1 / (1 - p)),
    )  # fmt: skip
    return y


def backward(grad: Array, seed: int | Array, p: float) -> Array:
    """The same elements, the same scale."""
    return forward(grad, seed, p)
