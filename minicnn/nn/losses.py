"""Losses as objects that hold their options; formulas and errors are in minicnn.functional."""

from minicnn import functional as F
from minicnn.device import Array
from minicnn.ops.cross_entropy import Reduction
from minicnn.tensor import Tensor


class CrossEntropyLoss:
    """Softmax cross-entropy of logits (N, C) against class numbers (N,) or probabilities (N, C)."""

    def __init__(
        self, weight: Array | None = None, label_smoothing: float = 0.0, reduction: Reduction = "mean"
    ) -> None:
        self.weight, self.label_smoothing, self.reduction = weight, label_smoothing, reduction

    def __call__(self, logits: Tensor, target: Array) -> Tensor:
        """The loss."""
        return F.cross_entropy(logits, target, self.weight, self.label_smoothing, self.reduction)


class NLLLoss:
    """Negative log-likelihood of log-probabilities (N, C) against class numbers (N,)."""

    def __init__(self, weight: Array | None = None, reduction: Reduction = "mean") -> None:
        self.weight, self.reduction = weight, reduction

    def __call__(self, log_probabilities: Tensor, target: Array) -> Tensor:
        """The loss."""
        return F.nll_loss(log_probabilities, target, self.weight, self.reduction)
