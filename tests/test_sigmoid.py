"""sigmoid: 1 / (1 + e^-x)."""

import math

import numpy as np

from minicnn import functional as F


def test_values(tensor):
    expected = [1 / (1 + math.exp(1)), 0.5, 1 / (1 + math.exp(-2))]
    np.testing.assert_allclose(F.sigmoid(tensor([-1, 0, 2])).numpy(), expected, rtol=1e-6)


def test_small_values_keep_their_digits(tensor):
    expected = [math.exp(-20), 1 / (1 + math.exp(10))]
    np.testing.assert_allclose(F.sigmoid(tensor([-20, -10])).numpy(), expected, rtol=1e-6)


def test_large_numbers_give_0_and_1_without_a_warning(tensor):
    np.testing.assert_array_equal(F.sigmoid(tensor([-1e4, 1e4])).numpy(), [0, 1])


def test_derivative_at_zero_is_a_quarter(tensor, gradients):
    x = tensor([0])
    (grad,) = gradients(F.sigmoid(x), [8], x)
    np.testing.assert_allclose(grad, [2])


def test_dtype_is_kept(tensor, dtype):
    x = tensor([1])
    y = F.sigmoid(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
