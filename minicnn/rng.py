"""The random numbers of initialization, dropout and RReLU: one generator, seeded and saved as a whole."""

from typing import Any

import numpy as np

from minicnn.device import Array, device_of
from minicnn.kernels._gpu.recording import live

_generator = np.random.Generator(np.random.PCG64())


def manual_seed(seed: int) -> None:
    """Start the generator anew: the same seed gives the same networks and the same dropout."""
    global _generator
    _generator = np.random.Generator(np.random.PCG64(seed))


def generator() -> np.random.Generator:
    """The generator in use."""
    return _generator


def get_state() -> dict[str, Any]:
    """The generator's position as plain values that JSON can hold."""
    return dict(_generator.bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Go to a position that `get_state` gave."""
    _generator.bit_generator.state = state


def draw_seed(x: Array) -> int | Array:
    """Draw a seed for kernels that draw by counting: the same on every device, and anew in every recorded step."""
    return _draw_seed() if device_of(x) == "cpu" else live(_draw_seed, np.uint64)


def _draw_seed() -> int:
    return int(generator().integers(1 << 64, dtype="uint64"))
