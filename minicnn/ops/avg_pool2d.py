"""Average pooling, over windows and over the whole image."""

from minicnn import kernels
from minicnn.device import Array
from minicnn.function import Function
from minicnn.kernels.windows import Pair, Windows
from minicnn.ops.max_pool2d import pooling_window
from minicnn.ops.reduce import mean
from minicnn.tensor import Tensor


class AvgPool2d(Function):
    """The mean of every window."""

    def __init__(self, windows: Windows, count_include_pad: bool) -> None:
        self.windows, self.count_include_pad = windows, count_include_pad

    def forward(self, x: Array) -> Array:
        """The means."""
        self.save(size=x.shape[2:])
        return kernels.get("avg_pool2d", x).forward(x, self.windows, self.count_include_pad)

    def backward(self, grad: Array) -> Array:
        """Every pixel of a window gets an equal share; overlapping windows add up."""
        return kernels.get("avg_pool2d", grad).backward(grad, *self.saved.size, self.windows, self.count_include_pad)


def avg_pool2d(
    x: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window of `x` (N, C, H, W): (N, C, H', W').

    The stride is the kernel size where None; `count_include_pad` says whether padding counts in the mean, as zero.
    Raises ValueError where shapes do not fit. Source: torch.nn.functional.avg_pool2d.
    """
    windows = pooling_window(f"AvgPool2d({kernel_size})", x, kernel_size, stride, padding)
    return AvgPool2d(windows, count_include_pad)(x)


def global_avg_pool2d(x: Tensor) -> Tensor:
    """Mean of each channel's whole image: `x` (N, C, H, W) gives (N, C).

    Raises ValueError for any other shape. Source: M. Lin, Q. Chen, S. Yan, "Network in network", 2014, section 3.2.
    """
    if x.ndim != 4:
        raise ValueError(f"GlobalAvgPool2d: expected input (N, C, H, W), got {x.shape}")
    return mean(x, axis=(2, 3))
