"""The block on the CPU: Winograd convolutions, and one pass for all that follows.

Training: convolve and sum up in one go, which gives batch normalization's statistics; normalize, cut at zero and pool
in a second pass. Backward: a pass over the small pooled map gives the sums that every pixel's gradient depends on; then
that gradient is spread out, a row of tiles at a time, straight into the convolution's adjoint.
Evaluation: normalization is folded into the weights, and the rest is done while a block's results are in the cache.
"""

from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._cpu import conv3x3, conv_gemm, evaluation, first_layer, passes, workspace
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.layout import channels_first, channels_last
from minicnn.kernels._cpu.plan import Plan, winograd_plan
from minicnn.kernels._cpu.tiles import grad_tiles
from minicnn.kernels.arrays import Array
from minicnn.kernels.conv2d.cpu import covers
from minicnn.kernels.conv_block import im2col
from minicnn.kernels.parallel import share, threads
from minicnn.kernels.windows import Windows

POOL = Windows((2, 2), (2, 2))
_CANCELLED = 1e-3
"""Below this ratio of variance to squared mean, a sum of squares has lost too many digits."""

Statistics = tuple[Array, Array]


class Convolution(NamedTuple):
    """The convolution of a block: its results, and what its backward needs (`plan` is None off Winograd's path)."""

    x: Array
    weight: Array
    windows: Windows
    groups: int
    plan: Plan | None
    weights: conv3x3.Weights | None
    v: Array | None
    convolved: Array
    sums: Array | None


class Saved(NamedTuple):
    """What backward needs; `mask` and `peak` are those of passes.py."""

    convolution: Convolution
    mask: Array
    peak: Array
    gamma: Array
    statistics: Statistics
    training: bool
    eps: float
    pooled: bool


class FellBack(NamedTuple):
    """What the array code saved."""

    saved: Any


def forward(
    x: Array,
    weight: Array,
    gamma: Array,
    beta: Array,
    running: Statistics | None,
    eps: float,
    windows: Windows,
    groups: int,
    pool: Windows | None,
    needs_grad: bool = True,
) -> tuple[Array, Statistics, Any]:
    """max_pool2d(relu(batch_norm(conv2d(x)))) for `x` (N, C, H, W) and `weight` (O, C/groups, kH, kW)."""
    if not covers(x) or pool not in (None, POOL):
        y, statistics, saved = fall_back("conv_block").forward(
            x, weight, gamma, beta, running, eps, windows, groups, pool, needs_grad
        )
        return y, statistics, FellBack(saved)
    images = channels_last(x)
    if running is not None and not needs_grad:
        y = evaluation.forward(images, weight, gamma, beta, running, eps, windows, groups, pool is not None)
        return channels_first(y), running, None
    if pool is not None and first_layer.fits(images.shape, weight, windows):
        y, statistics, saved = first_layer.block(images, weight, gamma, beta, running, eps)
        return channels_first(y), statistics, saved
    convolution = _convolve(images, weight, windows, groups)
    statistics = _statistics(convolution) if running is None else running
    y, mask, peak = _finish(convolution.convolved, *_scale_and_shift(gamma, beta, statistics, eps), pool is not None)
    return (
        channels_first(y),
        statistics,
        Saved(convolution, mask, peak, gamma, statistics, running is None, eps, pool is not None),
    )


def backward(grad: Array, saved: Any, need_x: bool = True) -> tuple[Array | None, Array, Array, Array]:
    """Gradients of x, weight, gamma and beta."""
    if isinstance(saved, FellBack):
        gradients: tuple[Array | None, Array, Array, Array] = fall_back("conv_block").backward(
            grad, saved.saved, need_x
        )
        return gradients
    upstream = channels_last(grad)
    if isinstance(saved, first_layer.Saved):
        return _first_layer_again(grad, saved) if need_x else (None, *first_layer.block_gradients(upstream, saved))
    sum_g, sum_gx = _gradient_sums(upstream, saved)
    count = saved.convolution.convolved.size // len(sum_g) if saved.training else 0
    factors, grad_gamma = _spread_factors(sum_g, sum_gx, saved.gamma, saved.statistics, saved.eps, count)
    dx, dw = _convolution_backward(upstream, saved, factors, need_x)
    return None if dx is None else channels_first(dx), dw, grad_gamma, sum_g.astype(np.float32)


def _first_layer_again(grad: Array, saved: first_layer.Saved) -> tuple[Array | None, Array, Array, Array]:
    """With the gradient of a first layer's input, by array code: rare, from whoever asks what the network looks at."""
    x, same = channels_first(saved.x), Windows((3, 3), padding=(1, 1))
    _, _, again = im2col.forward(x, saved.weight, saved.gamma, saved.beta, saved.running, saved.eps, same, 1, POOL)
    assert again is not None
    return im2col.backward(grad, again, True)


