"""The rule for every reader: whatever it is given, it answers or raises a UserError, in bounded time and memory."""

import json
import resource
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from random import Random

from minicnn.errors import UserError
from tests.fuzz import readers
from tests.fuzz.mutation import mutated

SECONDS = 3.0
"""Processor time that an input may take; the slowest takes a tenth."""

MEMORY = 1 << 30
"""Bytes that a process may reserve beyond what it has once all is imported."""


@dataclass(frozen=True)
class Reader:
    """A reader, and what it reads.

    Attributes:
        seeds: whole files, tiny ones.
        read: reads one, with a folder to put it into; what it returns does not matter.
        tokens: what the format is made of, to be put in wrong places.
        pack: what is done to bytes after they were changed, such as to compress them.
        errors: what it may raise but UserError.
    """

    seeds: Sequence[bytes]
    read: Callable[[bytes, Path], object]
    tokens: Sequence[bytes] = ()
    pack: Callable[[bytes, Random], bytes] = lambda data, _: data
    errors: tuple[type[Exception], ...] = ()

    def make(self, name: str, seed: int, number: int) -> bytes:
        """Input `number`; the first are the seeds as they are."""
        random = Random(f"{name} {seed} {number}")
        if number < len(self.seeds):
            return self.pack(self.seeds[number], random)
        return self.pack(mutated(random, self.seeds, self.tokens), random)


@dataclass
class Outcome:
    """What came of the inputs of a reader: how many were read, refused, and what went wrong."""

    name: str
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    fault: str = ""

    def __add__(self, other: "Outcome") -> "Outcome":
        """Of other inputs of the same reader, too."""
        return Outcome(
            self.name,
            self.read + other.read,
            self.refused + other.refused,
            max(self.slowest, other.slowest),
            self.fault or other.fault,
        )

    def __str__(self) -> str:
        inputs = f"{self.name}: {self.read + self.refused:,} inputs, {self.read:,} read, {self.refused:,} refused"
        return f"{inputs}, slowest {1000 * self.slowest:.0f} ms" + (f"\n{self.fault}" if self.fault else "")

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(vars(self))


def names() -> list[str]:
    """All readers."""
    return sorted(module.name for module in iter_modules(readers.__path__))


def reader(name: str) -> Reader:
    """A reader by its name."""
    found = import_module(f"tests.fuzz.readers.{name}").READER
    assert isinstance(found, Reader)
    return found


def limit_memory() -> None:
    """From here on a reservation beyond MEMORY fails: a header must not be taken at its word."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def run(name: str, numbers: Iterable[int], seed: int, folder: Path) -> Outcome:
    """Read the inputs of these numbers, up to the first fault."""
    own, outcome = reader(name), Outcome(name)
    for number in numbers:
        data = own.make(name, seed, number)
        started = time.process_time()
        try:
            own.read(data, folder)
            outcome.read += 1
        except UserError as error:
            outcome.refused += 1
            outcome.fault = "" if str(error).isprintable() else f"a message that is not one line: {error!r}"
        except own.errors:
            outcome.refused += 1
        except BaseException:  # a panic of native code is no Exception
            outcome.fault = traceback.format_exc(limit=-6)
        taken = time.process_time() - started
        outcome.slowest = max(outcome.slowest, taken)
        if taken > SECONDS:
            outcome.fault = outcome.fault or f"{taken:.1f} s"
        if outcome.fault:
            outcome.fault += f"\npython -m tests.fuzz {name} --seed {seed} --only {number}  # {len(data)} bytes"
            break
    return outcome
