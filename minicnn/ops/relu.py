"""Rectified linear unit."""

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class ReLU(Function):
    """max(x, 0)."""

    def forward(self, x: Array) -> Array:
        """Negative elements become zero."""
        y = array_module(x).maximum(x, 0)
        self.save(y=y)
        return y

    def backward(self, grad: Array) -> Array:
        """1 above zero, 0 at and below it."""
        return grad * (self.saved.y > 0)


def relu(x: Tensor) -> Tensor:
    """max(x, 0) for each element, in any shape; its derivative at 0 is 0.

    Raises TypeError unless `x` is a Tensor. Source: torch.nn.functional.relu.
    """
    return ReLU()(x)
