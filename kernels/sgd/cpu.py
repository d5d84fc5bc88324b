"""The SGD step in one pass: memory is the limit, and each number is read and written once."""

from typing import Any

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._cpu.flat import flat, in_pieces
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.layout import plain
from minicnn.kernels.arrays import Array


def step(
    parameter: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Update `parameter` and `velocity` in place.

    Coupled weight decay adds weight_decay * parameter to the gradient; decoupled shrinks the parameter itself.
    """
    arrays = flat(parameter, velocity, plain(grad))
    if arrays is None:
        fall_back("sgd").step(parameter, grad, velocity, lr, momentum, nesterov, weight_decay, decoupled)
        return
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    coupled = 0.0 if decoupled else weight_decay
    numbers: Any = tuple(np.float32(value) for value in (lr, momentum, coupled, shrink))
    in_pieces(lambda _, w, v, g: _move(w, v, g, nesterov, *numbers), arrays)


@compiled
def _move(
    w: Array, v: Array, g: Array, nesterov: bool, lr: float, momentum: float, coupled: float, shrink: float
) -> None:
    for i in range(w.size):
        slope = g[i] + coupled * w[i]
        velocity = momentum * v[i] + slope
        v[i] = velocity
        w[i] = shrink * w[i] - lr * (slope + momentum * velocity if nesterov else velocity)
