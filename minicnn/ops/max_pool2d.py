"""Max-pooling."""

from minicnn import kernels
from minicnn.device import Array
from minicnn.function import Function
from minicnn.kernels.windows import Pair, Windows
from minicnn.ops.conv2d import check_fits, window
from minicnn.tensor import Tensor


class MaxPool2d(Function):
    """The largest pixel of every window."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        """The maxima; which pixel each was is kept."""
        y, choice = kernels.get("max_pool2d", x).forward(x, self.windows)
        self.save(size=x.shape[2:], choice=choice)
        return y

    def backward(self, grad: Array) -> Array:
        """The gradient goes to the pixel that was chosen; overlapping windows add up."""
        return kernels.get("max_pool2d", grad).backward(grad, self.saved.choice, *self.saved.size, self.windows)


def max_pool2d(
    x: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
) -> Tensor:
    """Largest pixel of each window of `x` (N, C, H, W): (N, C, H', W'); the first of equals gets the gradient.

    The stride is the kernel size where None. Padding is minus infinity, at most half the kernel. Raises ValueError
    where shapes do not fit. Source: torch.nn.functional.max_pool2d.
    """
    label = f"MaxPool2d({kernel_size})"
    windows = pooling_window(label, x, kernel_size, stride, padding, dilation)
    return MaxPool2d(windows)(x)


def pooling_window(
    label: str,
    x: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None,
    padding: int | Pair,
    dilation: int | Pair = 1,
) -> Windows:
    """The window of a pooling over `x`; raises ValueError where they do not fit."""
    windows = window(label, kernel_size, kernel_size if stride is None else stride, padding, dilation)
    if x.ndim != 4:
        raise ValueError(f"{label}: expected input (N, C, H, W), got {x.shape}")
    if any(2 * p > k for p, k in zip(windows.padding, windows.kernel, strict=True)):
        raise ValueError(f"{label}: expected padding of at most half the kernel, got {windows.padding}")
    check_fits(label, x, windows)
    return windows
