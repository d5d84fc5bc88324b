"""The block as the reference versions of its four operations, one after the other: the definition."""

import math
from typing import NamedTuple

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.batch_norm import reference as batch_norm
from minicnn.kernels.conv2d import reference as conv2d
from minicnn.kernels.max_pool2d import reference as max_pool2d
from minicnn.kernels.windows import Windows


class Saved(NamedTuple):
    """What backward needs."""

    x: Array
    weight: Array
    gamma: Array
    statistics: tuple[Array, Array]
    training: bool
    eps: float
    windows: Windows
    groups: int
    pool: Windows | None
    convolved: Array
    positive: Array
    choice: Array | None


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
    flat = convolved.reshape(*convolved.shape[:2], math.prod(convolved.shape[2:]))
    statistics = batch_norm.statistics(flat) if running is None else running
    normalized = batch_norm.normalize(flat, gamma, beta, *statistics, eps).reshape(convolved.shape)
    positive = normalized > 0
    y, choice = np.maximum(normalized, x.dtype.type(0)), None  # NaN stays NaN
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
    grad = grad * saved.positive
    flat_shape = (*convolved.shape[:2], math.prod(convolved.shape[2:]))
    grad, grad_gamma, grad_beta = batch_norm.backward(
        grad.reshape(flat_shape),
        convolved.reshape(flat_shape),
        saved.gamma,
        *saved.statistics,
        saved.eps,
        saved.training,
    )
    grad_x, grad_weight, _ = conv2d.backward(
        grad.reshape(convolved.shape), saved.x, saved.weight, saved.windows, saved.groups, need_x
    )
    return grad_x, grad_weight, grad_gamma, grad_beta
