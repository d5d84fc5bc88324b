"""Dropout layer."""

from minicnn import functional as F
from minicnn.nn.module import Module
from minicnn.tensor import Tensor


class Dropout(Module):
    """Drop each element with probability `p` in training and scale up the others; nothing in evaluation."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: expected a probability from 0 to 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to `x`, of any shape."""
        return F.dropout(x, self.p, self.training)

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"
