"""How the array-code kernels use several cores: each thread takes a piece of the batch at a time.

NumPy runs most operations on one core, and lets other Python threads run meanwhile. So a kernel hands its batch out
in pieces that fit a core's cache; every thread does all steps on its piece. BLAS is held to one thread then, because
its own threads would fight with ours. Pieces do not depend on the number of threads and their results are added in
order: any number of threads gives the same bits.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from minicnn.kernels.arrays import Array, pieces

Result = TypeVar("Result")

_threads = 1
_pool: ThreadPoolExecutor | None = None
_here = threading.local()


def set_threads(count: int | None = None) -> int:
    """Use `count` threads from now on (None: as many as this process may run at once); returns the number.

    Raises ValueError below 1. Until the first call kernels run in the caller's thread, and BLAS as NumPy set it up.
    No other thread may be in a kernel meanwhile.
    """
    from threadpoolctl import threadpool_limits  # here, so that `import minicnn` needs NumPy alone

    number = _available() if count is None else count
    if number < 1:
        raise ValueError(f"threads: expected at least 1, got {number}")
    before = _pool
    _start(number)
    if before is not None:
        before.shutdown()
    threadpool_limits(1, user_api="blas")
    return number


def each_piece(work: Callable[[slice], Result], batch: Array, bytes_each: int, least: int = 0) -> Iterator[Result]:
    """Call `work` for slices that cover `batch`, in several threads, and give the results in order.

    Slices hold items of `bytes_each` bytes up to the size of the cache, or up to `least` bytes if that is more. A
    GPU's array is one piece. Where `work` calls this again, the inner call stays in its thread: a thread that waited
    for the others would be one less to do the work, until all of them wait.
    """
    if not isinstance(batch, np.ndarray):
        return iter([work(slice(0, len(batch)))])
    slices = list(pieces(len(batch), bytes_each, least))
    pool = _pool
    if pool is None or len(slices) == 1 or getattr(_here, "is_ours", False):
        return map(work, slices)
    return pool.map(work, slices)


def run_pieces(work: Callable[[slice], None], batch: Array, bytes_each: int) -> None:
    """Call `work`, which gives nothing back, for slices that cover `batch`."""
    for _ in each_piece(work, batch, bytes_each):
        pass


def add_up(parts: Iterator[Array]) -> Array:
    """The sum of arrays of one shape, in their order."""
    total = next(parts).copy()
    for part in parts:
        total += part
    return total


def _start(number: int) -> None:
    global _threads, _pool
    _threads = number
    _pool = (
        ThreadPoolExecutor(number, thread_name_prefix="minicnn-kernel", initializer=_mark_thread)
        if number > 1
        else None
    )


def _mark_thread() -> None:
    _here.is_ours = True


# A child process is born with this module's pool but none of its threads: it would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _start(_threads))


def _available() -> int:
    """How many threads may run at once: the cores that this process was given, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
