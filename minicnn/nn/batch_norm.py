"""Batch normalization layers."""

import numpy as np

from minicnn import functional as F
from minicnn.device import Array
from minicnn.nn.module import Module, Parameter
from minicnn.tensor import Tensor


class BatchNorm(Module):
    """Normalize each channel of (N, C, ...): over the batch in training, by running statistics in evaluation.

    `weight` and `bias` (C,) start at 1 and 0; the buffers `running_mean` and `running_var` (C,) at 0 and 1 and move
    by `momentum` a training batch. Formula, conventions and errors: see minicnn.functional.batch_norm.
    """

    running_mean: Array
    running_var: Array

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, dtype=np.float32))
        self.bias = Parameter(np.zeros(num_features, dtype=np.float32))
        self.register_buffer("running_mean", np.zeros(num_features, dtype=np.float32))
        self.register_buffer("running_var", np.ones(num_features, dtype=np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x`."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight.size})"


class BatchNorm1d(BatchNorm):
    """Batch normalization of (N, C) or (N, C, L); any other input raises ValueError."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x`."""
        if x.ndim not in (2, 3):
            raise ValueError(f"{self!r}: expected input (N, {self.weight.size}) or (N, C, L), got {x.shape}")
        return super().forward(x)


class BatchNorm2d(BatchNorm):
    """Batch normalization of images (N, C, H, W); any other input raises ValueError."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x`."""
        if x.ndim != 4:
            raise ValueError(f"{self!r}: expected input (N, {self.weight.size}, H, W), got {x.shape}")
        return super().forward(x)
