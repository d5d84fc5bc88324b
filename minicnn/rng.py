"""The random numbers of initialization, dropout and RReLU: one generator, seeded and saved as a whole."""

from typing import Any

import numpy as np

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
