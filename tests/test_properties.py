"""What is true of every operation, whatever the shapes, options, numbers and layouts in memory: Hypothesis draws them.

`HYPOTHESIS_PROFILE=thorough` draws many more of them, and others in each run.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minicnn import Tensor, kernels
from minicnn import functional as F
from minicnn.gradcheck import gradcheck
from tests.properties.case import Arrays, Case, both_ways, cast, error, forward, upstream_for
from tests.properties.layouts import LAYOUTS
from tests.properties.windows import OPERATIONS

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
"""How far two ways to one result may be apart, as a share of the largest number or of one; a sum of 300 terms fits."""

DTYPES = st.sampled_from(["float32", "float64"])
RUNGS = st.sampled_from(["im2col", "fast"])
LADDERS = [name for name, operation in OPERATIONS.items() if operation.ladder]
LINEAR = [name for name, operation in OPERATIONS.items() if operation.linear]
OWN_DERIVATIVE = [name for name, operation in OPERATIONS.items() if operation.linear or operation.homogeneous]
OF_ROWS = [name for name, operation in OPERATIONS.items() if operation.by_row]


def assert_near(got: Arrays, want: Arrays, tolerance: float) -> None:
    for number, (one, other) in enumerate(zip(got, want, strict=True)):
        assert error(one, other) <= tolerance, "the output" if number == 0 else f"the gradient of input {number - 1}"


def test_every_public_operation_is_here() -> None:
    assert {name.partition(":")[0] for name in OPERATIONS} == set(F.__all__)


@pytest.mark.parametrize("name", LADDERS)
@given(data=st.data(), dtype=DTYPES, rung=RUNGS)
def test_every_rung_is_the_loops(name: str, data: st.DataObject, dtype: str, rung: str) -> None:
    case = data.draw(OPERATIONS[name].any_case)
    with kernels.using("reference"):
        want = both_ways(case, cast(case.inputs, "float64"))
    with kernels.using(rung):
        got = both_ways(case, cast(case.inputs, dtype))
    assert {array.dtype.name for array in got} == {dtype}
    assert_near(got, want, TOLERANCE[dtype])


# Layouts


@pytest.mark.parametrize("name", OPERATIONS)
@given(data=st.data(), dtype=DTYPES, rung=RUNGS)
def test_no_layout_in_memory_changes_a_result_and_nothing_that_is_given_is_written_to(
    name: str, data: st.DataObject, dtype: str, rung: str
) -> None:
    operation = OPERATIONS[name]
    case = data.draw(operation.any_case)
    layouts = st.sampled_from([name for name in LAYOUTS if operation.repeats or name != "repeated"])
    laid = [LAYOUTS[data.draw(layouts)](x) for x in cast(case.inputs, dtype)]
    plain = [x.copy(order="C") for x in laid]
    lay_upstream = LAYOUTS[data.draw(st.sampled_from(list(LAYOUTS)))]
    given_upstream = []

    def laid_upstream(y: np.ndarray) -> np.ndarray:
        given_upstream.append(lay_upstream(upstream_for(y)))
        return given_upstream[0]

    with kernels.using(rung):
        got = both_ways(case, laid, laid_upstream)
        want = both_ways(case, plain, lambda y: lay_upstream(upstream_for(y)).copy(order="C"))
    for x, before in zip(laid, plain, strict=True):
        assert x.tobytes() == before.tobytes()
    assert given_upstream[0].tobytes() == lay_upstream(upstream_for(got[0])).tobytes()
    assert {array.dtype.name for array in got} == {dtype}
    assert_near(got, want, TOLERANCE[dtype])
    if operation.exact:
        np.testing.assert_array_equal(got[0], want[0])


# Linearity


@pytest.mark.parametrize("name", LINEAR)
@given(data=st.data(), dtype=DTYPES)
def test_a_linear_operation_of_a_sum_is_the_sum_of_its_results(name: str, data: st.DataObject, dtype: str) -> None:
    case = data.draw(OPERATIONS[name].any_case)
    factor, seed = data.draw(st.sampled_from([-2.0, 0.5, 4.0])), data.draw(st.integers(0, 1 << 32))
    for group in groups(name, case):
        others = np.random.default_rng(seed)
        more = [others.integers(-8, 9, x.shape) / 8 if i in group else x for i, x in enumerate(case.inputs)]
        summed = [x + factor * m if i in group else x for i, (x, m) in enumerate(zip(case.inputs, more, strict=True))]
        one, other, both = (forward(case, cast(inputs, dtype)) for inputs in (case.inputs, more, summed))
        assert error(both, one.astype(float) + factor * other.astype(float)) <= 4 * TOLERANCE[dtype]


def groups(name: str, case: Case) -> list[tuple[int, ...]]:
    """The inputs that the output is linear in together, each group with those that this case has."""
    everything = range(len(case.inputs))
    return [tuple(everything if group is None else (i for i in group if i in everything)) for group in
            OPERATIONS[name].linear]  # fmt: skip


# Gradients


@pytest.mark.parametrize("name", OWN_DERIVATIVE)
@given(data=st.data(), dtype=DTYPES, rung=RUNGS)
def test_backward_is_the_adjoint(name: str, data: st.DataObject, dtype: str, rung: str) -> None:
    """<f(x), u> = <x, gradient>, since what is linear, or homogeneous, is its derivative times its input."""
    case = data.draw(OPERATIONS[name].any_case)
    inputs = cast(case.inputs, dtype)
    with kernels.using(rung):
        y, *gradients = both_ways(case, inputs)
    assume(np.isfinite(y).all())  # a dilated window may see nothing but padding
    upstream = upstream_for(y)
    for group in groups(name, case) or [(0,)]:
        there = dot(y, upstream)
        back = sum((dot(inputs[i], gradients[i]) for i in group), start=np.zeros(2))
        assert abs(there[0] - back[0]) <= TOLERANCE[dtype] * max(1.0, there[1], back[1])


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sum of the products, and that of their sizes."""
    products = a.astype(float) * b.astype(float)
    return np.array([products.sum(), np.abs(products).sum()])


@pytest.mark.parametrize("name", OPERATIONS)
@given(data=st.data())
def test_gradients_are_slopes(name: str, data: st.DataObject) -> None:
    case = data.draw(OPERATIONS[name].any_case)
    assume(all(x.size for x in case.inputs))  # from nothing there is no direction to go
    assume(np.isfinite(forward(case, case.inputs)).all())
    gradcheck(case.function, [Tensor(x, requires_grad=True) for x in case.inputs], atol=1e-6)


# Batches


@pytest.mark.parametrize("name", OF_ROWS)
@given(data=st.data(), dtype=DTYPES, rung=RUNGS)
def test_a_row_does_not_depend_on_its_batch(name: str, data: st.DataObject, dtype: str, rung: str) -> None:
    case = data.draw(OPERATIONS[name].any_case)
    assume(case.rows is not None)
    cut = data.draw(st.integers(0, len(case.inputs[0])))
    with kernels.using(rung):
        whole = forward(case, cast(case.inputs, dtype))
        for part in (slice(None, cut), slice(cut, None)):
            if len(case.inputs[0][part]):
                some = case.rows(part)
                assert error(forward(some, cast(some.inputs, dtype)), whole[part]) <= TOLERANCE[dtype]
