"""Softmax cross-entropy on a GPU in Numba CUDA: a warp for each row, which needs no shared memory and no barrier."""

import math

import numpy as np
from numba import cuda

from minicnn.kernels import fall_back
from minicnn.kernels._gpu.numba_launch import THREADS, blocks, contiguous, covers, launch
from minicnn.kernels.arrays import Array, array_module

WARP = 32
ALL = 0xFFFFFFFF
"""The lanes that take part in a shuffle, a bit each: here always the whole warp."""


def loss_kernel(logits: Array, target: Array, loss: Array, probabilities: Array) -> None:
    """Largest logit, sum of exponentials, loss: three passes over a row, each ending in a *butterfly* of shuffles.

    In a butterfly every lane swaps with the lane whose number differs in one bit, 16 first and 1 last. After five
    swaps all 32 lanes hold the result, not lane 0 alone, and can go on with it at once.
    """
    row, lane = cuda.grid(1) // WARP, cuda.laneid
    if row >= logits.shape[0]:
        return  # a whole warp leaves together; a lane that left alone would be missing from the shuffles

    largest = np.float32(-math.inf)
    for c in range(lane, logits.shape[1], WARP):
        largest = max(largest, logits[row, c])
    distance = WARP // 2
    while distance > 0:
        largest = max(largest, cuda.shfl_xor_sync(ALL, largest, distance))
        distance //= 2

    total = np.float32(0)
    for c in range(lane, logits.shape[1], WARP):
        total += math.exp(logits[row, c] - largest)  # cannot overflow
    distance = WARP // 2
    while distance > 0:
        total += cuda.shfl_xor_sync(ALL, total, distance)
        distance //= 2

    costs = np.float32(0)
    log_total = math.log(total)
    for c in range(lane, logits.shape[1], WARP):
        log_probability = logits[row, c] - largest - log_total
        probabilities[row, c] = math.exp(log_probability)
        if target[row, c] != 0:  # a class that weighs nothing may have a logit of -inf
            costs -= target[row, c] * log_probability
    distance = WARP // 2
    while distance > 0:
        costs += cuda.shfl_xor_sync(ALL, costs, distance)
        distance //= 2
    if lane == 0:
        loss[row] = costs


def grad_kernel(grad: Array, probabilities: Array, target: Array, grad_logits: Array) -> None:
    """The row's sum of targets by a butterfly, then each lane its classes."""
    row, lane = cuda.grid(1) // WARP, cuda.laneid
    if row >= probabilities.shape[0]:
        return

    weight = np.float32(0)
    for c in range(lane, target.shape[1], WARP):
        weight += target[row, c]
    distance = WARP // 2
    while distance > 0:
        weight += cuda.shfl_xor_sync(ALL, weight, distance)
        distance //= 2

    for c in range(lane, target.shape[1], WARP):
        grad_logits[row, c] = grad[row] * (probabilities[row, c] * weight - target[row, c])


def forward(logits: Array, target: Array) -> tuple[Array, Array]:
    """Loss (N,) and softmax probabilities (N, C) of `logits` (N, C) against `target` (N, C)."""
    if not covers(logits, target):
        losses: tuple[Array, Array] = fall_back("cross_entropy").forward(logits, target)
        return losses
    xp = array_module(logits)
    loss, probabilities = xp.empty(len(logits), dtype=logits.dtype), xp.empty(logits.shape, dtype=logits.dtype)
    grid = (blocks(len(logits) * WARP, THREADS),)
    launch(loss_kernel, grid, (THREADS,), contiguous(logits), contiguous(target), loss, probabilities)
    return loss, probabilities


def backward(grad: Array, probabilities: Array, target: Array) -> Array:
    """Gradient of the logits (N, C) from that of the losses (N,): probability * (sum of targets) - target."""
    if not covers(grad, probabilities, target):
        return fall_back("cross_entropy").backward(grad, probabilities, target)
    grad_logits = array_module(grad).empty(probabilities.shape, dtype=grad.dtype)
    grid = (blocks(len(probabilities) * WARP, THREADS),)
    arrays = (contiguous(array) for array in (grad, probabilities, target))
    launch(grad_kernel, grid, (THREADS,), *arrays, grad_logits)
    return grad_logits
