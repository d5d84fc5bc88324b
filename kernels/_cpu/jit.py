"""How the CPU rungs are compiled: by Numba, once for each machine, and kept on disk.

A compiled kernel runs without Python's lock (`nogil`), so that the threads of kernels/parallel.py run it side by side.
The cache is keyed by all kernel sources, Numba's version and the CPU: Numba by itself looks only at the file of the
function it compiles, and would serve a stale kernel after an edit to one that it calls.
"""

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config, event

from minicnn.kernels._cpu import vector

F = TypeVar("F", bound=Callable[..., Any])

# Sums may be reordered, so that they use vectors; not assumed is that there are no NaN and no infinities.
_REORDERED = {"contract", "reassoc", "nsz", "arcp"}
_ours: set[str] = set()


def compiled(function: F) -> F:
    """Compile `function` at its first call with each kind of arguments; the result is called like `function`."""
    return _compiled(function, fastmath=False)


def compiled_reordered(function: F) -> F:
    """The same, and the compiler may reorder sums. Only for what Python calls and no compiled function does.

    The compiler reorders differently where it copies a function into its caller, and whether the copy or the original
    runs depends on what came out of the cache. Whoever trains again must get the same bits.
    """
    return _compiled(function, fastmath=_REORDERED)


def _compiled(function: F, fastmath: Any) -> F:
    folder = cache_folder()
    with _caching_in(folder):
        dispatcher = numba.njit(nogil=True, fastmath=fastmath, error_model="numpy", cache=folder is not None)(function)
    if folder is not None:
        _forgive_disk_errors(dispatcher)
    _ours.add(f"{function.__module__}.{function.__qualname__}")
    return cast(F, dispatcher)


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: under $MINICNN_CACHE, $XDG_CACHE_HOME/minicnn or ~/.cache/minicnn.

    None where nothing can be written there: kernels are then compiled anew by each process.
    """
    home = os.environ.get("MINICNN_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "minicnn")
    try:
        folder = Path(home).expanduser() / f"kernels-{_key()}"
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError):  # RuntimeError: no home folder to expand ~ to
        return None
    return folder


def _key() -> str:
    """Changes with anything that the machine code depends on."""
    digest = hashlib.sha256(repr((numba.__version__, sys.version, vector.describe())).encode())
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _caching_in(folder: Path | None) -> Iterator[None]:
    """Numba reads the folder when a function is decorated; other users of Numba keep theirs."""
    before = config.CACHE_DIR
    config.CACHE_DIR = before if folder is None else str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


def _forgive_disk_errors(dispatcher: Any) -> None:
    """A full disk or a damaged cache file costs the time to compile, not the run."""
    cache = dispatcher._cache
    save, load = cache.save_overload, cache.load_overload

    def save_if_possible(*args: Any) -> None:
        with suppress(OSError):
            try:
                save(*args)
            except OSError:
                raise
            except Exception:  # whatever unpickling half an index raises: begin a new one
                cache.flush()
                save(*args)

    def load_if_possible(*args: Any) -> Any:
        try:
            return load(*args)
        except Exception:
            return None

    cache.save_overload, cache.load_overload = save_if_possible, load_if_possible


class _Announcement(event.Listener):  # type: ignore[misc]
    """Says once that kernels are being compiled, since the first step then takes a while."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if not self.said and f"{function.__module__}.{function.__qualname__}" in _ours:
            self.said = True
            print("minicnn: compiling the CPU kernels for this machine, once", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


event.register("numba:compile", _Announcement())
