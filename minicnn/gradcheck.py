"""The gradient checker: is what backward gives the derivative of what forward computes?

Take y = f(x) and any upstream gradient g. Backward promises dL/dx for the number L = sum(g * y). How L changes along
a direction d can be measured without backward, by two steps of a small size eps:

    sum(dL/dx * d)  =  (L(x + eps d) - L(x - eps d)) / (2 eps)        up to eps^2

One random direction through all inputs at once is enough to notice a mistake anywhere: only the errors that happen
to cancel along it stay hidden, and almost none do. It costs a few forward passes, where moving every element on its
own costs two for each. So the elements are only gone through to say where a mistake is.

The upstream gradient must be random too. With ones, the custom of many checkers, a backward that mixes up the images
of a batch, flips the gradient in space or takes its mean passes, since ones look the same afterwards.

Three things that the formula cannot see are checked beside it: the manners of a backward (it writes to nothing that
is not its own, gives what it has the right shape and dtype, gives the same twice), any layout in memory, and kinks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from minicnn import rng
from minicnn.device import Array, array_module, device_of, to_numpy
from minicnn.function import no_grad
from minicnn.tensor import Tensor

Point = list[Array]
"""One array for each input and parameter: where a function is evaluated, or a direction to go from there."""


class GradientError(AssertionError):
    """A backward that is not its forward's derivative, or does not behave; or a point where there is none."""


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    *,
    parameters: Sequence[Tensor] = (),
    eps: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    seed: int = 0,
    full: bool = False,
) -> None:
    """Check the gradients of `function(*inputs)`, and of the `parameters` that it uses, against differences.

    Gradients are checked for the Tensors that require one; the others are constants. Each evaluation starts with the
    same random numbers of minicnn.rng (dropout drops the same), and their state is put back at the end. Arrays that
    the function updates by itself, such as running statistics, move with every evaluation.

    Args:
        function: takes the inputs as Tensors and returns a Tensor of any shape.
        inputs: float64 Tensors, at least one of them, or of the parameters, with requires_grad.
        parameters: float64 Tensors that the function uses without being given them, such as `model.parameters()`.
        eps: length of the step.
        rtol: difference allowed between the two sides, as a share of the measured one.
        atol: difference allowed in any case.
        seed: of the upstream gradient, the direction and the function's own random numbers.
        full: compare every element too, at two evaluations each, also where the direction shows no difference.

    Raises:
        GradientError: says what is wrong; for wrong numbers a table names the worst element of every Tensor.
        TypeError: for other dtypes than float64, in which differences have no digits left to compare, and where the
            function returns no Tensor.
        ValueError: where no Tensor requires a gradient.

    Source: directional derivatives as in Chainer's `gradient_check.check_backward` and JAX's `check_grads`.
    """
    problem, tolerance = _Problem(function, inputs, parameters, seed), _Tolerance(rtol, atol)
    # a stream of its own: callers make inputs with default_rng(seed), and the upstream must not be equal to an input
    random = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    here = problem.point()
    upstream = _normal(random, problem.output(problem.point()))  # not `here`, which must stay as given

    output, gradients = _check_manners(problem, here, upstream)
    _check_layout(problem, here, upstream, output, gradients, tolerance)

    direction = [_normal(random, x) if wanted else 0 * x for x, wanted in zip(here, problem.wanted, strict=True)]
    length = _dot(direction, direction) ** 0.5
    direction = [d / length for d in direction]
    measured = _measured_slope(problem, here, direction, upstream, eps, tolerance)
    promised = _dot(gradients, direction)
    agrees = tolerance.close(promised, measured)
    if full or not agrees:
        table, elements_agree = _compare_elements(problem, here, gradients, upstream, eps, tolerance)
        if not (agrees and elements_agree):
            raise GradientError(
                f"along a random direction the gradients promise a slope of {promised:.9g}, measured is "
                f"{measured:.9g} (rtol {rtol:g}, atol {atol:g})\n{table}"
            )


class _Tolerance(NamedTuple):
    """How far two numbers may be apart: atol, and rtol as a share of the second."""

    rtol: float
    atol: float

    def close(self, got: float | Array, expected: float | Array) -> bool:
        """Whether two numbers, or all numbers of two NumPy arrays, are near enough."""
        return np.allclose(got, expected, self.rtol, self.atol)


