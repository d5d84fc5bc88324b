"""leaky_relu: x above zero, slope times x elsewhere."""

import numpy as np
import pytest

from minicnn import functional as F


@pytest.mark.parametrize(("options", "slope"), [({}, 0.01), ({"negative_slope": 0.25}, 0.25)])
def test_negative_elements_shrink_to_the_slope(tensor, options, slope):
    np.testing.assert_allclose(F.leaky_relu(tensor([-2, 0, 3]), **options).numpy(), [-2 * slope, 0, 3], rtol=1e-6)


def test_derivative_is_the_slope_at_and_below_zero(tensor, gradients):
    x = tensor([-2, 0, 3])
    (grad,) = gradients(F.leaky_relu(x, 0.25), [1, 10, 100], x)
    np.testing.assert_array_equal(grad, [0.25, 2.5, 100])


def test_dtype_is_kept(tensor, dtype):
    x = tensor([-2, 3])
    y = F.leaky_relu(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
