"""The Adam step on a GPU: one launch for several parameters."""

from collections.abc import Sequence

import numpy as np

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels._gpu.tensors import THREADS, Tensors, covers, launches, live_number
from minicnn.kernels.arrays import Array

_SOURCE = Source("adam")


def step(
    parameter: Array,
    grad: Array,
    first: Array,
    second: Array,
    count: int | Array,
    lr: float | Array,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Update `parameter` and its `first` and `second` moments in place; `count` is 1 at the first step.

    A recorded step has `count` and `lr` on the GPU, float64.
    """
    steps([(parameter, grad, first, second)], count, lr, betas, eps, weight_decay, decoupled)


def steps(
    each: Sequence[Tensors],
    count: int | Array,
    lr: float | Array,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """`step` for each (parameter, grad, first, second)."""
    numbers = [np.float64(number) for number in (*betas, eps, weight_decay)]
    for grid, tensors in launches(filter(covers, each)):
        _SOURCE.launch(
            "step", grid, (THREADS,),
            *tensors, *live_number(lr), *live_number(count), *numbers, np.int32(decoupled), shared=16,
        )  # fmt: skip
    for arrays in each:
        if not covers(arrays):
            fall_back("adam").step(*arrays, count, lr, betas, eps, weight_decay, decoupled)
