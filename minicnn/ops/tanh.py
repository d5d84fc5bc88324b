"""Hyperbolic tangent."""

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class Tanh(Function):
    """tanh x."""

    def forward(self, x: Array) -> Array:
        """The hyperbolic tangent."""
        y = array_module(x).tanh(x)
        self.save(y=y)
        return y

    def backward(self, grad: Array) -> Array:
        """1 - y^2."""
        return grad * (1 - self.saved.y**2)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent of each element, in any shape.

    Raises TypeError unless `x` is a Tensor. Source: numpy.tanh.
    """
    return Tanh()(x)
