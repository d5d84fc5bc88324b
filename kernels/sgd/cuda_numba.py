"""The SGD step on a GPU in Numba CUDA: the simplest kind of kernel, a thread for each element."""

import numpy as np
from numba import cuda

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.numba_launch import contiguous, covers, launch_flat
from minicnn.kernels.arrays import Array


def step_kernel(
    parameter: Array,
    grad: Array,
    velocity: Array,
    lr: np.float32,
    momentum: np.float32,
    nesterov: bool,
    decay: np.float32,
    shrink: np.float32,
) -> None:
    """Update flat arrays, in one pass through memory where array code takes one for each operation.

    Every thread runs this function. `cuda.grid(1)` is its number in the whole grid, and the grid need not be as large
    as the array: each thread goes on in steps of the grid's size (a *grid-stride loop*). Threads beside each other
    work on elements beside each other, so that a warp's 32 loads are one piece of memory.
    """
    for i in range(cuda.grid(1), parameter.size, cuda.gridsize(1)):
        value = parameter[i]
        slope = grad[i] + decay * value
        speed = momentum * velocity[i] + slope
        move = slope + momentum * speed if nesterov else speed
        parameter[i] = shrink * value - lr * move
        velocity[i] = speed


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
    in_place = parameter.flags.c_contiguous and velocity.flags.c_contiguous  # else flattening them would copy them
    if not (covers(parameter, grad, velocity) and in_place):
        fall_back("sgd").step(parameter, grad, velocity, lr, momentum, nesterov, weight_decay, decoupled)
        return
    decay, shrink = (0.0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    launch_flat(
        step_kernel,
        parameter.size,
        parameter.reshape(-1),
        contiguous(grad).reshape(-1),
        velocity.reshape(-1),
        np.float32(lr),
        np.float32(momentum),
        nesterov,
        np.float32(decay),
        np.float32(shrink),
    )
