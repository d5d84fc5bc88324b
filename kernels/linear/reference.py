"""The dense layer as loops: the definition. Source: torch.nn.Linear.

y[n, o] = bias[o] + sum over k of x[n, k] * weight[o, k]
"""

import numpy as np

from minicnn.kernels.arrays import Array


def forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """Weighted sums of `x` (N, K) by `weight` (O, K), plus `bias` (O,): (N, O)."""
    y = np.zeros((len(x), len(weight)), x.dtype)
    for n, o in np.ndindex(*y.shape):
        for k in range(x.shape[1]):
            y[n, o] += x[n, k] * weight[o, k]
        if bias is not None:
            y[n, o] += bias[o]
    return y


def backward(grad: Array, x: Array, weight: Array, need_x: bool = True) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O); the input's is None unless asked for.

    Each product x * weight of the forward pass sends grad * x to the weight and grad * weight to the input.
    """
    grad_x, grad_weight, grad_bias = np.zeros_like(x), np.zeros_like(weight), np.zeros(len(weight), x.dtype)
    for n, o in np.ndindex(*grad.shape):
        grad_bias[o] += grad[n, o]
        for k in range(x.shape[1]):
            grad_weight[o, k] += grad[n, o] * x[n, k]
            grad_x[n, k] += grad[n, o] * weight[o, k]
    return grad_x if need_x else None, grad_weight, grad_bias
