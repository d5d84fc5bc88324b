"""Max-pooling on a GPU in Numba CUDA: a thread for each result, in both directions."""

import math

import numpy as np
from numba import cuda

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.numba_launch import contiguous, covers, launch_flat
from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.windows import Pair, Windows


def pool_kernel(x: Array, y: Array, choice: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
    """Each thread looks through one window at a time, and writes its maximum and where that was.

    `planes` are all images and channels: they do not meet in pooling, so one axis is enough for both.
    """
    planes, rows, columns = y.shape
    for i in range(cuda.grid(1), planes * rows * columns, cuda.gridsize(1)):
        plane, r, c = i // (rows * columns), i // columns % rows, i % columns
        largest, element = np.float32(-math.inf), -1
        for u in range(kernel[0]):
            row = r * stride[0] + u * dilation[0] - padding[0]
            for v in range(kernel[1]):
                column = c * stride[1] + v * dilation[1] - padding[1]
                if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                    value = x[plane, row, column]
                    # NaN compares as false with everything, so it has to be asked for; one that is there stays
                    better = value > largest or (math.isnan(value) and not math.isnan(largest))
                    if better or element < 0:  # the first inside counts even where all of the window is -inf
                        largest, element = value, u * kernel[1] + v
        y[plane, r, c] = largest
        choice[plane, r, c] = element


def unpool_kernel(
    grad: Array, choice: Array, grad_x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> None:
    """Each thread collects what one pixel of x gets from the windows over it.

    The other way round, a thread for each window that adds to its pixel, needs atomic additions where windows overlap:
    two threads that add to one pixel at once lose one of the sums, and atomic ones come in a new order in every run,
    with other rounding errors. *Gather, do not scatter*: then each number has one writer.
    """
    planes, height, width = grad_x.shape
    for i in range(cuda.grid(1), planes * height * width, cuda.gridsize(1)):
        plane, row, column = i // (height * width), i // width % height, i % width
        total = np.float32(0)
        for u in range(kernel[0]):
            down = row + padding[0] - u * dilation[0]  # stride * r of the window whose row u lies on this pixel
            r = down // stride[0]
            for v in range(kernel[1]):
                right = column + padding[1] - v * dilation[1]
                c = right // stride[1]
                there = down % stride[0] == 0 and right % stride[1] == 0
                inside = 0 <= r < grad.shape[1] and 0 <= c < grad.shape[2]
                if there and inside and choice[plane, r, c] == u * kernel[1] + v:
                    total += grad[plane, r, c]
        grad_x[plane, row, column] = total


def forward(x: Array, windows: Windows) -> tuple[Array, Array]:
    """Pool `x` (N, C, H, W): the maxima (N, C, H', W') and, for each, which element of its window it was.

    Elements count row by row, the first of equals wins, and NaN beats every number. Padding is never chosen.
    """
    if not covers(x):
        pooled: tuple[Array, Array] = fall_back("max_pool2d").forward(x, windows)
        return pooled
    xp = array_module(x)
    shape = (*x.shape[:2], *windows.output_size(*x.shape[2:]))
    y, choice = xp.empty(shape, dtype=x.dtype), xp.empty(shape, dtype=windows.element_dtype)
    launch_flat(pool_kernel, y.size, _planes(x), _planes(y), _planes(choice), *_numbers(windows))
    return y, choice


def backward(grad: Array, choice: Array, height: int, width: int, windows: Windows) -> Array:
    """Send `grad` (N, C, H', W') to the pixel that was chosen in each window: (N, C, height, width)."""
    if not covers(grad):
        return fall_back("max_pool2d").backward(grad, choice, height, width, windows)
    grad_x = array_module(grad).empty((*grad.shape[:2], height, width), dtype=grad.dtype)
    launch_flat(unpool_kernel, grad_x.size, _planes(grad), _planes(choice), _planes(grad_x), *_numbers(windows))
    return grad_x


def _planes(x: Array) -> Array:
    """(N, C, H, W) as (N * C, H, W)."""
    return contiguous(x).reshape(-1, *x.shape[2:])


def _numbers(windows: Windows) -> tuple[Pair, Pair, Pair, Pair]:
    return windows.kernel, windows.stride, windows.padding, windows.dilation
