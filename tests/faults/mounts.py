"""Small disks, and folders that cannot be written: by mounts where this process may mount, else by what it may do."""

import ctypes
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

Prepare = Callable[[], object]


@cache
def may_mount() -> bool:
    """Whether this process may mount file systems."""
    with TemporaryDirectory() as folder:
        try:
            with _mounted(Path(folder), "-t", "tmpfs", "-o", "size=64k", "none"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Prepare]:
    """Make an empty folder a disk of so many bytes for the block; what it gives is done first in processes that write.

    Without the right to mount, it is no file that may grow beyond that size.
    """
    folder.mkdir(exist_ok=True)
    if not may_mount():
        yield partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "none"):
        yield lambda: None


def enlarge(folder: Path, size: int) -> None:
    """Give a small disk more room."""
    if may_mount():
        _mount("-o", f"remount,size={size}", str(folder))


@contextmanager
def read_only(folder: Path) -> Iterator[Prepare]:
    """Let nobody write to a folder for the block: by a mount."""
    with _mounted(folder, "--bind", str(folder)):
        _mount("-o", "remount,bind,ro", str(folder))
        yield lambda: None


@contextmanager
def not_mine(folder: Path) -> Iterator[Prepare]:
    """Take the right to write to a folder away for the block; root, who may write anywhere, gives that power up."""
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    try:
        yield _give_up_power if os.geteuid() == 0 else lambda: None
    finally:
        folder.chmod(mode)


def _give_up_power() -> None:
    """Lose all of root's capabilities: from here on rights count (capset(2), version 3: two sets of three words)."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def _mounted(folder: Path, *arguments: str) -> Iterator[None]:
    _mount(*arguments, str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
