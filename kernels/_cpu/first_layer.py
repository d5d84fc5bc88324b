"""A block on one-channel images (3x3, padding 1, 2 x 2 pooling) whose large convolution result is never stored.

The statistics of a convolution with 9 inputs follow from those inputs: with s the sum of all 3x3 patches and C the
sum of their outer products, the results of weight w (9,) sum to s.w and their squares to w.C.w. So normalization
is known before the convolution, which then runs fused with all that follows. Backward likewise: of

    dY = scale * g + constant + slope * Y      (see passes.spread)
    dw = scale * (sum of g * patch) + constant * s + slope * (C w)

only the first term needs a pass over the images, and g is zero but for one pixel in four.
"""

from typing import NamedTuple

import numpy as np

from minicnn.kernels._cpu import workspace
from minicnn.kernels._cpu.jit import compiled_reordered
from minicnn.kernels._cpu.parts import inlined
from minicnn.kernels._cpu.passes import OFF
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share
from minicnn.kernels.windows import Windows

Statistics = tuple[Array, Array]


class Saved(NamedTuple):
    """What backward needs; `moments` are the patches' sum and outer products."""

    x: Array
    padded: Array
    weight: Array
    gamma: Array
    beta: Array
    running: Statistics | None
    statistics: Statistics
    eps: float
    moments: tuple[Array, Array]
    choice: Array
    y: Array


