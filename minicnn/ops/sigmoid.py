"""Logistic function."""

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class Sigmoid(Function):
    """1 / (1 + e^-x)."""

    def forward(self, x: Array) -> Array:
        """Computed as (1 + tanh(x / 2)) / 2, which never overflows."""
        y = 0.5 * (1 + array_module(x).tanh(0.5 * x))
        self.save(y=y)
        return y

    def backward(self, grad: Array) -> Array:
        """Y (1 - y)."""
        y = self.saved.y
        return grad * y * (1 - y)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x) for each element."""
    return Sigmoid()(x)
