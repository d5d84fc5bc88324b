"""What kernels derive from weights, kept for as long as the weights are promised not to change."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from minicnn.kernels.arrays import Array

Made = TypeVar("Made")

_kept: dict[Any, tuple[tuple[Array, ...], Any]] | None = None


@contextmanager
def frozen_weights() -> Iterator[None]:
    """A promise that no weight changes inside the block: each is folded and transformed once, not for every batch."""
    global _kept
    before, _kept = _kept, {} if _kept is None else _kept
    try:
        yield
    finally:
        _kept = before


def derived(what: Any, arrays: tuple[Array, ...], make: Callable[[], Made]) -> Made:
    """`make()`, which depends on `what` and `arrays` alone; made once inside `frozen_weights`."""
    if _kept is None:
        return make()
    key = (what, *map(id, arrays))
    if key not in _kept:
        _kept[key] = arrays, make()  # holding the arrays, so that no other array gets one of their ids
    made: Made = _kept[key][1]
    return made
