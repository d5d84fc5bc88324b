"""Zeros of both signs, the smallest and the largest numbers, infinity and NaN: what becomes of each, and its batch."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import Tensor, kernels
from minicnn import functional as F
from minicnn.kernels import rungs
from tests.properties.case import Array, Case, both_ways, cast
from tests.properties.windows import OPERATIONS, pooling

FINITE = [0.0, -0.0, 1e-45, -1e-40, 1e-38, 1e-30, -1e-20, 1e-10, 1.0, -2.5, 88.0, -104.0, 1e10, -1e20, 1e30, -3e38]
SPECIAL = [*FINITE, np.inf, -np.inf, np.nan]
SMALLEST, LARGEST = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)

ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "add": F.add,
    "sub": F.sub,
    "mul": F.mul,
    "div": F.div,
    "neg": F.neg,
    "pow: -1": partial(F.pow, exponent=-1),
    "pow: 0": partial(F.pow, exponent=0),
    "pow: 0.5": partial(F.pow, exponent=0.5),
    "pow: 2": partial(F.pow, exponent=2),
    "exp": F.exp,
    "log": F.log,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "gelu": F.gelu,
    "softmax": F.softmax,
    "log_softmax": F.log_softmax,
}
BINARY = ("add", "sub", "mul", "div")
ROUNDED = {"sigmoid": 1e-7, "tanh": 2e-7, "gelu": 1e-6, "softmax": 1e-7, "log_softmax": 1e-6}
"""What is lost where numbers up to one are added; all others are right to a share of the result itself."""


@pytest.mark.parametrize("name", ELEMENTWISE)
@given(data=st.data())
def test_the_range_of_float32_is_all_that_its_results_lack(name: str, data: st.DataObject) -> None:
    """What float64 gives, rounded to float32: infinity beyond its range, and NaN where float64 has NaN."""
    arrays = []
    for _ in range(2 if name in BINARY else 1):
        values = data.draw(st.lists(st.sampled_from(FINITE), min_size=4, max_size=4))
        arrays.append(np.array(values, np.float32).astype(np.float64))
    case = Case(ELEMENTWISE[name], arrays)
    with np.errstate(all="ignore"):
        wide = both_ways(case, cast(arrays, "float64"), np.ones_like)
        narrow = both_ways(case, cast(arrays, "float32"), np.ones_like)
        for got, want in zip(narrow, wide, strict=True):
            assert_rounded(got, want, ROUNDED.get(name, 0.0))


def assert_rounded(got: Array, want: Array, lost: float) -> None:
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    beyond = np.abs(want) > LARGEST
    np.testing.assert_array_equal(got[beyond], np.copysign(np.inf, want[beyond]))
    within = ~beyond & ~np.isnan(want)
    np.testing.assert_allclose(got[within], want[within], rtol=1e-6, atol=max(lost, 2 * SMALLEST))


@pytest.mark.parametrize(
    "name", [name for name in ELEMENTWISE if name not in (*BINARY, "pow: 0", "softmax", "log_softmax")]
)
@given(values=st.lists(st.sampled_from(FINITE), min_size=1, max_size=6), place=st.integers(0, 5))
def test_nan_stays_nan_and_where_it_is(name: str, values: list[float], place: int) -> None:
    clean = np.array(values, np.float32)
    place %= len(clean)
    dirty = clean.copy()
    dirty[place] = np.nan
    with np.errstate(all="ignore"):
        want, got = (ELEMENTWISE[name](Tensor(x)).data for x in (clean, dirty))
    assert np.isnan(got[place])
    others = np.arange(len(clean)) != place
    np.testing.assert_array_equal(got[others], want[others])


@pytest.mark.parametrize("rung", rungs("max_pool2d")[1:])
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_every_rung_pools_special_numbers_alike(rung: str, data: st.DataObject, dtype: str) -> None:
    """With many equal ones: which of them gets the gradient is the same too."""
    shape, options = data.draw(st.composite(pooling)(dilated=True))
    values = np.random.default_rng(data.draw(st.integers(0, 1 << 32))).choice(SPECIAL[-6:], shape)
    case = Case(partial(F.max_pool2d, **options), [values])
    with kernels.using("reference"):
        want = both_ways(case, cast(case.inputs, dtype), np.ones_like)
    with kernels.using("fast" if rung == "cpu" else rung):
        got = both_ways(case, cast(case.inputs, dtype), np.ones_like)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


OF_IMAGES = ["conv2d", "conv2d: 32 channels", "conv_block", "avg_pool2d", "batch_norm", "linear"]


@pytest.mark.parametrize("name", OF_IMAGES)
@given(data=st.data(), special=st.sampled_from(SPECIAL[-3:]), rung=st.sampled_from(["im2col", "fast"]))
def test_what_is_not_finite_is_never_lost_and_stays_in_its_image(
    name: str, data: st.DataObject, special: float, rung: str
) -> None:
    """It may reach more pixels than in the loops: Winograd's algorithm adds up all pixels of a tile."""
    case = data.draw(OPERATIONS[name].any_case.filter(lambda case: case.inputs[0].ndim > 1 and case.inputs[0].size))
    inputs = cast(case.inputs, "float32")
    with kernels.using(rung):
        clean = case.function(*map(Tensor, inputs)).data
        image = data.draw(st.integers(0, len(clean) - 1))
        place = data.draw(st.integers(0, inputs[0][image].size - 1))
        inputs[0][image].reshape(-1)[place] = special
        with np.errstate(all="ignore"):
            got = case.function(*map(Tensor, inputs)).data
    with kernels.using("im2col"), np.errstate(all="ignore"):  # where array code goes wrong is in test_properties.py
        want = case.function(*(Tensor(x.astype(np.float64)) for x in inputs)).data
    assert not np.isfinite(got[~np.isfinite(want)]).any()
    others = np.arange(len(clean)) != image
    np.testing.assert_array_equal(got[others], clean[others])
