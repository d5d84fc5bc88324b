"""tanh: the hyperbolic tangent."""

import math

import numpy as np

from minicnn import functional as F


def test_values(tensor):
    np.testing.assert_allclose(F.tanh(tensor([-1, 0, 2])).numpy(), [math.tanh(-1), 0, math.tanh(2)], rtol=1e-6)


def test_derivative_is_1_at_zero_and_1_minus_the_square_elsewhere(tensor, gradients):
    x = tensor([0, 0.5])
    (grad,) = gradients(F.tanh(x), [1, 1], x)
    np.testing.assert_allclose(grad, [1, 1 - math.tanh(0.5) ** 2], rtol=1e-6)


def test_dtype_is_kept(tensor, dtype):
    x = tensor([1])
    y = F.tanh(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
