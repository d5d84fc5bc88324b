"""Augmentation on the GPU: one kernel that reads levels from a few places and writes each pixel once."""

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array

_SOURCE = Source("augment")
_THREADS = 256


def forward(images: Array, amounts: Array, scale: float, shift: float, out: Array) -> None:
    """Fill `out` (B, 1, H, W) with the images that `amounts` (B, 14) chooses, changed as it says."""
    if images.dtype != np.uint8 or not all(array.flags.c_contiguous for array in (images, amounts, out)):
        fall_back("augment").forward(images, amounts, scale, shift, out)
        return
    height, width = images.shape[1:]
    grid = (len(amounts), -(-height * width // _THREADS))
    if 0 in grid:
        return
    _SOURCE.launch(
        "augment", grid, (_THREADS,), images, amounts, out,
        np.int32(height), np.int32(width), np.float32(scale), np.float32(shift),
    )  # fmt: skip
