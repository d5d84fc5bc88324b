"""relu: max(x, 0), whose derivative at 0 is 0."""

import numpy as np

from minicnn import functional as F

X = [-2.0, -0.0, 0.0, 3.0]


def test_negative_elements_become_zero(tensor):
    np.testing.assert_array_equal(F.relu(tensor(X)).numpy(), [0, 0, 0, 3])


def test_derivative_is_1_above_zero_and_0_at_and_below_it(tensor, gradients):
    x = tensor(X)
    (grad,) = gradients(F.relu(x), [1, 2, 3, 4], x)
    np.testing.assert_array_equal(grad, [0, 0, 0, 4])


def test_nan_stays_nan(tensor):
    assert np.isnan(F.relu(tensor([np.nan])).numpy()[0])


def test_dtype_is_kept(tensor, dtype):
    x = tensor(X)
    y = F.relu(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
