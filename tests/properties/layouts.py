"""How an array may lie in memory: each function gives the numbers of a C-contiguous array in another layout."""

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def channels_last(x: Array) -> Array:
    """The second axis last in memory, as images lie that come from the CPU rungs."""
    return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1) if x.ndim > 1 else x


def backwards(x: Array) -> Array:
    """Each axis from its end to its beginning: negative strides."""
    turn = (..., *[slice(None, None, -1)] * x.ndim)  # the dots keep an array without dimensions an array
    return x[turn].copy()[turn]


def spread(x: Array) -> Array:
    """Every second number of a larger array along each axis; NaN lies between."""
    room = np.full([2 * size for size in x.shape], np.nan, x.dtype)
    place = room[(..., *[slice(None, None, 2)] * x.ndim)]
    place[...] = x
    return place


def inside(x: Array) -> Array:
    """The middle of a larger array of NaN."""
    room = np.full([size + 2 for size in x.shape], np.nan, x.dtype)
    place = room[(..., *[slice(1, -1)] * x.ndim)]
    place[...] = x
    return place


def unaligned(x: Array) -> Array:
    """At an address that no number's size divides, as in the middle of a file."""
    room = np.zeros(x.nbytes + 1, np.uint8)
    place = room[1:].view(x.dtype).reshape(x.shape)
    place[...] = x
    return place


def read_only(x: Array) -> Array:
    """Memory that may not be written to, as that of a file."""
    x = x.copy()
    x.flags.writeable = False
    return x


def repeated(x: Array) -> Array:
    """The first number of the last axis all along it, once in memory: a stride of zero. Other values than x."""
    return np.broadcast_to(x[..., :1], x.shape) if x.ndim and x.size else x


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": lambda x: x,
    "Fortran": lambda x: x.copy(order="F"),
    "channels last": channels_last,
    "backwards": backwards,
    "spread": spread,
    "inside": inside,
    "unaligned": unaligned,
    "read-only": read_only,
    "repeated": repeated,
}
