"""A stand-in for CuPy, so that all code of `--device gpu` runs in tests where there is no GPU.

It has CuPy's manners and none of its speed: arrays are NumPy memory that no NumPy function and no NumPy array may
meet, numbers come back only where they are asked for (and are counted), elementwise kernels give C order, index
arrays wrap around instead of raising. It offers only what CuPy 14 has under the same name (cupy_names.txt lists
that), and of that only what this project uses. While the driver in force captures a step, elementwise operations
and copies are recorded and everything else raises RuntimeError, as a capture on a real GPU would fail.

What it cannot know: the bits of CuPy's own kernels, the time anything takes, and how memory is reused.
"""

import builtins
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.emulator.standin_array import compute, ndarray, operand, reduction, refuse_while_capturing, traffic

bool_, int8, int16, int32, int64 = np.bool_, np.int8, np.int16, np.int32, np.int64
uint8, uint16, uint32, uint64 = np.uint8, np.uint16, np.uint32, np.uint64
float16, float32, float64, dtype = np.float16, np.float32, np.float64, np.dtype
inf, nan, pi, newaxis = np.inf, np.nan, np.pi, None

_AT = ("add", "maximum", "minimum")
"""The ufuncs of CuPy that have `at`."""


class _Ufunc:
    """An element-wise function; CuPy's have no `where`."""

    def __init__(self, name: str) -> None:
        self.name, self._function = name, getattr(np, name)

    def __call__(self, *operands: Any, out: ndarray | None = None, dtype: Any = None) -> ndarray:
        if len(operands) > self._function.nin:
            *operands, out = operands  # type: ignore[assignment]
        if dtype is None:
            return compute(self._function, *operands, out=out)
        return compute(lambda *given, **o: self._function(*given, dtype=dtype, **o), *operands, out=out)

    def at(self, array: ndarray, index: Any, values: Any) -> None:
        if self.name not in _AT:
            raise NotImplementedError(f"`cupy_{self.name}.at` is not supported yet")
        if array.dtype not in ("int32", "float16", "float32", "float64", "uint32", "uint64"):
            raise TypeError(f"scatter_{self.name} does not support {array.dtype}")
        refuse_while_capturing(f"{self.name}.at")
        parts = index if isinstance(index, tuple) else (index,)
        self._function.at(
            array._memory, tuple(p._memory if isinstance(p, ndarray) else p for p in parts), operand(values)
        )


def _define(names: str, make: Callable[[str], Any]) -> None:
    for name in names.split():
        globals()[name] = make(name)


_define(
    "abs absolute add arctan2 bitwise_and bitwise_or bitwise_xor ceil cos divide equal exp expm1 floor floor_divide "
    "fmax fmin fmod greater greater_equal invert isfinite isinf isnan left_shift less less_equal log log1p logical_and "
    "logical_not logical_or logical_xor maximum minimum mod multiply negative not_equal power reciprocal remainder "
    "right_shift rint sign sin sqrt square subtract tanh true_divide trunc",
    _Ufunc,
)


def where(condition: Any, x: Any, y: Any) -> ndarray:
    return compute(np.where, condition, x, y)


def clip(a: Any, a_min: Any, a_max: Any, out: ndarray | None = None) -> ndarray:
    return compute(np.clip, a, a_min, a_max, out=out)


def nan_to_num(x: Any) -> ndarray:
    return compute(np.nan_to_num, x)


# Reductions and products


def _reduction(name: str) -> Callable[..., ndarray]:
    function = getattr(np, name)

    def call(*operands: Any, axis: Any = None, **options: Any) -> ndarray:
        first, *rest = operands
        if not isinstance(first, ndarray):
            raise TypeError(f"{name}: expected an array of the GPU, got a {type(first).__name__}")
        return reduction(name, lambda *given: function(*given, axis=axis, **options), first, *rest)

    return call


def _product(name: str) -> Callable[..., ndarray]:
    return lambda *operands, **options: reduction(name, getattr(np, name), *operands, **options)


_define("sum prod mean max min amax amin argmax argmin all any var std cumsum", _reduction)
_define("dot matmul tensordot vdot outer", _product)
linalg = SimpleNamespace(norm=lambda x, **options: reduction("norm", np.linalg.norm, x, **options))


def einsum(subscripts: str, *operands: Any) -> ndarray:
    return reduction("einsum", lambda *given: np.einsum(subscripts, *given), *operands)


# Making arrays


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(np.empty(shape, dtype, order))  # type: ignore[call-overload]


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    array = empty(shape, np.array(operand(fill_value)).dtype if dtype is None else dtype, order)
    array.fill(fill_value)
    return array


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype, order)


def empty_like(prototype: ndarray, dtype: Any = None, order: str = "K") -> ndarray:
    return ndarray(np.empty_like(operand(prototype), dtype, order))


