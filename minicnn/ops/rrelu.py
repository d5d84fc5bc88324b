"""Randomized leaky rectified linear unit."""

from minicnn import kernels, rng
from minicnn.device import Array
from minicnn.function import Function
from minicnn.ops.leaky_relu import leaky_relu
from minicnn.tensor import Tensor


class RReLU(Function):
    """x where it is positive, else x times a random slope of its own."""

    def __init__(self, lower: float, upper: float) -> None:
        self.lower, self.upper = lower, upper

    def forward(self, x: Array) -> Array:
        """Draw a seed, which says every element's slope: the same on every device, whatever the kernel in force."""
        seed = rng.draw_seed(x)
        y = kernels.get("rrelu", x).forward(x, seed, self.lower, self.upper)
        self.save(seed=seed, y=y)
        return y

    def backward(self, grad: Array) -> Array:
        """The same slopes."""
        return kernels.get("rrelu", grad).backward(grad, self.saved.y, self.saved.seed, self.lower, self.upper)


def rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    """Leaky ReLU, in any shape, whose slope is uniform in [lower, upper] in training, their mean in evaluation.

    Raises ValueError unless 0 <= lower <= upper.
    Source: B. Xu et al., "Empirical evaluation of rectified activations in convolutional network", 2015.
    """
    if not 0 <= lower <= upper:
        raise ValueError(f"rrelu: expected 0 <= lower <= upper, got {lower} and {upper}")
    return RReLU(lower, upper)(x) if training else leaky_relu(x, (lower + upper) / 2)
