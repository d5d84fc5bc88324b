"""Softmax and its logarithm."""

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class Softmax(Function):
    """e^x / sum of e^x along an axis."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        """The largest element is subtracted first, so that nothing overflows."""
        y = array_module(x).exp(x - x.max(axis=self.axis, keepdims=True))
        y /= y.sum(axis=self.axis, keepdims=True)
        self.save(y=y)
        return y

    def backward(self, grad: Array) -> Array:
        """Y (grad - sum of grad y)."""
        y = self.saved.y
        return y * (grad - (grad * y).sum(axis=self.axis, keepdims=True))


class LogSoftmax(Function):
    """x - log of the sum of e^x along an axis."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        """The largest element is subtracted first, so that nothing overflows."""
        xp = array_module(x)
        shifted = x - x.max(axis=self.axis, keepdims=True)
        y = shifted - xp.log(xp.exp(shifted).sum(axis=self.axis, keepdims=True))
        self.save(y=y)
        return y

    def backward(self, grad: Array) -> Array:
        """Grad - softmax(x) * sum of grad."""
        probabilities = array_module(grad).exp(self.saved.y)
        return grad - probabilities * grad.sum(axis=self.axis, keepdims=True)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Probabilities along `axis`, in any shape: e^x over the sum of e^x.

    Raises ValueError where `x` has no such axis. Source: torch.nn.functional.softmax.
    """
    return Softmax(axis)(x)


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Logarithm of the probabilities along `axis`, in any shape; right also where they underflow.

    Raises ValueError where `x` has no such axis. Source: torch.nn.functional.log_softmax.
    """
    return LogSoftmax(axis)(x)
