"""log: the natural logarithm."""

import math

import numpy as np
import pytest

from minicnn import functional as F


def test_values(tensor):
    np.testing.assert_allclose(F.log(tensor([1, math.e, 10])).numpy(), [0, 1, math.log(10)], rtol=1e-6, atol=1e-7)


def test_derivative_is_one_over_x(tensor, gradients):
    x = tensor([0.5, 4])
    (grad,) = gradients(x.log(), [1, 1], x)
    np.testing.assert_allclose(grad, [2, 0.25])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_below_zero_as_in_numpy(tensor):
    assert np.isnan(F.log(tensor([-1])).numpy()[0])


def test_dtype_is_kept(tensor, dtype):
    x = tensor([1])
    y = F.log(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
