"""Gaussian error linear unit."""

import math

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor

_SCALE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715
_FAR = 10
"""Beyond it the tanh is one in float64 too; the cube of large numbers would overflow, and infinity times 0 is NaN."""


class GELU(Function):
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""

    def forward(self, x: Array) -> Array:
        """The gate times x."""
        xp = array_module(x)
        near = xp.clip(x, -_FAR, _FAR)
        t = xp.tanh(_SCALE * (near + _CUBIC * near * near * near))
        self.save(x=near, t=t)
        return 0.5 * x * (1 + t)

    def backward(self, grad: Array) -> Array:
        """(1 + t) / 2 + x (1 - t^2) / 2 * the derivative of the tanh's argument."""
        x, t = self.saved.x, self.saved.t
        inner = _SCALE * (1 + 3 * _CUBIC * x * x)
        return grad * 0.5 * (1 + t + x * (1 - t * t) * inner)


def gelu(x: Tensor) -> Tensor:
    """Each element times the share of a normal distribution below it, in any shape, by the tanh form.

    That is torch's approximate="tanh". The form with the error function differs by less than 5e-4; NumPy has no error
    function. Raises TypeError unless `x` is a Tensor.
    Source: D. Hendrycks, K. Gimpel, "Gaussian error linear units", 2016, section 2.
    """
    return GELU()(x)
