"""Files and folders that are either whole or not there."""

import ctypes
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STALE = 3600  # seconds after which a half-built folder is taken for a killed program's, not for a running one's
_HERE, _EXCHANGE = -100, 2  # Linux's AT_FDCWD and RENAME_EXCHANGE


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    The file is flushed to disk before the rename, so that a crash leaves the old file or the new one, never a part.
    An error that names no file (a full disk's), or the temporary one, names `path`.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _fsync(temporary)
        os.replace(temporary, target)
        _fsync(target.parent)
    except OSError as error:
        if error.errno and (error.filename is None or str(error.filename) == str(temporary)):
            error.filename = str(target)
        raise
    finally:
        with suppress(OSError):  # where nothing can be written nothing can be removed: the first error says why
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; it becomes `path` when the block ends well, and is removed otherwise.

    A folder cannot be renamed onto a full one. Linux exchanges the two in one step; elsewhere the old one is moved
    aside first, and back should that fail.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target)
    building = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    previous = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        building.mkdir()
        yield building
        if not (target.exists() and _exchange(building, target)):
            if target.exists():
                os.replace(target, previous)
            os.replace(building, target)
        _fsync(target.parent)
    finally:
        if previous.exists() and not target.exists():
            os.replace(previous, target)
        shutil.rmtree(previous, ignore_errors=True)
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep a folder to this process for the block; raises BlockingIOError where another process has it.

    The kernel lifts the lock when the process ends, in whatever way. Windows, and file systems that know no locks, have
    none: there every process gets in.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a network file system
            pass
        yield
    finally:
        os.close(descriptor)


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files of killed programs from a folder that nobody else is writing to."""
    for left in Path(folder).glob(".*.[0-9]*.tmp"):
        left.unlink(missing_ok=True)


def _remove_stale(target: Path) -> None:
    """Remove what killed programs left behind while they built `target`."""
    for left in target.parent.glob(f".{target.name}.*"):
        if left.suffix in (".tmp", ".old") and time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step, so that no moment is without either; False where the system has no such step."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return False
    return bool(rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
