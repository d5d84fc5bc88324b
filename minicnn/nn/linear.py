"""Dense layer."""

import math

import numpy as np

from minicnn import functional as F
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter
from minicnn.tensor import Tensor


class Linear(Module):
    """x @ weight.T + bias: (..., in_features) to (..., out_features).

    `weight` is (out, in) and `bias` (out,), both drawn uniformly within 1 / sqrt(in), as in torch. Errors: see
    minicnn.functional.linear.
    """

    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        if min(in_features, out_features) < 1:
            raise ValueError(f"Linear({in_features}→{out_features}): expected at least one feature on either side")
        bound = 1 / math.sqrt(in_features)
        self.weight = Parameter(np.empty((out_features, in_features), dtype=np.float32))
        self.bias = Parameter(np.empty(out_features, dtype=np.float32)) if bias else None
        init.uniform(self.weight, bound)
        if self.bias is not None:
            init.uniform(self.bias, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to `x`."""
        return F.linear(x, self.weight, self.bias)

    def __repr__(self) -> str:
        outputs, inputs = self.weight.shape
        return f"Linear({inputs}→{outputs})"
