"""The gradient checker must reject every mistake of tests/mistakes, and accept the right code."""

import numpy as np
import pytest

from minicnn import Tensor, kernels
from minicnn import functional as F
from minicnn.apps.gradcheck import CASES
from minicnn.gradcheck import GradientError, gradcheck
from minicnn.kernels.conv2d import im2col as conv2d
from tests.mistakes import MISTAKES, WRONG_SLOPE, hot_operations, manners, plain_operations

CASE = {case.name: case for case in CASES}
MODULES = (hot_operations, manners, plain_operations)  # importing them fills MISTAKES


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistake_is_rejected_and_the_right_code_accepted(mistake, monkeypatch):
    with kernels.using("im2col"):
        CASE[mistake.case].check()
        monkeypatch.setattr(mistake.owner, mistake.attribute, mistake.planted())
        with pytest.raises(GradientError, match=mistake.says):
            CASE[mistake.case].check()


def test_there_are_at_least_32_in_every_form():
    assert len(MISTAKES) >= 32
    assert {mistake.wrong.__module__ for mistake in MISTAKES} == {module.__name__ for module in MODULES}


def test_an_upstream_of_ones_accepts_what_a_random_one_rejects(monkeypatch):
    right = conv2d.backward
    monkeypatch.setattr(conv2d, "backward", lambda *args: hot_operations.takes_the_batch_in_reverse(right, *args))
    random = np.random.default_rng(0)
    inputs = [Tensor(random.normal(size=shape), requires_grad=True) for shape in ((2, 1, 4, 4), (2, 1, 3, 3))]

    with kernels.using("im2col"):
        F.conv2d(*inputs).sum().backward()  # the upstream of a sum is ones
        for x in inputs:
            for index in np.ndindex(*x.shape):
                values, sums = x.data, []
                for step in (1e-5, -1e-5):
                    x.data = values.copy()
                    x.data[index] += step
                    sums.append(F.conv2d(*inputs).sum().item())
                x.data = values
                assert x.grad[index] == pytest.approx((sums[0] - sums[1]) / 2e-5, rel=1e-5, abs=1e-7)

        with pytest.raises(GradientError, match=WRONG_SLOPE):
            gradcheck(F.conv2d, inputs)
