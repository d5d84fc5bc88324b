"""The ladder of kernels: which version of each hot operation runs where.

A hot operation has a folder here, with one file a rung. Every rung has the same functions with the same arguments
and gives the same answers, so that a slow and obvious one can be held against a fast one:

    reference   plain loops over every element: the definition
    im2col      array code, for NumPy and CuPy alike: what the tutorials teach (named after what it does to a
                convolution: lay the windows out as columns, so that one matrix product does the work)

`fast`, the default, is the last rung of the device's ladder. Kernels take and return arrays, never Tensors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

LADDERS: dict[str, tuple[str, ...]] = {
    "conv2d": ("reference", "im2col"),
    "conv_block": ("reference", "im2col"),
    "max_pool2d": ("reference", "im2col"),
    "avg_pool2d": ("reference", "im2col"),
    "batch_norm": ("reference", "im2col"),
    "cross_entropy": ("reference", "im2col"),
    "dropout": ("reference", "im2col"),
    "sgd": ("reference", "im2col"),
    "adam": ("reference", "im2col"),
}
"""The rungs of each hot operation, slowest first."""

CHOICES = ("reference", "im2col", "fast")
"""What a user may ask for (`--kernels`)."""

_chosen = "fast"


def get(operation: str) -> ModuleType:
    """The module that serves `operation` at the chosen rung."""
    ladder = LADDERS[operation]
    rung = _chosen if _chosen in ladder else ladder[-1]
    return import_module(f"minicnn.kernels.{operation}.{rung}")


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
