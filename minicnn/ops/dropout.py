"""Dropout."""

from minicnn import kernels, rng
from minicnn.device import Array
from minicnn.function import Function
from minicnn.tensor import Tensor


class Dropout(Function):
    """Zero for a random share p of the elements; the others are scaled by 1 / (1 - p)."""

    mixed = True

    def __init__(self, p: float) -> None:
        self.p = p

    def forward(self, x: Array) -> Array:
        """Draw a seed, which says what stays: the same on every device, whatever the kernel in force."""
        seed = rng.draw_seed(x)
        self.save(seed=seed)
        return kernels.get("dropout", x).forward(x, seed, self.p)

    def backward(self, grad: Array) -> Array:
        """The same elements, the same scale."""
        return kernels.get("dropout", grad).backward(grad, self.saved.seed, self.p)


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """In training, drop each element of any shape with probability `p`, scale the others by 1 / (1 - p); else `x`.

    Raises ValueError unless 0 <= p <= 1. Source: N. Srivastava et al., "Dropout", 2014; inverted, as in torch.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability from 0 to 1, got {p}")
    return Dropout(p)(x) if training and p > 0 else x
