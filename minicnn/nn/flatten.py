"""Flatten layer."""

from minicnn import functional as F
from minicnn.nn.module import Module
from minicnn.tensor import Tensor


class Flatten(Module):
    """All dimensions but the first as one: (N, ...) to (N, features)."""

    def forward(self, x: Tensor) -> Tensor:
        """Flatten `x`."""
        return F.flatten(x, 1)
