"""Softmax cross-entropy as loops: the definition.

loss[n] = - sum over c of target[n, c] * log(exp(logits[n, c]) / sum over k of exp(logits[n, k]))

`target` holds what each class weighs in the row's loss: one for the label alone, or smoothed, soft, weighted.
"""

import math

import numpy as np

from minicnn.kernels.arrays import Array


def forward(logits: Array, target: Array) -> tuple[Array, Array]:
    """Loss (N,) and softmax probabilities (N, C) of `logits` (N, C) against `target` (N, C)."""
    loss, probabilities = np.zeros(len(logits), logits.dtype), np.zeros_like(logits)
    for n in range(len(logits)):
        largest = max(logits[n])  # exp of what is left cannot overflow
        total = sum(math.exp(value - largest) for value in logits[n])
        for c in range(logits.shape[1]):
            log_probability = logits[n, c] - largest - math.log(total)
            probabilities[n, c] = math.exp(log_probability)
            if target[n, c] != 0:  # a class that weighs nothing may have a logit of -inf
                loss[n] -= target[n, c] * log_probability
    return loss, probabilities


def backward(grad: Array, probabilities: Array, target: Array) -> Array:
    """Gradient of the logits (N, C) from that of the losses (N,): probability * (sum of targets) - target."""
    grad_logits = np.zeros_like(probabilities)
    for n, c in np.ndindex(*probabilities.shape):
        grad_logits[n, c] = grad[n] * (probabilities[n, c] * sum(target[n]) - target[n, c])
    return grad_logits