class _Problem:
    """A function, evaluated with given arrays in place of those of its inputs and parameters."""

    def __init__(
        self, function: Callable[..., Tensor], inputs: Sequence[Tensor], parameters: Sequence[Tensor], seed: int
    ) -> None:
        self.function, self.seed = function, seed
        self.inputs, self.parameters = list(inputs), list(dict.fromkeys(parameters))  # a shared one counts once
        tensors = [*self.inputs, *self.parameters]
        self.names = [f"input {i}" for i in range(len(self.inputs))]
        self.names += [f"parameter {i}" for i in range(len(self.parameters))]
        self.gradient_names = [f"the gradient of {name}" for name in self.names]
        self.wanted = [tensor.requires_grad for tensor in tensors]
        for name, tensor in zip(self.names, tensors, strict=True):
            if tensor.dtype != np.float64:
                raise TypeError(
                    f"gradcheck: {name}: expected float64, got {tensor.dtype}: .astype('float64') or Module.double()"
                )
        if not any(self.wanted):
            raise ValueError("gradcheck: expected an input or a parameter with requires_grad=True, got none")

    def point(self) -> Point:
        """A copy of the arrays that the caller gave."""
        return [tensor.data.copy() for tensor in (*self.inputs, *self.parameters)]

    def output(self, point: Point) -> Array:
        """The function's output at `point`."""
        with no_grad(), self._at(point) as inputs:
            output = self.function(*inputs)
        if not isinstance(output, Tensor):
            raise TypeError(f"gradcheck: expected a function that returns a Tensor, got a {type(output).__name__}")
        return output.data

    def output_and_gradients(self, point: Point, upstream: Array) -> tuple[Array, Point]:
        """One forward and one backward pass; zeros stand for the gradients of constants."""
        with self._at(point) as inputs:
            output = self.function(*inputs)
            try:
                output.backward(upstream)
            except Exception as error:  # the engine's own checks, or whatever a wrong backward runs into
                raise GradientError(f"backward failed: {error}") from error
            gradients = [tensor.grad for tensor in (*inputs, *self.parameters)]
        for i, (x, wanted) in enumerate(zip(point, self.wanted, strict=True)):
            if not wanted:
                gradients[i] = 0 * x
            elif gradients[i] is None:
                raise GradientError(f"{self.names[i]} requires a gradient and got none")
        return output.data, gradients

    @contextmanager
    def _at(self, point: Point) -> Iterator[list[Tensor]]:
        """New inputs of the arrays in `point`; in the block the parameters hold theirs and randomness is fixed."""
        arrays = iter(point)
        inputs = [Tensor(next(arrays), tensor.requires_grad) for tensor in self.inputs]
        before = [(parameter.data, parameter.grad) for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.data, parameter.grad = next(arrays), None
        state = rng.get_state()
        rng.manual_seed(self.seed)
        try:
            yield inputs
        finally:
            rng.set_state(state)
            for parameter, (data, grad) in zip(self.parameters, before, strict=True):
                parameter.data, parameter.grad = data, grad


def _check_manners(problem: _Problem, here: Point, upstream: Array) -> tuple[Array, Point]:
    """Output and gradients, after everything about them but their values was found in order."""
    given = {**dict(zip(problem.names, here, strict=True)), "the upstream gradient": upstream}
    before = {name: array.copy() for name, array in given.items()}
    output, gradients = problem.output_and_gradients(here, upstream)
    for name, array in given.items():
        if not _same_bits(array, before[name]):
            raise GradientError(f"{name} was written to: forward and backward may only read what they are given")

    kept = [gradient.copy() for gradient in gradients]
    output_again, gradients_again = problem.output_and_gradients(here, upstream)
    for name, x, gradient in zip(problem.gradient_names, here, gradients, strict=True):
        want, got = ((a.shape, str(a.dtype), device_of(a)) for a in (x, gradient))
        if want != got:
            raise GradientError(f"{name} is {got}, expected shape, dtype and device {want}")
    _check_memory(problem, given | {"the output": output}, gradients, gradients_again)
    if not _same_bits(output, output_again):
        raise GradientError("two runs gave different outputs: the function depends on more than its inputs")
    for name, first, second in zip(problem.gradient_names, kept, gradients_again, strict=True):
        if not _same_bits(first, second):
            raise GradientError(f"two runs gave different values of {name}")
    for name, array in {"the output": output, **dict(zip(problem.gradient_names, kept, strict=True))}.items():
        if not array_module(array).isfinite(array).all():
            raise GradientError(f"{name} is not finite: choose inputs at which there is a value and a slope")
    return output, kept


def _check_memory(problem: _Problem, given: dict[str, Array], gradients: Point, gradients_again: Point) -> None:
    """A gradient is its owner's: writing to it must change nothing else, and no later run may change it."""
    others = dict(given)
    for when, arrays in (("", gradients), (" of another run", gradients_again)):
        for name, gradient in zip(problem.gradient_names, arrays, strict=True):
            for other, array in others.items():
                if array_module(gradient).shares_memory(gradient, array):
                    raise GradientError(f"{name}{when} shares memory with {other}")
            others[name + when] = gradient


def _check_layout(
    problem: _Problem, here: Point, upstream: Array, output: Array, gradients: Point, tolerance: _Tolerance
) -> None:
    """The same numbers spread out in memory must give the same output and gradients."""
    spread_output, spread = problem.output_and_gradients([_spread_out(x) for x in here], _spread_out(upstream))
    names = ["the output", *problem.gradient_names]
    for name, expected, got in zip(names, (output, *gradients), (spread_output, *spread), strict=True):
        if got.shape != expected.shape or not tolerance.close(to_numpy(got), to_numpy(expected)):
            raise GradientError(f"{name} changes when the arrays are not contiguous")


def _measured_slope(
    problem: _Problem, here: Point, direction: Point, upstream: Array, eps: float, tolerance: _Tolerance
) -> float:
    """The slope of L along `direction`, measured three ways; where they differ there is no slope to compare with.

    From the changes of L over steps of -eps, -eps/2, eps/2 and eps: the central difference, and the slopes to the
    right and to the left, each freed of the curvature by the step of half the size, 2 D(eps/2) - D(eps). Of a smooth
    function all three are right up to eps^2. A kink at the very point makes right and left differ, and one between
    the steps spoils the central difference and at most one of the sides.
    """
    center = problem.output(here)
    kept = center.copy()

    def change(step: float) -> float:
        # subtracting before summing keeps the digits that a difference of two sums would lose
        return _dot([upstream], [problem.output(_moved(here, direction, step)) - center])

    right, right_half, left, left_half = change(eps), change(eps / 2), change(-eps), change(-eps / 2)
    if not _same_bits(center, kept):
        raise GradientError("an evaluation wrote to the output of an earlier one: outputs must be new arrays")
    central = (right - left) / (2 * eps)
    estimates = (central, (4 * right_half - right) / eps, -(4 * left_half - left) / eps)
    if not tolerance.close(max(estimates), min(estimates)):
        raise GradientError(
            f"input sits on a kink: near it the slope is {estimates[2]:.9g} on one side and {estimates[1]:.9g} on the "
            f"other, {central:.9g} across: choose inputs at which the function is smooth over {eps:g}"
        )
    return central


def _compare_elements(
    problem: _Problem, here: Point, gradients: Point, upstream: Array, eps: float, tolerance: _Tolerance
) -> tuple[str, bool]:
    """Move every element on its own: a table with the worst element of each Tensor, and whether all agree."""
    lines = [f"{'':14}{'wrong':>12}  {'worst index':16}{'analytic':>16}{'numeric':>16}"]
    all_agree = True
    for i, (name, gradient) in enumerate(zip(problem.names, gradients, strict=True)):
        if not problem.wanted[i]:
            continue
        analytic, numeric = to_numpy(gradient), np.zeros(gradient.shape)
        for index in np.ndindex(*gradient.shape):
            outputs = []
            for step in (eps, -eps):
                moved = [x.copy() for x in here]
                moved[i][index] += step
                outputs.append(problem.output(moved))
            numeric[index] = _dot([upstream], [outputs[0] - outputs[1]]) / (2 * eps)
        wrong = ~np.isclose(analytic, numeric, *tolerance)
        worst = np.unravel_index(np.argmax(abs(analytic - numeric)), numeric.shape)
        count, place = f"{wrong.sum()} of {wrong.size}", str(tuple(int(k) for k in worst))
        lines.append(f"{name:14}{count:>12}  {place:16}{analytic[worst]:16.9g}{numeric[worst]:16.9g}")
        all_agree = all_agree and not wrong.any()
    return "\n".join(lines), all_agree


def _normal(random: np.random.Generator, like: Array) -> Array:
    """Random numbers of the shape and device of `like`."""
    return array_module(like).asarray(random.normal(size=like.shape))


def _moved(here: Point, direction: Point, step: float) -> Point:
    return [x + step * d for x, d in zip(here, direction, strict=True)]


def _dot(a: Point, b: Point) -> float:
    return float(sum(float((x * y).sum()) for x, y in zip(a, b, strict=True)))


def _same_bits(a: Array, b: Array) -> bool:
    return bool(to_numpy(a).tobytes() == to_numpy(b).tobytes())


def _spread_out(x: Array) -> Array:
    """The same numbers with the dimensions in reversed order in memory and NaN after each number."""
    room = array_module(x).full((*reversed(x.shape), 2), np.nan, dtype=x.dtype)
    spread = room[..., 0].transpose()
    spread[...] = x
    return spread
