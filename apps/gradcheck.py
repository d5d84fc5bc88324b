"""Check the gradients of every operation and every layer, with all their options: `minicnn gradcheck`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn import functional as F
from minicnn import nn, rng
from minicnn.device import Array, array_module, as_device, module_for
from minicnn.gradcheck import gradcheck
from minicnn.tensor import Tensor

Shape = tuple[int, ...]
Inputs = Callable[[np.random.Generator], list[NDArray[np.float64]]]


class Result(NamedTuple):
    """What became of a case; `message` says what is wrong, and is empty where it passed."""

    name: str
    passed: bool
    seconds: float
    message: str


@dataclass(frozen=True)
class Case:
    """A function to check and how to make inputs at which it is smooth.

    Attributes:
        name: of the public function, then its options: "conv2d: stride 2".
        function: takes Tensors and returns one; of a layer (`nn.…`), what builds a new one.
        inputs: float64 arrays from a generator of random numbers.
    """

    name: str
    function: Callable[..., Tensor] | Callable[[], nn.Module]
    inputs: Inputs

    def check(self, device: str = "cpu", seed: int = 0) -> None:
        """Run gradcheck on random inputs; raises GradientError."""
        random, xp = np.random.default_rng(seed), module_for(as_device(device))
        inputs = [Tensor(xp.asarray(x), requires_grad=True) for x in self.inputs(random)]
        if not self.name.startswith("nn."):
            gradcheck(self.function, inputs, seed=seed)
            return
        layer = self.function().double()
        for array in layer.state_dict().values():  # from ones and zeros, at which mistakes can hide, to any numbers
            array += 0.1 * random.random(array.shape)
        layer.to(device)
        gradcheck(layer, inputs, parameters=list(layer.parameters()), seed=seed)


def run(device: str = "cpu") -> list[Result]:
    """Check all cases on a device; raises DeviceError where it is not there."""
    module_for(as_device(device))
    state = rng.get_state()
    rng.manual_seed(0)
    try:
        return [_result(case, device) for case in CASES]
    finally:
        rng.set_state(state)


def _result(case: Case, device: str) -> Result:
    started, message = time.perf_counter(), ""
    try:
        case.check(device)
    except Exception as error:  # an operation that breaks down is a finding as well, and the others still count
        message = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    return Result(case.name, not message, time.perf_counter() - started, message)


def _normal(*shapes: Shape) -> Inputs:
    """Normally distributed numbers."""
    return lambda random: [random.normal(size=shape) for shape in shapes]


def _away_from_zero(*shapes: Shape) -> Inputs:
    """Numbers of both signs and at least 0.1 in size: for what has a kink or a pole at zero."""
    return lambda random: [np.copysign(0.1 + random.random(shape), random.normal(size=shape)) for shape in shapes]


def _positive(*shapes: Shape) -> Inputs:
    """Numbers from 0.5 to 1.5: for logarithms and roots."""
    return lambda random: [0.5 + random.random(shape) for shape in shapes]


def _distinct(*shapes: Shape) -> Inputs:
    """Numbers at least 0.05 apart: for maxima, which have a kink where two are equal."""
    return lambda random: [
        0.05 * random.permutation(np.arange(np.prod(shape, dtype=int)) - 7.5).reshape(shape) for shape in shapes
    ]


def _beside(x: Tensor, values: object, dtype: str = "float64") -> Array:
    """A constant array on the device of `x`."""
    return array_module(x.data).asarray(values, dtype=dtype)


def _normalizing(function: Callable[..., Tensor], training: bool, **options: object) -> Callable[..., Tensor]:
    """`batch_norm` or `conv_block` with running statistics, which come before the scale and shift."""

    def call(*tensors: Tensor) -> Tensor:
        *before, scale, shift = tensors
        mean, var = (_beside(scale, values[: scale.size]) for values in ([0.3, -0.2, 0.1, 0.4], [0.5, 1.5, 0.8, 1.2]))
        x, *weight = before
        return function(x, *weight, mean, var, scale, shift, training=training, **options)

    return call


def _loss(function: Callable[..., Tensor], target: object, weighted: bool = False, **options: object) -> Inputs:
    """A loss of logits with three classes against a constant target."""

    def call(logits: Tensor) -> Tensor:
        labels = _beside(logits, target, "float64" if isinstance(np.asarray(target).flat[0], float) else "int64")
        weight = _beside(logits, [0.5, 2.0, 1.5]) if weighted else None
        return function(logits, labels, weight, **options)

    return call


_LABELS = [2, 0, 1, 2]
_LABEL_IMAGES = [[[0, 1], [2, 0]], [[1, 1], [0, 2]]]  # (2, 2, 2) for logits (2, 3, 2, 2)
_SOFT = [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1], [0.25, 0.5, 0.25]]
_SOFT_IMAGES = np.linspace(0.1, 0.9, 24).reshape(2, 3, 2, 2)
