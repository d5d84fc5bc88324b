"""The driver that runs CUDA sources on the CPU, in place of the one of a real GPU.

It is stricter than a GPU: arguments are checked against the parameters in the source, array arguments lie between
pages that cannot be touched, memory that nobody has written is NaN, and threads run one after another in an order that
can be chosen. A kernel that is right gives the same bits in every order. See cuemu.cpp for what it cannot see.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.kernels._gpu.driver import Gpu, Size
from minicnn.kernels._gpu.sources import Source
from tests.emulator import build
from tests.emulator.guarded import GuardedArrays

ORDERS = ("forward", "reverse", "random")
"""How the threads of a block, and the blocks, take turns."""

_GRID_LIMITS = ((1 << 31) - 1, 65535, 65535)
_BLOCK_LIMITS = (1024, 1024, 64)
_THREADS = 1024
_KINDS = {"f": "f", "i": "i", "u": "u", "b": "u"}
"""NumPy's letter for the kind of a number to the one in a signature."""


class EmulatorError(RuntimeError):
    """A launch that a GPU would refuse, or a kernel that does what a GPU does not define."""


class _Launch(ctypes.Structure):
    """cuemu::Launch."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("order", ctypes.c_uint),
        ("seed", ctypes.c_uint),
        ("written_count", ctypes.c_uint),
        ("written", ctypes.c_void_p),
    )


class EmulatorDriver:
    """Fulfils `minicnn.kernels._gpu.driver.Driver`.

    A launch takes some 50 us, and every thread 50 ns at its start and each time that it waits for others: hundreds of
    times what multiplying takes, so that the optimizer of a small network is quick, and a big convolution is not.
    Orders other than "forward" add a comparison of all memory that a kernel may write, after each block.

    Args:
        order: one of ORDERS.
        seed: of the random order.
        planted: sources to compile in place of an operation's own.
    """

    # as much shared memory as the smallest GPUs with these instructions have, so that what runs here runs on all
    gpu = Gpu("emulator", (8, 6), 4, 99 << 10)

    def __init__(
        self,
        order: str = "forward",
        seed: int = 0,
        planted: dict[str, build.Compilable] | None = None,
    ) -> None:
        self._order = ORDERS.index(order)
        self._seed = seed
        self._planted = planted or {}
        self._works: list[Callable[[], None]] | None = None

    @property
    def capturing(self) -> bool:
        """Whether what is asked for is written down instead of done."""
        return self._works is not None

    def record(self, work: Callable[[], None]) -> None:
        """Do `work` in each launch of the graph that is being captured.

        It must hold on to the arrays it works on: nothing that was captured is freed before its graph is, so that
        their memory is never used for something else in between.
        """
        if self._works is None:
            raise RuntimeError("nothing is being captured")
        self._works.append(work)

    def join(self) -> None:
        """Everything is done at once, in whatever thread."""

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Memory full of NaN."""
        import cupy

        array = cupy.empty(shape, dtype)
        memory_of(array).reshape(-1).view(np.uint8)[...] = 0xFF
        return array

    def copy(self, values: Any, to: Any) -> None:
        """Copy now; refused while capturing, as the memory copied from would be gone at the replay."""
        self._refuse_in_capture("a copy from NumPy")
        memory = memory_of(to)
        if values.shape != memory.shape or values.dtype != memory.dtype:
            raise ValueError(f"copy of {values.dtype} {values.shape} to {memory.dtype} {memory.shape}")
        memory[...] = values

    def launch(self, source: Any, kernel: str, grid: Size, block: Size, arguments: Sequence[Any], shared: int) -> None:
        """Run a kernel; see Driver.launch. Raises EmulatorError."""
        name = f"{source.operation}/{kernel}"
        compiled = _kernel(self._planted.get(source.operation, source), kernel)
        how = self._shape(name, grid, block, shared)
        given = [memory_of(argument) for argument in arguments]
        _check_arguments(name, compiled.signature, given)
        if self._works is None:
            compiled.run(name, how, given)
        else:
            self._works.append(lambda: compiled.run(name, how, given))

    def capture(self, work: Callable[[], None]) -> "EmulatedGraph":
        """Write down what `work` asks for."""
        self._refuse_in_capture("a capture")
        works = self._works = []
        try:
            work()
        finally:
            self._works = None
        return EmulatedGraph(self, works)

    def most_bytes(self) -> int:
        """Nothing, since nothing is on a GPU."""
        return 0

    def synchronize(self) -> None:
        """Nothing is ever under way."""
        self._refuse_in_capture("waiting for the GPU")

    def _refuse_in_capture(self, what: str) -> None:
        if self.capturing:
            raise RuntimeError(f"{what} inside a captured step")

    def _shape(self, name: str, grid: Size, block: Size, shared: int) -> _Launch:
        grid, block = (*grid, 1, 1)[:3], (*block, 1, 1)[:3]
        for what, size, limits in (("grid", grid, _GRID_LIMITS), ("block", block, _BLOCK_LIMITS)):
            if not all(1 <= extent <= limit for extent, limit in zip(size, limits, strict=True)):
                raise EmulatorError(f"{name}: {what} {size}, expected 1 to {limits}")
        if np.prod(block) > _THREADS:
            raise EmulatorError(f"{name}: {np.prod(block)} threads in a block, expected at most {_THREADS}")
        if not 0 <= shared <= self.gpu.shared_bytes:
            raise EmulatorError(f"{name}: {shared} bytes of shared memory, expected at most {self.gpu.shared_bytes}")
        return _Launch(grid, block, shared, self._order, self._seed)


