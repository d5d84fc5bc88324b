"""Two-dimensional convolution."""

from collections.abc import Iterable
from operator import index

from minicnn import kernels
from minicnn.device import Array
from minicnn.function import Function
from minicnn.kernels.windows import Pair, Windows
from minicnn.tensor import Tensor


class Conv2d(Function):
    """Every output pixel is the weighted sum of the input pixels under a window."""

    optional = 1  # the bias

    def __init__(self, windows: Windows, groups: int) -> None:
        self.windows, self.groups = windows, groups

    def forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        """The convolution, by the kernel in force."""
        self.save(x=x, weight=weight)
        return kernels.get("conv2d", x).forward(x, weight, bias, self.windows, self.groups)

    def backward(self, grad: Array) -> tuple[Array | None, Array, Array | None]:
        """Gradients of input, weight and bias, by the kernel in force."""
        need_x, _, need_bias = self.needs_grad
        grad_x, grad_weight, grad_bias = kernels.get("conv2d", grad).backward(
            grad, self.saved.x, self.saved.weight, self.windows, self.groups, need_x
        )
        return grad_x, grad_weight, grad_bias if need_bias else None

    def multiply_adds(self, output: Array) -> int:
        """One for each element of the output and each weight under its window."""
        return int(output.size * self.saved.weight[0].size)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve `x` (N, C, H, W) with `weight` (O, C/groups, kH, kW), add `bias` (O,): (N, O, H', W').

    H' = (H + 2 padding - dilation (kH - 1) - 1) // stride + 1, all in pixels. Raises ValueError where shapes do
    not fit. Source: torch.nn.functional.conv2d (cross-correlation: the weight is not flipped).
    """
    windows = window("conv2d", weight.shape[2:], stride, padding, dilation)
    check_conv2d(x, weight, windows, groups)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{_label(weight, groups)}: expected bias {weight.shape[:1]}, got {bias.shape}")
    return Conv2d(windows, groups)(x, weight, bias)


def check_conv2d(x: Tensor, weight: Tensor, windows: Windows, groups: int) -> None:
    """Raise ValueError, naming the layer and the fix, where a convolution's shapes do not fit."""
    label = _label(weight, groups)
    outputs, channels = weight.shape[0], weight.shape[1] * groups
    if groups < 1 or outputs % groups:
        raise ValueError(f"{label}: expected groups to divide the {outputs} output channels, got {groups}")
    if x.ndim != 4 or x.shape[1] != channels:
        fix = ": add a channel axis" if x.ndim == 3 and channels == 1 else ""
        raise ValueError(f"{label}: expected input (N, {channels}, H, W), got {x.shape}{fix}")
    check_fits(label, x, windows)


def check_fits(label: str, x: Tensor, windows: Windows) -> None:
    """Raise ValueError where an image is smaller than one window."""
    if min(windows.output_size(*x.shape[2:])) < 1:
        span = tuple(d * (k - 1) + 1 for k, d in zip(windows.kernel, windows.dilation, strict=True))
        raise ValueError(
            f"{label}: expected an image of at least one window {span}, "
            f"got {x.shape[2]}x{x.shape[3]} with padding {windows.padding}: use fewer poolings or more padding"
        )


def window(
    name: str,
    kernel: int | tuple[int, ...],
    stride: int | Pair,
    padding: int | Pair,
    dilation: int | Pair = 1,
) -> Windows:
    """Windows from numbers or pairs; raises ValueError for sizes that make none."""
    return Windows(
        _pair(name, "kernel_size", kernel, 1),
        _pair(name, "stride", stride, 1),
        _pair(name, "padding", padding, 0),
        _pair(name, "dilation", dilation, 1),
    )


def _pair(name: str, what: str, value: int | tuple[int, ...], least: int) -> Pair:
    try:
        pair = tuple(map(index, value if isinstance(value, Iterable) else (value, value)))
    except TypeError:  # no whole numbers
        pair = ()
    if len(pair) != 2 or min(pair) < least:
        raise ValueError(f"{name}: expected {what} as an integer >= {least} or a pair of them, got {value!r}")
    return pair[0], pair[1]


def _label(weight: Tensor, groups: int) -> str:
    outputs, channels, rows, columns = weight.shape
    kernel = f"{rows}" if rows == columns else f"{rows}x{columns}"
    return f"Conv2d({channels * groups}→{outputs}, k={kernel})"
