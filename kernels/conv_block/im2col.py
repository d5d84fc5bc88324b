"""The block in array code, fused: after the convolution a piece of the batch stays in the cache to the end.

Three things are saved against four separate operations: the passes through memory between them; the ReLU of the
pixels that pooling throws away (max-pooling first gives the same values and gradients, since ReLU is monotone and
its gradient is zero where equal maxima are); and in evaluation the normalization, folded into the weights.
"""

from typing import NamedTuple

from minicnn.kernels.arrays import Array, array_module, pieces
from minicnn.kernels.batch_norm import im2col as batch_norm
from minicnn.kernels.conv2d import im2col as conv2d
from minicnn.kernels.max_pool2d import im2col as max_pool2d
from minicnn.kernels.windows import Windows


class Saved(NamedTuple):
    """What backward needs; `convolved` is None in evaluation, which runs on folded weights."""

    x: Array
    weight: Array
    gamma: Array
    statistics: tuple[Array, Array]
    eps: float
    windows: Windows
    groups: int
    pool: Windows | None
    size: tuple[int, int]
    convolved: Array | None
    y: Array
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
) -> tuple[Array, tuple[Array, Array], Saved]:
    """max_pool2d(relu(batch_norm(conv2d(x)))) for `x` (N, C, H, W) and `weight` (O, C/groups, kH, kW)."""
    size = windows.output_size(*x.shape[2:])
    if running is None:
        convolved = conv2d.forward(x, weight, None, windows, groups)
        statistics = batch_norm.statistics(_flat(convolved))
        y, choice = _finish(convolved, pool, (gamma, beta, *statistics, eps))
    else:
        convolved, statistics = None, running
        scale = _scale(gamma, running[1], eps)
        folded = weight * scale[:, None, None, None]
        y, choice = _finish(conv2d.forward(x, folded, beta - running[0] * scale, windows, groups), pool, None)
    saved = Saved(x, weight, gamma, statistics, eps, windows, groups, pool, size, convolved, y, choice)
    return y, statistics, saved


def backward(grad: Array, saved: Saved, need_x: bool = True) -> tuple[Array | None, Array, Array, Array]:
    """Gradients of x, weight, gamma and beta."""
    if saved.convolved is None:
        return _backward_evaluation(grad, saved, need_x)
    return _backward_training(grad, saved, saved.convolved, need_x)


def _backward_training(
    grad: Array, saved: Saved, convolved: Array, need_x: bool
) -> tuple[Array | None, Array, Array, Array]:
    """Two walks over the batch: the sums that every pixel's gradient depends on, then the gradients."""
    xp = array_module(grad)
    statistics = (*saved.statistics, saved.eps)
    grad_gamma, grad_beta = xp.zeros_like(saved.gamma), xp.zeros_like(saved.gamma)
    for piece in pieces(len(grad), 3 * convolved[0].nbytes):
        before = _flat(_before_activation(grad, saved, piece))
        part_gamma, part_beta = batch_norm.parameter_gradients(before, _flat(convolved[piece]), *statistics)
        grad_gamma += part_gamma
        grad_beta += part_beta

    grad_x = xp.empty(saved.x.shape, dtype=grad.dtype) if need_x else None
    grad_weight = xp.zeros_like(saved.weight)
    for piece in pieces(len(grad), 3 * convolved[0].nbytes):
        before, inputs = _flat(_before_activation(grad, saved, piece)), _flat(convolved[piece])
        grad_convolved = batch_norm.input_gradient(
            before, inputs, saved.gamma, *statistics, grad_gamma, grad_beta, len(grad)
        ).reshape(convolved[piece].shape)
        part_x, part_weight, _ = conv2d.backward(
            grad_convolved, saved.x[piece], saved.weight, saved.windows, saved.groups, need_x
        )
        grad_weight += part_weight
        if grad_x is not None:
            grad_x[piece] = part_x
    return grad_x, grad_weight, grad_gamma, grad_beta


def _backward_evaluation(grad: Array, saved: Saved, need_x: bool) -> tuple[Array | None, Array, Array, Array]:
    """Through the folded convolution, whose weight is weight * scale and whose bias is beta - mean * scale."""
    mean, var = saved.statistics
    scale = _scale(saved.gamma, var, saved.eps)[:, None, None, None]
    before = _before_activation(grad, saved, slice(None))
    grad_x, grad_folded, grad_beta = conv2d.backward(
        before, saved.x, saved.weight * scale, saved.windows, saved.groups, need_x
    )
    one_over_deviation = _scale(array_module(var).ones_like(var), var, saved.eps)
    grad_scale = (grad_folded * saved.weight).sum(axis=(1, 2, 3)) - grad_beta * mean
    return grad_x, grad_folded * scale, grad_scale * one_over_deviation, grad_beta


def _finish(
    convolved: Array, pool: Windows | None, normalization: tuple[Array, Array, Array, Array, float] | None
) -> tuple[Array, Array | None]:
    """Normalize, pool and cut at zero: the block's output and the choices of its pooling."""
    xp = array_module(convolved)
    size = convolved.shape[2:] if pool is None else pool.output_size(*convolved.shape[2:])
    y = xp.empty((*convolved.shape[:2], *size), dtype=convolved.dtype)
    choice = None if pool is None else xp.empty(y.shape, dtype=xp.int16)
    for piece in pieces(len(y), 3 * convolved[0].nbytes):
        part = convolved[piece]
        if normalization is not None:
            part = batch_norm.normalize(_flat(part), *normalization).reshape(part.shape)
        if pool is not None and choice is not None:
            part, choice[piece] = max_pool2d.forward(part, pool)
        xp.maximum(part, 0, out=y[piece])
    return y, choice


def _before_activation(grad: Array, saved: Saved, piece: slice) -> Array:
    """The gradient of a piece of the batch, taken back through ReLU and pooling."""
    part = grad[piece] * (saved.y[piece] > 0)
    if saved.pool is None or saved.choice is None:
        return part
    return max_pool2d.backward(part, saved.choice[piece], *saved.size, saved.pool)


def _scale(gamma: Array, var: Array, eps: float) -> Array:
    return gamma / array_module(var).sqrt(var + var.dtype.type(eps))


def _flat(x: Array) -> Array:
    return x.reshape(*x.shape[:2], -1)
