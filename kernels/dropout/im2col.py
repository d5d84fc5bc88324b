"""Dropout in array code. The caller draws the random numbers, so that all rungs drop the same."""

from minicnn.kernels.arrays import Array


def forward(x: Array, uniform: Array, p: float) -> tuple[Array, Array]:
    """Drop the elements of `x` whose `uniform` number in [0, 1) is below `p`: the output and what was kept."""
    kept = uniform >= p
    return backward(x, kept, p), kept


def backward(grad: Array, kept: Array, p: float) -> Array:
    """Pass the gradient through where the element was kept; p = 1 keeps nothing."""
    scale = 0.0 if p == 1.0 else 1.0 / (1.0 - p)
    return grad * kept * grad.dtype.type(scale)