class EmulatedGraph:
    """What was captured, in order; it keeps alive the arrays that it works on."""

    def __init__(self, driver: EmulatorDriver, works: list[Callable[[], None]]) -> None:
        self._driver, self._works = driver, works

    def launch(self) -> None:
        """Do it once more."""
        self._driver._refuse_in_capture("the launch of a graph")
        for work in self._works:
            work()


def memory_of(argument: Any) -> Any:
    """The NumPy memory of a GPU array; everything else as it is."""
    return getattr(argument, "_memory", argument)


class _Kernel:
    """A compiled kernel: its parameters, four letters each (see cuemu.h), and a way to run it."""

    def __init__(self, path: Path, name: str) -> None:
        runtime = _runtime()
        library = ctypes.PyDLL(str(path))  # keeps Python's lock: the emulator runs one launch at a time
        try:
            self._launch = getattr(library, f"{name}_launch")
        except AttributeError:
            raise EmulatorError(f"{path.name} has no kernel {name}: is MC_EXPORT({name}) missing?") from None
        self._launch.restype = ctypes.c_bool
        self._message = runtime.cuemu_message
        text = ctypes.create_string_buffer(1 << 10)
        library[f"{name}_signature"](text)
        letters = text.value.decode()
        self.signature = tuple(letters[i : i + 4] for i in range(0, len(letters), 4))

    def run(self, name: str, how: _Launch, arguments: list[Any]) -> None:
        """Run it on copies of the arrays that lie between forbidden pages."""
        arrays = GuardedArrays(arguments, [parameter[3] == "w" for parameter in self.signature])
        try:
            values = np.zeros(len(arguments), np.uint64)
            for number, argument in enumerate(arguments):
                if number in arrays.pointers:
                    values[number] = arrays.pointers[number]
                elif argument is not None:
                    values[number : number + 1].view(argument.dtype)[0] = argument
            pointers = (ctypes.c_void_p * len(values))(*(values.ctypes.data + 8 * i for i in range(len(values))))
            ranges = arrays.written()
            how.written_count, how.written = len(ranges), ranges.ctypes.data
            if not self._launch(ctypes.byref(how), pointers):
                raise EmulatorError(f"{name}: {arrays.explain(self._message().decode())}")
            if fault := arrays.overrun():
                raise EmulatorError(f"{name}: {fault}")
            arrays.copy_back()
        finally:
            arrays.release()


@cache
def _kernel(source: build.Compilable, name: str) -> _Kernel:
    # what is compiled for one test alone is compiled quickly
    path = build.library(source) if isinstance(source, Source) else build.library(source, build.FAST_TO_COMPILE)
    return _Kernel(path, name)


@cache
def _runtime() -> ctypes.PyDLL:
    library = ctypes.PyDLL(str(build.runtime()), ctypes.RTLD_GLOBAL)  # the libraries of kernels find it there
    library.cuemu_message.restype = ctypes.c_char_p
    return library


def _check_arguments(name: str, signature: tuple[str, ...], arguments: list[Any]) -> None:
    if len(arguments) != len(signature):
        raise EmulatorError(f"{name}: {len(arguments)} arguments for {len(signature)} parameters")
    for number, (parameter, argument) in enumerate(zip(signature, arguments, strict=True)):
        fault = _fault(parameter, argument)
        if fault:
            raise EmulatorError(f"{name}: argument {number}: {fault}")


def _fault(parameter: str, argument: Any) -> str | None:
    pointer, kind, size, access = tuple(parameter)
    if pointer != "*":
        if not isinstance(argument, np.generic):
            return f"expected a NumPy scalar, got a {type(argument).__name__}"
        dtype = argument.dtype
        fits = _KINDS.get(dtype.kind) == kind and str(dtype.itemsize) == size
        return None if fits else f"{dtype} for a parameter of kind {kind}{size}"
    if argument is None:
        return None
    if not isinstance(argument, np.ndarray):
        return f"expected an array or None, got a {type(argument).__name__}"
    if access == "w" and not argument.flags.writeable:
        return "a read-only array for a pointer that is not const"
    # unsigned integers are how kernels look at bits: those of bfloat16, of booleans, of packed pairs
    fits = kind in "uv" or _KINDS.get(argument.dtype.kind) in ((kind, "u") if kind == "i" else (kind,))
    fits = fits and (kind == "v" or size == str(argument.dtype.itemsize))
    return None if fits else f"an array of {argument.dtype} for a pointer to {kind}{size}"
