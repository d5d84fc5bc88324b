"""rrelu: a random slope for each negative element in training, the mean slope in evaluation."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor
from minicnn import functional as F
from minicnn.device import to_numpy


def test_slopes_are_uniform_between_the_bounds(tensor):
    slopes = -F.rrelu(tensor(-np.ones(20_000)), 0.2, 0.6, training=True).numpy()
    assert slopes.min() >= 0.2
    assert slopes.max() <= 0.6
    np.testing.assert_allclose(
        np.quantile(slopes, [0.05, 0.25, 0.5, 0.75, 0.95]), [0.22, 0.3, 0.4, 0.5, 0.58], atol=0.01
    )


def test_elements_that_are_not_negative_stay(tensor):
    np.testing.assert_array_equal(F.rrelu(tensor([0, 1, 2]), training=True).numpy(), [0, 1, 2])


def test_evaluation_uses_the_mean_slope(tensor):
    np.testing.assert_allclose(F.rrelu(tensor([-6, 4]), 0.25, 0.75).numpy(), [-3, 4])


def test_default_bounds_are_those_of_the_paper(tensor):
    np.testing.assert_allclose(F.rrelu(tensor([-48])).numpy(), [-11], rtol=1e-6)  # (1/8 + 1/3) / 2 = 11/48


def test_gradient_has_the_slopes_that_were_drawn(tensor):
    x = tensor(-np.ones(100))
    y = F.rrelu(x, training=True)
    y.sum().backward()
    np.testing.assert_allclose(to_numpy(x.grad), -y.numpy())


def test_the_same_seed_draws_the_same_slopes(tensor):
    x = tensor(-np.ones(10))
    first, second = (F.rrelu(x, training=True).numpy() for _ in range(2))
    minicnn.manual_seed(0)
    assert (first != second).any()
    np.testing.assert_array_equal(F.rrelu(x, training=True).numpy(), first)


@pytest.mark.parametrize("training", [True, False])
def test_dtype_is_kept(tensor, dtype, training):
    x = tensor([-2, 3])
    y = F.rrelu(x, training=training)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype


@pytest.mark.parametrize("bounds", [(0.5, 0.25), (-0.1, 0.3)])
def test_bounds_out_of_order_or_below_zero_are_refused(bounds):
    with pytest.raises(ValueError, match="rrelu: expected 0 <= lower <= upper, got"):
        F.rrelu(Tensor(np.ones(3)), *bounds)
