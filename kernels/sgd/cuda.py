"""The SGD step on a GPU: one launch for several parameters."""

from collections.abc import Sequence

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels._gpu.tensors import THREADS, Tensors, covers, launches, live_number
from minicnn.kernels.arrays import Array

_SOURCE = Source("sgd")


def step(
    parameter: Array,
    grad: Array,
    velocity: Array,
    lr: float | Array,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Update `parameter` and `velocity` in place; a recorded step has its `lr` on the GPU, float64.

    Coupled weight decay adds weight_decay * parameter to the gradient; decoupled shrinks the parameter itself.
    """
    steps([(parameter, grad, velocity)], lr, momentum, nesterov, weight_decay, decoupled)


def steps(
    each: Sequence[Tensors], lr: float | Array, momentum: float, nesterov: bool, weight_decay: float, decoupled: bool
) -> None:
    """`step` for each (parameter, grad, velocity)."""
    for grid, tensors in launches(filter(covers, each)):
        _SOURCE.launch(
            "step", grid, (THREADS,),
            *tensors, *live_number(lr), np.float32(momentum), np.int32(nesterov), np.float64(weight_decay),
            np.int32(decoupled),
        )  # fmt: skip
    for arrays in each:
        if not covers(arrays):
            fall_back("sgd").step(*arrays, lr, momentum, nesterov, weight_decay, decoupled)
