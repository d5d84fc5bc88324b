"""Runs a Numba CUDA kernel as plain Python, thread by thread, and stops at what a GPU would do silently wrong.

The kernel's name `cuda` is bound to a stand-in, and every thread is a greenlet: a function that can be left in the
middle, at a barrier, while the others catch up. Blocks and threads run in an order of choice, always the same for a
seed. A kernel stops with KernelError at

    an index outside of an array, negative ones too (Python would count from the end, a GPU reads what lies before)
    a read of shared or local memory that nobody has written
    a race: two threads at one element, at least one writing, and no barrier between them (between blocks there is none)
    threads at different barriers, or at a barrier after others have left
    a shuffle that not all of its lanes take part in, or from a lane that does not
    a block or shared memory larger than any GPU has

What it cannot show: types (Numba infers float64 from a Python float), speed, and a GPU's order of memory.
"""

import random
import sys
from collections.abc import Callable, Sequence
from contextvars import copy_context
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import numpy as np
from greenlet import getcurrent, greenlet

from tests.emulator.simulated_memory import KernelError, Memory, Stamp

ORDERS = ("forward", "reverse", "random")

WARP = 32
_MOST_THREADS = 1024
_SHARED_BYTES = 48 << 10
_EXTENTS = (2**31 - 1, 65535, 65535)


class Dim3(NamedTuple):
    """Indices or extents."""

    x: int = 1
    y: int = 1
    z: int = 1


class Site(NamedTuple):
    """Where in the kernel a thread waits."""

    code: CodeType
    instruction: int
    line: int


class Wait(NamedTuple):
    """What a thread waits for: its block, or the lanes of a mask, to each of whom it offers a value."""

    site: Site
    mask: int | None = None
    value: Any = None
    source: Callable[[int], int] | None = None


class Thread(greenlet):
    """One thread of a block."""

    def __init__(self, run: Callable[..., None], block: int, index: Dim3, number: int) -> None:
        super().__init__(run)
        self.gr_context = copy_context()  # NumPy's error state, which a greenlet does not inherit
        self.index, self.number = index, number
        self.stamp = Stamp(block, number, number // WARP, 0, 0)
        self.wait: Wait | None = None
        self.answer: Any = None

    @property
    def lane(self) -> int:
        return self.number % WARP

    def __str__(self) -> str:
        return f"thread {tuple(self.index)} of block {self.stamp.block}"


class Simulator:
    """Launches kernels as minicnn.kernels._gpu.numba_launch does: `use(Simulator("reverse").launch)`."""

    def __init__(self, order: str = "forward", seed: int = 0) -> None:
        assert order in ORDERS
        self._order, self._random = order, random.Random(seed)

    def launch(
        self, kernel: Callable[..., None], grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any]
    ) -> None:
        """Run `kernel` for every thread; raises KernelError where it does something wrong."""
        extents, threads = Dim3(*grid), Dim3(*block)
        if not all(0 < extent <= most for extent, most in zip(extents, _EXTENTS, strict=True)):
            raise KernelError(f"no GPU has a grid of {tuple(grid)} blocks")
        if not 0 < threads.x * threads.y * threads.z <= _MOST_THREADS or threads.z > 64:
            raise KernelError(f"no GPU has a block of {tuple(block)} threads")
        names = kernel.__code__.co_varnames
        given = [_as_memory(value, name) for value, name in zip(arguments, names, strict=False)]
        with np.errstate(all="ignore"):
            for index in self.ordered(_indices(extents)):
                _Block(self, kernel, given, (extents, index), threads).run()

    def ordered(self, items: list[Any]) -> list[Any]:
        """Who goes first."""
        if self._order == "reverse":
            return items[::-1]
        return self._random.sample(items, len(items)) if self._order == "random" else items


