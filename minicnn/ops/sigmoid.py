"""Logistic function."""

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class Sigmoid(Function):
    """1 / (1 + e^-x)."""

    def forward(self, x: Array) -> Array:
        """Of e^-|x|, which never overflows: 1 over (1 + it), or where x is negative it over (1 + it)."""
        xp = array_module(x)
        power = xp.exp(-abs(x))
        y = xp.where(x >= 0, x.dtype.type(1), power) / (1 + power)
        self.save(y=y)
        return y

    def backward(self, grad: Array) -> Array:
        """Y (1 - y)."""
        y = self.saved.y
        return grad * y * (1 - y)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x) for each element, in any shape.

    Raises TypeError unless `x` is a Tensor. Source: torch.sigmoid.
    """
    return Sigmoid()(x)
