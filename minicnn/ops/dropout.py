"""Dropout."""

from minicnn import kernels, rng
from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class Dropout(Function):
    """Zero for a random share p of the elements; the others are scaled by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        self.p = p

    def forward(self, x: Array) -> Array:
        """Draw which elements stay."""
        uniform = array_module(x).asarray(rng.generator().random(x.shape, dtype="float32"))
        y, kept = kernels.get("dropout").forward(x, uniform, self.p)
        self.save(kept=kept)
        return y

    def backward(self, grad: Array) -> Array:
        """The same elements, the same scale."""
        return kernels.get("dropout").backward(grad, self.saved.kept, self.p)


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """In training, drop each element with probability `p` and scale the others by 1 / (1 - p); else `x` itself.

    Raises ValueError unless 0 <= p <= 1. Source: N. Srivastava et al., "Dropout", 2014; inverted, as in torch.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability from 0 to 1, got {p}")
    return Dropout(p)(x) if training and p > 0 else x
