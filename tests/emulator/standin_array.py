"""The stand-in's array: NumPy memory behind CuPy's manners (see cupy_standin.py)."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicnn.kernels._gpu import driver as seam

traffic: Counter[str] = Counter()
"""What crossed between the computer's memory and the GPU's so far: "reads", each of which would wait, and "uploads"."""

_SCALARS = (bool, int, float, np.generic)


class ndarray:  # noqa: N801 - CuPy's name
    """An array that only CuPy's functions take: no NumPy function, no NumPy array beside it, no silent copy back."""

    __array_ufunc__ = None  # NumPy's operators leave `numpy_thing * array` to ours

    def __init__(self, memory: np.ndarray) -> None:
        self._memory = memory

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct one.")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} on an array of the GPU: use the module that made it")

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self._memory.shape

    @property
    def dtype(self) -> np.dtype:
        return self._memory.dtype

    @property
    def ndim(self) -> int:
        return self._memory.ndim

    @property
    def size(self) -> int:
        return self._memory.size

    @property
    def nbytes(self) -> int:
        return self._memory.nbytes

    @property
    def itemsize(self) -> int:
        return self._memory.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        return self._memory.strides

    @property
    def flags(self) -> Any:
        return self._memory.flags

    @property
    def base(self) -> "ndarray | None":
        return None if self._memory.base is None else ndarray(self._memory.base)

    def __len__(self) -> int:
        return len(self._memory)

    def __iter__(self) -> Iterator["ndarray"]:
        return (self[number] for number in range(len(self)))

    # What waits for the GPU

    def get(self, *_: Any, **__: Any) -> np.ndarray:
        refuse_while_capturing("a copy to the computer's memory")
        traffic["reads"] += 1
        return self._memory.copy()

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self) -> bytes:
        return self.get().tobytes()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.ndim == 0 else repr(self), spec)

    def set(self, values: np.ndarray, stream: Any = None) -> None:
        refuse_while_capturing("a copy from the computer's memory")
        if not isinstance(values, np.ndarray) or (values.shape, values.dtype) != (self.shape, self.dtype):
            raise TypeError(f"set: expected a NumPy array {self.shape} {self.dtype}, got {values!r}")
        traffic["uploads"] += 1
        self._memory[...] = values

    # Views

    @property
    def T(self) -> "ndarray":  # noqa: N802
        return ndarray(self._memory.T)

    def transpose(self, *axes: Any) -> "ndarray":
        return ndarray(self._memory.transpose(*axes))

    def swapaxes(self, first: int, second: int) -> "ndarray":
        return ndarray(self._memory.swapaxes(first, second))

    def squeeze(self, axis: Any = None) -> "ndarray":
        return ndarray(self._memory.squeeze(axis))

    def view(self, dtype: Any = None) -> "ndarray":
        return ndarray(self._memory.view() if dtype is None else self._memory.view(dtype))

    def reshape(self, *shape: Any) -> "ndarray":
        """A view where there can be one, else a copy in C order."""
        memory = self._memory.reshape(*shape)
        if np.may_share_memory(memory, self._memory):
            return ndarray(memory)
        return compute(lambda source: source.reshape(memory.shape), self)

    def ravel(self) -> "ndarray":
        return self.reshape(-1)

    # Copies

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True) -> Any:
        if not copy and self.dtype == dtype:
            return self
        return compute(lambda source: source.astype(dtype), self, order=order)

    def copy(self, order: str = "C") -> "ndarray":
        return compute(np.copy, self, order=order)

    def flatten(self) -> "ndarray":
        return self.copy().ravel()

    def fill(self, value: Any) -> None:
        self[...] = value

    def __copy__(self) -> "ndarray":
        return self.copy()

    def __deepcopy__(self, _: Any) -> "ndarray":
        return self.copy()

    # Elements

    def __getitem__(self, key: Any) -> "ndarray":
        parts, advanced = _index(self, key)
        if advanced:
            refuse_while_capturing("an index array")
            return ndarray(self._memory[parts])
        return ndarray(self._memory[parts if ... in parts else (*parts, ...)])  # "..." so that it is never a scalar

    def __setitem__(self, key: Any, value: Any) -> None:
        parts, advanced = _index(self, key)
        if advanced:
            refuse_while_capturing("an index array")
        if isinstance(value, np.ndarray):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        source = operand(value)
        run(lambda: self._memory.__setitem__(parts, source))

    def take(self, indices: Any, axis: int | None = None) -> "ndarray":
        refuse_while_capturing("take")
        return ndarray(np.asarray(self._memory.take(operand(indices), axis, mode="wrap")))


