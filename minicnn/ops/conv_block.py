"""Convolution, batch normalization, ReLU and optional max-pooling as one operation."""

from minicnn import kernels
from minicnn.device import Array
from minicnn.function import Function
from minicnn.kernels.windows import Pair, Windows
from minicnn.ops.batch_norm import check_batch_norm, kept, update_running
from minicnn.ops.conv2d import check_conv2d, window
from minicnn.tensor import Tensor


class ConvBlock(Function):
    """max_pool2d(relu(batch_norm(conv2d(x))))."""

    mixed = True

    def __init__(
        self,
        running: tuple[Array, Array] | None,
        eps: float,
        windows: Windows,
        groups: int,
        pool: Windows | None,
    ) -> None:
        self.running, self.eps, self.windows, self.groups, self.pool = running, eps, windows, groups, pool

    def forward(self, x: Array, weight: Array, gamma: Array, beta: Array) -> Array:
        """By the kernel in force, which also says what it wants to see again."""
        self.kernel = kernels.get("conv_block", x)
        needs_grad = any(self.needs_grad)
        running = None if self.running is None else kept(self.running, needs_grad)
        y, statistics, saved = self.kernel.forward(
            x, weight, gamma, beta, running, self.eps, self.windows, self.groups, self.pool, needs_grad
        )
        self.statistics: tuple[Array, Array] = statistics
        self.save(kernel=saved, weights_a_window=weight[0].size)
        self.pixels = self.windows.output_size(*x.shape[2:])
        return y

    def backward(self, grad: Array) -> tuple[Array | None, Array, Array, Array]:
        """By the kernel that ran forward, since what is saved is its own."""
        grads: tuple[Array | None, Array, Array, Array] = self.kernel.backward(
            grad, self.saved.kernel, self.needs_grad[0]
        )
        return grads

    def multiply_adds(self, output: Array) -> int:
        """Those of the convolution, whose output is larger than the block's by what pooling takes away."""
        rows, columns = self.pixels
        return int(output.shape[0] * output.shape[1] * rows * columns * self.saved.weights_a_window)


def conv_block(
    x: Tensor,
    weight: Tensor,
    running_mean: Array,
    running_var: Array,
    gamma: Tensor,
    beta: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    pool: int | Pair | None = None,
) -> Tensor:
    """max_pool2d(relu(batch_norm(conv2d(x, weight))), pool) for `x` (N, C, H, W) in one operation.

    `weight` is (O, C/groups, kH, kW); `gamma`, `beta`, `running_mean` and `running_var` are batch normalization's,
    (O,) each; `pool` is the pooling's window and stride, or None for no pooling. Running statistics, errors,
    sources and numbers are those of the four operations.
    """
    windows = window("conv_block", weight.shape[2:], stride, padding, dilation)
    check_conv2d(x, weight, windows, groups)
    size = windows.output_size(*x.shape[2:])
    check_batch_norm(
        (x.shape[0], weight.shape[0], *size),
        weight.shape[0],
        training,
        gamma=gamma,
        beta=beta,
        running_mean=running_mean,
        running_var=running_var,
    )
    pool_window = None
    if pool is not None:
        pool_window = window("conv_block", pool, pool, 0)
        if min(pool_window.output_size(*size)) < 1:
            raise ValueError(f"ConvBlock: expected an image of at least {pool} to pool, got {size[0]}x{size[1]}")
    function = ConvBlock(None if training else (running_mean, running_var), eps, windows, groups, pool_window)
    y = function(x, weight, gamma, beta)
    if training:
        count = x.shape[0] * size[0] * size[1]
        update_running(running_mean, running_var, function.statistics, count, momentum)
    return y
