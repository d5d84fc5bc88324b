"""Compiles CUDA sources for the emulator with g++, and keeps what it compiled on disk.

A source becomes a shared library of its own; what runs it (the .cpp files beside this one) is compiled once. Both are
named by a hash of all that went in, under $MINICNN_CACHE, $XDG_CACHE_HOME/minicnn or ~/.cache/minicnn.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from minicnn.kernels._gpu.sources import HEADERS

EMULATOR = Path(__file__).resolve().parent

# Kernels look at the same memory as one type and another, which g++ would take as a promise that they do not.
_FLAGS = ("-std=c++17", "-fPIC", "-shared", "-fno-strict-aliasing", "-Wall")
_KERNEL_FLAGS = (
    *_FLAGS,
    "-ffp-contract=off",  # the same bits on every CPU
    "-Wno-unknown-pragmas",  # unroll
    "-Wno-sign-compare",  # threadIdx is unsigned, and everybody compares it with int
    "-fvisibility=hidden", "-fno-gnu-unique",  # each library has its own shared memory, whatever its name
    "-fsanitize=alignment,bounds", "-nodefaultlibs",  # without libubsan: checks.cpp takes its place
    f"-I{EMULATOR}", f"-I{HEADERS}",
)  # fmt: skip

FAST_TO_RUN, FAST_TO_COMPILE = "-O1", "-O0"
"""-O2 takes twice as long to compile as -O1 and hardly runs faster: what takes the time is the emulator."""

_KEPT_SECONDS = 3 * 24 * 3600


class CompileError(Exception):
    """A source that g++ does not take, or no g++."""


class Compilable(Protocol):
    """What `library` needs of a `kernels._gpu.sources.Source`, or of a copy of one with a mistake."""

    operation: str

    @property
    def path(self) -> Path: ...

    def digest(self) -> str: ...


class FileSource(NamedTuple):
    """A source that is no operation's: `Compilable` by the hash of its file and the headers as they are now."""

    operation: str
    path: Path

    def digest(self) -> str:
        return _digest([self.path, *self.path.parent.glob("*.h"), *HEADERS.glob("*.h")])


def runtime(*defines: str) -> Path:
    """The library that runs kernels."""
    sources = tuple(sorted(EMULATOR.glob("*.cpp")))
    return _cached("runtime", sources, ("-O2", *_FLAGS, *defines), _emulator_digest())


def library(source: Compilable, optimize: str = FAST_TO_RUN) -> Path:
    """The library of a source's kernels.

    Raises CompileError with the compiler's first message.
    """
    parts = f"{_emulator_digest()}-{source.digest()}"
    return _cached(source.operation, (source.path,), (optimize, *_KERNEL_FLAGS), parts)


def warnings(source: Compilable) -> str:
    """What g++ has to say about a source."""
    return _compile((source.path,), (*_KERNEL_FLAGS, "-fsyntax-only"), Path(os.devnull))


def _emulator_digest() -> str:
    return _digest([*EMULATOR.glob("*.h"), *EMULATOR.glob("*.cpp")])


def _digest(paths: list[Path]) -> str:
    text = hashlib.sha256()
    for path in sorted(paths):
        text.update(path.read_bytes())
    return text.hexdigest()[:16]


def _cached(name: str, sources: tuple[Path, ...], flags: tuple[str, ...], digest: str) -> Path:
    key = hashlib.sha256(f"{digest} {flags}".encode()).hexdigest()[:16]
    target = cache_folder() / f"{name}-{key}.so"
    if target.exists():
        target.touch()
    else:
        _forget_unused(target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:  # other processes may be compiling the same
            compiled = Path(scratch) / target.name
            _compile(sources, flags, compiled)
            compiled.replace(target)
    return target


def _forget_unused(folder: Path) -> None:
    """Every change of a kernel leaves libraries behind that nobody will ask for again."""
    for path in folder.glob("*.so"):
        with suppress(FileNotFoundError):  # another process forgets them too
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                path.unlink()


def cache_folder() -> Path:
    """Where what was compiled is kept."""
    home = os.environ.get("MINICNN_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "minicnn")
    folder = Path(home).expanduser() / "emulator"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _compile(sources: tuple[Path, ...], flags: tuple[str, ...], target: Path) -> str:
    compiler = shutil.which("g++")
    if compiler is None:
        raise CompileError("the emulator of CUDA kernels needs g++: on Debian, apt-get install g++")
    command = [compiler, *flags, "-x", "c++", *map(str, sources), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error:" in line), done.stderr.strip())
        raise CompileError(first)
    return done.stderr
