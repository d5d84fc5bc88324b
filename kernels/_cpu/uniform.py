"""Random numbers by counting (kernels/uniform.py), worked out in registers, a vector of them at a time."""

from typing import Any

import numpy as np

from minicnn.kernels._cpu.jit import compiled

INT: Any = np.uint32  # Numba makes 64 bits of two times 32, so that each step has to be cut off


def halves(seed: int) -> tuple[Any, Any]:
    """The low and the high 32 bits of a seed."""
    return INT(seed % (1 << 32)), INT(seed >> 32)


@compiled
def bits_of(number: Any, low: Any, high: Any) -> Any:
    """24 random bits."""
    return INT(_mix(INT(_mix(INT(number ^ low)) + high)) >> INT(8))


@compiled
def _mix(h: Any) -> Any:
    h = INT(INT(h ^ INT(h >> INT(16))) * INT(0x7FEB352D))
    h = INT(INT(h ^ INT(h >> INT(15))) * INT(0x846CA68B))
    return INT(h ^ INT(h >> INT(16)))