def zeros_like(a: ndarray, dtype: Any = None, order: str = "K") -> ndarray:
    return full_like(a, 0, dtype, order)


def ones_like(a: ndarray, dtype: Any = None, order: str = "K") -> ndarray:
    return full_like(a, 1, dtype, order)


def full_like(a: ndarray, fill_value: Any, dtype: Any = None, order: str = "K") -> ndarray:
    array = empty_like(a, dtype, order)
    array.fill(fill_value)
    return array


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    first, last = (0, start) if stop is None else (start, stop)
    return compute(lambda: np.arange(first, last, step, dtype))


def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", ndmin: int = 0) -> ndarray:
    if isinstance(obj, ndarray):
        same = (dtype is None or obj.dtype == dtype) and (order == "K" or obj.flags.c_contiguous)
        return obj if same and not copy else obj.astype(obj.dtype if dtype is None else dtype, order)
    if isinstance(obj, list | tuple) and builtins.any(isinstance(item, ndarray) for item in obj):
        return stack([asarray(item, dtype) for item in obj])
    refuse_while_capturing("a copy from the computer's memory")
    traffic["uploads"] += 1
    return ndarray(np.array(obj, dtype=dtype, order="C", ndmin=ndmin))


def asarray(a: Any, dtype: Any = None, order: str | None = None) -> ndarray:
    return array(a, dtype, copy=False, order=order or "K")


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    given = array(a, dtype, copy=False, order="C")
    return given if given.ndim else given.reshape(1)


def copy(a: ndarray, order: str = "K") -> ndarray:
    return a.copy(order)


def copyto(dst: ndarray, src: Any) -> None:
    dst[...] = src


def asnumpy(a: Any) -> np.ndarray:
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def get_array_module(*arrays: Any) -> ModuleType | Any:
    import cupy

    return cupy if builtins.any(isinstance(array, ndarray) for array in arrays) else np


# Moving elements


def _view(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def call(a: ndarray, *arguments: Any, **options: Any) -> Any:
        views = function(operand(a), *arguments, **options)
        return [ndarray(view) for view in views] if isinstance(views, list) else ndarray(views)

    return call


def _moved(name: str) -> Callable[..., ndarray]:
    """Joining takes a table of pointers, which would have to be copied to the GPU."""
    function = getattr(np, name)
    return lambda arrays, axis=0: reduction(name, lambda *given: function(given, axis=axis), *arrays)


_define("atleast_1d broadcast_to expand_dims moveaxis split squeeze swapaxes transpose", _view)
concatenate, stack = _moved("concatenate"), _moved("stack")


def ravel(a: ndarray) -> ndarray:
    return a.ravel()


def reshape(a: ndarray, shape: Any) -> ndarray:
    return a.reshape(shape)


def pad(array: ndarray, pad_width: Any, mode: str = "constant", **options: Any) -> ndarray:
    return reduction("pad", lambda given: np.pad(given, pad_width, mode, **options), array)


def flip(a: ndarray, axis: Any = None) -> ndarray:
    return ndarray(np.flip(operand(a), axis))


def put_along_axis(arr: ndarray, indices: ndarray, values: Any, axis: int) -> None:
    refuse_while_capturing("put_along_axis")
    np.put_along_axis(operand(arr), operand(indices), operand(values), axis)


def take_along_axis(a: ndarray, indices: ndarray, axis: int) -> ndarray:
    return reduction("take_along_axis", lambda *given: np.take_along_axis(*given, axis), a, indices)


def take(a: ndarray, indices: Any, axis: int | None = None) -> ndarray:
    return a.take(indices, axis)


def may_share_memory(a: Any, b: Any) -> bool:
    return bool(np.may_share_memory(operand(a), operand(b)))


shares_memory = may_share_memory


# The machine


class OutOfMemoryError(MemoryError):
    """CuPy's, as cupy.cuda.memory.OutOfMemoryError."""


class CUDARuntimeError(RuntimeError):
    """CuPy's, as cupy.cuda.runtime.CUDARuntimeError."""


class _Device:
    """One GPU with 8 GiB, of which nothing is taken."""

    compute_capability = "90"
    mem_info = (8 << 30, 8 << 30)

    def __init__(self, number: int = 0) -> None:
        self.id = number

    def synchronize(self) -> None:
        """Everything is done already."""


cuda = SimpleNamespace(
    Device=_Device,
    is_available=lambda: True,
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"stand-in"},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
    ),
)
__version__ = "14.2.0"


def names(section: str) -> set[str]:
    """The public names of `cupy`, `cupy.ndarray` or `cupy.cuda` in CuPy 14.2."""
    listed = (Path(__file__).parent / "cupy_names.txt").read_text().split("\n\n")
    return next(set(part.split()[1:]) for part in listed if part.split()[0] == section)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    why = "the stand-in does not have it yet" if name in names("cupy") else "CuPy has no such name"
    raise AttributeError(f"cupy.{name}: {why}")
