"""The ladder of kernels: which version of each hot operation runs where.

A hot operation has a folder here, with one file a rung. Every rung has the same functions with the same arguments
and gives the same answers, so that a slow and obvious one can be held against a fast one:

    reference   plain loops over every element: the definition
    im2col      array code, for NumPy and CuPy alike: what the tutorials teach (named after what it does to a
                convolution: lay the windows out as columns, so that one matrix product does the work)
    cpu         Numba and BLAS, for float32 NumPy arrays: what training on the CPU runs

`fast`, the default, is the last rung that runs on the device. Kernels take and return arrays, never Tensors.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from minicnn.kernels.arrays import Array, is_numpy

LADDERS: dict[str, tuple[str, ...]] = {
    "conv2d": ("reference", "im2col", "cpu"),
    "conv_block": ("reference", "im2col", "cpu"),
    "linear": ("reference", "im2col", "cpu"),
    "max_pool2d": ("reference", "im2col", "cpu"),
    "avg_pool2d": ("reference", "im2col", "cpu"),
    "batch_norm": ("reference", "im2col", "cpu"),
    "cross_entropy": ("reference", "im2col"),
    "dropout": ("reference", "im2col", "cpu"),
    "sgd": ("reference", "im2col", "cpu"),
    "adam": ("reference", "im2col", "cpu"),
}
"""The rungs of each hot operation, slowest first."""

CHOICES = ("reference", "im2col", "fast")
"""What a user may ask for (`--kernels`)."""

_NOT_ON_GPU = ("reference", "cpu")

_chosen = "fast"
_fallen: Counter[str] = Counter()


def get(operation: str, array: Array = None) -> ModuleType:
    """The module that serves `operation` at the chosen rung, on the device that `array` is on (None: the CPU)."""
    ladder = LADDERS[operation]
    if array is not None and not is_numpy(array):
        ladder = tuple(rung for rung in ladder if rung not in _NOT_ON_GPU)
    rung = _chosen if _chosen in ladder else ladder[-1]
    return import_module(f"minicnn.kernels.{operation}.{rung}")


def fall_back(operation: str) -> ModuleType:
    """The array code of `operation`, for numbers that its fast rung does not cover; counted in `fallbacks`."""
    _fallen[operation] += 1
    return import_module(f"minicnn.kernels.{operation}.im2col")


def fallbacks() -> dict[str, int]:
    """How often each operation fell back to array code so far."""
    return dict(_fallen)


def chosen() -> str:
    """The rung that is in force: one of CHOICES."""
    return _chosen


def choose(rung: str) -> None:
    """Use `rung` for every operation from now on; raises ValueError for a name not in CHOICES."""
    global _chosen
    if rung not in CHOICES:
        raise ValueError(f"kernels: expected one of {', '.join(CHOICES)}, got {rung!r}")
    _chosen = rung


@contextmanager
def using(rung: str) -> Iterator[None]:
    """Use `rung` inside a `with` block."""
    before = _chosen
    choose(rung)
    try:
        yield
    finally:
        choose(before)
