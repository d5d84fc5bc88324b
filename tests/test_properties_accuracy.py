"""How far float32 is from float64, operation by operation, and that the page on accuracy says the same."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import kernels
from tests.properties.case import both_ways, cast, error
from tests.properties.windows import OPERATIONS

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "accuracy.md"

BOUNDS: dict[str, tuple[float, float]] = {
    "add": (1e-7, 1e-6),
    "sub": (1e-7, 1e-6),
    "mul": (1e-7, 1e-6),
    "div": (1e-7, 2e-6),
    "neg": (0.0, 0.0),
    "pow": (5e-7, 5e-7),
    "exp": (5e-7, 5e-7),
    "log": (2e-7, 2e-7),
    "matmul": (5e-7, 5e-7),
    "sum": (2e-6, 0.0),
    "mean": (2e-7, 1e-7),
    "max": (0.0, 0.0),
    "reshape": (0.0, 0.0),
    "flatten": (0.0, 0.0),
    "transpose": (0.0, 0.0),
    "pad": (0.0, 0.0),
    "concatenate": (0.0, 0.0),
    "getitem": (0.0, 1e-6),
    "relu": (0.0, 0.0),
    "leaky_relu": (1e-7, 1e-7),
    "rrelu": (1e-7, 1e-7),
    "sigmoid": (2e-7, 2e-7),
    "tanh": (2e-7, 5e-7),
    "gelu": (5e-7, 2e-6),
    "softmax": (5e-7, 5e-7),
    "log_softmax": (1e-6, 2e-6),
    "dropout": (5e-7, 5e-7),
    "linear": (5e-7, 1e-6),
    "cross_entropy": (1e-6, 1e-6),
    "nll_loss": (1e-6, 5e-7),
    "conv2d": (1e-6, 1e-6),
    "conv2d: 32 channels": (1e-5, 1e-5),
    "max_pool2d": (0.0, 5e-7),
    "avg_pool2d": (5e-7, 5e-7),
    "global_avg_pool2d": (2e-7, 1e-7),
    "batch_norm": (1e-6, 1e-6),
    "batch_norm: training": (5e-6, 5e-5),
    "conv_block": (1e-6, 2e-6),
    "conv_block: training": (5e-6, 2e-5),
}
"""The largest error of the output and of any gradient, as a share of the largest number there, or of one if larger."""

COMPARED = [name for name, operation in OPERATIONS.items() if operation.same_draw]


@pytest.mark.parametrize("name", COMPARED)
@given(data=st.data(), rung=st.sampled_from(["im2col", "fast"]))
def test_float32_is_near_float64(name: str, data: st.DataObject, rung: str) -> None:
    case = data.draw(OPERATIONS[name].any_case)
    with kernels.using(rung):
        wide, narrow = both_ways(case, cast(case.inputs, "float64")), both_ways(case, cast(case.inputs, "float32"))
    output, *gradients = (error(got, want) for got, want in zip(narrow, wide, strict=True))
    assert output <= BOUNDS[name][0]
    assert max(gradients) <= BOUNDS[name][1]


def test_the_page_states_these_bounds() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (\S+) \| (\S+) \|", PAGE.read_text(), re.MULTILINE)
    assert {name: (float(output), float(gradients)) for name, output, gradients in rows} == BOUNDS


def test_every_operation_has_a_bound() -> None:
    assert list(BOUNDS) == COMPARED


def test_an_error_is_a_share_of_the_largest_number_or_of_one() -> None:
    assert error(np.array([101.0, 0.0]), np.array([100.0, 0.0])) == 0.01
    assert error(np.array([0.25]), np.array([0.0])) == 0.25
