"""Average pooling layers: over windows and over the whole image."""

from minicnn import functional as F
from minicnn.kernels.windows import Pair
from minicnn.nn.module import Module
from minicnn.tensor import Tensor


class AvgPool2d(Module):
    """Mean of each window: (N, C, H, W) to (N, C, H', W'). Arguments and errors: functional.avg_pool2d."""

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.count_include_pad = padding, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """Pool `x`."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.count_include_pad)

    def __repr__(self) -> str:
        return f"AvgPool2d({self.kernel_size})"


class GlobalAvgPool2d(Module):
    """Mean of each channel's whole image: (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool `x`."""
        return F.global_avg_pool2d(x)
