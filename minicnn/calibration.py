"""Calibration: a network that says 70 % should be right 70 times in 100.

Networks trained to the end are too sure of themselves, those trained with label smoothing or mixup not sure enough.
Dividing all logits by one number, the temperature, mends most of either and changes no answer.
Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
"""

import numpy as np
from numpy.typing import NDArray

from minicnn.nn.containers import Sequential
from minicnn.nn.linear import Linear
from minicnn.nn.module import Module

_RANGE = (0.05, 20.0)
"""Where a temperature is looked for: beyond lie splits that are all right or all wrong."""
_ITERATIONS = 60  # of bisection, after which a double is exact


def temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The number to divide `logits` (N, classes) by for the least cross-entropy with `labels` (N,).

    The loss is convex in 1/T, and its slope there is the mean over images of E[z] - z_label, where E is the mean of the
    logits under the softmax of z/T: a bisection finds its zero. Not below 0.05, nor above 20; 1 for no images.
    """
    if len(labels) == 0:
        return 1.0
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    own = z[np.arange(len(z)), labels]
    low, high = 1 / _RANGE[1], 1 / _RANGE[0]
    for _ in range(_ITERATIONS):
        middle = (low + high) / 2
        powers = np.exp(middle * z)
        slope = ((powers * z).sum(axis=1) / powers.sum(axis=1) - own).mean()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 2 / (low + high)


def divide_logits(model: Module, divisor: float) -> None:
    """Make the logits of `model`, a Sequential that ends in a Linear, smaller by a factor, in its weights.

    Whoever runs the network then gets calibrated probabilities, in any format that it is exported to. Raises TypeError
    for another kind of network.
    """
    last = model[len(model) - 1] if isinstance(model, Sequential) and len(model) else None
    if not isinstance(last, Linear):
        raise TypeError(f"divide_logits: expected a Sequential that ends in a Linear, got {model!r}")
    for parameter in last.parameters():
        parameter.data /= np.float32(divisor)
