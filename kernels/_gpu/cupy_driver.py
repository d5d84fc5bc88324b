"""The driver of a real GPU: CuPy compiles the sources, launches them on one stream and captures graphs."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import numpy as np

from minicnn.kernels._gpu.driver import Gpu, Graph, Size
from minicnn.kernels._gpu.sources import HEADERS, Source
from minicnn.kernels.arrays import Array

_STATIC_SHARED = 48 << 10
"""Shared memory that a kernel may have without asking for more."""


class CupyDriver:
    """Everything runs on a stream of its own, since the default stream cannot be captured."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        device = cupy.cuda.Device()
        properties = cupy.cuda.runtime.getDeviceProperties(device.id)
        self.gpu = Gpu(
            properties["name"].decode(),
            (properties["major"], properties["minor"]),
            properties["multiProcessorCount"],
            device.attributes["MaxSharedMemoryPerBlockOptin"],
        )
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self.join()
        self._functions: dict[tuple[Source, str], Any] = {}
        self._modules: dict[Source, Any] = {}
        self._graphs: WeakSet[_CapturedGraph] = WeakSet()
        self._most_bytes = 0

    def join(self) -> None:
        """CuPy's current stream is a matter of each thread."""
        self._stream.use()

    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """Memory from CuPy's pool."""
        return self._cupy.empty(shape, dtype)

    def copy(self, values: Array, to: Array) -> None:
        """By way of pinned memory, which CuPy keeps until it was read: `values` may change as soon as this returns."""
        to[...] = self._cupy.asarray(values)

    def launch(
        self, source: Source, kernel: str, grid: Size, block: Size, arguments: Sequence[Any], shared: int
    ) -> None:
        """Compile the source at its first launch (CuPy keeps what it compiled on disk)."""
        function = self._functions.get((source, kernel))
        if function is None:
            function = self._functions[source, kernel] = self._module(source).get_function(kernel)
        if shared > _STATIC_SHARED and function.max_dynamic_shared_size_bytes < shared:
            function.max_dynamic_shared_size_bytes = shared
        given = tuple(np.uintp(0) if argument is None else argument for argument in arguments)
        function(_three(grid), _three(block), given, shared_mem=shared, stream=self._stream)

    def capture(self, work: Callable[[], object]) -> Graph:
        """Capture with a memory pool that belongs to the graph, so that nobody else gets the memory it works on."""
        pool = self._cupy.cuda.MemoryPool()
        self.most_bytes()  # before they get fewer
        # what the same step left behind as Python, or the card would have to hold it twice
        self._cupy.get_default_memory_pool().free_all_blocks()
        with self._cupy.cuda.using_allocator(pool.malloc):
            self._stream.begin_capture()
            try:
                work()
            except BaseException:
                with suppress(RuntimeError):  # which would hide what went wrong
                    self._stream.end_capture()  # a stream left capturing would refuse everything that follows
                raise
            graph = _CapturedGraph(self._stream.end_capture(), self._stream, pool)
        self._graphs.add(graph)
        return graph

    def most_bytes(self) -> int:
        """Of CuPy's pool and those of all graphs, which hardly ever give back what they took."""
        pools = [self._cupy.get_default_memory_pool(), *(graph.pool for graph in self._graphs)]
        self._most_bytes = max(self._most_bytes, sum(pool.total_bytes() for pool in pools))
        return self._most_bytes

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def _module(self, source: Source) -> Any:
        if source not in self._modules:
            # CuPy names what it keeps on disk by this text alone, without the headers: the digest is of them too
            code = f"{source.path.read_text(encoding='utf-8')}\n// {source.digest()}\n"
            self._modules[source] = self._cupy.RawModule(code=code, options=("-std=c++17", f"-I{HEADERS}"))
        return self._modules[source]


class _CapturedGraph:
    def __init__(self, graph: Any, stream: Any, pool: Any) -> None:
        self._graph, self._stream, self.pool = graph, stream, pool

    def launch(self) -> None:
        self._graph.launch(self._stream)


def _three(size: Size) -> Size:
    return (*size, 1, 1)[:3]
