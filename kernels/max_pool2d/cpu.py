"""Max-pooling with channels last: a vector of channels at a time, whatever the window."""

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._cpu import workspace
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.layout import channels_first, channels_last
from minicnn.kernels._cpu.pooling import inside
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share
from minicnn.kernels.windows import Pair, Windows


def forward(x: Array, windows: Windows) -> tuple[Array, Array]:
    """Pool `x` (N, C, H, W): the maxima (N, C, H', W') and, for each, which element of its window it was.

    Elements count row by row, the first of equals wins, and NaN beats every number. Padding is never chosen.
    """
    if x.dtype != np.float32:
        y, choice = fall_back("max_pool2d").forward(x, windows)
        return y, choice
    images = channels_last(x)
    shape = (len(images), *windows.output_size(*images.shape[1:3]), images.shape[3])
    y, choice = workspace.empty(shape), workspace.empty(shape, windows.element_dtype)
    geometry = (windows.kernel, windows.stride, windows.padding, windows.dilation)
    share(shape[0] * shape[1], lambda first, last, slot: _pool(images, *geometry, y, choice, first, last))
    return channels_first(y), channels_first(choice)


def backward(grad: Array, choice: Array, height: int, width: int, windows: Windows) -> Array:
    """Send `grad` (N, C, H', W') to the pixel that was chosen in each window: (N, C, height, width)."""
    if grad.dtype != np.float32:
        return fall_back("max_pool2d").backward(grad, choice, height, width, windows)
    upstream, chosen = channels_last(grad), channels_last(choice)
    grad_x = workspace.empty((len(upstream), height, width, upstream.shape[3]))
    geometry = (windows.kernel, windows.stride, windows.padding, windows.dilation)
    share(len(grad_x), lambda first, last, slot: _unpool(upstream, chosen, *geometry, grad_x, first, last))
    return channels_first(grad_x)


@compiled
def _pool(
    x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, y: Array, choice: Array, first: int, last: int
) -> None:
    """Pool rows `first` to `last` of all images' results."""
    for row in range(first, last):
        n, r = row // y.shape[1], row % y.shape[1]
        top = r * stride[0] - padding[0]
        first_i, last_i = inside(top, x.shape[1], kernel[0], dilation[0])
        for k in range(y.shape[2]):
            left = k * stride[1] - padding[1]
            first_j, last_j = inside(left, x.shape[2], kernel[1], dilation[1])
            best, chosen = y[n, r, k], choice[n, r, k]
            best[:] = -np.inf
            chosen[:] = first_i * kernel[1] + first_j  # stays where all of a window is minus infinity
            for i in range(first_i, last_i):
                for j in range(first_j, last_j):
                    pixel = x[n, top + i * dilation[0], left + j * dilation[1]]
                    element = choice.dtype.type(i * kernel[1] + j)
                    for c in range(len(pixel)):
                        value, before = pixel[c], best[c]
                        # "not <=" is ">" that also holds for NaN; a NaN that is already there stays
                        better = not value <= before and before == before
                        best[c] = value if better else before
                        chosen[c] = element if better else chosen[c]


@compiled
def _unpool(
    grad: Array, choice: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, grad_x: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    """The gradients of some images."""
    zero = np.float32(0)
    for n in range(first, last):
        grad_x[n] = 0
        for r in range(grad.shape[1]):
            top = r * stride[0] - padding[0]
            first_i, last_i = inside(top, grad_x.shape[1], kernel[0], dilation[0])
            for k in range(grad.shape[2]):
                left = k * stride[1] - padding[1]
                first_j, last_j = inside(left, grad_x.shape[2], kernel[1], dilation[1])
                upstream, chosen = grad[n, r, k], choice[n, r, k]
                for i in range(first_i, last_i):
                    for j in range(first_j, last_j):
                        pixel = grad_x[n, top + i * dilation[0], left + j * dilation[1]]
                        element = choice.dtype.type(i * kernel[1] + j)
                        for c in range(len(pixel)):
                            pixel[c] += upstream[c] if chosen[c] == element else zero
