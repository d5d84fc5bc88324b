"""What kernels derive from weights, kept for as long as the weights are promised not to change."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from minicnn.kernels.arrays import Array

Made = TypeVar("Made")

# of each thread, since another one's weights may change
_kept: ContextVar[dict[Any, tuple[tuple[Array, ...], Any]] | None] = ContextVar("kept", default=None)


@contextmanager
def frozen_weights() -> Iterator[None]:
    """A promise that no weight changes inside the block: each is folded and transformed once, not for every batch."""
    kept = _kept.get()
    before = _kept.set({} if kept is None else kept)
    try:
        yield
    finally:
        _kept.reset(before)


def derived(what: Any, arrays: tuple[Array, ...], make: Callable[[], Made]) -> Made:
    """`make()`, which depends on `what` and `arrays` alone; made once inside `frozen_weights`."""
    kept = _kept.get()
    if kept is None:
        return make()
    key = (what, *map(id, arrays))
    if key not in kept:
        kept[key] = arrays, make()  # holding the arrays, so that no other array gets one of their ids
    made: Made = kept[key][1]
    return made
