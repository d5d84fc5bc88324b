"""linear: x @ weight.T + bias."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F
from minicnn.kernels import parallel, rungs

X, WEIGHT, BIAS = [[1, 2], [3, 4]], [[1, 0], [0, 1], [1, 1]], [10, 20, 30]


def test_weighted_sums_and_bias(tensor):
    y = F.linear(tensor(X), tensor(WEIGHT), tensor(BIAS))
    np.testing.assert_array_equal(y.numpy(), [[11, 22, 33], [13, 24, 37]])


def test_leading_dimensions_are_kept(tensor, random):
    x = random.normal(size=(2, 3, 5, 2))
    y = F.linear(tensor(x), tensor(WEIGHT))
    np.testing.assert_allclose(y.numpy(), x @ np.transpose(WEIGHT), rtol=1e-5)


def test_without_features_there_is_the_bias_alone(tensor, gradients):
    x, weight, bias = tensor(np.ones((2, 0))), tensor(np.ones((3, 0))), tensor(BIAS)
    y = F.linear(x, weight, bias)
    grad_x, grad_weight, grad_bias = gradients(y, np.ones((2, 3)), x, weight, bias)
    np.testing.assert_array_equal(y.numpy(), [BIAS, BIAS])
    assert (grad_x.shape, grad_weight.shape) == ((2, 0), (3, 0))
    np.testing.assert_array_equal(grad_bias, [2, 2, 2])


def test_gradients_of_input_weight_and_bias(tensor, gradients):
    x, weight, bias = tensor(X), tensor(WEIGHT), tensor(BIAS)
    y = F.linear(x, weight, bias)
    grad_x, grad_weight, grad_bias = gradients(y, [[1, 0, 0], [0, 10, 100]], x, weight, bias)
    np.testing.assert_array_equal(grad_x, [[1, 0], [100, 110]])
    np.testing.assert_array_equal(grad_weight, [[1, 2], [30, 40], [300, 400]])
    np.testing.assert_array_equal(grad_bias, [1, 10, 100])


def test_input_stays_as_it_was_when_the_bias_is_added(tensor):
    x, weight = tensor(X), tensor([[1, 0], [0, 1]])
    F.linear(x, weight, tensor([5, 5]))
    np.testing.assert_array_equal(x.numpy(), X)


def test_dtype_is_kept(tensor, dtype):
    x, weight, bias = tensor(X), tensor(WEIGHT), tensor(BIAS)
    y = F.linear(x, weight, bias)
    y.sum().backward()
    assert [y.dtype, x.grad.dtype, weight.grad.dtype, bias.grad.dtype] == [dtype] * 4


@pytest.mark.parametrize(
    ("x", "bias", "message"),
    [
        ((4, 3), (5,), r"Linear\(2→5\): expected input \(..., 2\), got \(4, 3\)$"),
        ((4, 3, 1, 1), (5,), r"expected input \(..., 2\), got \(4, 3, 1, 1\): flatten it first"),
        ((4, 2), (2,), r"Linear\(2→5\): expected bias \(5,\), got \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, bias, message):
    with pytest.raises(ValueError, match=message):
        F.linear(Tensor(np.ones(x)), Tensor(np.ones((5, 2))), Tensor(np.ones(bias)))


@pytest.mark.parametrize("rung", rungs("linear")[1:])
@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("bias", [True, False])
def test_every_rung_agrees_with_the_reference(agrees_with_reference, random, rung, batch, bias):
    arrays = [random.normal(size=(batch, 30)), random.normal(size=(7, 30)), random.normal(size=7)]
    agrees_with_reference("linear", rung, F.linear, arrays if bias else arrays[:2])


@pytest.mark.parametrize("batch", [1, 32])
def test_a_product_cut_into_pieces_is_the_same_for_any_number_of_threads(random, batch):
    x, weight = random.normal(size=(batch, 4608)).astype("float32"), random.normal(size=(1024, 4608)).astype("float32")
    found = []
    for threads in (1, 2, 3):
        parallel.set_threads(threads)
        inputs = Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True)
        y = F.linear(*inputs)
        y.sum().backward()
        found.append([y.data, *(t.grad for t in inputs)])
    parallel.set_threads(1)
    np.testing.assert_allclose(found[0][0], x @ weight.T, rtol=1e-4, atol=1e-3)
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, same)
