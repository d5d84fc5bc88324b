"""sum, mean and max along axes."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F

X = np.array([[[1.0, 5.0], [7.0, 3.0]], [[2.0, 8.0], [4.0, 6.0]], [[9.0, 0.0], [-1.0, 2.0]]])


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
def test_sum_and_mean_are_numpy_s(tensor, axis, keepdims):
    x = tensor(X)
    np.testing.assert_allclose(F.sum(x, axis, keepdims).numpy(), X.sum(axis, keepdims=keepdims), rtol=1e-6)
    np.testing.assert_allclose(F.mean(x, axis, keepdims).numpy(), X.mean(axis, keepdims=keepdims), rtol=1e-6)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_max_is_numpy_s(tensor, axis, keepdims):
    np.testing.assert_array_equal(F.max(tensor(X), axis, keepdims).numpy(), X.max(axis, keepdims=keepdims))


def test_gradient_of_a_sum_is_the_upstream_for_every_element(tensor, gradients):
    x = tensor(np.ones((2, 3)))
    np.testing.assert_array_equal(gradients(x.sum(1), [1, 10], x), [[[1, 1, 1], [10, 10, 10]]])


def test_gradient_of_a_mean_is_shared_equally(tensor, gradients):
    x = tensor(np.ones((2, 4)))
    np.testing.assert_array_equal(gradients(x.mean(), 16, x), [np.full((2, 4), 2)])


def test_gradient_of_a_maximum_goes_to_the_first_of_equals(tensor, gradients):
    x = tensor([[3, 7, 7], [5, 5, 1]])
    np.testing.assert_array_equal(gradients(x.max(1), [1, 10], x), [[[0, 1, 0], [10, 0, 0]]])
    x = tensor([[3, 7, 7], [5, 5, 1]])
    np.testing.assert_array_equal(gradients(x.max(), 1, x), [[[0, 1, 0], [0, 0, 0]]])


@pytest.mark.parametrize("function", [F.sum, F.mean, F.max])
def test_dtype_is_kept(tensor, dtype, function):
    x = tensor(X)
    y = function(x)
    y.backward()
    assert y.dtype == x.grad.dtype == dtype


def test_mean_of_no_rows_has_no_rows():
    assert Tensor(np.zeros((0, 3))).mean(axis=1).shape == (0,)


def test_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"mean: expected at least one element along axis 0, got \(0, 3\)"):
        Tensor(np.zeros((0, 3))).mean(axis=0)
