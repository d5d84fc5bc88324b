"""Average pooling in array code: add up one strided view of the image for each element of the window."""

from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.windows import Windows


def forward(x: Array, windows: Windows, count_padding: bool) -> Array:
    """Mean of each window of `x` (N, C, H, W): (N, C, H', W'); padding is zero and counts where asked for."""
    rows, columns = windows.output_size(*x.shape[2:])
    padded = windows.pad(x)
    y = array_module(x).zeros((*x.shape[:2], rows, columns), dtype=x.dtype)
    for _, _, tap in windows.taps(rows, columns):
        y += padded[(..., *tap)]
    y /= _divisors(x, x.shape[2], x.shape[3], windows, count_padding)
    return y


def backward(grad: Array, height: int, width: int, windows: Windows, count_padding: bool) -> Array:
    """Share `grad` (N, C, H', W') equally among the pixels of each window: (N, C, height, width)."""
    (vertical, horizontal) = windows.padding
    padded = array_module(grad).zeros(
        (*grad.shape[:2], height + 2 * vertical, width + 2 * horizontal), dtype=grad.dtype
    )
    share = grad / _divisors(grad, height, width, windows, count_padding)
    for _, _, tap in windows.taps(*grad.shape[2:]):
        padded[(..., *tap)] += share
    return windows.crop(padded)


def _divisors(like: Array, height: int, width: int, windows: Windows, count_padding: bool) -> Array:
    """How many pixels each window's mean is over: (H', W') where padding does not count, else one number."""
    xp = array_module(like)
    if count_padding:
        return xp.asarray(windows.kernel[0] * windows.kernel[1], dtype=like.dtype)
    rows, columns = windows.output_size(height, width)
    inside = windows.pad(xp.ones((height, width), dtype=like.dtype))
    count = xp.zeros((rows, columns), dtype=like.dtype)
    for _, _, tap in windows.taps(rows, columns):
        count += inside[tap]
    return count
