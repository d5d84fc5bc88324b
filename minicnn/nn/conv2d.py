"""Convolution layer."""

import math

import numpy as np

from minicnn import functional as F
from minicnn.kernels.windows import Pair
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter
from minicnn.ops.conv2d import window
from minicnn.tensor import Tensor


class Conv2d(Module):
    """Two-dimensional convolution: (N, in_channels, H, W) to (N, out_channels, H', W').

    Arguments are those of torch.nn.Conv2d, sizes in pixels. `weight` is (out, in/groups, kH, kW) and `bias` (out,),
    both drawn uniformly within 1 / sqrt(fan_in), as in torch. Errors: see minicnn.functional.conv2d.
    """

    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, groups) < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d({in_channels}→{out_channels}): expected channels of at least 1, and groups to divide both, "
                f"got {groups} groups"
            )
        rows, columns = window("Conv2d", kernel_size, stride, padding, dilation).kernel
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        shape = (out_channels, in_channels // groups, rows, columns)
        self.weight = Parameter(np.empty(shape, dtype=np.float32))
        self.bias = Parameter(np.empty(out_channels, dtype=np.float32)) if bias else None
        bound = 1 / math.sqrt(init.fan_in(self.weight))
        init.uniform(self.weight, bound)
        if self.bias is not None:
            init.uniform(self.bias, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x`."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def __repr__(self) -> str:
        outputs, inputs, rows, columns = self.weight.shape
        kernel = f"{rows}" if rows == columns else f"{rows}x{columns}"
        options = "".join(
            f", {name}={value}"
            for name, value, default in (
                ("stride", self.stride, 1),
                ("padding", self.padding, 0),
                ("dilation", self.dilation, 1),
                ("groups", self.groups, 1),
            )
            if value != default
        )
        return f"Conv2d({inputs * self.groups}→{outputs}, k={kernel}{options})"
