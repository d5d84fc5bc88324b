"""Natural logarithm."""

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class Log(Function):
    """ln x."""

    def forward(self, x: Array) -> Array:
        """The logarithm."""
        self.save(x=x)
        return array_module(x).log(x)

    def backward(self, grad: Array) -> Array:
        """1 / x."""
        return grad / self.saved.x


def log(x: Tensor) -> Tensor:
    """Natural logarithm of each element, in any shape; NaN below zero.

    Raises TypeError unless `x` is a Tensor. Source: numpy.log.
    """
    return Log()(x)