def block(
    x: Array, weight: Array, gamma: Array, beta: Array, running: Statistics | None, eps: float
) -> tuple[Array, Statistics, Saved]:
    """The block's output (N, H/2, W/2, O) for `x` (N, H, W, 1), its statistics, and what backward needs."""
    padded = pad(x)
    moments = patch_moments(padded)
    taps = _taps(weight)
    statistics = running
    if statistics is None:
        total, products = moments
        mean = total @ taps / x.size
        # of patches less their mean, so that nothing cancels
        centered = products / x.size - np.outer(total, total) / x.size**2
        var = np.maximum(np.einsum("ko,kl,lo->o", taps, centered, taps), 0)
        statistics = mean.astype(np.float32), var.astype(np.float32)
    scale = gamma / np.sqrt(statistics[1].astype(np.float64) + eps)
    y = workspace.empty((len(x), x.shape[1] // 2, x.shape[2] // 2, len(weight)))
    choice = workspace.empty(y.shape, np.uint8)
    shift = beta - statistics[0] * scale
    forward(padded, (taps * scale).astype(np.float32), shift.astype(np.float32), y, choice)
    return y, statistics, Saved(x, padded, weight, gamma, beta, running, statistics, eps, moments, choice, y)


def block_gradients(grad: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """Gradients of weight, gamma and beta from `grad` (N, H/2, W/2, O)."""
    taps, (total, products) = _taps(saved.weight), saved.moments
    mean, var = (array.astype(np.float64) for array in saved.statistics)
    inverse = 1 / np.sqrt(var + saved.eps)
    sum_patches, sum_g = backward(saved.padded, grad, saved.choice)
    # the convolution's values are linear in the patches, and so is the sum of g * value
    grad_gamma = ((sum_patches * taps).sum(axis=0) - mean * sum_g) * inverse
    scale = saved.gamma * inverse
    grad_taps = scale * sum_patches
    if saved.running is None:
        count = saved.x.size
        slope = -scale * inverse * grad_gamma / count
        grad_taps += np.outer(total, -scale * sum_g / count - slope * mean) + slope * (products @ taps)
    grad_weight = np.ascontiguousarray(grad_taps.T, np.float32).reshape(saved.weight.shape)
    return grad_weight, grad_gamma.astype(np.float32), sum_g.astype(np.float32)


def fits(shape: tuple[int, ...], weight: Array, windows: Windows) -> bool:
    """Whether this is the block for images of `shape` (N, H, W, C): one channel, windows that pooling covers whole."""
    same = Windows((3, 3), padding=(1, 1))
    return weight.shape[1] == 1 == shape[3] and windows == same and shape[1] % 2 == shape[2] % 2 == 0


def as_taps(weight: Array, shift: Array) -> tuple[Array, Array]:
    """A weight (O, 1, 3, 3) as `forward` takes it, (9, O), and the shift as it is."""
    return np.ascontiguousarray(weight.reshape(len(weight), 9).T), shift


def pad(x: Array) -> Array:
    """(N, H, W, 1) with a border of zeros, as (N, H + 2, W + 2)."""
    padded = np.zeros((len(x), x.shape[1] + 2, x.shape[2] + 2), np.float32)  # four times as quick as np.pad for one
    padded[:, 1:-1, 1:-1] = x[..., 0]
    return padded


def patch_moments(padded: Array) -> tuple[Array, Array]:
    """Sum of all patches (9,), and of their outer products (9, 9), in float64."""
    parts = np.empty((len(padded), 10, 9), np.float32)
    share(len(padded), lambda first, last, slot: _patch_moments(padded, parts, first, last))
    total = parts.sum(axis=0, dtype=np.float64)
    return total[9], total[:9]


def forward(padded: Array, weight: Array, shift: Array, y: Array, choice: Array) -> None:
    """Pooled ReLU of the convolution with `weight` (9, channels), normalization folded in."""
    share(len(padded), lambda first, last, slot: _forward(padded, weight, shift, y, choice, first, last))


def backward(padded: Array, grad: Array, choice: Array) -> tuple[Array, Array]:
    """The sums of g * patch (9, channels), and of g (channels,), in float64."""
    parts = workspace.empty((len(padded), 10, grad.shape[3]))
    share(len(padded), lambda first, last, slot: _backward(padded, grad, choice, parts, first, last))
    total = parts.sum(axis=0, dtype=np.float64)
    return total[:9], total[9]


def _taps(weight: Array) -> Array:
    """The weight (O, 1, 3, 3) as (9, O), in float64."""
    return weight.reshape(len(weight), 9).T.astype(np.float64, order="C")


@compiled_reordered
def _patch_moments(x: Array, parts: Array, first: int, last: int) -> None:
    height, width = x.shape[1] - 2, x.shape[2] - 2
    for n in range(first, last):
        for a in range(9):
            total = np.float32(0)
            for i in range(height):
                for j in range(width):
                    total += x[n, i + a // 3, j + a % 3]
            parts[n, 9, a] = total
            for b in range(a, 9):
                total = np.float32(0)
                for i in range(height):
                    for j in range(width):
                        total += x[n, i + a // 3, j + a % 3] * x[n, i + b // 3, j + b % 3]
                parts[n, a, b] = parts[n, b, a] = total


@inlined
def forward_row(x: Array, weight: Array, shift: Array, y: Array, choice: Array, n: int, i: int) -> None:
    """A row of image `n` of `y`, with what pooling chose; written out in callers of `compiled_reordered`."""
    zero = np.float32(0)
    p = np.empty((4, 4), np.float32)
    for j in range(y.shape[2]):
        p[:] = x[n, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
        for c in range(y.shape[3]):
            value = shift[c]
            for k in range(9):
                value += p[k // 3, k % 3] * weight[k, c]
            chosen = np.int32(0)
            for e in range(1, 4):
                other = shift[c]
                for k in range(9):
                    other += p[e // 2 + k // 3, e % 2 + k % 3] * weight[k, c]
                better = other > value or other != other
                value = other if better else value
                chosen = np.int32(e) if better else chosen
            y[n, i, j, c] = zero if value < zero else value
            choice[n, i, j, c] = chosen if value > zero else np.int32(OFF)


@compiled_reordered
def _forward(x: Array, weight: Array, shift: Array, y: Array, choice: Array, first: int, last: int) -> None:
    for n in range(first, last):
        for i in range(y.shape[1]):
            forward_row(x, weight, shift, y, choice, n, i)


@compiled_reordered
def _backward(x: Array, grad: Array, choice: Array, parts: Array, first: int, last: int) -> None:
    zero = np.float32(0)
    for n in range(first, last):
        sums = parts[n]
        sums[:] = 0
        for i in range(grad.shape[1]):
            for j in range(grad.shape[2]):
                # 16 numbers by name and not an array: the compiler then knows that writing sums does not change them
                p00, p01, p02, p03 = (
                    x[n, 2 * i, 2 * j],
                    x[n, 2 * i, 2 * j + 1],
                    x[n, 2 * i, 2 * j + 2],
                    x[n, 2 * i, 2 * j + 3],
                )
                i1, i2, i3 = 2 * i + 1, 2 * i + 2, 2 * i + 3
                p10, p11, p12, p13 = x[n, i1, 2 * j], x[n, i1, 2 * j + 1], x[n, i1, 2 * j + 2], x[n, i1, 2 * j + 3]
                p20, p21, p22, p23 = x[n, i2, 2 * j], x[n, i2, 2 * j + 1], x[n, i2, 2 * j + 2], x[n, i2, 2 * j + 3]
                p30, p31, p32, p33 = x[n, i3, 2 * j], x[n, i3, 2 * j + 1], x[n, i3, 2 * j + 2], x[n, i3, 2 * j + 3]
                for c in range(grad.shape[3]):
                    chosen, g = np.int32(choice[n, i, j, c]), grad[n, i, j, c]
                    g0, g1 = (g if chosen == 0 else zero), (g if chosen == 1 else zero)
                    g2, g3 = (g if chosen == 2 else zero), (g if chosen == 3 else zero)
                    sums[0, c] += p00 * g0 + p01 * g1 + p10 * g2 + p11 * g3
                    sums[1, c] += p01 * g0 + p02 * g1 + p11 * g2 + p12 * g3
                    sums[2, c] += p02 * g0 + p03 * g1 + p12 * g2 + p13 * g3
                    sums[3, c] += p10 * g0 + p11 * g1 + p20 * g2 + p21 * g3
                    sums[4, c] += p11 * g0 + p12 * g1 + p21 * g2 + p22 * g3
                    sums[5, c] += p12 * g0 + p13 * g1 + p22 * g2 + p23 * g3
                    sums[6, c] += p20 * g0 + p21 * g1 + p30 * g2 + p31 * g3
                    sums[7, c] += p21 * g0 + p22 * g1 + p31 * g2 + p32 * g3
                    sums[8, c] += p22 * g0 + p23 * g1 + p32 * g2 + p33 * g3
                    sums[9, c] += g0 + g1 + g2 + g3
