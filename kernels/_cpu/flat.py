"""Element by element through arrays of one shape: flattened, and in pieces for the threads."""

from collections.abc import Callable

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.parallel import share

_PIECE = 1 << 15
"""Numbers in a piece: less is done before another thread has woken up."""


def flat(*arrays: Array) -> list[Array] | None:
    """Each as a view in one dimension; None where one is not float32 or its memory is not in C order."""
    if all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays):
        return [array.reshape(-1) for array in arrays]
    return None


def in_pieces(work: Callable[..., object], arrays: list[Array]) -> None:
    """Call `work(first, *parts)` for pieces that cover flat arrays of one size, in several threads.

    The parts are views that begin at element `first`.
    """
    size = arrays[0].size

    def some(first: int, last: int, slot: int) -> None:
        work(first * _PIECE, *(array[first * _PIECE : last * _PIECE] for array in arrays))

    share(-(-size // _PIECE), some)
