"""rrelu: a random slope for each negative element in training, the mean slope in evaluation."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor
from minicnn import functional as F
from minicnn.device import module_for, to_numpy
from minicnn.kernels import rungs


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


def test_float32_and_float64_draw_the_same():
    slopes = []
    for dtype in ("float32", "float64"):
        minicnn.manual_seed(0)
        slopes.append(F.rrelu(Tensor(-np.ones(200_000, dtype)), training=True).numpy())
    np.testing.assert_allclose(*slopes, rtol=1e-6)


@pytest.mark.parametrize("rung", rungs("rrelu")[1:])
def test_slopes_do_not_depend_on_the_order_of_memory_and_both_gradients_have_them(dtype, use_rung, rung):
    use_rung("rrelu", rung)
    slopes = []
    for order in ((0, 1, 2, 3), (0, 2, 3, 1)):
        for grad_order in ((0, 1, 2, 3), (0, 2, 3, 1)):
            minicnn.manual_seed(0)
            x = Tensor(lying(-np.ones((3, 4, 5, 6), dtype), order), requires_grad=True)
            y = F.rrelu(x, training=True)
            y.backward(lying(np.ones((3, 4, 5, 6), dtype), grad_order))
            slopes += [-y.numpy(), x.grad]
    assert len(np.unique(slopes[0])) == 3 * 4 * 5 * 6
    for other in slopes[1:]:
        np.testing.assert_array_equal(other, slopes[0])


def lying(x, order):
    """`x` with its axes in another order in memory."""
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


def test_images_that_lie_channels_last_stay_so(device):
    x = module_for(device).asarray(np.ones((2, 5, 6, 3), "float32")).transpose(0, 3, 1, 2)
    y = F.rrelu(Tensor(x), training=True)
    assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("rung", rungs("rrelu")[1:])
@pytest.mark.parametrize("bounds", [(1 / 8, 1 / 3), (0.0, 0.0), (0.25, 1.5)])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 5, 1), (2, 3, 4, 5)])
def test_every_rung_agrees_with_the_reference(agrees_with_reference, random, rung, bounds, shape):
    agrees_with_reference("rrelu", rung, lambda x: F.rrelu(x, *bounds, training=True), [random.normal(size=shape)])


def test_any_number_of_threads_draws_the_same(any_number_of_threads):
    def both_ways():
        minicnn.manual_seed(0)
        found = []
        for x in (-np.ones(300_000, "float32"), lying(-np.ones((9, 8, 10, 10), "float32"), (0, 2, 3, 1))):
            x = Tensor(x, requires_grad=True)
            y = F.rrelu(x, training=True)
            y.sum().backward()
            found += [y.data, x.grad]
        return found

    any_number_of_threads(both_ways)


def test_an_empty_array_stays_empty(dtype):
    assert F.rrelu(Tensor(np.zeros((0, 3), dtype)), training=True).shape == (0, 3)


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
