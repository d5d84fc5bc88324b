"""The building block of our networks: convolution, batch normalization, ReLU and optional max-pooling in one."""

from minicnn import functional as F
from minicnn.kernels.windows import Pair
from minicnn.nn import init
from minicnn.nn.batch_norm import BatchNorm2d
from minicnn.nn.conv2d import Conv2d
from minicnn.nn.module import Module
from minicnn.ops.conv2d import window
from minicnn.tensor import Tensor


class ConvBlock(Module):
    """Conv2d (without bias), BatchNorm2d, ReLU and, with `pool`, MaxPool2d(pool): (N, in, H, W) to (N, out, H', W').

    The numbers are those of the four layers one after the other; as one operation it stays in the cache. Padding
    keeps the image's size, for odd kernels, unless given. Convolution weights start He-normal. Errors: see
    minicnn.functional.conv_block.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 3,
        stride: int | Pair = 1,
        padding: int | Pair | None = None,
        groups: int = 1,
        pool: int | Pair | None = None,
    ) -> None:
        super().__init__()
        self.pool = pool
        if padding is None:
            rows, columns = window("ConvBlock", kernel_size, 1, 0).kernel
            padding = rows // 2 if rows == columns else (rows // 2, columns // 2)
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
        self.bn = BatchNorm2d(out_channels)
        init.kaiming_normal(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x`."""
        conv, bn = self.conv, self.bn
        return F.conv_block(
            x,
            conv.weight,
            bn.running_mean,
            bn.running_var,
            bn.weight,
            bn.bias,
            training=self.training,
            momentum=bn.momentum,
            eps=bn.eps,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            groups=conv.groups,
            pool=self.pool,
        )

    def __repr__(self) -> str:
        pool = "" if self.pool is None else f", pool={self.pool}"
        return repr(self.conv).replace("Conv2d", "ConvBlock", 1)[:-1] + f"{pool})"
