"""The dense layer by BLAS, cut into pieces for the threads: BLAS itself has one thread (kernels/parallel.py).

Pieces depend on the shapes alone, so that any number of threads gives the same bits. A kernel of our own would not pay:
it would have to pack the weight anew after every step, as BLAS does, and BLAS comes close to the CPU's peak.
"""

from collections.abc import Callable

import numpy as np

from minicnn.kernels._cpu import workspace
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share

_PIECE = 1 << 23
"""Multiply-adds worth a piece of their own: a tenth of a millisecond, several times what handing it over takes."""
_MOST = 8
"""Pieces of a product at most: BLAS lays out its operands anew for each."""
_FEW = 8
"""Rows of input that are multiplied in the time that it takes to read the weight from memory."""

Job = tuple[Callable[[slice], object], int]
"""What to do for a piece of a dimension, and how long that is."""


def forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """Weighted sums of `x` (N, K) by `weight` (O, K), plus `bias` (O,): (N, O)."""
    y = workspace.empty((len(x), len(weight)), x.dtype)

    def multiply(outputs: slice) -> None:
        if len(x) <= _FEW:  # vector by vector, the weight is read faster; and np.matmul would keep Python's lock here
            for n in range(len(x)):
                np.dot(weight[outputs], x[n], out=y[n, outputs])
        else:  # BLAS needs up to a third less time for this product than for x @ weight.T
            y[:, outputs] = (weight[outputs] @ x.T).T
        if bias is not None:
            y[:, outputs] += bias[outputs]

    _do([(multiply, len(weight))], len(x), weight)
    return y


def backward(grad: Array, x: Array, weight: Array, need_x: bool = True) -> tuple[Array | None, Array, Array]:
    """Gradients of input, weight and bias from `grad` (N, O); the input's is None unless asked for."""
    grad_weight = workspace.empty(weight.shape, x.dtype)
    jobs: list[Job] = [(lambda outputs: np.matmul(grad[:, outputs].T, x, out=grad_weight[outputs]), len(weight))]
    grad_x = None
    if need_x:
        grad_x = workspace.empty(x.shape, x.dtype)
        jobs.append((lambda inputs: np.matmul(grad, weight[:, inputs], out=grad_x[:, inputs]), x.shape[1]))
    _do(jobs, len(x), weight)
    return grad_x, grad_weight, grad.sum(axis=0)


def _do(jobs: list[Job], rows: int, weight: Array) -> None:
    """Do the pieces of all jobs, in several threads; where there is little to do, as one piece a job."""
    pieces = min(max(max(rows, _FEW) * weight.size // _PIECE, 1), _MOST)

    def work(first: int, last: int, slot: int) -> None:
        # BLAS works on whole vectors, also on what lies behind a short row, and drops that; NumPy would warn of it
        with np.errstate(invalid="ignore"):
            for number in range(first, last):
                (do, length), piece = jobs[number // pieces], number % pieces
                do(slice(length * piece // pieces, length * (piece + 1) // pieces))

    if pieces == 1:
        work(0, len(jobs), 0)
    else:
        share(len(jobs) * pieces, work)
