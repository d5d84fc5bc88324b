"""Randomized leaky ReLU in array code, piece by piece: the random numbers take many passes over their piece."""

from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.parallel import run_pieces
from minicnn.kernels.uniform import bits_of


def forward(x: Array, seed: int | Array, lower: float, upper: float) -> Array:
    """Multiply the elements of `x` that are not above zero by their slopes."""
    return backward(x, x, seed, lower, upper)


def backward(grad: Array, y: Array, seed: int | Array, lower: float, upper: float) -> Array:
    """Multiply `grad` by the same slopes in the same places."""
    xp = array_module(grad)
    grad_x = xp.array(grad, order="C")  # a copy
    number = grad_x.dtype.type
    elements, places = grad_x.reshape(-1), y.reshape(-1)

    def multiply(piece: slice) -> None:
        slopes = bits_of(xp, seed, piece).astype(number)
        slopes *= number((upper - lower) / 2**24)
        slopes += number(lower)
        elements[piece] *= xp.where(places[piece] > 0, number(1), slopes)

    run_pieces(multiply, elements, 3 * grad_x.itemsize + 8)
    return grad_x
