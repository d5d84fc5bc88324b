"""Batch normalization on a GPU: two passes over the input for the output, and two for the gradients."""

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.rows import column_sums, contiguous, floats, ints, rows_of
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array

_SOURCE = Source("batch_norm")
_THREADS = 256


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel of `x` (N, C, L): (C,) and (C,)."""
    if not _covers(x):
        mean, var = fall_back("batch_norm").statistics(x)
        return mean, var
    rows = _rows(x)
    launch = rows_of(len(rows), x.shape[1], x.dtype, sums=True)
    partial = floats(launch.grid[0], 2, rows.shape[1])
    _SOURCE.launch(
        f"moments_{launch.suffix}", launch.grid, launch.block,
        rows, *ints(*rows.shape, launch.each), partial, shared=launch.shared,
    )  # fmt: skip
    return _combine(partial, launch.each, len(rows), None, 0.0, None)


def combined_statistics(
    partial: Array, rows_each: int, rows: int, gamma: Array, eps: float
) -> tuple[Array, Array, Array]:
    """Mean, variance and `scales` from the sums of blocks of `rows_each` rows, `partial` (blocks, 2, C); see `moments`.

    `rows` is how many there are in all.
    """
    scale = floats(len(gamma))
    mean, var = _combine(partial, rows_each, rows, gamma, eps, scale)
    return mean, var, scale


def normalize(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """Shift and scale each channel of `x` (N, C, L) by the statistics (C,), then by gamma and beta (C,)."""
    if not _covers(x):
        return fall_back("batch_norm").normalize(x, gamma, beta, mean, var, eps)
    rows = _rows(x)
    y, launch = driver().empty(rows.shape, x.dtype), rows_of(len(rows), x.shape[1], x.dtype)
    _SOURCE.launch(
        f"normalize_{launch.suffix}", launch.grid, launch.block,
        rows, contiguous(mean), scales(gamma, var, eps), contiguous(beta), *ints(*rows.shape, launch.each), y,
    )  # fmt: skip
    return _original(y, x)


def scales(gamma: Array, var: Array, eps: float) -> Array:
    """What `normalize` multiplies by: gamma / sqrt(var + eps)."""
    scale = floats(len(gamma))
    _SOURCE.launch(
        "scales",
        *_thread_each(len(gamma)),
        contiguous(var),
        contiguous(gamma),
        np.float64(eps),
        *ints(len(gamma)),
        scale,
    )
    return scale


def backward(
    grad: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float, training: bool
) -> tuple[Array, Array, Array]:
    """Gradients of x, gamma and beta; in training the statistics depend on x, otherwise they are constants."""
    if not _covers(x):
        gradients: tuple[Array, Array, Array] = fall_back("batch_norm").backward(
            grad, x, gamma, mean, var, eps, training
        )
        return gradients
    rows, upstream = _rows(x), _rows(grad)
    gamma, mean, var = contiguous(gamma), contiguous(mean), contiguous(var)
    sums = rows_of(len(rows), x.shape[1], x.dtype, sums=True)
    partial = floats(sums.grid[0], 2, rows.shape[1])
    _SOURCE.launch(
        f"gradient_sums_{sums.suffix}", sums.grid, sums.block,
        upstream, rows, mean, *ints(*rows.shape, sums.each), partial, shared=sums.shared,
    )  # fmt: skip
    factors, grad_gamma, grad_beta = combined_gradients(partial, gamma, var, eps, len(rows) if training else 0)
    grad_x, launch = driver().empty(rows.shape, x.dtype), rows_of(len(rows), x.shape[1], x.dtype)
    _SOURCE.launch(
        f"input_gradient_{launch.suffix}", launch.grid, launch.block,
        upstream, rows, mean, factors, *ints(*rows.shape, launch.each), grad_x,
    )  # fmt: skip
    return _original(grad_x, x), grad_gamma, grad_beta


def combined_gradients(partial: Array, gamma: Array, var: Array, eps: float, count: int) -> tuple[Array, Array, Array]:
    """From the sums of blocks (blocks, 2, C): factors (3, C), see gradient_factors, and gamma's and beta's gradients.

    `count` is how many rows the statistics come from; 0 where they are constants (evaluation).
    """
    blocks, _, channels = partial.shape
    factors, grad_gamma, grad_beta = floats(3, channels), floats(channels), floats(channels)
    grid, block, shared = column_sums(channels, blocks)
    _SOURCE.launch(
        "parameter_gradients", grid, block,
        partial, *ints(blocks, channels), gamma, var, np.float64(eps), *ints(count), grad_gamma, grad_beta, factors,
        shared=shared,
    )  # fmt: skip
    return factors, grad_gamma, grad_beta


def update_running(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float
) -> None:
    """Move running statistics (C,) in place towards those of `count` values, in one launch."""
    channels, unbias = len(mean), count / (count - 1)
    arrays = (mean, var, running_mean, running_var)
    if not all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays):
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (var * unbias - running_var)
        return
    _SOURCE.launch(
        "update_running", *_thread_each(channels),
        mean, var, np.float32(momentum), np.float32(unbias), *ints(channels), running_mean, running_var,
    )  # fmt: skip


def _combine(
    partial: Array, rows_each: int, rows: int, gamma: Array | None, eps: float, scale: Array | None
) -> tuple[Array, Array]:
    blocks, _, channels = partial.shape
    mean, var = floats(channels), floats(channels)
    grid, block, shared = column_sums(channels, blocks)
    _SOURCE.launch(
        "statistics", grid, block,
        partial, *ints(blocks, rows_each, rows, channels), mean, var, gamma, np.float64(eps), scale, shared=shared,
    )  # fmt: skip
    return mean, var


def _covers(x: Array) -> bool:
    return bool(x.dtype == np.float32 and x.size > 0)


def _rows(x: Array) -> Array:
    """(N, C, L) as rows of channels (N L, C): a view where that is the order of its memory."""
    return contiguous(x.transpose(0, 2, 1)).reshape(-1, x.shape[1])


def _original(rows: Array, like: Array) -> Array:
    """Rows (N L, C) as a view (N, C, L)."""
    return rows.reshape(like.shape[0], like.shape[2], like.shape[1]).transpose(0, 2, 1)


def _thread_each(count: int) -> tuple[tuple[int], tuple[int]]:
    return (-(-count // _THREADS),), (_THREADS,)