class _Block:
    """A block while it runs; for its threads, the module `cuda`."""

    warpsize = WARP

    def __init__(
        self, simulator: Simulator, kernel: Any, arguments: list[Any], place: tuple[Dim3, Dim3], extents: Dim3
    ) -> None:
        self._simulator, self._arguments = simulator, arguments
        (self.gridDim, self.blockIdx), self.blockDim = place, extents
        self.shared, self.local = _Shared(), _Local()
        number = (self.blockIdx.z * self.gridDim.y + self.blockIdx.y) * self.gridDim.x + self.blockIdx.x
        function = FunctionType(
            kernel.__code__, {**kernel.__globals__, "cuda": self}, kernel.__name__, None, kernel.__closure__
        )
        self._threads = [Thread(function, number, index, n) for n, index in enumerate(_indices(extents))]

    def run(self) -> None:
        for thread in self._simulator.ordered(self._threads):
            thread.switch(*self._arguments)
        while live := [thread for thread in self._threads if not thread.dead]:
            if not (self._release_warps(live) or self._release_block(live)):
                places = sorted({thread.wait.site.line for thread in live if thread.wait})
                raise KernelError(f"threads wait for each other for ever, at lines {places}")
            for thread in self._simulator.ordered([thread for thread in live if thread.wait is None]):
                thread.switch()

    def _release_block(self, live: list[Thread]) -> bool:
        """Let all threads go on that have met at one barrier; raises KernelError where they never will."""
        sites = {thread.wait.site for thread in live if thread.wait}
        if any(thread.wait and thread.wait.mask is not None for thread in live):
            return False
        if len(sites) > 1:
            raise KernelError(f"barriers diverge: threads wait at lines {sorted(site.line for site in sites)}")
        if len(live) < len(self._threads):
            left = len(self._threads) - len(live)
            raise KernelError(
                f"{left} of {len(self._threads)} threads left before the barrier at line {sites.pop().line}"
            )
        for thread in live:
            thread.stamp = thread.stamp._replace(block_phase=thread.stamp.block_phase + 1)
            thread.wait = None
        return True

    def _release_warps(self, live: list[Thread]) -> bool:
        """Let the lanes go on that have all met at one shuffle or warp barrier; whether there were any."""
        waiting: dict[tuple[int, Site, int], dict[int, Thread]] = {}
        for thread in live:
            if thread.wait and thread.wait.mask is not None:
                key = (thread.stamp.warp, thread.wait.site, thread.wait.mask)
                waiting.setdefault(key, {})[thread.lane] = thread
        released = False
        for (warp, site, mask), lanes in waiting.items():
            named = {lane for lane in range(WARP) if mask >> lane & 1}
            there = {thread.lane for thread in live if thread.stamp.warp == warp}
            if not named <= there:
                raise KernelError(
                    f"line {site.line}: lanes {sorted(named - there)} of warp {warp} have left, or never were"
                )
            if not lanes.keys() <= named:
                raise KernelError(f"line {site.line}: lanes {sorted(lanes.keys() - named)} are not in their own mask")
            if lanes.keys() == named:
                _exchange(lanes, site)
                released = True
        return released

    def _wait(self, mask: int | None = None, value: Any = None, source: Callable[[int], int] | None = None) -> Any:
        thread = getcurrent()
        frame = sys._getframe(2)
        thread.wait = Wait(Site(frame.f_code, frame.f_lasti, frame.f_lineno), mask, value, source)
        thread.parent.switch()
        return thread.answer

    # What kernels call

    @property
    def threadIdx(self) -> Dim3:  # noqa: N802
        return getcurrent().index

    @property
    def laneid(self) -> int:
        return getcurrent().lane

    def grid(self, axes: int) -> Any:
        sizes = zip(self.blockIdx, self.blockDim, self.threadIdx, strict=True)
        places = tuple(block * extent + thread for block, extent, thread in sizes)
        return places[0] if axes == 1 else places[:axes]

    def gridsize(self, axes: int) -> Any:
        sizes = tuple(grid * block for grid, block in zip(self.gridDim, self.blockDim, strict=True))
        return sizes[0] if axes == 1 else sizes[:axes]

    def syncthreads(self) -> None:
        self._wait()

    def syncwarp(self, mask: int = 0xFFFFFFFF) -> None:
        self._wait(mask)

    def shfl_sync(self, mask: int, value: Any, lane: int) -> Any:
        return self._wait(mask, value, lambda _: lane % WARP)

    def shfl_down_sync(self, mask: int, value: Any, distance: int) -> Any:
        return self._wait(mask, value, lambda lane: lane + distance if lane + distance < WARP else lane)

    def shfl_up_sync(self, mask: int, value: Any, distance: int) -> Any:
        return self._wait(mask, value, lambda lane: lane - distance if lane >= distance else lane)

    def shfl_xor_sync(self, mask: int, value: Any, bits: int) -> Any:
        return self._wait(mask, value, lambda lane: lane ^ bits)


class _Shared:
    """Memory of the block: one array for each place in the kernel that asks, whichever thread comes first."""

    def __init__(self) -> None:
        self._arrays: dict[Site, Memory] = {}

    def array(self, shape: int | tuple[int, ...], dtype: Any) -> Memory:
        frame = sys._getframe(1)
        site = Site(frame.f_code, frame.f_lasti, frame.f_lineno)
        if site not in self._arrays:
            self._arrays[site] = Memory.poisoned(shape, dtype, f"shared memory of line {site.line}")
            if sum(memory.nbytes for memory in self._arrays.values()) > _SHARED_BYTES:
                raise KernelError(f"line {site.line}: more than {_SHARED_BYTES} bytes of shared memory")
        return self._arrays[site]


class _Local:
    """Memory of a thread: a new array whenever it asks."""

    def array(self, shape: int | tuple[int, ...], dtype: Any) -> Memory:
        return Memory.poisoned(shape, dtype, f"local memory of line {sys._getframe(1).f_lineno}")


def _exchange(lanes: dict[int, Thread], site: Site) -> None:
    for lane, thread in lanes.items():
        wait = thread.wait
        assert wait is not None
        if wait.source is None:  # syncwarp, which orders memory; shuffles do not
            thread.stamp = thread.stamp._replace(warp_phase=thread.stamp.warp_phase + 1)
            continue
        other = lanes.get(wait.source(lane))
        if other is None or other.wait is None:
            raise KernelError(f"line {site.line}: lane {lane} reads from lane {wait.source(lane)}, which takes no part")
        thread.answer = other.wait.value
    for thread in lanes.values():
        thread.wait = None


def _as_memory(value: Any, name: str) -> Any:
    """Arrays as kernels see them; NumPy arrays, and the stand-ins for GPU arrays, which hold one."""
    array = getattr(value, "_memory", value)
    return Memory(array, name) if isinstance(array, np.ndarray) else value


def _indices(extents: Dim3) -> list[Dim3]:
    """x runs fastest, as it does in warps."""
    return [Dim3(x, y, z) for z in range(extents.z) for y in range(extents.y) for x in range(extents.x)]
