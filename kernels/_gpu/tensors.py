"""Launches that move several parameters at once, since many are too small to keep a GPU busy."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from minicnn.kernels._gpu.rows import contiguous
from minicnn.kernels.arrays import Array

TENSORS = 8
"""Parameters of a launch: those that the kernels `step` of sgd and adam take."""

THREADS = 256
BLOCKS = 1024
"""For each parameter, at most; fewer for small ones, at four numbers a thread."""

Tensors = tuple[Array, ...]
"""A parameter, its gradient, and the arrays of its state."""


def covers(tensors: Tensors) -> bool:
    """Whether the kernels take them: float32, and all that changes in C order."""
    parameter, _, *state = tensors
    changed = (parameter, *state)
    return (
        parameter.size > 0
        and all(array.dtype == np.float32 for array in tensors)
        and all(array.flags.c_contiguous for array in changed)
    )


def launches(each: Iterable[Tensors]) -> Iterator[tuple[tuple[int, int], list[Any]]]:
    """Grids, and arguments: for each of TENSORS parameters its arrays and size, with nulls where there are fewer."""
    remaining = iter(each)
    while several := list(islice(remaining, TENSORS)):
        largest = max(tensors[0].size for tensors in several)
        arguments: list[Any] = []
        for parameter, grad, *state in several:
            arguments += (parameter, contiguous(grad), *state, np.int64(parameter.size))
        missing = TENSORS - len(several)
        arguments += (*[None] * len(several[0]), np.int64(0)) * missing
        yield (min(-(-largest // (4 * THREADS)), BLOCKS), len(several)), arguments


def live_number(value: float | Array) -> tuple[Array | None, np.float64]:
    """A number as two arguments: where on the GPU it is, in a recorded step, or what it is."""
    return (None, np.float64(value)) if isinstance(value, int | float) else (value, np.float64(0))
