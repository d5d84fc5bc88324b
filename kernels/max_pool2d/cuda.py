"""Max-pooling on a GPU: a thread has some channels of a pooled pixel, and backward of a pixel of the image."""

from typing import NamedTuple

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.rows import channels_first, channels_last, contiguous, ints, rows_of
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows

_SOURCE = Source("max_pool2d")
_ELEMENTS = 256
"""Of a window, whose numbers then fit a byte."""


def forward(x: Array, windows: Windows) -> tuple[Array, Array]:
    """Pool `x` (N, C, H, W): the maxima (N, C, H', W') and, for each, which element of its window it was.

    Elements count row by row, the first of equals wins, and NaN beats every number. Padding is never chosen.
    """
    if not _covers(x, windows):
        y, choice = fall_back("max_pool2d").forward(x, windows)
        return y, choice
    order = _order(x)
    images = order.images(x)
    size = windows.output_size(*images.shape[1:3])
    pooled = driver().empty((len(images), *size, images.shape[3]), x.dtype)
    elements = driver().empty(pooled.shape, np.uint8)
    launch = rows_of(pooled.size // pooled.shape[3], pooled.shape[3], x.dtype)
    _SOURCE.launch(
        f"forward_{launch.suffix}", launch.grid, launch.block,
        images, *ints(pooled.size // pooled.shape[3], launch.each), pooled, elements,
        *_geometry(images.shape[1], images.shape[2], pooled, windows),
    )  # fmt: skip
    return order.original(pooled, x.shape), order.original(elements, x.shape)


def backward(grad: Array, choice: Array, height: int, width: int, windows: Windows) -> Array:
    """Send `grad` (N, C, H', W') to the pixel that was chosen in each window: (N, C, height, width)."""
    if not _covers(grad, windows) or choice.dtype != np.uint8:
        return fall_back("max_pool2d").backward(grad, choice, height, width, windows)
    order = _order(choice)
    upstream, elements = order.images(grad), order.images(choice)
    grad_x = driver().empty((len(upstream), height, width, upstream.shape[3]), grad.dtype)
    launch = rows_of(grad_x.size // grad_x.shape[3], grad_x.shape[3], grad.dtype)
    _SOURCE.launch(
        f"backward_{launch.suffix}", launch.grid, launch.block,
        upstream, elements, *ints(grad_x.size // grad_x.shape[3], launch.each), grad_x,
        *_geometry(height, width, upstream, windows),
    )  # fmt: skip
    return order.original(grad_x, grad.shape)


class _Order(NamedTuple):
    """How images (N, C, H, W) lie in memory. Those that are not channels last are N * C images of one channel."""

    channels_last: bool

    def images(self, x: Array) -> Array:
        """The images as the kernels take them, channels last; a view where they lie so."""
        if self.channels_last:
            return channels_last(x)
        return contiguous(x).reshape(-1, *x.shape[2:], 1)

    def original(self, images: Array, shape: tuple[int, ...]) -> Array:
        """What the kernels give as (N, C, H, W), of the first two extents of `shape`."""
        return channels_first(images) if self.channels_last else images.reshape(*shape[:2], *images.shape[1:3])


def _order(x: Array) -> _Order:
    return _Order(x.transpose(0, 2, 3, 1).flags.c_contiguous)


def _covers(x: Array, windows: Windows) -> bool:
    return x.dtype.name in ("float32", "bfloat16") and x.size > 0 and windows.kernel[0] * windows.kernel[1] <= _ELEMENTS


def _geometry(height: int, width: int, pooled: Array, windows: Windows) -> tuple[np.int32, ...]:
    """The fields of struct Pool in cuda.cu."""
    _, down, across, channels = pooled.shape
    return ints(
        height, width, channels, down, across,
        *windows.kernel, *windows.stride, *windows.padding, *windows.dilation,
    )  # fmt: skip
