"""Randomized leaky rectified linear unit."""

from minicnn import rng
from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.ops.leaky_relu import leaky_relu
from minicnn.tensor import Tensor


class RReLU(Function):
    """x where it is positive, else x times a random slope of its own."""

    def __init__(self, lower: float, upper: float) -> None:
        self.lower, self.upper = lower, upper

    def forward(self, x: Array) -> Array:
        """Draw a slope for every element."""
        xp = array_module(x)
        uniform = xp.asarray(rng.generator().random(x.shape, dtype=x.dtype))
        slope = self.lower + uniform * x.dtype.type(self.upper - self.lower)
        factor = xp.where(x > 0, x.dtype.type(1), slope.astype(x.dtype, copy=False))
        self.save(factor=factor)
        return x * factor

    def backward(self, grad: Array) -> Array:
        """The slope that was drawn."""
        return grad * self.saved.factor


def rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    """Leaky ReLU, in any shape, whose slope is uniform in [lower, upper] in training, their mean in evaluation.

    Raises ValueError unless 0 <= lower <= upper.
    Source: B. Xu et al., "Empirical evaluation of rectified activations in convolutional network", 2015.
    """
    if not 0 <= lower <= upper:
        raise ValueError(f"rrelu: expected 0 <= lower <= upper, got {lower} and {upper}")
    return RReLU(lower, upper)(x) if training else leaky_relu(x, (lower + upper) / 2)
