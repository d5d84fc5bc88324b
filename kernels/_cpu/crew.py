"""Threads that wait by spinning, for work so small that waking a thread takes longer: a network asked about one image.

`parallel.share` wakes its helpers through Python, which takes up to 60 microseconds: a third of a layer. Here a helper
that is awake stays in compiled code, without Python's lock, and looks for the next step until none has come for a
while. The work is a table of steps, and a step's parts are taken by whoever is free. Nobody waits for a helper that
has taken nothing, so one that sleeps, or whose core is busy, delays nothing. Which thread does a part changes nothing.

The threads meet in a mailbox, whose numbers are read and written atomically:

    _LEFT   parts of the present step that nobody has taken; who lowers it from n to n - 1 has taken part n - 1
    _DONE   parts that are finished
    _STEP   the address of the step's row in the table; it changes only while _LEFT is 0
"""

import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import types

from minicnn.kernels import parallel
from minicnn.kernels._cpu import runs
from minicnn.kernels._cpu.atomics import add, call, load, pause, read, store, swap
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels.arrays import Array

_LINE = 128  # bytes apart: cores hand whole cache lines to each other, in pairs
_LEFT, _DONE, _STEP = 0, _LINE, 2 * _LINE
_PATIENCE = 10_000
"""Looks into the mailbox before a helper goes to sleep: about 0.2 ms, so that it is awake for the next image."""

Task = Callable[[int, int, int], None]
"""A compiled function of the address of its arguments, the number of the part, and the thread's slot."""


def arguments(*names: str) -> np.dtype[Any]:
    """A record of numbers: the addresses `x` and `y` of what a kernel reads and writes, and `names`."""
    return np.dtype([(name, np.int64) for name in ("x", "y", *names)])


class Kernel:
    """Steps one after the other, (task, parts) each, which read the same arguments.

    Args:
        arguments: one record, of a dtype that `arguments` makes; `x` and `y` are filled in by the chain.
        memory: the arrays whose addresses are among them.
        steps: what to do, and in how many parts.
    """

    def __init__(self, arguments: Array, memory: Sequence[Array], *steps: tuple[Task, int]) -> None:
        self.arguments, self.memory = arguments, memory
        self.table = np.array([(_code(task), parts, address(arguments)) for task, parts in steps], np.int64)


class Chain:
    """Kernels one after the other; each reads what the one before it wrote to its place in `memory`."""

    def __init__(self, kernels: Sequence[Kernel], memory: Sequence[Array]) -> None:
        self.kernels, self.memory = kernels, memory
        for before, after, array in zip(kernels[:-1], kernels[1:], memory, strict=True):
            before.arguments["y"] = after.arguments["x"] = address(array)
        self.table = np.concatenate([kernel.table for kernel in kernels])

    def __call__(self, x: Array, y: Array) -> None:
        """Read `x`, write `y`: both C-contiguous."""
        with _lock:
            self.kernels[0].arguments["x"], self.kernels[-1].arguments["y"] = address(x), address(y)
            _crew().run(self.table)


def address(array: Array) -> int:
    """Where an array's numbers begin."""
    first: int = array.__array_interface__["data"][0]
    return first


class _Crew:
    """The mailbox of the helpers that there are now."""

    def __init__(self) -> None:
        self.box = np.zeros(4 * _LINE // 8, np.int64)
        self.awake = [True] + [False] * (parallel.threads() - 1)  # by slot; the first is the caller's

    def run(self, table: Array) -> None:
        """Do the steps of a table, with all helpers that are there in time."""
        for slot, awake in enumerate(self.awake):
            if not awake:
                self.awake[slot] = True
                parallel.ask_helper(lambda slot=slot: self._help(slot))  # type: ignore[misc]
        _run(self.box, table)

    def _help(self, slot: int) -> None:
        _help(self.box, slot)
        self.awake[slot] = False


_lock = threading.Lock()
"""Held from writing a kernel's arguments until it has run."""
_present: _Crew | None = None


def _crew() -> _Crew:
    global _present
    if _present is None or len(_present.awake) != parallel.threads():
        _present = _Crew()
    return _present


def _start_anew() -> None:
    """In a child process, which has none of its parent's threads."""
    global _lock, _present
    _lock, _present = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


@functools.cache
def _code(task: Any) -> int:
    """Where the machine code of `task` is."""
    arguments = (types.intp, types.intp, types.intp)
    task.compile(types.void(*arguments))
    result = task.overloads[arguments]
    code: int = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
    return code


@compiled
def _take(box: int, slot: int) -> bool:
    """Do one part, if there is one to be had."""
    left = load(box + _LEFT)
    if left == 0 or not swap(box + _LEFT, left, left - 1):
        return False
    step = load(box + _STEP)
    call(read(step), read(step + 16), left - 1, slot)
    add(box + _DONE, 1)
    return True


@compiled
def _run(mailbox: Array, table: Array) -> None:
    """The caller's side: post each step, take parts of it, wait for those that others have taken."""
    box = runs.address(mailbox)
    for row in range(len(table)):
        parts = table[row, 1]
        store(box + _DONE, 0)
        store(box + _STEP, runs.address(table) + 24 * row)
        store(box + _LEFT, parts)
        while load(box + _LEFT) > 0:
            _take(box, 0)
        while load(box + _DONE) < parts:
            pause()


@compiled
def _help(mailbox: Array, slot: int) -> None:
    """A helper's side: take parts until none has come for a while."""
    box = runs.address(mailbox)
    idle = 0
    while idle < _PATIENCE:
        if _take(box, slot):
            idle = 0
        else:
            pause()
            idle += 1
