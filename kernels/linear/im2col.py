"""The dense layer in array code: one matrix product a direction."""

from minicnn.kernels.arrays import Array


def forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """Weighted sums of `x` (N, K) by `weight` (O, K), plus `bias` (O,): (N, O)."""
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


def backward(grad: Array, x: Array, weight: Array, need_x: bool = True) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O); the input's is None unless asked for."""
    return grad @ weight if need_x else None, grad.T @ x, grad.sum(axis=0)
