"""Where a training step's time and memory go: `minicnn train --profile`."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from minicnn import kernels
from minicnn.apps.bench.peer_worker import peak_mb
from minicnn.data.loader import Batch
from minicnn.device import Array
from minicnn.function import Function, op_hook
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.recording import recording
from minicnn.training import Trainer

Key = tuple[str, tuple[int, ...]]
"""An operation and the shape of one image's output: layers of one kind are told apart by what they give."""


@dataclass
class Row:
    """What one operation took in all steps.

    Attributes:
        rung: of its ladder, where it has one.
        calls: of forward.
        forward, backward: seconds.
        output: bytes of the largest output.
        fell: calls of kernels that went to array code, because the fast rung does not cover their numbers.
    """

    rung: str = ""
    calls: int = 0
    forward: float = 0.0
    backward: float = 0.0
    output: int = 0
    fell: int = 0


class Profile:
    """Watches a Trainer while `watching`; the first step, which compiles and fills caches, is kept apart.

    Attributes:
        rows: by operation, in the order of the network.
        optimizer: the row of the update.
        steps: how many were measured; the `first` one before them took so many seconds.
        seconds: what these steps took, of which `waiting` for batches.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.first: float | None = None
        self._started: float | None = None  # of the present step, while there is one
        self._clear()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside the block steps are measured; what happens between them, such as validation, is not."""
        with ExitStack() as stack:
            stack.enter_context(op_hook(self._operation))
            stack.enter_context(_wrapped(self.trainer.loader, "epoch", self._timed_epoch))
            stack.enter_context(_wrapped(self.trainer.optimizer, "step", self._timed_update))
            if self.trainer.gpu_steps is not None:
                stack.callback(setattr, self.trainer.gpu_steps, "replay", self.trainer.gpu_steps.replay)
                self.trainer.gpu_steps.replay = False
            yield

    def step(self) -> None:
        """A step is done."""
        if self._started is None:
            return
        self.seconds += time.perf_counter() - self._started
        self._started = None
        if self.first is None:
            self.first = self.seconds
            self._clear()
        else:
            self.steps += 1

    def _clear(self) -> None:
        self.rows: dict[Key, Row] = {}
        name = type(self.trainer.optimizer).__name__.lower()
        kernel = next((operation for operation in kernels.LADDERS if name.startswith(operation)), "")
        self.optimizer = Row(_rung(kernel))
        self.steps, self.seconds, self.waiting = 0, 0.0, 0.0
        self._fallen = sum(kernels.fallbacks().values())

    def _operation(self, function: Function, phase: str, seconds: float, array: Array) -> None:
        """The hook: an operation gave `array`, or was given it as upstream gradient, which has the same shape."""
        if self._started is None or recording():
            return
        key = (function.name, tuple(array.shape[1:]))
        if key not in self.rows:
            # one stem: minicnn/ops/conv2d.py is served by kernels/conv2d
            self.rows[key] = Row(_rung(type(function).__module__.rpartition(".")[2], array))
        row = self.rows[key]
        row.fell += self._newly_fallen()
        if phase == "forward":
            row.calls += 1
            row.forward += seconds
            row.output = max(row.output, array.nbytes)
        else:
            row.backward += seconds

    def _timed_update(self, update: Callable[[], None]) -> Callable[[], None]:
        def timed() -> None:
            if recording():
                update()
                return
            started = time.perf_counter()
            update()
            if self.trainer.gpu_steps is not None:
                driver().synchronize()
            self.optimizer.calls += 1
            self.optimizer.forward += time.perf_counter() - started
            self.optimizer.fell += self._newly_fallen()

        return timed

    def _timed_epoch(self, epoch: Callable[..., Generator[Batch, None, None]]) -> Callable[..., Any]:
        """The batches as before; a step begins when its batch is asked for."""

        def timed(*arguments: int) -> Generator[Batch, None, None]:
            batches = epoch(*arguments)
            try:
                self._started = time.perf_counter()
                for batch in batches:
                    self.waiting += time.perf_counter() - self._started
                    yield batch
                    self._started = time.perf_counter()
            finally:
                self._started = None
                batches.close()

        return timed

    def _newly_fallen(self) -> int:
        """How often kernels went to array code since this was last asked."""
        before, self._fallen = self._fallen, sum(kernels.fallbacks().values())
        return self._fallen - before


def format_profile(profile: Profile) -> str:
    """The table, for people: means of the measured steps, in milliseconds."""
    if profile.steps == 0:
        return "profile: nothing to show: fewer than two steps, of which the first does not count"
    optimizer, waiting = profile.optimizer, Row(forward=profile.waiting)
    operations = sum(row.forward + row.backward for row in profile.rows.values())
    other = Row(forward=profile.seconds - operations - optimizer.forward - waiting.forward)
    rows = {_label(*key): row for key, row in profile.rows.items()} | {
        type(profile.trainer.optimizer).__name__: optimizer,
        "waiting for data": waiting,
        "other": other,
    }
    width, memory = max(map(len, rows)), peak_mb()
    lines = [
        f"profile of {profile.steps} steps, {profile.seconds / profile.steps * 1e3:.1f} ms each; the first, which took "
        f"{profile.first or 0:.2f} s, does not count",
        f"{'':<{width}}  {'rung':<12}{'calls':>7}{'forward ms':>12}{'backward ms':>13}{'of step':>9}{'output MB':>11}",
        *(f"{name:<{width}}  {_cells(row, profile)}".rstrip() for name, row in rows.items()),
        "peak resident memory: " + ("unknown" if memory is None else f"{memory:,.0f} MB"),
    ]
    if any(row.fell for row in rows.values()):
        lines.append("!: some calls have numbers that this rung does not cover, and fell to array code")
    if (steps := profile.trainer.gpu_steps) is not None:
        lines.append(
            "without --profile, steps are recorded and replayed as one"
            if steps.refused is None
            else f"also without --profile, steps run as Python: they cannot be recorded ({steps.refused})"
        )
    return "\n".join(lines)


def _cells(row: Row, profile: Profile) -> str:
    rung = row.rung + (f" !{row.fell}" if row.fell else "")
    calls, output = row.calls or "", f"{row.output / 1e6:.2f}" if row.output else ""
    backward = f"{row.backward / profile.steps * 1e3:.2f}" if row.backward else ""
    share = (row.forward + row.backward) / profile.seconds
    return f"{rung:<12}{calls:>7}{row.forward / profile.steps * 1e3:>12.2f}{backward:>13}{share:>9.1%}{output:>11}"


def _label(name: str, shape: tuple[int, ...]) -> str:
    return f"{name} → {'x'.join(map(str, shape))}" if shape else name


def _rung(operation: str, array: Array = None) -> str:
    """The rung that serves an operation; none where it has no ladder."""
    return kernels.get(operation, array).__name__.rpartition(".")[2] if operation in kernels.LADDERS else ""


@contextmanager
def _wrapped(owner: object, method: str, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """Put a method of one object inside another function for a while."""
    setattr(owner, method, wrap(getattr(owner, method)))
    try:
        yield
    finally:
        delattr(owner, method)  # the class's shows again
