"""Threads that wait by spinning: every part is done once, steps in order, also with helpers that are late or away."""

import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numba import carray

from minicnn.kernels import parallel
from minicnn.kernels._cpu import crew
from minicnn.kernels._cpu.atomics import add, floats, pointer
from minicnn.kernels._cpu.jit import compiled

_ARGUMENTS = crew.arguments("parts", "counts")


@compiled
def _count(arguments: int, part: int, slot: int) -> None:
    """Y[part] = x[parts - 1 - part] + 1, and one more for the part."""
    a = carray(pointer(arguments), (1,), _ARGUMENTS)[0]
    floats(a.y, (a.parts,))[part] = floats(a.x, (a.parts,))[a.parts - 1 - part] + np.float32(1)
    add(a.counts + 8 * part, 1)


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """A number of threads; afterwards there are as many as before."""
    before = parallel.threads()
    parallel.set_threads(request.param)
    yield request.param
    parallel.set_threads(before)


def make_chain(parts: int, length: int) -> tuple[crew.Chain, np.ndarray]:
    counts = np.zeros(parts, np.int64)
    kernels = [
        crew.Kernel(np.array([(0, 0, parts, crew.address(counts))], _ARGUMENTS), (counts,), (_count, parts))
        for _ in range(length)
    ]
    return crew.Chain(kernels, [np.zeros(parts, np.float32) for _ in range(length - 1)]), counts


@pytest.mark.parametrize("parts", [1, 7, 100])
def test_every_part_is_done_once_and_each_kernel_reads_what_the_one_before_wrote(threads: int, parts: int) -> None:
    chain, counts = make_chain(parts, 20)
    x, y = np.arange(parts, dtype=np.float32), np.empty(parts, np.float32)
    for run in range(1, 50):
        y[:] = -1
        chain(x, y)
        np.testing.assert_array_equal(y, x + 20)
        np.testing.assert_array_equal(counts, 20 * run)


def test_several_threads_may_ask_at_once(threads: int) -> None:
    chain, counts = make_chain(9, 5)
    wrong: list[float] = []

    def ask(number: int) -> None:
        x, y = np.full(9, number, np.float32), np.empty(9, np.float32)
        for _ in range(100):
            chain(x, y)
            wrong.extend(y[y != number + 5])

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert wrong == []
    np.testing.assert_array_equal(counts, 4 * 100 * 5)


def test_it_works_inside_a_piece_of_other_work(threads: int) -> None:
    chain, counts = make_chain(6, 3)
    results = np.zeros((8, 6), np.float32)

    def piece(first: int, last: int, slot: int) -> None:
        for number in range(first, last):
            chain(np.full(6, number, np.float32), results[number])

    parallel.share(8, piece)
    np.testing.assert_array_equal(results, np.arange(8)[:, None] + np.full(6, 3))
    np.testing.assert_array_equal(counts, 8 * 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_helpers_of_its_own(threads: int) -> None:
    chain, _ = make_chain(6, 3)
    x, y = np.zeros(6, np.float32), np.zeros(6, np.float32)
    chain(x, y)
    child = os.fork()
    if not child:
        y[:] = 0
        chain(x, y)
        os._exit(0 if (y == 3).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_new_number_of_threads_is_a_new_crew() -> None:
    chain, counts = make_chain(6, 3)
    before = parallel.threads()
    for number in (1, 3, 2, 2, 1):
        parallel.set_threads(number)
        chain(np.zeros(6, np.float32), np.zeros(6, np.float32))
    parallel.set_threads(before)
    np.testing.assert_array_equal(counts, 5 * 3)
