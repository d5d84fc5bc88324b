"""The block on a GPU: the convolution leaves sums of its results behind, and one pass does all that follows.

Training: convolve, add the sums up to batch normalization's statistics, then normalize, cut at zero and pool. Backward:
a pass over the small pooled arrays gives the sums that every pixel's gradient depends on, a second one writes the
gradient of the convolution's results, and two products give the gradients of input and weight. Evaluation is the same
with given statistics. Images of one channel go another way: see _gpu/first_layer.py.
"""

from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels import fall_back, precision
from minicnn.kernels._gpu import first_layer
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.rows import bfloat16, channels_first, channels_last, contiguous, floats, ints, rows_of
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array
from minicnn.kernels.batch_norm import cuda as batch_norm
from minicnn.kernels.conv2d import cuda as conv2d
from minicnn.kernels.conv_block import im2col
from minicnn.kernels.windows import Windows

POOL = Windows((2, 2), (2, 2))

_SOURCE = Source("conv_block")

Statistics = tuple[Array, Array]


class Normalization(NamedTuple):
    """What the passes know of their channels: float32 (O,) each, where scale is gamma / sqrt(var + eps)."""

    mean: Array
    var: Array
    scale: Array
    gamma: Array
    beta: Array
    eps: float


class Saved(NamedTuple):
    """What backward needs, channels last; `choice` and `peak` (see cuda.cu) are None where nothing is pooled."""

    x: Array
    weight: Array
    windows: Windows
    convolved: Array
    normalization: Normalization
    training: bool
    choice: Array | None
    peak: Array | None


class FellBack(NamedTuple):
    """What the array code saved."""

    saved: Any
    dtype: Any


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
    gamma, beta = contiguous(gamma), contiguous(beta)
    if running is not None:
        running = contiguous(running[0]), contiguous(running[1])
    if pool in (None, POOL) and groups == 1 and first_layer.fits(x, weight, windows):
        y, statistics, first = first_layer.forward(
            x, weight, gamma, beta, running, eps, pool is not None, _output_dtype(), needs_grad
        )
        return channels_first(y), statistics, first if needs_grad else None
    covered = x.size > 0 and conv2d.covers(x.shape[1], len(weight), windows, groups, x.dtype)
    if pool not in (None, POOL) or not covered:
        return _array_code(x, weight, gamma, beta, running, eps, windows, groups, pool, needs_grad)
    images = channels_last(x)
    convolved, partial = conv2d.multiply(images, weight, windows, _output_dtype(), with_statistics=running is None)
    normalization = _normalization(convolved, partial, gamma, beta, running, eps)
    y, choice, peak = _finish(convolved, normalization, pool is not None, needs_grad)
    saved = Saved(images, weight, windows, convolved, normalization, running is None, choice, peak)
    return channels_first(y), normalization[:2], saved if needs_grad else None


def backward(grad: Array, saved: Any, need_x: bool = True) -> tuple[Array | None, Array, Array, Array]:
    """Gradients of x, weight, gamma and beta."""
    if isinstance(saved, FellBack):
        return _array_code_backward(grad, saved, need_x)
    if isinstance(saved, first_layer.Saved):
        return _first_layer_again(grad, saved) if need_x else (None, *first_layer.backward(channels_last(grad), saved))
    upstream = channels_last(grad)
    factors, grad_gamma, grad_beta = _parameter_gradients(upstream, saved)
    grad_convolved = _grad_convolved(upstream, saved, factors)
    grad_x = _grad_x(grad_convolved, saved) if need_x else None
    grad_weight = conv2d.weight_gradient(saved.x, grad_convolved, saved.windows)
    return grad_x, grad_weight, grad_gamma, grad_beta


def _output_dtype() -> Any:
    return bfloat16() if precision.chosen() == "bfloat16" else np.dtype(np.float32)


def _normalization(
    convolved: Array, partial: Array | None, gamma: Array, beta: Array, running: Statistics | None, eps: float
) -> Normalization:
    """From the sums of the convolution's blocks, or with given statistics."""
    if running is not None:
        return Normalization(*running, batch_norm.scales(gamma, running[1], eps), gamma, beta, eps)
    assert partial is not None
    rows = convolved.size // len(gamma)
    statistics = batch_norm.combined_statistics(partial, conv2d.ROWS, rows, gamma, eps)
    return Normalization(*statistics, gamma, beta, eps)


