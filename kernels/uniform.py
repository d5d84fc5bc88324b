"""Random numbers by counting: number i of a seed, worked out anywhere, in any order, on any device.

So nothing random is kept for backward, and no generator has to go through all elements one after the other. With all
values of 32 bits,

    mix(h):    h ^= h >> 16;  h *= 0x7feb352d;  h ^= h >> 15;  h *= 0x846ca68b;  h ^= h >> 16
    bits:      mix(mix(i ^ low half of seed) + high half of seed) >> 8
    uniform:   bits / 2**24, in [0, 1)

Here as plain Python, which is the definition, and as array code; in `_cpu/uniform.py` and `_gpu/uniform.h` as compiled.
Sources: the constants, C. Wellons, "Prospecting for hash functions", 2018; numbers by counting, J. Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

import math
from types import ModuleType
from typing import Any

from minicnn.kernels.arrays import Array


def uniform(seed: int, number: int) -> float:
    """Number `number` of `seed`, in [0, 1)."""
    low, high = seed % (1 << 32), seed >> 32
    return math.ldexp(_mix((_mix(number ^ low) + high) % (1 << 32)) >> 8, -24)


def bits_of(xp: ModuleType, seed: int | Array, piece: slice) -> Array:
    """The 24 bits of each number of a piece, uint32; `seed` is a number or an array (1,) of uint64."""
    h = xp.arange(piece.start, piece.stop, dtype=xp.uint32)
    low, high = _halves(xp, seed)
    h ^= low
    _mix_in_place(h)
    h += high
    _mix_in_place(h)
    h >>= 8
    return h


def _halves(xp: ModuleType, seed: int | Array) -> tuple[Any, Any]:
    """The low and the high 32 bits."""
    if isinstance(seed, int):
        return xp.uint32(seed % (1 << 32)), xp.uint32(seed >> 32)
    return seed.astype(xp.uint32), (seed >> 32).astype(xp.uint32)


def _mix(h: int) -> int:
    h = (h ^ h >> 16) * 0x7FEB352D % (1 << 32)
    h = (h ^ h >> 15) * 0x846CA68B % (1 << 32)
    return h ^ h >> 16


def _mix_in_place(h: Array) -> None:
    h ^= h >> 16
    h *= 0x7FEB352D
    h ^= h >> 15
    h *= 0x846CA68B
    h ^= h >> 16
