"""Convolution as one matrix product: lay every window out as a column, multiply by the weights.

With K = C/groups * kH * kW values in a window and P windows,

    forward     y         (O, P) = weight (O, K) @ columns (K, P)
    backward    d weight  (O, K) = grad (O, P) @ columns.T
                d columns (K, P) = weight.T @ grad,  and  col2im adds each column back to the pixels it came from

Source: K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for document
processing", 2006. The batch goes through in pieces, so that a piece's columns stay in the cache.
"""

from minicnn.kernels.arrays import Array, array_module, pieces
from minicnn.kernels.windows import Windows


def im2col(x: Array, windows: Windows) -> Array:
    """Copy every window of `x` (N, C, H, W) into a column: (C, kH, kW, N, H', W')."""
    rows, columns = windows.output_size(*x.shape[2:])
    padded = windows.pad(x).swapaxes(0, 1)
    out = array_module(x).empty((x.shape[1], *windows.kernel, len(x), rows, columns), dtype=x.dtype)
    for i, j, tap in windows.taps(rows, columns):
        out[:, i, j] = padded[(..., *tap)]
    return out


def col2im(columns: Array, windows: Windows, height: int, width: int) -> Array:
    """Add every column back to the pixels it was copied from, the adjoint of im2col: (N, C, height, width)."""
    channels, (vertical, horizontal) = columns.shape[0], windows.padding
    count, rows, cols = columns.shape[3:]
    padded = array_module(columns).zeros(
        (channels, count, height + 2 * vertical, width + 2 * horizontal), dtype=columns.dtype
    )
    for i, j, tap in windows.taps(rows, cols):
        padded[(..., *tap)] += columns[:, i, j]
    return windows.crop(padded).swapaxes(0, 1)


def forward(x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    """Convolve `x` (N, C, H, W) with `weight` (O, C/groups, kH, kW) and add `bias` (O,): (N, O, H', W')."""
    rows, columns = windows.output_size(*x.shape[2:])
    y = array_module(x).empty((len(x), len(weight), rows, columns), dtype=x.dtype)
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    for piece in pieces(len(x), _bytes_of_columns(x, windows)):
        product = matrix @ im2col(x[piece], windows).reshape(groups, matrix.shape[2], -1)
        y[piece] = product.reshape(len(weight), -1, rows, columns).swapaxes(0, 1)
        if bias is not None:
            y[piece] += bias[:, None, None]
    return y


def backward(
    grad: Array, x: Array, weight: Array, windows: Windows, groups: int, need_x: bool = True
) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O, H', W'); the input's is None unless asked for."""
    xp = array_module(x)
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    grad_x = xp.empty(x.shape, dtype=x.dtype) if need_x else None
    grad_matrix = xp.zeros_like(matrix)
    grad_bias = xp.zeros(len(weight), dtype=x.dtype)
    for piece in pieces(len(x), _bytes_of_columns(x, windows)):
        upstream = grad[piece].swapaxes(0, 1).reshape(groups, matrix.shape[1], -1)
        columns = im2col(x[piece], windows)
        grad_matrix += upstream @ columns.reshape(groups, matrix.shape[2], -1).swapaxes(1, 2)
        grad_bias += upstream.sum(axis=2).reshape(-1)
        if grad_x is not None:
            grad_columns = (matrix.swapaxes(1, 2) @ upstream).reshape(columns.shape)
            grad_x[piece] = col2im(grad_columns, windows, *x.shape[2:])
    return grad_x, grad_matrix.reshape(weight.shape), grad_bias


def _bytes_of_columns(x: Array, windows: Windows) -> int:
    """What the columns of one image take."""
    rows, columns = windows.output_size(*x.shape[2:])
    kernel_rows, kernel_columns = windows.kernel
    return int(x.shape[1] * kernel_rows * kernel_columns * rows * columns * x.dtype.itemsize)
