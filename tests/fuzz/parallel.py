"""Readers by several processes, each of which takes slices of their inputs; what comes of them is summed."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz import harness
from tests.fuzz.harness import Outcome

SLICE = 1000
"""Inputs that a process takes at once: few enough that none waits long for another at the end."""

HANGING = 20 * harness.SECONDS
"""Processor time after which an input is taken for one that never ends, and its process killed."""

IN_MEMORY = Path("/dev/shm")
"""A folder in memory, where the system has one: on a disk, writing an input takes longer than reading it."""


def outcomes(chosen: Sequence[str], numbers: range, seed: int, jobs: int) -> Iterator[Outcome]:
    """What came of each reader, up to its first fault; one that kills its process is the last."""
    slices = [numbers[at : at + SLICE] for at in range(0, len(numbers), SLICE)]
    spawned, most = get_context("spawn"), min(jobs, len(slices) * len(chosen))
    with (
        TemporaryDirectory(dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None) as home,
        ProcessPoolExecutor(most, spawned, _prepare, (chosen,)) as pool,
    ):
        futures = {name: [pool.submit(_read, name, own, seed, home) for own in slices] for name in chosen}
        for name, own in futures.items():
            try:
                yield _sum(name, own)
            except BrokenProcessPool:
                died = f"a process died, or took {HANGING:g} s, by one of"
                yield Outcome(name, fault="\n".join([died, *_at_hand(Path(home), seed)]))
                return
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _sum(name: str, slices: list[Future[Outcome]]) -> Outcome:
    total = Outcome(name)
    for future in as_completed(slices):
        total += future.result()
        if total.fault:
            for other in slices:
                other.cancel()
            break
    return total


def _at_hand(home: Path, seed: int) -> list[str]:
    """What the processes were reading: when one dies, the others are ended."""
    texts = []
    for mark in sorted(home.glob("at-*")):
        with suppress(FileNotFoundError):  # of a process that ended just now
            texts.append(mark.read_text())
    return [f"python -m tests.fuzz --seed {seed} --only {text}" for text in texts if text]


# In a process of its own


def _prepare(chosen: Sequence[str]) -> None:
    for name in chosen:
        harness.reader(name)  # imported before memory is limited
    harness.limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends them
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # libjpeg and libtiff tell of every fault there


def _read(name: str, numbers: range, seed: int, home: str) -> Outcome:
    mark = Path(home, f"at-{os.getpid()}")
    with TemporaryDirectory(dir=home) as folder, mark.open("wb", buffering=0) as file:
        outcome = harness.run(name, _noted(numbers, name, file.fileno()), seed, Path(folder))
    signal.setitimer(signal.ITIMER_PROF, 0)
    mark.unlink()
    return outcome


def _noted(numbers: range, name: str, file: int) -> Iterator[int]:
    """The numbers, each noted before it is read; an input that never ends kills the process."""
    for number in numbers:
        os.pwrite(file, f"{number} {name}".encode(), 0)
        signal.setitimer(signal.ITIMER_PROF, HANGING)
        yield number
