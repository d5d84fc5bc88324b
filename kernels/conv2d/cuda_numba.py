"""Convolution on a GPU in Numba CUDA: directly, or as im2col and the tiled matrix product of the dense layer.

The same mathematics as in im2col.py, each step now a kernel whose threads have a result each. float32 and one group;
anything else falls back to array code.
"""

import numpy as np
from numba import cuda

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.numba_launch import contiguous, covers, launch_flat
from minicnn.kernels.arrays import Array, array_module, pieces
from minicnn.kernels.conv2d.im2col import bytes_of_columns
from minicnn.kernels.linear.cuda_numba import TILE, product
from minicnn.kernels.reduce.cuda_numba import row_sums
from minicnn.kernels.windows import Pair, Windows

COLUMNS_BYTES = 256 << 20
"""Columns are made for as many images at a time: memory that any GPU has, and far more work than it needs at once."""


def direct_kernel(x: Array, weight: Array, y: Array, stride: Pair, padding: Pair, dilation: Pair) -> None:
    """The loops of reference.py, with the four outer ones gone: their rounds are threads.

    Neighboring threads have neighboring columns c, so they read neighboring pixels and the same weight. What is
    wasted: every output channel reads all of the image again, and nothing is kept from one thread to the next.
    """
    images, outputs, rows, columns = y.shape
    for index in range(cuda.grid(1), images * outputs * rows * columns, cuda.gridsize(1)):
        c, r = index % columns, index // columns % rows
        o, n = index // (columns * rows) % outputs, index // (columns * rows * outputs)
        total = np.float32(0)
        for k in range(weight.shape[1]):
            for i in range(weight.shape[2]):
                row = r * stride[0] + i * dilation[0] - padding[0]
                for j in range(weight.shape[3]):
                    column = c * stride[1] + j * dilation[1] - padding[1]
                    if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                        total += weight[o, k, i, j] * x[n, k, row, column]
        y[n, o, r, c] = total


def im2col_kernel(x: Array, columns: Array, stride: Pair, padding: Pair, dilation: Pair) -> None:
    """Copy every window of x (N, C, H, W) into a column of (C, kH, kW, N, H', W'): a thread for each element.

    The windows come last in memory, so that the threads of a warp, which have neighboring windows, write neighboring
    numbers, and with a stride of 1 read neighboring pixels.
    """
    _, kernel_rows, kernel_columns, images, out_rows, out_columns = columns.shape
    for index in range(cuda.grid(1), columns.size, cuda.gridsize(1)):
        c, rest = index % out_columns, index // out_columns
        r, rest = rest % out_rows, rest // out_rows
        n, rest = rest % images, rest // images
        j, rest = rest % kernel_columns, rest // kernel_columns
        i, k = rest % kernel_rows, rest // kernel_rows
        row = r * stride[0] + i * dilation[0] - padding[0]
        column = c * stride[1] + j * dilation[1] - padding[1]
        inside = 0 <= row < x.shape[2] and 0 <= column < x.shape[3]
        columns[k, i, j, n, r, c] = x[n, k, row, column] if inside else np.float32(0)


def col2im_kernel(columns: Array, x: Array, stride: Pair, padding: Pair, dilation: Pair) -> None:
    """Add every column back to the pixels that it was copied from: a thread for each pixel, not for each column.

    Windows overlap, so threads that scatter their columns would add to one pixel at the same time. A thread that
    gathers asks for its pixel which windows lie over it, and is the only one to write it: no atomic additions.
    """
    channels, kernel_rows, kernel_columns, _, out_rows, out_columns = columns.shape
    _, _, height, width = x.shape
    for index in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        column, row = index % width, index // width % height
        k, n = index // (width * height) % channels, index // (width * height * channels)
        total = np.float32(0)
        for i in range(kernel_rows):
            down = row + padding[0] - i * dilation[0]  # stride * r of the window whose row i lies on this pixel
            r = down // stride[0]
            for j in range(kernel_columns):
                right = column + padding[1] - j * dilation[1]
                c = right // stride[1]
                there = down % stride[0] == 0 and right % stride[1] == 0
                if there and 0 <= r < out_rows and 0 <= c < out_columns:
                    total += columns[k, i, j, n, r, c]
        x[n, k, row, column] = total


