"""dropout: the share, the scale, the seed, and every rung against the loops."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor
from minicnn import functional as F
from minicnn.device import to_numpy
from minicnn.kernels import rungs


def test_share_p_becomes_zero_and_the_rest_is_scaled_up(tensor):
    y = F.dropout(tensor(np.ones(20_000)), p=0.25).numpy()
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    assert abs((y == 0).mean() - 0.25) < 0.015  # five standard deviations


def test_gradient_passes_where_the_element_stayed_with_the_same_scale(tensor):
    x = tensor(np.ones(1000))
    y = F.dropout(x, p=0.4)
    y.sum().backward()
    np.testing.assert_array_equal(to_numpy(x.grad), y.numpy())


def test_each_call_drops_others_and_the_same_seed_the_same(tensor):
    x = tensor(np.ones(100))
    first, second = F.dropout(x).numpy(), F.dropout(x).numpy()
    minicnn.manual_seed(0)
    assert (first != second).any()
    np.testing.assert_array_equal(F.dropout(x).numpy(), first)


def test_float32_and_float64_drop_the_same():
    kept = []
    for dtype in ("float32", "float64"):
        minicnn.manual_seed(0)
        kept.append(F.dropout(Tensor(np.ones(200_000, dtype))).numpy() > 0)
    np.testing.assert_array_equal(*kept)


def test_elements_are_dropped_whatever_their_neighbors_and_other_calls_are():
    first, second = (F.dropout(Tensor(np.ones(1 << 20, "float32"))).numpy() > 0 for _ in range(2))
    assert abs((first == second).mean() - 0.5) < 0.0025  # five standard deviations
    for distance in (*range(1, 33), 4608, 1 << 16):
        assert abs((first[distance:] == first[:-distance]).mean() - 0.5) < 0.0025


def test_what_is_dropped_does_not_depend_on_the_order_of_memory(dtype):
    dropped = []
    for x in (np.ones((3, 4, 5, 6), dtype), np.ones((3, 5, 6, 4), dtype).transpose(0, 3, 1, 2)):
        minicnn.manual_seed(0)
        dropped.append(F.dropout(Tensor(x)).numpy())
    np.testing.assert_array_equal(*dropped)


@pytest.mark.parametrize("options", [{"training": False}, {"p": 0.0}])
def test_nothing_happens_in_evaluation_or_for_p_0(tensor, options):
    x = tensor(np.ones(10))
    assert F.dropout(x, **options) is x


def test_p_1_drops_everything(tensor, gradients):
    x = tensor(np.ones(10))
    y = F.dropout(x, p=1.0)
    (grad_x,) = gradients(y, np.ones(10), x)
    assert not y.numpy().any()
    assert not grad_x.any()


def test_an_empty_array_stays_empty(dtype):
    assert F.dropout(Tensor(np.zeros((0, 3), dtype))).shape == (0, 3)


def test_dtype_is_kept(tensor, dtype):
    assert F.dropout(tensor(np.ones(10))).dtype == dtype


@pytest.mark.parametrize("rung", rungs("dropout")[1:])
@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 5, 1)])
def test_every_rung_agrees_with_the_reference(agrees_with_reference, random, rung, p, shape):
    agrees_with_reference("dropout", rung, lambda x: F.dropout(x, p), [random.normal(size=shape)])


def test_any_number_of_threads_drops_the_same(any_number_of_threads):
    def both_ways():
        minicnn.manual_seed(0)
        x = Tensor(np.ones(300_000, "float32"), requires_grad=True)
        y = F.dropout(x, 0.2)
        y.sum().backward()
        return y.data, x.grad

    any_number_of_threads(both_ways)


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_p_outside_0_to_1_is_refused(p):
    with pytest.raises(ValueError, match=f"dropout: expected a probability from 0 to 1, got {p}"):
        F.dropout(Tensor(np.ones(3)), p)
