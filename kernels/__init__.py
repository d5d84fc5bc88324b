"""The ladder of kernels: which version of each hot operation runs where.

A hot operation has a folder here, with one file a rung. Every rung has the same functions with the same arguments
and gives the same answers, so that a slow and obvious one can be held against a fast one:

    reference   plain loops over every element: the definition
    im2col      array code, for NumPy and CuPy alike: what the tutorials teach (named after what it does to a
                convolution: lay the windows out as columns, so that one matrix product does the work)
    cpu         Numba and BLAS, for float32 NumPy arrays: what training on the CPU runs
    cuda_numba  Numba CUDA: short kernels to read a GPU's ways from; a GPU runs them where asked for by name
    cuda        CUDA C++, for float32 and bfloat16 CuPy arrays: what training on a GPU runs

`fast`, the default, is the last rung that runs on the device. Kernels take and return arrays, never Tensors.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from minicnn.kernels.arrays import Array, is_numpy

LADDERS: dict[str, tuple[str, ...]] = {
    "conv2d": ("reference", "im2col", "cpu", "cuda_numba", "cuda"),
    "conv_block": ("reference", "im2col", "cpu", "cuda_numba", "cuda"),
    "linear": ("reference", "im2col", "cpu", "cuda_numba", "cuda"),
    "max_pool2d": ("reference", "im2col", "cpu", "cuda_numba", "cuda"),
    "avg_pool2d": ("reference", "im2col", "cpu"),
    "batch_norm": ("reference", "im2col", "cpu", "cuda"),
    "cross_entropy": ("reference", "im2col", "cuda_numba", "cuda"),
    "dropout": ("reference", "im2col", "cpu", "cuda"),
    "rrelu": ("reference", "im2col", "cpu", "cuda"),
    "reduce": ("reference", "im2col", "cuda_numba", "cuda"),
    "sgd": ("reference", "im2col", "cpu", "cuda_numba", "cuda"),
    "adam": ("reference", "im2col", "cpu", "cuda"),
    "augment": ("reference", "im2col", "cuda"),
}
"""The rungs of each hot operation, slowest first."""

CHOICES = ("reference", "im2col", "numba", "fast")
"""What a user may ask for (`--kernels`); "numba" is the rung `cuda_numba` on a GPU, and the CPU's own Numba rung."""

_ON_CPU = ("reference", "im2col", "cpu")
_ON_GPU = ("im2col", "cuda_numba", "cuda")

_chosen = "fast"
_fallen: Counter[str] = Counter()


def get(operation: str, array: Array = None) -> ModuleType:
    """The module that serves `operation` at the chosen rung, on the device that `array` is on (None: the CPU)."""
    on_gpu = array is not None and not is_numpy(array)
    return import_module(f"minicnn.kernels.{operation}.{_rung(operation, on_gpu)}")


def rungs(operation: str, device: str = "cpu") -> list[str]:
    """The rungs of an operation that run on a device, slowest first."""
    there = _ON_CPU if device == "cpu" else _ON_GPU
    return [rung for rung in LADDERS[operation] if rung in there]


def _rung(operation: str, on_gpu: bool) -> str:
    ladder = rungs(operation, "gpu" if on_gpu else "cpu")
    wanted = {"numba": "cuda_numba" if on_gpu else "cpu"}.get(_chosen, _chosen)
    if wanted in ladder:
        return wanted
    if on_gpu and wanted != "fast":
        return "im2col"  # array code is the plainest that a GPU runs, and what a missing rung is compared with
    return ladder[-1]


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
