"""A training step recorded once and replayed as one graph, with the numbers that change from step to step.

The step is ordinary Python: it calls the same operations as ever. What it launches is captured; what else has to
happen in every step is said through two functions:

    each_step(action)      something the host does, such as counting steps
    live(read, dtype)      a number that kernels read from the GPU's memory, such as the learning rate or a random seed

Outside of a recording both simply act at once. In a recording they are written down, and `Recording.replay` repeats
them in order, sends the numbers in one copy and launches the graph: the same values as if the step had run as Python.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.kernels._gpu.driver import driver
from minicnn.kernels.arrays import Array

_SLOTS = 512

_active: "Recording | None" = None


class Recording:
    """One step, recorded. Run the step as it is once before, so that everything that is made lazily exists.

    Args:
        work: the step; it is called once, nothing that it launches runs, and what it returns is dropped.

    Raises RuntimeError for a recording inside another.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        global _active
        if _active is not None:
            raise RuntimeError("a recording inside another one: record the outer step alone")
        self._actions: list[Callable[[], None]] = []
        self._values = np.zeros(_SLOTS, np.uint64)
        self._slots = driver().empty((_SLOTS,), np.uint64)
        self._used = 0
        _active = self
        try:
            self._graph = driver().capture(work)
        finally:
            _active = None

    def replay(self) -> None:
        """Do the step once more."""
        for action in self._actions:
            action()
        if self._used:
            driver().copy(self._values, self._slots)
        self._graph.launch()

    def add_action(self, action: Callable[[], None]) -> None:
        """Repeat `action` in every replay, after those added before."""
        self._actions.append(action)

    def add_number(self, read: Callable[[], Any], dtype: Any) -> Array:
        """A place on the GPU that holds `read()` in every replay."""
        slot = self._used
        if slot == _SLOTS:
            raise RuntimeError(f"a recorded step has more than {_SLOTS} live numbers")
        self._used += 1
        place = self._values[slot : slot + 1].view(dtype)[:1]

        def write() -> None:
            place[0] = read()

        self.add_action(write)
        return self._slots[slot : slot + 1].view(dtype)[:1]


def recording() -> bool:
    """Whether a step is being recorded: nothing runs, so nothing can be read back."""
    return _active is not None


def each_step(action: Callable[[], None]) -> None:
    """Do `action` now; while recording, not now but in every replay."""
    if _active is None:
        action()
    else:
        _active.add_action(action)


def live(read: Callable[[], Any], dtype: Any) -> Array:
    """A GPU array (1,) that holds `read()`, as of now or, while recording, as of each replay."""
    if _active is not None:
        return _active.add_number(read, dtype)
    array = driver().empty((1,), dtype)
    driver().copy(np.array([read()], dtype), array)
    return array


def on_gpu(seed: int | Array) -> Array:
    """A random seed as kernels read it: an array (1,) of uint64, which a recorded step has already."""
    return live(lambda: seed, np.uint64) if isinstance(seed, int) else seed
