"""One application of an operation that Hypothesis drew, and how to run it forward and backward."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minicnn
from minicnn import Tensor

Array = np.ndarray
Arrays = list[Array]


@dataclass(frozen=True)
class Case:
    """A function of Tensors and the numbers it is applied to.

    Attributes:
        function: takes the inputs as Tensors and returns one.
        inputs: float64 arrays of numbers that float32 holds exactly, from [-1, 1] unless the operation forbids it.
        rows: gives the case of some rows of the batch alone, where each has a result of its own; else None.
    """

    function: Callable[..., Tensor]
    inputs: Arrays
    rows: "Callable[[slice], Case] | None" = None

    def of(self, inputs: Arrays) -> "Case":
        """The same function of other inputs."""
        return replace(self, inputs=inputs)


@dataclass(frozen=True)
class Operation:
    """What is true of every case of an operation.

    Attributes:
        cases: draws a case.
        ladder: its name in kernels.LADDERS, where the loops of the reference are quick enough for the case.
        linear: groups of inputs that the output is linear in, the other inputs held fixed. None stands for all.
        by_row: whether each row of a batch has a result of its own; a case that has one also has `rows`.
        homogeneous: whether f(c x) = c f(x) for c > 0, as for ReLU; then f(x) is the derivative times x, too.
        exact: whether the results are moved or picked or rounded once, so that no layout changes a bit of them.
        repeats: whether inputs may have the same number all along an axis, which the others have kinks or poles at.
        same_draw: whether float32 and float64 draw the same random numbers.
    """

    cases: Callable[[st.DrawFn], Case]
    ladder: str = ""
    linear: tuple[tuple[int, ...] | None, ...] = ()
    by_row: bool = False
    homogeneous: bool = False
    exact: bool = False
    repeats: bool = True
    same_draw: bool = True

    @property
    def any_case(self) -> st.SearchStrategy[Case]:
        """All cases."""
        return st.composite(self.cases)()


def numbers(draw: st.DrawFn, shape: tuple[int, ...], low: float = -1.0, high: float = 1.0) -> Array:
    """Numbers between `low` and `high`, by a seed: Hypothesis would take long to draw and to shrink each."""
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    return random.uniform(low, high, shape).astype(np.float32).astype(np.float64)


def distinct(draw: st.DrawFn, shape: tuple[int, ...]) -> Array:
    """Numbers in [-1, 1] of which no two are near each other or near zero, for maxima and what is cut at zero."""
    random, size = np.random.default_rng(draw(st.integers(0, 1 << 32))), int(np.prod(shape))
    steps = random.permutation(2 * (size + 1))[:size] - size - 0.5
    return (steps / (size + 1)).reshape(shape).astype(np.float32).astype(np.float64)


def by_rows(case: Case, batched: tuple[int, ...] = (0,)) -> Case:
    """The case, able to give the case of some rows of its `batched` inputs."""

    def rows(part: slice) -> Case:
        return Case(case.function, [x[part] if i in batched else x for i, x in enumerate(case.inputs)])

    return replace(case, rows=rows)


def upstream_for(y: Any, seed: int = 1) -> Array:
    """A random gradient of an output."""
    return np.random.default_rng(seed).uniform(-1, 1, y.shape).astype(np.float32).astype(y.dtype)


def both_ways(case: Case, inputs: Arrays, upstream: Callable[[Array], Array] = upstream_for) -> Arrays:
    """The output, and the gradient of each input."""
    minicnn.manual_seed(0)
    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    y = case.function(*tensors)
    y.backward(upstream(y.data))
    gradients = [x.grad for x in tensors]
    for x, gradient in zip(inputs, gradients, strict=True):
        assert gradient is not None
        assert (gradient.shape, gradient.dtype) == (x.shape, x.dtype)
    return [y.data, *gradients]


def forward(case: Case, inputs: Arrays) -> Array:
    """The output."""
    minicnn.manual_seed(0)
    with minicnn.no_grad():
        return case.function(*map(Tensor, inputs)).data


def cast(inputs: Arrays, dtype: str) -> Arrays:
    """The inputs in `dtype`, C-contiguous."""
    return [x.astype(dtype, order="C") for x in inputs]


def error(got: Array, want: Array) -> float:
    """The largest difference, as a share of the largest finite number of `want`, or of one where that is larger."""
    assert got.shape == want.shape
    difference = np.zeros(want.shape)
    np.subtract(got, want, out=difference, where=got != want)  # equal infinities are no difference
    largest = np.abs(want).max(initial=0.0, where=np.isfinite(want))
    return float(np.abs(difference).max(initial=0.0) / max(1.0, float(largest)))
