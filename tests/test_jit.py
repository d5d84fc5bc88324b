"""The compile cache: kept on disk, never stale, and never needed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F
from minicnn.kernels.max_pool2d import cpu as max_pool2d
from tests.properties.layouts import LAYOUTS

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
import one
print(one.double(3))
"""

KERNEL = """
from minicnn.kernels._cpu.jit import compiled

@compiled
def double(x):
    return x * {factor}
"""


def run(folder: Path, cache: Path, factor: int = 2, prelude: str = "") -> tuple[str, str]:
    """Import a kernel in a new process and call it; what was printed, and on stderr."""
    source = folder / "one.py"
    if not source.exists() or source.read_text() != KERNEL.format(factor=factor):  # older Numbas go by a file's time
        source.write_text(KERNEL.format(factor=factor))
    done = subprocess.run(
        [sys.executable, "-c", prelude + PROGRAM.format(folder=str(folder))],
        env={"MINICNN_CACHE": str(cache), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_the_first_process_says_that_it_compiles_and_the_second_finds_it_done(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert run(tmp_path, cache) == ("6", "minicnn: compiling the CPU kernels for this machine, once")
    assert run(tmp_path, cache) == ("6", "")


def test_the_folder_is_another_one_when_a_kernels_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minicnn.kernels._cpu import jit

    before = jit._key()
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"edited")
    assert jit._key() != before


def test_the_folder_is_another_one_for_another_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from minicnn.kernels._cpu import jit, vector

    before = jit._key()
    monkeypatch.setattr(vector, "describe", lambda: {"cpu": "another"})
    assert jit._key() != before


def test_a_folder_that_cannot_be_written_costs_only_the_time_to_compile(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    for _ in range(2):  # for there is no folder, nothing is kept
        assert run(tmp_path, blocked) == ("6", "minicnn: compiling the CPU kernels for this machine, once")


def test_a_full_disk_costs_only_the_time_to_compile(tmp_path: Path) -> None:
    full = (
        "import numba.core.caching as c\n"
        "def no_space(*a): raise OSError(28, 'No space left on device')\n"
        "c.IndexDataCacheFile.save = no_space\n"
    )
    assert run(tmp_path, tmp_path / "cache", prelude=full)[0] == "6"


def test_damaged_cache_files_are_compiled_anew(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(tmp_path, cache)
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:20])
    assert run(tmp_path, cache)[0] == "6"
    assert run(tmp_path, cache) == ("6", "")


@pytest.mark.parametrize("layout", ["read-only", "unaligned", "repeated"])
def test_images_of_any_layout_meet_the_same_machine_code(layout: str) -> None:
    images, pool = np.ones((2, 3, 4, 4), np.float32), max_pool2d._pool
    F.max_pool2d(Tensor(images), 2)
    known = list(pool.signatures)
    F.max_pool2d(Tensor(LAYOUTS[layout](images)), 2)
    assert list(pool.signatures) == known
