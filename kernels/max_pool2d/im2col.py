"""Max-pooling in array code: one strided view of the image for each element of the window."""

from minicnn.kernels.arrays import Array, array_module, bytes_each
from minicnn.kernels.parallel import run_pieces
from minicnn.kernels.windows import Windows


def forward(x: Array, windows: Windows) -> tuple[Array, Array]:
    """Pool `x` (N, C, H, W): the maxima (N, C, H', W') and, for each, which element of its window it was.

    Elements count row by row, the first of equals wins, and NaN beats every number. Padding is never chosen.
    """
    xp = array_module(x)
    shape = (*x.shape[:2], *windows.output_size(*x.shape[2:]))
    y, choice = xp.empty(shape, dtype=x.dtype), xp.empty(shape, dtype=windows.element_dtype)

    def pool(piece: slice) -> None:
        y[piece], choice[piece] = forward_piece(x[piece], windows)

    run_pieces(pool, x, bytes_each(x))
    return y, choice


def backward(grad: Array, choice: Array, height: int, width: int, windows: Windows) -> Array:
    """Send `grad` (N, C, H', W') to the pixel that was chosen in each window: (N, C, height, width)."""
    grad_x = array_module(grad).empty((*grad.shape[:2], height, width), dtype=grad.dtype)

    def unpool(piece: slice) -> None:
        grad_x[piece] = backward_piece(grad[piece], choice[piece], height, width, windows)

    run_pieces(unpool, grad, bytes_each(grad_x))
    return grad_x


def forward_piece(x: Array, windows: Windows) -> tuple[Array, Array]:
    """Pool a part of a batch."""
    xp = array_module(x)
    padded = windows.pad(x, -xp.inf)
    rows, columns = windows.output_size(*x.shape[2:])
    y = xp.full((*x.shape[:2], rows, columns), -xp.inf, dtype=x.dtype)
    choice = xp.empty(y.shape, dtype=windows.element_dtype)
    choice[...] = xp.asarray(windows.first_inside(rows, columns))  # stays where all of a window is minus infinity
    for i, j, tap in windows.taps(rows, columns):
        candidate = padded[(..., *tap)]
        # "not <=" is ">" that also holds for NaN; a NaN that is already there stays
        better = ~(candidate <= y) & (y == y)
        xp.maximum(y, candidate, out=y)
        # elements are numbered upwards, so a better one has the larger number: seven times as fast as a masked copy
        xp.maximum(choice, better * windows.element_dtype(i * windows.kernel[1] + j), out=choice)
    return y, choice


def backward_piece(grad: Array, choice: Array, height: int, width: int, windows: Windows) -> Array:
    """Send a part of the gradient back to the chosen pixels."""
    vertical, horizontal = windows.padding
    padded = array_module(grad).zeros(
        (*grad.shape[:2], height + 2 * vertical, width + 2 * horizontal), dtype=grad.dtype
    )
    for i, j, tap in windows.taps(*grad.shape[2:]):
        padded[(..., *tap)] += grad * (choice == i * windows.kernel[1] + j)
    return windows.crop(padded)
