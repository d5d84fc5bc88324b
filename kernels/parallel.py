"""How kernels use several cores: the caller's thread and some helpers each take a piece of the batch at a time.

NumPy and compiled kernels let other Python threads run meanwhile. So a kernel hands its batch out in pieces that fit a
core's cache; every thread does all steps on its piece. BLAS is held to one thread then, because its own threads would
fight with ours. Pieces do not depend on the number of threads and their results are added in order: any number of
threads gives the same bits.
"""

import os
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TypeVar

from minicnn.kernels.arrays import Array, is_numpy, pieces

Result = TypeVar("Result")
Work = Callable[[int, int, int], None]

_RANGES = 4
"""Ranges a thread that work is cut into: enough to even out, few enough to cost little."""

_threads = 1
_waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
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
    for _ in range(_threads - 1):
        _waiting.put(None)
    _start(number)
    threadpool_limits(1, user_api="blas")
    return number


def threads() -> int:
    """How many threads kernels use."""
    return _threads


def each_piece(work: Callable[[slice], Result], batch: Array, bytes_each: int, least: int = 0) -> Iterator[Result]:
    """Call `work` for slices that cover `batch`, in several threads, and give the results in order.

    Slices hold items of `bytes_each` bytes up to the size of the cache, or up to `least` bytes if that is more. A
    GPU's array is one piece. Where `work` calls this again, the inner call stays in its thread.
    """
    if not is_numpy(batch):
        return iter([work(slice(0, len(batch)))])
    slices = list(pieces(len(batch), bytes_each, least))
    results: dict[int, Result] = {}

    def do(first: int, last: int, slot: int) -> None:
        results[first] = work(slices[first])

    share(len(slices), do, step=1)
    return (results.pop(number) for number in range(len(slices)))


def run_pieces(work: Callable[[slice], None], batch: Array, bytes_each: int) -> None:
    """Call `work`, which gives nothing back, for slices that cover `batch`."""
    for _ in each_piece(work, batch, bytes_each):
        pass


def share(count: int, work: Work, step: int = 0) -> None:
    """Call `work(first, last, slot)` for ranges that cover `count` items, in several threads at once.

    Who is done first takes the next range, of `step` items (by default a few ranges a thread). `slot`, below
    `threads()`, is the thread's own, for scratch memory. An item's result must not depend on the range it comes in.
    After an exception no new range is begun. Where `work` calls this again, the inner call stays in its thread.
    """
    step = step or -(-count // (_threads * _RANGES)) or 1
    if _threads == 1 or count <= step or getattr(_here, "busy", False):
        for first in range(0, count, step):
            work(first, min(first + step, count), 0)
        return
    starts = iter(range(0, count, step))  # what is left, for all threads: `next` is atomic
    reports: SimpleQueue[tuple[int, BaseException | None]] = SimpleQueue()

    def take(slot: int) -> tuple[int, BaseException | None]:
        taken, _here.busy = 0, True
        try:
            for first in starts:
                taken += 1
                work(first, min(first + step, count), slot)
        except BaseException as error:
            return taken + sum(1 for _ in starts), error
        finally:
            _here.busy = False
        return taken, None

    for slot in range(1, _threads):
        _waiting.put(lambda slot=slot: reports.put(take(slot)))  # type: ignore[misc]
    done, failure = take(0)
    # A helper that comes late finds nothing left: there is no waiting for it.
    while done < -(-count // step):
        taken, error = reports.get()
        done, failure = done + taken, failure or error
    if failure is not None:
        raise failure


def ask_helper(task: Callable[[], None]) -> None:
    """Have a helper, the next one that is free, call `task`."""
    _waiting.put(task)


def add_up(parts: Iterator[Array]) -> Array:
    """The sum of arrays of one shape, in their order."""
    total = next(parts).copy()
    for part in parts:
        total += part
    return total


def _start(number: int) -> None:
    global _threads, _waiting
    _threads, _waiting = number, SimpleQueue()
    for _ in range(number - 1):
        threading.Thread(target=_help, args=(_waiting,), name="minicnn-kernel", daemon=True).start()


def _help(waiting: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (task := waiting.get()) is not None:
        task()
        del task  # or it would keep its arrays alive until the next one


# A child process is born with none of the threads that its parent started.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _start(_threads))


def _available() -> int:
    """How many threads may run at once: the cores that this process was given, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
