"""Gaussian error linear unit."""

import math

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor

_SCALE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


class GELU(Function):
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""

    def forward(self, x: Array) -> Array:
        """The gate times x."""
        t = array_module(x).tanh(_SCALE * (x + _CUBIC * x * x * x))
        self.save(x=x, t=t)
        return 0.5 * x * (1 + t)

    def backward(self, grad: Array) -> Array:
        """(1 + t) / 2 + x (1 - t^2) / 2 * the derivative of the tanh's argument."""
        x, t = self.saved.x, self.saved.t
        inner = _SCALE * (1 + 3 * _CUBIC * x * x)
        return grad * 0.5 * (1 + t + x * (1 - t * t) * inner)


def gelu(x: Tensor) -> Tensor:
    """X times the share of a normal distribution below x, in the tanh form (torch's approximate="tanh").

    The form with the error function differs by less than 5e-4; NumPy has no error function.
    Source: D. Hendrycks, K. Gimpel, "Gaussian error linear units", 2016, section 2.
    """
    return GELU()(x)
