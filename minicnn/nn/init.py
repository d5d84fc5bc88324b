"""How weights start: arrays are filled in place, from the engine's random numbers."""

import math

from minicnn import rng
from minicnn.nn.module import Parameter


def fan_in(weight: Parameter) -> int:
    """How many inputs each output of a weight (out, in, ...) sums over."""
    return math.prod(weight.shape[1:])


def normal(parameter: Parameter, mean: float, std: float) -> None:
    """Draw from a normal distribution."""
    parameter.data[...] = rng.generator().normal(mean, std, parameter.shape)


def uniform(parameter: Parameter, bound: float) -> None:
    """Draw uniformly from [-bound, bound]."""
    parameter.data[...] = rng.generator().uniform(-bound, bound, parameter.shape)


def kaiming_normal(weight: Parameter) -> None:
    """Normal with variance 2 / fan_in, which keeps the size of signals through ReLUs.

    Source: K. He et al., "Delving deep into rectifiers", 2015, equation 10.
    """
    normal(weight, 0.0, math.sqrt(2 / fan_in(weight)))
