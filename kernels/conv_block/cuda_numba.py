"""The block on a GPU as its operations one after the other: Numba CUDA's convolution and pooling, array code between.

Nothing is fused. What that costs shows in cuda.cu, which does normalization, ReLU and pooling in one pass.
"""

from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.batch_norm import im2col as batch_norm
from minicnn.kernels.conv2d import cuda_numba as conv2d
from minicnn.kernels.conv_block.reference import Saved
from minicnn.kernels.max_pool2d import cuda_numba as max_pool2d
from minicnn.kernels.windows import Windows


def forward(
    x: Array,
    weight: Array,
    gamma: Array,
    beta: Array,
    running: tuple[Array, Array] | None,
    eps: float,
    windows: Windows,
    groups: int,
    pool: Windows | None,
    needs_grad: bool = True,
) -> tuple[Array, tuple[Array, Array], Saved | None]:
    """max_pool2d(relu(batch_norm(conv2d(x)))) for `x` (N, C, H, W) and `weight` (O, C/groups, kH, kW)."""
    convolved = conv2d.forward(x, weight, None, windows, groups)
    statistics = batch_norm.statistics(_flat(convolved)) if running is None else running
    y = batch_norm.normalize(_flat(convolved), gamma, beta, *statistics, eps).reshape(convolved.shape)
    positive, choice = y > 0, None
    array_module(y).maximum(y, 0, out=y)
    if pool is not None:
        y, choice = max_pool2d.forward(y, pool)
    saved = Saved(
        x, weight, gamma, statistics, running is None, eps, windows, groups, pool, convolved, positive, choice
    )
    return y, statistics, saved if needs_grad else None


def backward(grad: Array, saved: Saved, need_x: bool = True) -> tuple[Array | None, Array, Array, Array]:
    """Gradients of x, weight, gamma and beta."""
    convolved = saved.convolved
    if saved.pool is not None and saved.choice is not None:
        grad = max_pool2d.backward(grad, saved.choice, convolved.shape[2], convolved.shape[3], saved.pool)
    grad, grad_gamma, grad_beta = batch_norm.backward(
        _flat(grad * saved.positive), _flat(convolved), saved.gamma, *saved.statistics, saved.eps, saved.training
    )
    grad_x, grad_weight, _ = conv2d.backward(
        grad.reshape(convolved.shape), saved.x, saved.weight, saved.windows, saved.groups, need_x
    )
    return grad_x, grad_weight, grad_gamma, grad_beta


def _flat(x: Array) -> Array:
    return x.reshape(*x.shape[:2], -1)