def forward(x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    """Convolve `x` (N, C, H, W) with `weight` (O, C/groups, kH, kW) and add `bias` (O,): (N, O, H', W').

    Directly where a window holds fewer numbers than a tile of the product is wide, such as in a first layer.
    """
    if groups != 1 or not covers(x, weight):
        return fall_back("conv2d").forward(x, weight, bias, windows, groups)
    y = array_module(x).empty((len(x), len(weight), *windows.output_size(*x.shape[2:])), dtype=x.dtype)
    if weight[0].size < TILE:
        launch_flat(direct_kernel, y.size, contiguous(x), contiguous(weight), y, *_numbers(windows))
    else:
        matrix = weight.reshape(len(weight), -1)
        for piece in _pieces(x, windows):
            y[piece] = _images(product(matrix, _matrix(im2col(x[piece], windows))), y[piece])
    if bias is not None:
        y += bias[:, None, None]
    return y


def backward(
    grad: Array, x: Array, weight: Array, windows: Windows, groups: int, need_x: bool = True
) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O, H', W'); the input's is None unless asked for."""
    if groups != 1 or not covers(grad, x, weight):
        gradients: tuple[Array | None, Array, Array] = fall_back("conv2d").backward(
            grad, x, weight, windows, groups, need_x
        )
        return gradients
    xp = array_module(x)
    grad_x = xp.empty(x.shape, dtype=x.dtype) if need_x else None
    matrix = weight.reshape(len(weight), -1)
    grad_weight, grad_bias = xp.zeros_like(matrix), xp.zeros(len(weight), dtype=x.dtype)
    for piece in _pieces(x, windows):
        upstream = contiguous(grad[piece].swapaxes(0, 1)).reshape(len(weight), -1)
        columns = im2col(x[piece], windows)
        grad_weight += product(upstream, _matrix(columns).T)
        grad_bias += row_sums(upstream)
        if grad_x is not None:
            grad_columns = product(matrix.T, upstream).reshape(columns.shape)
            grad_x[piece] = col2im(grad_columns, windows, *x.shape[2:])
    return grad_x, grad_weight.reshape(weight.shape), grad_bias


def im2col(x: Array, windows: Windows) -> Array:
    """Copy every window of `x` (N, C, H, W) into a column: (C, kH, kW, N, H', W')."""
    shape = (x.shape[1], *windows.kernel, len(x), *windows.output_size(*x.shape[2:]))
    columns = array_module(x).empty(shape, dtype=x.dtype)
    launch_flat(im2col_kernel, columns.size, contiguous(x), columns, *_numbers(windows))
    return columns


def col2im(columns: Array, windows: Windows, height: int, width: int) -> Array:
    """Add every column back to the pixels it was copied from, the adjoint of im2col: (N, C, height, width)."""
    x = array_module(columns).empty((columns.shape[3], columns.shape[0], height, width), dtype=columns.dtype)
    launch_flat(col2im_kernel, x.size, columns, x, *_numbers(windows))
    return x


def _pieces(x: Array, windows: Windows) -> list[slice]:
    return list(pieces(len(x), bytes_of_columns(x, windows), COLUMNS_BYTES))


def _matrix(columns: Array) -> Array:
    """(C, kH, kW, N, H', W') as the numbers of a window by the windows."""
    return columns.reshape(columns.shape[0] * columns.shape[1] * columns.shape[2], -1)


def _images(rows: Array, like: Array) -> Array:
    """(O, N * H' * W') as (N, O, H', W')."""
    return rows.reshape(like.shape[1], like.shape[0], *like.shape[2:]).swapaxes(0, 1)


def _numbers(windows: Windows) -> tuple[Pair, Pair, Pair]:
    return windows.stride, windows.padding, windows.dilation
