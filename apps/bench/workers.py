"""The processes of a benchmark: one for each mode, so that no thread pool or allocator disturbs another."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import minicnn
from minicnn.device import Device
from minicnn.errors import UserError

TUNED_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""The C library then keeps freed memory, and PyTorch asks for huge pages: without it a step is full of page faults."""

PEER_MODES = {
    "torch": ("eager", "channels_last", "compile", "compile+channels_last"),
    "onnxruntime": ("onnxruntime",),
}
"""How each peer is run on the CPU; each of them also with a tuned allocator."""

GPU_MODES = {"torch": ("channels_last", "compile+channels_last", "max-autotune+channels_last")}
"""How each peer is run on a GPU, whose memory has an allocator of its own."""

_AS_INSTALLED: tuple[str, str, dict[str, str]] = ("peer", "", {})
_SIDES: dict[Device, tuple[tuple[str, str, dict[str, str]], ...]] = {
    "cpu": (_AS_INSTALLED, ("tuned peer", ", tuned allocator", TUNED_ALLOCATOR)),
    "gpu": (_AS_INSTALLED,),
}

_INSTALL = {"torch": "pip install torch --index-url https://download.pytorch.org/whl/cpu"}
"""Where not `pip install` and the name: PyTorch's usual build brings gigabytes for GPUs."""

_LAST_WORDS = 10.0
"""Seconds that a worker has to end by itself."""


class WorkerError(Exception):
    """A mode that does not run; the message is the reason in one line."""


class Contestant(NamedTuple):
    """One line of the result.

    Attributes:
        name: what the result calls it.
        side: "ours", "ours, 1 thread", "peer" or "tuned peer".
        command: what to run.
        environment: of that process.
    """

    name: str
    side: str
    command: list[str]
    environment: dict[str, str]


def check_peer(against: str, python: str) -> None:
    """Raise UserError, with what to do, where `python` is none, or lacks what the peer's worker imports."""
    probe = f"from importlib.util import find_spec as f; print(*(m for m in ('numpy', {against!r}) if f(m) is None))"
    try:
        done = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"--peer-python {python}: cannot be run ({error.strerror})") from error
    if done.returncode:
        raise UserError(f"--peer-python {python}: expected a Python, it ended with code {done.returncode}")
    if missing := done.stdout.split():
        install = " && ".join(_INSTALL.get(module, f"pip install {module}") for module in missing)
        raise UserError(
            f"{python} lacks {' and '.join(missing)}: {install}, or name the Python that has it by --peer-python PATH"
        )


def contestants(against: str, peer_python: str, folder: Path, threads: int, device: Device = "cpu") -> list[Contestant]:
    """Ours, on the CPU ours with one thread where there are more, and the peer in all its modes."""
    # a copy: Python looks for modules beside a script first, and ours are called `train` and `kernels`
    script = shutil.copy(Path(__file__).with_name("peer_worker.py"), folder)
    ours = [Contestant("ours", "ours", *_own(folder, threads))]
    if threads > 1 and device == "cpu":
        ours.append(Contestant("ours, 1 thread", "ours, 1 thread", *_own(folder, 1)))
    peers = [
        Contestant(
            name + suffix,
            side,
            [peer_python, str(script), str(folder), name, str(threads)],
            {**os.environ, **changes},
        )
        for side, suffix, changes in _SIDES[device]
        for name in (PEER_MODES if device == "cpu" else GPU_MODES)[against]
    ]
    return ours + peers


def _own(folder: Path, threads: int) -> tuple[list[str], dict[str, str]]:
    """Command and environment of our worker: as a user would run minicnn, and the same minicnn as this one."""
    # -P: a folder that we happen to be started in is no place to find modules
    command = [sys.executable, "-P", "-m", "minicnn.apps.bench.own_worker", str(folder), "ours", str(threads)]
    root = str(Path(minicnn.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return command, {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class Worker:
    """A process that answers each question, a line on its stdin, by a line of JSON on its stdout."""

    def __init__(self, contestant: Contestant, log: Path) -> None:
        self.contestant, self.log = contestant, log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                contestant.command,
                env=contestant.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.questions, self.answers = self.process.stdin, self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ready(self) -> dict[str, str]:
        """Wait until it is; returns what it says of itself, or raises WorkerError."""
        return self._answer()

    def ask(self, question: str) -> dict[str, Any]:
        """The answer to a question; raises WorkerError with the reason where there is none."""
        with suppress(BrokenPipeError):  # where it has ended, what it said last tells why
            self.questions.write(question + "\n")
            self.questions.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):
            self.questions.close()  # which tells it that there are no more
        try:
            self.process.wait(_LAST_WORDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.answers.close()

    def _answer(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            raise WorkerError(self._how_it_ended())
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise WorkerError(f"expected an answer in JSON, got {line.strip()[:80]!r}") from None
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _how_it_ended(self) -> str:
        self.close()
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip()]
        return f"the process ended with code {self.process.returncode}" + (f": {said[-1]}" if said else "")