def _scale_and_shift(gamma: Array, beta: Array, statistics: Statistics, eps: float) -> tuple[Array, Array]:
    """Batch normalization as value * scale + shift."""
    mean, var = (array.astype(np.float64) for array in statistics)
    scale = gamma / np.sqrt(var + eps)
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def _spread_factors(
    sum_g: Array, sum_gx: Array, gamma: Array, statistics: Statistics, eps: float, count: int
) -> tuple[Array, Array]:
    """The factors of passes.spread (3, channels), and gamma's gradient, from the sums of g and g * (value - mean).

    `count` is how many pixels a channel's statistics come from; 0 where they are constants (evaluation).
    """
    mean, var = (array.astype(np.float64) for array in statistics)
    inverse = 1 / np.sqrt(var + eps)
    grad_gamma, scale = sum_gx * inverse, gamma * inverse
    if count:
        slope = -scale * inverse * grad_gamma / count
        factors = np.stack([scale, -scale * sum_g / count - slope * mean, slope])
    else:
        factors = np.stack([scale, np.zeros_like(scale), np.zeros_like(scale)])
    return factors.astype(np.float32), grad_gamma.astype(np.float32)


def _convolve(x: Array, weight: Array, windows: Windows, groups: int) -> Convolution:
    plan = winograd_plan(x.shape, weight, windows, groups)
    if plan is None:
        convolved = conv_gemm.forward(x, weight, None, windows, groups)
        return Convolution(x, weight, windows, groups, None, None, None, convolved, None)
    weights = conv3x3.transform_weight(weight, plan, with_transposed=True)
    convolved = workspace.empty((plan.images, plan.out_height, plan.out_width, plan.outputs))
    v, sums = conv3x3.forward(x, weights, plan, conv3x3.Finish(convolved))
    total = sums.sum(axis=0, dtype=np.float64).swapaxes(0, 1).reshape(2, -1)
    return Convolution(x, weight, windows, groups, plan, weights, v, convolved, total)


def _statistics(convolution: Convolution) -> Statistics:
    """Mean and biased variance of each channel of the convolution's results."""
    convolved, total = convolution.convolved, convolution.sums
    count = convolved.size // convolved.shape[3]
    pivot = convolved[0, 0, 0].astype(np.float64)
    if total is not None:
        mean = total[0] / count
        var = total[1] / count - mean**2
        if (var > _CANCELLED * mean**2).all():
            return mean.astype(np.float32), var.astype(np.float32)
        pivot = mean
    pivot32 = pivot.astype(np.float32)
    parts = workspace.empty((len(convolved), 2, convolved.shape[3]))
    share(len(convolved), lambda first, last, slot: passes.sums(convolved, pivot32, parts, first, last))
    shifted, squares = parts.sum(axis=0, dtype=np.float64) / count
    var = np.maximum(squares - shifted**2, 0)
    return (pivot32 + shifted).astype(np.float32), var.astype(np.float32)


def _finish(convolved: Array, scale: Array, shift: Array, pooled: bool) -> tuple[Array, Array, Array]:
    """The block's output, mask and peak."""
    images, height, width, outputs = convolved.shape
    if not pooled:
        y = workspace.empty(convolved.shape)
        share(images, lambda first, last, slot: passes.activate(convolved, scale, shift, y, first, last))
        return y, y, convolved
    y = workspace.empty((images, height // 2, width // 2, outputs))
    choice, peak = workspace.empty(y.shape, np.uint8), workspace.empty(y.shape)
    share(
        images,
        lambda first, last, slot: passes.activate_and_pool(convolved, scale, shift, y, choice, peak, first, last),
    )
    return y, choice, peak


def _gradient_sums(grad: Array, saved: Saved) -> tuple[Array, Array]:
    """The sums of g and of g * (value - mean) for each channel, in float64."""
    parts = workspace.empty((len(grad), 2, grad.shape[3]))
    mean = saved.statistics[0].astype(np.float32)
    share(
        len(grad),
        lambda first, last, slot: passes.gradient_sums(
            grad, saved.mask, saved.peak, mean, saved.pooled, parts, first, last
        ),
    )
    sum_g, sum_gx = parts.sum(axis=0, dtype=np.float64)
    return sum_g, sum_gx


def _convolution_backward(grad: Array, saved: Saved, factors: Array, need_x: bool) -> tuple[Array | None, Array]:
    x, weight, windows, groups, plan, weights, v, convolved, _ = saved.convolution
    _, height, width, outputs = convolved.shape
    if plan is None or weights is None or v is None:
        spread_out = workspace.empty(convolved.shape)

        def spread(first: int, last: int, slot: int) -> None:
            for n in range(first, last):
                passes.spread(grad, saved.mask, convolved, factors, saved.pooled, spread_out[n], n, 0, height)

        share(len(convolved), spread)
        dx, dw, _ = conv_gemm.backward(spread_out, x, weight, windows, groups, need_x)
        return dx, dw
    rows = workspace.empty((threads(), plan.m, width, outputs))
    return conv3x3.backward(
        lambda first, last, slot, dm: _spread_images(
            grad, saved.mask, convolved, factors, saved.pooled, rows[slot], dm, conv3x3.ZEROS, plan, first, last
        ),
        v,
        weights,
        plan,
        need_x,
    )


@compiled
def _spread_images(
    grad: Array, mask: Array, convolved: Array, factors: Array, pooled: bool, rows: Array, dm: Array, zeros: Array,
    plan: Plan, first: int, last: int,
) -> None:  # fmt: skip
    """Spread the gradient of some images out, a row of tiles at a time, and transform it."""
    for n in range(first, last):
        for ty in range(plan.down):
            top = ty * plan.m
            passes.spread(grad, mask, convolved, factors, pooled, rows, n, top, min(top + plan.m, plan.out_height))
            grad_tiles(rows.ctypes.data, dm, zeros, plan, n, ty)
