"""gelu: x times the share of a normal distribution below x, in the tanh form."""

import math

import numpy as np

from minicnn import functional as F


def test_values_are_those_of_the_tanh_form(tensor):
    expected = [x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) for x in (-1.0, 0.5, 2.0)]
    np.testing.assert_allclose(F.gelu(tensor([-1, 0.5, 2])).numpy(), expected, rtol=1e-5)


def test_form_with_the_error_function_is_less_than_5e_4_away(tensor):
    x = np.linspace(-6, 6, 1001)
    exact = [v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in x]
    np.testing.assert_allclose(F.gelu(tensor(x)).numpy(), exact, atol=5e-4, rtol=0)


def test_derivative_at_zero_is_a_half(tensor, gradients):
    x = tensor([0])
    (grad,) = gradients(F.gelu(x), [4], x)
    np.testing.assert_allclose(grad, [2])


def test_large_numbers_are_let_through_or_cut_off_without_overflow(tensor, gradients):
    x = tensor([-3e38, -1e20, -20, 20, 1e20, 3e38])  # in float32 their squares are infinite
    y = F.gelu(x)
    (grad,) = gradients(y, [1] * 6, x)
    np.testing.assert_array_equal(y.numpy(), [0, 0, 0, *x.numpy()[3:]])
    np.testing.assert_array_equal(grad, [0, 0, 0, 1, 1, 1])


def test_dtype_is_kept(tensor, dtype):
    x = tensor([1])
    y = F.gelu(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
