"""The block in array code, fused: after the convolution a piece of the batch stays in the cache to the end.

Three things are saved against four separate operations: the passes through memory between them; the ReLU of the
pixels that pooling throws away (max-pooling first gives the same values and gradients, since ReLU is monotone and
its gradient is zero where equal maxima are); and in evaluation the normalization, folded into the weights.
"""

from typing import NamedTuple

from minicnn.kernels.arrays import Array, array_module, bytes_each
from minicnn.kernels.batch_norm import im2col as batch_norm
from minicnn.kernels.conv2d import im2col as conv2d
from minicnn.kernels.max_pool2d import im2col as max_pool2d
from minicnn.kernels.parallel import add_up, each_piece, run_pieces
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
    needs_grad: bool = True,
) -> tuple[Array, tuple[Array, Array], Saved | None]:
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
    return y, statistics, saved if needs_grad else None


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

    def parameter_gradients(piece: slice) -> Array:
        before = _flat(_before_activation(grad, saved, piece))
        return batch_norm.parameter_gradients_piece(before, _flat(convolved[piece]), *statistics)

    grad_x = xp.empty(saved.x.shape, dtype=grad.dtype) if need_x else None

    def convolution_gradients(piece: slice) -> Array:
        before, inputs = _flat(_before_activation(grad, saved, piece)), _flat(convolved[piece])
        grad_convolved = batch_norm.input_gradient_piece(
            before, inputs, saved.gamma, *statistics, grad_gamma, grad_beta, len(grad)
        ).reshape(convolved[piece].shape)
        part_x, part_weight = conv2d.backward_piece(
            grad_convolved, saved.x[piece], saved.weight, saved.windows, saved.groups, need_x
        )
        if grad_x is not None:
            grad_x[piece] = part_x
        return part_weight

    grad_gamma, grad_beta = add_up(each_piece(parameter_gradients, grad, _bytes_each(convolved)))
    columns = conv2d.bytes_of_columns(saved.x, saved.windows)
    grad_weight = add_up(each_piece(convolution_gradients, grad, columns, saved.weight.nbytes))
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
    choice = None if pool is None else xp.empty(y.shape, dtype=pool.element_dtype)

    def finish(piece: slice) -> None:
        part = convolved[piece]
        if normalization is not None:
            part = batch_norm.normalize_piece(_flat(part), *normalization).reshape(part.shape)
        if pool is not None and choice is not None:
            part, choice[piece] = max_pool2d.forward_piece(part, pool)
        xp.maximum(part, 0, out=y[piece])

    run_pieces(finish, convolved, _bytes_each(convolved))
    return y, choice


def _before_activation(grad: Array, saved: Saved, piece: slice) -> Array:
    """The gradient of a piece of the batch, taken back through ReLU and pooling."""
    part = grad[piece] * (saved.y[piece] > 0)
    if saved.pool is None or saved.choice is None:
        return part
    return max_pool2d.backward_piece(part, saved.choice[piece], *saved.size, saved.pool)


def _scale(gamma: Array, var: Array, eps: float) -> Array:
    return gamma / array_module(var).sqrt(var + var.dtype.type(eps))


def _bytes_each(convolved: Array) -> int:
    """What one image takes in the cache after its convolution: input, output and a temporary."""
    return 3 * bytes_each(convolved)


def _flat(x: Array) -> Array:
    return x.reshape(*x.shape[:2], -1)
