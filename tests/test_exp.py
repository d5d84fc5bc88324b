"""exp: e to the power of x."""

import math

import numpy as np

from minicnn import functional as F


def test_values(tensor):
    np.testing.assert_allclose(F.exp(tensor([-1, 0, 2])).numpy(), [1 / math.e, 1, math.e**2], rtol=1e-6)


def test_it_is_its_own_derivative(tensor, gradients):
    x = tensor([0, 1])
    (grad,) = gradients(x.exp(), [1, 2], x)
    np.testing.assert_allclose(grad, [1, 2 * math.e], rtol=1e-6)


def test_dtype_is_kept(tensor, dtype):
    x = tensor([1])
    y = F.exp(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
