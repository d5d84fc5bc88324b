"""Images with channels last, which is how the CPU rungs keep them in memory; a Tensor sees a view in NCHW."""

import numpy as np

from minicnn.kernels._cpu import workspace
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share


def plain(x: Array) -> Array:
    """`x`, or a copy, C-contiguous, aligned and writable: Numba compiles anew for arrays of any other kind."""
    return x if x.flags.carray else np.array(x, order="C")


def channels_last(x: Array) -> Array:
    """`x` (N, C, H, W) as a plain (N, H, W, C): a view where its memory is in that order, else a copy."""
    view = x.transpose(0, 2, 3, 1)
    if x.dtype != np.float32 or view.flags.carray or not x.flags.carray:
        return plain(view)
    y = workspace.empty(view.shape)
    share(len(x), lambda first, last, slot: _transpose(x, y, first, last))
    return y


def channels_first(x: Array) -> Array:
    """A view of `x` (N, H, W, C) as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)


@compiled
def _transpose(x: Array, y: Array, first: int, last: int) -> None:
    for n in range(first, last):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for c in range(y.shape[3]):
                    y[n, i, j, c] = x[n, c, i, j]