def operand(value: Any) -> Any:
    """What NumPy computes with in place of an operand; TypeError for what CuPy takes for none."""
    if isinstance(value, ndarray):
        return value._memory
    if isinstance(value, _SCALARS):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def compute(function: Callable[..., Any], *operands: Any, out: ndarray | None = None, order: str = "C") -> ndarray:
    """An element-wise kernel: run it, or record it while a step is captured.

    Like CuPy's kernels it gives C order, whatever its operands have, and warns of nothing.
    """
    given = [operand(value) for value in operands]
    if out is not None:
        target = operand(out)

        def into_out() -> None:
            with np.errstate(all="ignore"):
                function(*given, out=target)

        run(into_out)
        return out
    with np.errstate(all="ignore"):
        result = np.array(function(*given), order=order, copy=None)  # type: ignore[call-overload]
    if capturing():
        result.fill(_poison(result.dtype))  # nothing has run: who reads it now is wrong

        def again() -> None:
            with np.errstate(all="ignore"):
                result[...] = function(*given)

        run(again)
    return ndarray(result)


def reduction(name: str, function: Callable[..., Any], *operands: Any, out: Any = None, **options: Any) -> ndarray:
    """Whatever takes temporary memory or cuBLAS: it cannot be captured."""
    refuse_while_capturing(name)
    with np.errstate(all="ignore"):
        result = np.asarray(function(*(operand(value) for value in operands), **options))
    if out is None:
        return ndarray(result)
    out._memory[...] = result
    return ndarray(out._memory)


def capturing() -> bool:
    """Whether the driver in force records a step."""
    return getattr(seam._driver, "capturing", False)


def run(work: Callable[[], None]) -> None:
    """Do it now; while a step is captured, in every replay instead."""
    if capturing():
        seam.driver().record(work)  # type: ignore[attr-defined] # the emulator's
    else:
        work()


def refuse_while_capturing(what: str) -> None:
    """Raise RuntimeError for what a recorded step cannot hold."""
    if capturing():
        raise RuntimeError(f"{what} while a step is captured")


def _poison(dtype: np.dtype) -> Any:
    return np.nan if dtype.kind in "fcV" else 0 if dtype.kind == "b" else np.iinfo(dtype).max


def _index(array: ndarray, key: Any) -> tuple[tuple[Any, ...], bool]:
    """The key as NumPy takes it, and whether it has index arrays; their numbers wrap around, as in CuPy."""
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(part, ndarray | np.ndarray | list) for part in parts):
        return parts, False
    plain: list[Any] = []
    axis = 0
    named = sum(_axes(part) for part in parts)
    for part in parts:
        if part is ...:
            axis += array.ndim - named
            plain.append(part)
            continue
        if isinstance(part, ndarray | np.ndarray | list):
            part = part._memory if isinstance(part, ndarray) else np.asarray(part)
            if part.dtype.kind == "b":
                traffic["reads"] += 1  # how many are set decides the shape
            elif array.shape[axis]:
                part = part % array.shape[axis]
        plain.append(part)
        axis += _axes(part)
    return tuple(plain), True


def _axes(part: Any) -> int:
    """How many dimensions a part of an index is for."""
    if part is None or part is ...:
        return 0
    return part.ndim if isinstance(part, ndarray | np.ndarray) and part.dtype.kind == "b" else 1


def _operators() -> None:
    """Python's operators, each by the NumPy function of the same meaning."""
    binary = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "floordiv": np.floor_divide,
        "mod": np.remainder, "pow": np.power, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
        "lshift": np.left_shift, "rshift": np.right_shift,
    }  # fmt: skip
    compared = {
        "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
        "ne": np.not_equal,
    }  # fmt: skip
    for name, function in (binary | compared).items():
        setattr(ndarray, f"__{name}__", lambda self, other, f=function: compute(f, self, other))
    for name, function in binary.items():
        setattr(ndarray, f"__r{name}__", lambda self, other, f=function: compute(f, other, self))
        setattr(ndarray, f"__i{name}__", lambda self, other, f=function: compute(f, self, other, out=self))
    for name, function in {"neg": np.negative, "abs": np.abs, "invert": np.invert, "pos": np.positive}.items():
        setattr(ndarray, f"__{name}__", lambda self, f=function: compute(f, self))
    ndarray.__matmul__ = lambda self, other: reduction("matmul", np.matmul, self, other)
    for name in ("sum", "prod", "max", "min", "mean", "var", "std", "all", "any", "argmax", "argmin", "cumsum", "dot"):
        setattr(ndarray, name, _reducing(name))


def _reducing(name: str) -> Callable[..., ndarray]:
    function = getattr(np, name)

    def method(self: ndarray, *arguments: Any, out: Any = None, **options: Any) -> ndarray:
        others = [operand(value) if isinstance(value, ndarray) else value for value in arguments]
        return reduction(name, lambda own: function(own, *others, **options), self, out=out)

    return method


_operators()
