"""The Adam step in one pass: memory is the limit, and each number is read and written once."""

import math
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
    first: Array,
    second: Array,
    count: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Update `parameter` and its `first` and `second` moments in place; `count` is 1 at the first step."""
    arrays = flat(parameter, first, second, plain(grad))
    if arrays is None:
        fall_back("adam").step(parameter, grad, first, second, count, lr, betas, eps, weight_decay, decoupled)
        return
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    coupled = 0.0 if decoupled else weight_decay
    mean_scale, square_scale = 1 / (1 - betas[0] ** count), 1 / (1 - betas[1] ** count)
    values = (lr * mean_scale, square_scale, betas[0], 1 - betas[0], betas[1], 1 - betas[1], eps, coupled, shrink)
    numbers: Any = tuple(np.float32(value) for value in values)
    in_pieces(lambda _, w, m, v, g: _move(w, m, v, g, *numbers), arrays)


@compiled
def _move(
    w: Array, m: Array, v: Array, g: Array,
    rate: float, square_scale: float, keep_mean: float, add_mean: float, keep_square: float, add_square: float,
    eps: float, coupled: float, shrink: float,
) -> None:  # fmt: skip
    for i in range(w.size):
        slope = g[i] + coupled * w[i]
        mean = keep_mean * m[i] + add_mean * slope
        square = keep_square * v[i] + add_square * slope * slope
        m[i], v[i] = mean, square
        w[i] = shrink * w[i] - rate * mean / (math.sqrt(square * square_scale) + eps)
