"""The one seam between the GPU rungs and whatever runs their kernels: a GPU through CuPy, or an emulator in the tests.

Everything above it (launch shapes, arguments, buffers, the order of a step) is the same for both, so that all of it
is tested where there is no GPU.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from minicnn.kernels._gpu.sources import Source
from minicnn.kernels.arrays import Array

Size = tuple[int, ...]
"""One to three extents of a grid or a block, x first."""


class Gpu(NamedTuple):
    """What a launch needs to know of the GPU.

    Attributes:
        name: as the maker calls it.
        capability: its compute capability, (9, 0) for Hopper.
        multiprocessors: how many blocks run side by side at least.
        shared_bytes: shared memory that one block may ask for.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    shared_bytes: int


class Graph(Protocol):
    """Launches that were captured, to be run again as one."""

    def launch(self) -> None:
        """Run them in the order in which they were captured, on the memory that they were captured with."""


class Driver(Protocol):
    """What GPU rungs ask of the machine; everything happens in the order asked for, on one stream."""

    gpu: Gpu

    def join(self) -> None:
        """Have this thread's array code happen in that order too; the thread that made the driver needs no asking."""

    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """Memory on the GPU, not initialized."""

    def copy(self, values: Array, to: Array) -> None:
        """Copy a NumPy array into a GPU array of the same shape and dtype."""

    def launch(
        self, source: Source, kernel: str, grid: Size, block: Size, arguments: Sequence[Any], shared: int
    ) -> None:
        """Run `kernel` of `source`.

        Arguments are GPU arrays (which arrive as pointers to their first element), None (a null pointer) and NumPy
        scalars of the size that the kernel declares; `shared` is its dynamic shared memory in bytes.
        """

    def capture(self, work: Callable[[], object]) -> Graph:
        """Record what `work` launches without running it."""

    def most_bytes(self) -> int:
        """The most memory of the GPU that this process has taken for arrays so far."""

    def synchronize(self) -> None:
        """Wait until everything asked for is done; raises what went wrong since."""


_driver: Driver | None = None


def driver() -> Driver:
    """The driver in force: CuPy's unless `use` named another."""
    global _driver
    if _driver is None:
        from minicnn.kernels._gpu.cupy_driver import CupyDriver

        _driver = CupyDriver()
    return _driver


def use(other: Driver | None) -> None:
    """Run all kernels on another driver from now on; None goes back to CuPy's."""
    global _driver
    _driver = other
