"""Batch normalization in as few passes as the formula allows, in whichever order the memory of its input is.

The statistics take one pass: each block gives its own mean and its squares around that, which lose no digits however
far the mean is from zero, and the blocks' are put together in float64. Source: T. Chan, G. Golub, R. LeVeque,
"Algorithms for computing the sample variance", 1983.
"""

from types import ModuleType
from typing import NamedTuple

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._cpu import norm_planes, norm_rows, workspace
from minicnn.kernels._cpu.layout import plain
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share

_BLOCK = 1 << 15
"""Numbers in a block, which fits the second-level cache with its gradient."""


class Layout(NamedTuple):
    """Which loops go through an input (N, C, L), as what array, and how it is cut into blocks."""

    loops: ModuleType
    channels_last: bool
    x: Array
    size: int
    blocks: int

    def like_x(self, array: Array) -> Array:
        """An array (N, C, L) in the order of x; a view where it is in that order."""
        return _rows(array) if self.channels_last else plain(array)

    def empty(self) -> Array:
        """An array like x."""
        return workspace.empty(self.x.shape)

    def original(self, array: Array, shape: tuple[int, ...]) -> Array:
        """An array like x as a view in the input's shape (N, C, L)."""
        return array.reshape(shape[0], shape[2], shape[1]).transpose(0, 2, 1) if self.channels_last else array


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel of `x` (N, C, L): (C,) and (C,)."""
    if x.dtype != np.float32:
        mean, var = fall_back("batch_norm").statistics(x)
        return mean, var
    layout = _layout(x)
    parts = np.empty((layout.blocks, 2, x.shape[1]), np.float32)
    share(layout.blocks, lambda first, last, _: layout.loops.moments(layout.x, layout.size, parts, first, last))
    count, whole = x.size // x.shape[1], layout.size * (1 if layout.channels_last else x.shape[2])
    counts = np.minimum(whole, count - whole * np.arange(layout.blocks))[:, None]
    means, squares = parts[:, 0].astype(np.float64), parts[:, 1].sum(axis=0, dtype=np.float64)
    mean = (counts * means).sum(axis=0) / count
    var = (squares + (counts * (means - mean) ** 2).sum(axis=0)) / count
    return mean.astype(np.float32), var.astype(np.float32)


def normalize(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """Shift and scale each channel of `x` (N, C, L) by the statistics (C,), then by gamma and beta (C,)."""
    if x.dtype != np.float32:
        return fall_back("batch_norm").normalize(x, gamma, beta, mean, var, eps)
    return _normalize(x, plain(mean), gamma / _deviation(var, eps), plain(beta))


def backward(
    grad: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float, training: bool
) -> tuple[Array, Array, Array]:
    """Gradients of x, gamma and beta; in training the statistics depend on x, otherwise they are constants."""
    if x.dtype != np.float32:
        gradients: tuple[Array, Array, Array] = fall_back("batch_norm").backward(
            grad, x, gamma, mean, var, eps, training
        )
        return gradients
    layout, deviation = _layout(x), _deviation(var, eps)
    upstream, parts = layout.like_x(grad), np.empty((layout.blocks, 2, x.shape[1]), np.float32)
    share(
        layout.blocks,
        lambda first, last, _: layout.loops.gradient_sums(upstream, layout.x, mean, layout.size, parts, first, last),
    )
    grad_beta, products = parts.sum(axis=0, dtype=np.float64)
    grad_gamma = products / deviation
    if training:
        means = np.stack([grad_beta, grad_gamma / deviation]) * x.shape[1] / x.size
        grad_x = _input_gradient(layout, upstream, mean, means.astype(np.float32), gamma / deviation, x.shape)
    else:
        zeros = np.zeros_like(mean)
        grad_x = _normalize(grad, zeros, gamma / deviation, zeros)
    return grad_x, grad_gamma.astype(np.float32), grad_beta.astype(np.float32)


def _normalize(x: Array, mean: Array, scale: Array, shift: Array) -> Array:
    """Centering before scaling keeps float32 right also where the mean is far from zero."""
    layout = _layout(x)
    y = layout.empty()
    share(
        layout.blocks,
        lambda first, last, _: layout.loops.normalize(layout.x, mean, scale, shift, layout.size, y, first, last),
    )
    return layout.original(y, x.shape)


def _input_gradient(
    layout: Layout, grad: Array, mean: Array, means: Array, scale: Array, shape: tuple[int, ...]
) -> Array:
    """The statistics carry a part of every element's gradient to all the others, by its `means`."""
    grad_x = layout.empty()
    share(
        layout.blocks,
        lambda first, last, _: layout.loops.input_gradient(
            grad, layout.x, mean, *means, scale, layout.size, grad_x, first, last
        ),
    )
    return layout.original(grad_x, shape)


def _layout(x: Array) -> Layout:
    rows = x.transpose(0, 2, 1)
    channels_last = rows.flags.c_contiguous and not (x.flags.c_contiguous and x.shape[2] > 1)
    array = _rows(x) if channels_last else plain(x)
    size = max(_BLOCK // max(array[:1].size, 1), 1)
    return Layout(norm_rows if channels_last else norm_planes, channels_last, array, size, -(-len(array) // size))


def _rows(x: Array) -> Array:
    """(N, C, L) as rows of channels (N L, C)."""
    return plain(x.transpose(0, 2, 1)).reshape(-1, x.shape[1])


def _deviation(var: Array, eps: float) -> Array:
    return np.sqrt(var + np.float32(eps))
