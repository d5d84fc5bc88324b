"""Batch normalization."""

import math

from minicnn import kernels
from minicnn.device import Array
from minicnn.function import Function
from minicnn.tensor import Tensor


class BatchNorm(Function):
    """Normalize each channel, then scale and shift it."""

    def __init__(self, running: tuple[Array, Array] | None, eps: float) -> None:
        self.running, self.eps = running, eps

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        """With the batch's own statistics in training, with `running` in evaluation."""
        kernel, flat = kernels.get("batch_norm", x), _flat(x)
        statistics = kernel.statistics(flat) if self.running is None else kept(self.running, any(self.needs_grad))
        self.save(x=x, weight=weight, statistics=statistics)
        self.statistics: tuple[Array, Array] = statistics
        return kernel.normalize(flat, weight, bias, *statistics, self.eps).reshape(x.shape)

    def backward(self, grad: Array) -> tuple[Array, Array, Array]:
        """In training the statistics depend on the input too."""
        x = self.saved.x
        grad_x, grad_weight, grad_bias = kernels.get("batch_norm", grad).backward(
            _flat(grad), _flat(x), self.saved.weight, *self.saved.statistics, self.eps, self.running is None
        )
        return grad_x.reshape(x.shape), grad_weight, grad_bias


def batch_norm(
    x: Tensor,
    running_mean: Array,
    running_var: Array,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize the channels of `x` (N, C, ...), scale by `weight` (C,) and shift by `bias` (C,).

    In training with the biased variance of the batch, and `running_mean` and `running_var` (C,) move in place by
    `momentum` towards the batch's mean and unbiased variance; in evaluation with these. Raises ValueError where
    shapes do not fit or a channel has one value to train on. Source: S. Ioffe, C. Szegedy, "Batch normalization",
    2015; conventions of torch.nn.functional.batch_norm.
    """
    check_batch_norm(
        x.shape, weight.size, training, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    function = BatchNorm(None if training else (running_mean, running_var), eps)
    y = function(x, weight, bias)
    if training:
        update_running(running_mean, running_var, function.statistics, x.size // x.shape[1], momentum)
    return y


def check_batch_norm(shape: tuple[int, ...], channels: int, training: bool, **vectors: Tensor | Array) -> None:
    """Raise ValueError where a batch cannot be normalized, or one of `vectors` does not hold a value a channel."""
    label = f"BatchNorm({channels})"
    if len(shape) < 2 or shape[1] != channels:
        raise ValueError(f"{label}: expected input (N, {channels}, ...), got {shape}")
    for name, vector in vectors.items():
        if vector.shape != (channels,):  # a single value would be broadcast in silence
            raise ValueError(f"{label}: expected {name} ({channels},), got {vector.shape}")
    values = shape[0]
    for size in shape[2:]:
        values *= size
    if training and values < 2:
        raise ValueError(
            f"{label}: expected more than one value a channel to train on, got {shape}: use a larger batch, or eval()"
        )


def update_running(
    running_mean: Array, running_var: Array, statistics: tuple[Array, Array], count: int, momentum: float
) -> None:
    """Move the running statistics in place towards a batch's; its variance is made unbiased, n / (n - 1)."""
    mean, var = statistics
    kernel = kernels.get("batch_norm", running_mean)
    if hasattr(kernel, "update_running"):  # in one launch; all of them are small
        kernel.update_running(running_mean, running_var, mean, var, count, momentum)
        return
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)


def kept(running: tuple[Array, Array], for_backward: bool) -> tuple[Array, Array]:
    """Running statistics as they are now: a training step before the backward moves them in place.

    Without a backward themselves, by which frozen kernels know them.
    """
    return (running[0].copy(), running[1].copy()) if for_backward else running


def _flat(x: Array) -> Array:
    """(N, C, ...) as (N, C, L)."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))  # -1 would not do for an empty batch
