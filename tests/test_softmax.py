"""softmax and log_softmax."""

import numpy as np
import pytest

from minicnn import functional as F

X = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("axis", [-1, 0])
def test_softmax_is_the_share_of_exponentials_along_an_axis(tensor, axis):
    expected = np.exp(X) / np.exp(X).sum(axis, keepdims=True)
    np.testing.assert_allclose(F.softmax(tensor(X), axis).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("axis", [-1, 0])
def test_log_softmax_is_its_logarithm(tensor, axis):
    expected = np.log(np.exp(X) / np.exp(X).sum(axis, keepdims=True))
    np.testing.assert_allclose(F.log_softmax(tensor(X), axis).numpy(), expected, rtol=1e-6)


def test_last_axis_unless_given(tensor):
    np.testing.assert_allclose(F.softmax(tensor(X)).numpy().sum(-1), 1, rtol=1e-6)


def test_large_numbers_do_not_overflow(tensor):
    x = tensor([[10_000, 0]])
    np.testing.assert_array_equal(F.softmax(x).numpy(), [[1, 0]])
    np.testing.assert_array_equal(F.log_softmax(x).numpy(), [[0, -10_000]])


def test_gradient_of_equal_softmax(tensor, gradients):
    x = tensor([0, 0])
    (grad,) = gradients(F.softmax(x), [4, 0], x)
    np.testing.assert_allclose(grad, [1, -1])


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_input_stays_as_it_was(tensor, function):
    x = tensor(X)
    function(x).sum().backward()
    np.testing.assert_array_equal(x.numpy(), X)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_dtype_is_kept(tensor, dtype, function):
    x = tensor(X)
    y = function(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
