"""Kernels on several threads: pieces in order, exceptions that arrive, and the same bits for any number of them."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minicnn import Tensor, kernels, manual_seed, models, nn, optim
from minicnn import functional as F
from minicnn.kernels import arrays, parallel

BATCH = np.zeros((10, 4))


@pytest.fixture(autouse=True)
def one_thread_afterwards() -> Iterator[None]:
    yield
    parallel.set_threads(1)


@pytest.fixture(autouse=True)
def cache_of_three_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CACHE_BYTES", 3)


def span(piece: slice) -> tuple[int, int]:
    return piece.start, piece.stop


# How many threads


@pytest.mark.parametrize("count", [1, 2, 5])
def test_set_threads_gives_the_number_back(count: int) -> None:
    assert parallel.set_threads(count) == count


def test_none_is_as_many_as_the_process_may_run_at_once() -> None:
    assert parallel.set_threads(None) == parallel.set_threads() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_thread_are_refused_and_change_nothing(count: int) -> None:
    parallel.set_threads(2)
    with pytest.raises(ValueError, match=f"^threads: expected at least 1, got {count}$"):
        parallel.set_threads(count)
    assert parallel.threads() == 2


def test_blas_is_held_to_one_thread() -> None:
    parallel.set_threads(2)
    assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {1}


# Pieces


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_pieces_cover_the_batch_in_order_whatever_the_number_of_threads(threads: int) -> None:
    parallel.set_threads(threads)
    assert list(parallel.each_piece(span, BATCH, 1)) == [(0, 3), (3, 6), (6, 9), (9, 10)]


@pytest.mark.parametrize(
    ("bytes_each", "least", "expected"),
    [
        (2, 0, [(0, 1), (1, 2)]),  # one item fits
        (100, 0, [(0, 1), (1, 2)]),  # none does, but a piece has at least one
        (1, 2, [(0, 2)]),
        (2, 4, [(0, 2)]),
    ],
)
def test_a_piece_fits_the_cache_or_has_the_least_asked_for(
    bytes_each: int, least: int, expected: list[tuple[int, int]]
) -> None:
    assert list(parallel.each_piece(span, np.zeros(2), bytes_each, least)) == expected


def test_results_come_in_order_though_a_later_piece_ends_first() -> None:
    parallel.set_threads(2)
    second_ended = threading.Event()

    def work(piece: slice) -> bool:
        if piece.start == 0:
            return second_ended.wait(timeout=30)  # False if nothing else runs meanwhile
        second_ended.set()
        return False

    assert list(parallel.each_piece(work, BATCH, 1)) == [True, False, False, False]


def test_one_thread_is_the_callers() -> None:
    parallel.set_threads(1)
    assert set(parallel.each_piece(lambda _: threading.get_ident(), BATCH, 1)) == {threading.get_ident()}


def test_a_single_piece_stays_in_the_callers_thread() -> None:
    parallel.set_threads(2)
    assert list(parallel.each_piece(lambda _: threading.get_ident(), BATCH[:3], 1)) == [threading.get_ident()]


def test_an_array_that_is_not_numpys_is_one_piece() -> None:
    class GpuArray:
        def __len__(self) -> int:
            return 10

    assert list(parallel.each_piece(span, GpuArray(), 1)) == [(0, 10)]


@pytest.mark.parametrize("threads", [1, 3])
def test_run_pieces_does_all_the_work_before_it_returns(threads: int) -> None:
    parallel.set_threads(threads)
    done = np.zeros(10)

    def work(piece: slice) -> None:
        done[piece] += 1

    parallel.run_pieces(work, done, 1)
    assert done.tolist() == [1] * 10


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exception_in_a_piece_reaches_the_caller_and_the_threads_go_on_afterwards(threads: int) -> None:
    parallel.set_threads(threads)

    def work(piece: slice) -> None:
        if piece.start == 6:
            raise ZeroDivisionError("piece 6")

    with pytest.raises(ZeroDivisionError, match=r"^piece 6$"):
        parallel.run_pieces(work, BATCH, 1)
    assert len(list(parallel.each_piece(span, BATCH, 1))) == 4


@pytest.mark.parametrize("threads", [1, 2])
def test_work_may_hand_out_pieces_itself(threads: int) -> None:
    parallel.set_threads(threads)
    inner = [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert list(parallel.each_piece(lambda _: list(parallel.each_piece(span, BATCH, 1)), BATCH, 1)) == [inner] * 4


FORK = """
import os, signal
import numpy as np
from minicnn.kernels import parallel

def spans():
    return list(parallel.each_piece(lambda piece: piece.start, np.zeros(6), 1 << 20))

parallel.set_threads(2)
assert spans() == list(range(6))
child = os.fork()
if child == 0:
    signal.alarm(20)  # ends a child that waits for ever
    os._exit(0 if spans() == list(range(6)) else 1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_process_has_threads_of_its_own() -> None:
    # in a program of its own, since to fork one that has threads is what Python warns of
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=60)


def test_add_up_adds_in_order_and_leaves_the_parts() -> None:
    # 2^53 + 1 + 1 in this order loses both ones; any other order does not
    parts = [np.array([2.0**53, 3]), np.array([1.0, 4]), np.array([1.0, 5])]
    assert parallel.add_up(iter(parts)).tolist() == [2.0**53, 12]
    assert [part.tolist() for part in parts] == [[2.0**53, 3], [1, 4], [1, 5]]


# The promise


def separate_layers() -> nn.Module:
    """The operations that the networks' blocks do not use, one by one."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.RReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.AvgPool2d(2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(8 * 12 * 12, 7),
    )


def bits_after_two_steps(make: Callable[[], nn.Module], threads: int) -> dict[str, np.ndarray]:
    parallel.set_threads(threads)
    manual_seed(0)
    model = make()
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    random = np.random.default_rng(0)
    for _ in range(2):
        images, labels = random.standard_normal((20, 1, 48, 48)).astype(np.float32), random.integers(0, 7, 20)
        model.zero_grad()
        F.cross_entropy(model(Tensor(images)), labels).backward()
        optimizer.step()
    return {name: array.copy() for name, array in model.state_dict().items()}


@pytest.mark.parametrize("make", [lambda: models.build(3), separate_layers], ids=["blocks", "layers"])
def test_any_number_of_threads_gives_the_same_bits(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "CACHE_BYTES", 1 << 18)  # every operation goes through in several pieces
    pieces = set()

    def counting(length: int, bytes_each: int, least: int = 0) -> Iterator[slice]:
        slices = list(arrays.pieces(length, bytes_each, least))
        pieces.add(len(slices))
        return iter(slices)

    monkeypatch.setattr(parallel, "pieces", counting)
    with kernels.using("im2col"):
        expected = bits_after_two_steps(make, 1)
        assert max(pieces) > 3
        for threads in (2, 3, 5):
            got = bits_after_two_steps(make, threads)
            for name, array in expected.items():
                np.testing.assert_array_equal(got[name], array, err_msg=f"{name}, {threads} threads")
