"""Batch normalization as loops: the definition.

y = gamma (x - mean) / sqrt(var + eps) + beta for each channel, with the biased variance.
Source: S. Ioffe, C. Szegedy, "Batch normalization", 2015, algorithm 1 and the gradients of section 3.
"""

import numpy as np

from minicnn.kernels.arrays import Array


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel of `x` (N, C, L): (C,) and (C,)."""
    mean, var = np.zeros(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
    count = x.shape[0] * x.shape[2]
    for n, c, k in np.ndindex(*x.shape):
        mean[c] += x[n, c, k] / count
    for n, c, k in np.ndindex(*x.shape):
        var[c] += (x[n, c, k] - mean[c]) ** 2 / count
    return mean, var


def normalize(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """Shift and scale each channel of `x` (N, C, L) by the statistics (C,), then by gamma and beta (C,)."""
    y = np.empty_like(x)
    for n, c, k in np.ndindex(*x.shape):
        y[n, c, k] = gamma[c] * (x[n, c, k] - mean[c]) / np.sqrt(var[c] + x.dtype.type(eps)) + beta[c]
    return y


def backward(
    grad: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float, training: bool
) -> tuple[Array, Array, Array]:
    """Gradients of x, gamma and beta; in training the statistics depend on x, otherwise they are constants."""
    grad_x, grad_gamma, grad_beta = np.zeros_like(x), np.zeros_like(gamma), np.zeros_like(gamma)
    deviation = np.sqrt(var + x.dtype.type(eps))
    for n, c, k in np.ndindex(*x.shape):
        grad_gamma[c] += grad[n, c, k] * (x[n, c, k] - mean[c]) / deviation[c]
        grad_beta[c] += grad[n, c, k]
    count = x.shape[0] * x.shape[2] if training else np.inf
    for n, c, k in np.ndindex(*x.shape):
        normalized = (x[n, c, k] - mean[c]) / deviation[c]
        through_statistics = (grad_beta[c] + normalized * grad_gamma[c]) / x.dtype.type(count)
        grad_x[n, c, k] = gamma[c] / deviation[c] * (grad[n, c, k] - through_statistics)
    return grad_x, grad_gamma, grad_beta