def _finish(
    convolved: Array, normalization: Normalization, pooled: bool, needs_grad: bool
) -> tuple[Array, Array | None, Array | None]:
    """The block's output (N, H', W', O), choice and peak."""
    images, height, width, outputs = convolved.shape
    mean, _, scale, _, beta, _ = normalization
    if not pooled:
        launch = rows_of(images * height * width, outputs, convolved.dtype)
        y = driver().empty(convolved.shape, convolved.dtype)
        _SOURCE.launch(
            f"finish_{launch.suffix}", launch.grid, launch.block,
            convolved, mean, scale, beta, *ints(images * height * width, outputs, launch.each), y,
        )  # fmt: skip
        return y, None, None
    y = driver().empty((images, height // 2, width // 2, outputs), convolved.dtype)
    choice = driver().empty(y.shape, np.uint8) if needs_grad else None
    peak = driver().empty(y.shape, y.dtype) if needs_grad else None
    launch = rows_of(y.size // outputs, outputs, y.dtype)
    _SOURCE.launch(
        f"finish_pooled_{launch.suffix}", launch.grid, launch.block,
        convolved, mean, scale, beta, *ints(images, height, width, outputs, launch.each), y, choice, peak,
    )  # fmt: skip
    return y, choice, peak


def _parameter_gradients(grad: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """Factors for `_grad_convolved` (see gradient_factors of normalization.h), and gamma's and beta's gradients."""
    outputs, rows = grad.shape[3], grad.size // grad.shape[3]
    launch = rows_of(rows, outputs, grad.dtype, sums=True)
    mean, var, scale, gamma, beta, eps = saved.normalization
    partial = floats(launch.grid[0], 2, outputs)
    pooled = saved.choice is not None
    arrays = (grad, saved.choice, saved.peak, mean) if pooled else (grad, saved.convolved, mean, scale, beta)
    _SOURCE.launch(
        f"gradient_sums_{'pooled_' if pooled else ''}{launch.suffix}", launch.grid, launch.block,
        *arrays, *ints(rows, outputs, launch.each), partial, shared=launch.shared,
    )  # fmt: skip
    count = saved.convolved.size // outputs if saved.training else 0
    return batch_norm.combined_gradients(partial, gamma, var, eps, count)


def _grad_convolved(grad: Array, saved: Saved, factors: Array) -> Array:
    """The gradient of the convolution's results, channels last."""
    convolved = saved.convolved
    images, height, width, outputs = convolved.shape
    mean, _, scale, _, beta, _ = saved.normalization
    grad_convolved = driver().empty(convolved.shape, convolved.dtype)
    if saved.choice is None:
        launch = rows_of(images * height * width, outputs, grad.dtype)
        _SOURCE.launch(
            f"input_gradient_{launch.suffix}", launch.grid, launch.block,
            grad, convolved, mean, scale, beta, factors, *ints(images * height * width, outputs, launch.each),
            grad_convolved,
        )  # fmt: skip
        return grad_convolved
    launch = rows_of(images * -(-height // 2) * -(-width // 2), outputs, grad.dtype)
    _SOURCE.launch(
        f"input_gradient_pooled_{launch.suffix}", launch.grid, launch.block,
        grad, saved.choice, convolved, mean, factors, *ints(images, height, width, outputs, launch.each),
        grad_convolved,
    )  # fmt: skip
    return grad_convolved


def _grad_x(grad_convolved: Array, saved: Saved) -> Array:
    x = saved.x
    return channels_first(conv2d.input_gradient(grad_convolved, saved.weight, saved.windows, x.shape[1:3], x.dtype))


def _array_code(
    x: Array,
    weight: Array,
    gamma: Array,
    beta: Array,
    running: Statistics | None,
    eps: float,
    windows: Windows,
    groups: int,
    pool: Windows | None,
    needs_grad: bool,
) -> tuple[Array, Statistics, FellBack]:
    """In the dtype of the weights; what comes out has the block's dtype nevertheless."""
    y, statistics, saved = fall_back("conv_block").forward(
        x.astype(weight.dtype, copy=False), weight, gamma, beta, running, eps, windows, groups, pool, needs_grad
    )
    wide = y.dtype == np.float64
    return y if wide else y.astype(_output_dtype(), copy=False), statistics, FellBack(saved, x.dtype)


def _array_code_backward(grad: Array, saved: FellBack, need_x: bool) -> tuple[Array | None, Array, Array, Array]:
    upstream = grad.astype(saved.saved.weight.dtype, copy=False)
    grad_x, *others = fall_back("conv_block").backward(upstream, saved.saved, need_x)
    return (None if grad_x is None else grad_x.astype(saved.dtype, copy=False), *others)


def _first_layer_again(grad: Array, saved: first_layer.Saved) -> tuple[Array | None, Array, Array, Array]:
    """With the gradient of a first layer's input, by array code: rare, from whoever asks what the network looks at."""
    pool = None if saved.choice is None else POOL
    _, _, again = im2col.forward(
        saved.x, saved.weight, saved.gamma, saved.beta, saved.running, saved.eps, first_layer.SAME, 1, pool
    )
    assert again is not None
    return im2col.backward(grad.astype(np.float32, copy=False), again, True)
