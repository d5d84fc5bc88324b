"""Sums in array code."""

from minicnn.kernels.arrays import Array, array_module, bytes_each
from minicnn.kernels.parallel import add_up, each_piece


def total(x: Array) -> Array:
    """The sum of all elements."""
    return array_module(x).asarray(x.sum())


def squares(x: Array) -> Array:
    """The sum of all squares, in float64; piece by piece, so that not all of `x` is widened at once."""
    xp = array_module(x)
    rows = xp.atleast_1d(x)

    def part(piece: slice) -> Array:
        numbers = rows[piece].astype("float64").reshape(-1)
        return xp.asarray(numbers @ numbers)

    return add_up(each_piece(part, rows, 3 * bytes_each(rows)))
