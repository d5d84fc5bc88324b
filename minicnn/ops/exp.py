"""Exponential function."""

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class Exp(Function):
    """e^x."""

    def forward(self, x: Array) -> Array:
        """The power of e."""
        y = array_module(x).exp(x)
        self.save(y=y)
        return y

    def backward(self, grad: Array) -> Array:
        """The function is its own derivative."""
        return grad * self.saved.y


def exp(x: Tensor) -> Tensor:
    """The exponential function of each element, in any shape.

    Raises TypeError unless `x` is a Tensor. Source: numpy.exp.
    """
    return Exp()(x)
