"""Files and folders that are either whole or not there."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STALE = 3600  # seconds after which a half-built folder is taken for a killed program's, not for a running one's


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    The file is flushed to disk before the rename, so that a crash leaves the old file or the new one, never a part.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _fsync(temporary)
        os.replace(temporary, target)
        _fsync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; it becomes `path` when the block ends well, and is removed otherwise.

    A folder cannot be renamed onto a full one: an old one is moved aside first, and back should that fail.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target)
    building = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    previous = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        building.mkdir()
        yield building
        if target.exists():
            os.replace(target, previous)
        os.replace(building, target)
        _fsync(target.parent)
    finally:
        if previous.exists() and not target.exists():
            os.replace(previous, target)
        shutil.rmtree(previous, ignore_errors=True)
        shutil.rmtree(building, ignore_errors=True)


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files of killed programs from a folder that nobody else is writing to."""
    for left in Path(folder).glob(".*.[0-9]*.tmp"):
        left.unlink(missing_ok=True)


def _remove_stale(target: Path) -> None:
    """Remove what killed programs left behind while they built `target`."""
    for left in target.parent.glob(f".{target.name}.*"):
        if left.suffix in (".tmp", ".old") and time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
