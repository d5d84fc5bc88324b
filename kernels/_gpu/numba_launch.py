"""How the Numba CUDA kernels of `cuda_numba.py` rungs are launched, on a GPU or in the tests' simulator.

A kernel is a plain Python function of arrays and numbers. It is compiled when it is first launched with arguments of
a kind, so that a machine without a GPU can import it, read it and run it as Python.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicnn.kernels._gpu.recording import recording
from minicnn.kernels.arrays import Array, array_module

Kernel = Callable[..., None]
Size = tuple[int, ...]
"""One to three extents of a grid or a block, x first."""

Launcher = Callable[[Kernel, Size, Size, Sequence[Any]], None]

THREADS = 256
"""Threads of a block where the kernel leaves the choice: eight warps, which any GPU can keep in one multiprocessor."""

MAX_BLOCKS = 2048
"""Blocks of a grid whose threads go on in strides: several for each multiprocessor, and no more."""

_launcher: Launcher | None = None


def launch(kernel: Kernel, grid: Size, block: Size, *arguments: Any) -> None:
    """Run `kernel` in `grid` blocks of `block` threads, on GPU arrays, NumPy scalars, integers and tuples of them.

    Floats have to be `np.float32`: Numba takes Python's for float64, which GPUs compute at a fraction of the speed.
    Raises RuntimeError in a recorded step, which would repeat today's learning rate for ever.
    """
    if recording():
        raise RuntimeError("Numba kernels cannot be recorded: their numbers are fixed at the launch")
    if 0 not in grid:  # an empty batch: CUDA refuses a grid without blocks
        (_launcher or _launch_on_gpu)(kernel, grid, block, arguments)


def launch_flat(kernel: Kernel, count: int, *arguments: Any) -> None:
    """Run a kernel whose threads walk over `count` elements in strides of the whole grid."""
    launch(kernel, (min(blocks(count, THREADS), MAX_BLOCKS),), (THREADS,), *arguments)


def blocks(count: int, each: int) -> int:
    """How many blocks it takes where a block does `each` of `count`."""
    return -(-count // each)


def use(launcher: Launcher | None) -> None:
    """Launch all Numba kernels through `launcher` from now on; None goes back to the GPU."""
    global _launcher
    _launcher = launcher


def covers(*arrays: Array) -> bool:
    """Whether the Numba rungs take these arrays: float32 alone."""
    return all(array.dtype == np.float32 for array in arrays)


def contiguous(array: Array) -> Array:
    """`array` in C order, copied where its memory is in another one: a kernel is compiled for each kind of order."""
    return array_module(array).ascontiguousarray(array)


def _launch_on_gpu(kernel: Kernel, grid: Size, block: Size, arguments: Sequence[Any]) -> None:
    """On CuPy's current stream, so that what CuPy does before and after needs no waiting for."""
    import cupy
    from numba import cuda
    from numba.core.errors import NumbaPerformanceWarning

    stream = cuda.external_stream(cupy.cuda.get_current_stream().ptr)
    # Numba would synchronize the stream for each CuPy array that it is given (NUMBA_CUDA_ARRAY_INTERFACE_SYNC)
    given = [cuda.as_cuda_array(value, sync=False) if isinstance(value, cupy.ndarray) else value for value in arguments]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)  # small grids are small pictures, not a mistake
        configured = _compiled(kernel)[grid, block, stream]
    configured(*given)


@functools.cache
def _compiled(kernel: Kernel) -> Any:
    from numba import cuda

    return cuda.jit(kernel)
