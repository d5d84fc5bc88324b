"""Convolution as one matrix product: lay every window out as a column, multiply by the weights.

With K = C/groups * kH * kW values in a window and P windows,

    forward     y         (O, P) = weight (O, K) @ columns (K, P)
    backward    d weight  (O, K) = grad (O, P) @ columns.T
                d columns (K, P) = weight.T @ grad,  and  col2im adds each column back to the pixels it came from

Source: K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for document
processing", 2006. The batch goes through in pieces whose columns stay in the cache (kernels/parallel.py).
"""

from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.parallel import each_piece, run_pieces
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
    y = array_module(x).empty((len(x), len(weight), *windows.output_size(*x.shape[2:])), dtype=x.dtype)

    def convolve(piece: slice) -> None:
        y[piece] = forward_piece(x[piece], weight, windows, groups)
        if bias is not None:
            y[piece] += bias[:, None, None]

    run_pieces(convolve, x, bytes_of_columns(x, windows))
    return y


def backward(
    grad: Array, x: Array, weight: Array, windows: Windows, groups: int, need_x: bool = True
) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O, H', W'); the input's is None unless asked for."""
    xp = array_module(x)
    grad_x = xp.empty(x.shape, dtype=x.dtype) if need_x else None

    def convolve(piece: slice) -> tuple[Array, Array]:
        part_x, part_weight = backward_piece(grad[piece], x[piece], weight, windows, groups, need_x)
        if grad_x is not None:
            grad_x[piece] = part_x
        return part_weight, grad[piece].sum(axis=(0, 2, 3))

    grad_weight, grad_bias = xp.zeros_like(weight), xp.zeros(len(weight), dtype=x.dtype)
    # pieces at least as large as the weight, so that adding up the parts costs less than making them
    for part_weight, part_bias in each_piece(convolve, x, bytes_of_columns(x, windows), weight.nbytes):
        grad_weight += part_weight
        grad_bias += part_bias
    return grad_x, grad_weight, grad_bias


def forward_piece(x: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """Convolve as many images as fit the cache, as one matrix product a group."""
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    product = matrix @ im2col(x, windows).reshape(groups, matrix.shape[2], -1)
    return product.reshape(len(weight), len(x), *windows.output_size(*x.shape[2:])).swapaxes(0, 1)


def backward_piece(
    grad: Array, x: Array, weight: Array, windows: Windows, groups: int, need_x: bool
) -> tuple[Array | None, Array]:
    """Gradients of as many images as fit the cache, and their part of the weight's."""
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    upstream = grad.swapaxes(0, 1).reshape(groups, matrix.shape[1], -1)
    columns = im2col(x, windows)
    grad_weight = (upstream @ columns.reshape(groups, matrix.shape[2], -1).swapaxes(1, 2)).reshape(weight.shape)
    if not need_x:
        return None, grad_weight
    grad_columns = (matrix.swapaxes(1, 2) @ upstream).reshape(columns.shape)
    return col2im(grad_columns, windows, *x.shape[2:]), grad_weight


def bytes_of_columns(x: Array, windows: Windows) -> int:
    """What the columns of one image take."""
    rows, columns = windows.output_size(*x.shape[2:])
    kernel_rows, kernel_columns = windows.kernel
    return int(x.shape[1] * kernel_rows * kernel_columns * rows * columns * x.dtype.itemsize)
