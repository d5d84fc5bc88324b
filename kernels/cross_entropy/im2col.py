"""Softmax cross-entropy in array code."""

from minicnn.kernels.arrays import Array, array_module


def forward(logits: Array, target: Array) -> tuple[Array, Array]:
    """Loss (N,) and softmax probabilities (N, C) of `logits` (N, C) against `target` (N, C)."""
    xp = array_module(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)  # exp of this cannot overflow
    probabilities = xp.exp(shifted)
    total = probabilities.sum(axis=1, keepdims=True)
    probabilities /= total
    shifted -= xp.log(total)
    shifted = xp.where(target != 0, shifted, 0)  # 0 * -inf, a logit of -inf for another class, would be NaN
    return -(target * shifted).sum(axis=1), probabilities


def backward(grad: Array, probabilities: Array, target: Array) -> Array:
    """Gradient of the logits (N, C) from that of the losses (N,): probability * (sum of targets) - target."""
    return grad[:, None] * (probabilities * target.sum(axis=1, keepdims=True) - target)
