"""CUDA C++ sources: one `cuda.cu` in the folder of its operation, and the headers that they share here."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

KERNELS = Path(__file__).resolve().parent.parent
HEADERS = Path(__file__).resolve().parent


class Source(NamedTuple):
    """The CUDA source of an operation, found by the name of its folder."""

    operation: str

    @property
    def path(self) -> Path:
        """The file."""
        return KERNELS / self.operation / "cuda.cu"

    def digest(self) -> str:
        """A hash of the source and of every header that it may include: it names what was compiled or measured."""
        return _digest(self.path)

    def launch(
        self, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any, shared: int = 0
    ) -> None:
        """Run one of its kernels on the driver in force; see Driver.launch."""
        from minicnn.kernels._gpu.driver import driver

        driver().launch(self, kernel, grid, block, arguments, shared)


@cache
def _digest(path: Path) -> str:
    text = hashlib.sha256(path.read_bytes())
    for header in sorted(HEADERS.glob("*.h")):
        text.update(header.read_bytes())
    return text.hexdigest()[:16]


def all_sources() -> list[Source]:
    """Every operation that has CUDA C++."""
    return [Source(path.parent.name) for path in sorted(KERNELS.glob("*/cuda.cu"))]
