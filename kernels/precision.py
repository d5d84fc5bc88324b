"""How exactly the GPU multiplies: float32, or operands rounded for tensor cores, always summed in float32.

    float32     everything as on the CPU
    tf32        convolutions and dense layers round their operands to 10 bits of mantissa; arrays stay float32
    bfloat16    they round them to 7 bits, and a conv_block gives bfloat16 arrays; parameters, their gradients, the
                statistics of normalization and the optimizer stay float32 (the master weights)

A CPU rung knows float32 and float64 alone. Source: P. Micikevicius et al., "Mixed precision training", 2018.
"""

from collections.abc import Iterator
from contextlib import contextmanager

CHOICES = ("float32", "tf32", "bfloat16")
"""What a user may ask for (`--precision`)."""

_chosen = "float32"


def chosen() -> str:
    """The precision in force: one of CHOICES."""
    return _chosen


@contextmanager
def using(precision: str) -> Iterator[None]:
    """Use `precision` inside a `with` block; raises ValueError for a name not in CHOICES."""
    global _chosen
    if precision not in CHOICES:
        raise ValueError(f"precision: expected one of {', '.join(CHOICES)}, got {precision!r}")
    before, _chosen = _chosen, precision
    try:
        yield
    finally:
        _chosen = before
