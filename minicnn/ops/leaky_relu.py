"""Leaky rectified linear unit."""

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class LeakyReLU(Function):
    """x above zero, slope * x elsewhere."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def forward(self, x: Array) -> Array:
        """Negative elements shrink to `slope` of themselves."""
        xp = array_module(x)
        factor = xp.where(x > 0, x.dtype.type(1), x.dtype.type(self.slope))
        self.save(factor=factor)
        return x * factor

    def backward(self, grad: Array) -> Array:
        """1 above zero, `slope` at and below it."""
        return grad * self.saved.factor


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Each element x where it is positive, else negative_slope * x; in any shape.

    Raises TypeError unless `x` is a Tensor.
    Source: A. Maas, A. Hannun, A. Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
    """
    return LeakyReLU(negative_slope)(x)
