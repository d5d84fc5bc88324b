"""Average pooling with channels last: a vector of channels at a time, whatever the window."""

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._cpu import workspace
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.layout import channels_first, channels_last
from minicnn.kernels._cpu.pooling import inside
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share
from minicnn.kernels.windows import Pair, Windows


def forward(x: Array, windows: Windows, count_padding: bool) -> Array:
    """Mean of each window of `x` (N, C, H, W): (N, C, H', W'); padding is zero and counts where asked for."""
    if x.dtype != np.float32:
        return fall_back("avg_pool2d").forward(x, windows, count_padding)
    images = channels_last(x)
    y = workspace.empty((len(images), *windows.output_size(*images.shape[1:3]), images.shape[3]))
    geometry = (windows.kernel, windows.stride, windows.padding, count_padding)
    share(y.shape[0] * y.shape[1], lambda first, last, slot: _pool(images, *geometry, y, first, last))
    return channels_first(y)


def backward(grad: Array, height: int, width: int, windows: Windows, count_padding: bool) -> Array:
    """Share `grad` (N, C, H', W') equally among the pixels of each window: (N, C, height, width)."""
    if grad.dtype != np.float32:
        return fall_back("avg_pool2d").backward(grad, height, width, windows, count_padding)
    upstream = channels_last(grad)
    grad_x = workspace.empty((len(upstream), height, width, upstream.shape[3]))
    geometry = (windows.kernel, windows.stride, windows.padding, count_padding)
    share(len(grad_x), lambda first, last, slot: _unpool(upstream, *geometry, grad_x, first, last))
    return channels_first(grad_x)


@compiled
def _pool(
    x: Array, kernel: Pair, stride: Pair, padding: Pair, count_padding: bool, y: Array, first: int, last: int
) -> None:
    """Pool rows `first` to `last` of all images' results."""
    for row in range(first, last):
        n, r = row // y.shape[1], row % y.shape[1]
        top = r * stride[0] - padding[0]
        first_i, last_i = inside(top, x.shape[1], kernel[0], 1)
        for k in range(y.shape[2]):
            left = k * stride[1] - padding[1]
            first_j, last_j = inside(left, x.shape[2], kernel[1], 1)
            count = kernel[0] * kernel[1] if count_padding else (last_i - first_i) * (last_j - first_j)
            total = y[n, r, k]
            total[:] = 0
            for i in range(first_i, last_i):
                for j in range(first_j, last_j):
                    pixel = x[n, top + i, left + j]
                    for c in range(len(pixel)):
                        total[c] += pixel[c]
            for c in range(len(total)):
                total[c] /= np.float32(count)


@compiled
def _unpool(
    grad: Array, kernel: Pair, stride: Pair, padding: Pair, count_padding: bool, grad_x: Array, first: int, last: int
) -> None:
    """The gradients of some images."""
    for n in range(first, last):
        grad_x[n] = 0
        for r in range(grad.shape[1]):
            top = r * stride[0] - padding[0]
            first_i, last_i = inside(top, grad_x.shape[1], kernel[0], 1)
            for k in range(grad.shape[2]):
                left = k * stride[1] - padding[1]
                first_j, last_j = inside(left, grad_x.shape[2], kernel[1], 1)
                count = kernel[0] * kernel[1] if count_padding else (last_i - first_i) * (last_j - first_j)
                upstream = grad[n, r, k]
                for i in range(first_i, last_i):
                    for j in range(first_j, last_j):
                        pixel = grad_x[n, top + i, left + j]
                        for c in range(len(pixel)):
                            pixel[c] += upstream[c] / np.float32(count)
