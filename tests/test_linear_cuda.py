"""The CUDA rung of the dense layer, in each precision, against float64 on the CPU: on a GPU or in the emulator."""

import ml_dtypes
import numpy as np
import pytest

from minicnn.device import to_numpy
from minicnn.kernels import fallbacks, precision
from minicnn.kernels._gpu import driver
from minicnn.kernels.linear import cuda

TOLERANCE = {"float32": 1e-5, "tf32": 2e-3, "bfloat16": 2e-2}
"""Of the largest number in an array: float32 carries 24 bits, operands of the others 11 and 8."""

SIZES = [(5, 33, 7), (70, 128, 100), (130, 520, 7), (1, 9, 1)]
"""Rows, inputs and outputs: seven outputs fill no chunk of 16 bytes."""


@pytest.fixture(params=precision.CHOICES)
def chosen(request):
    with precision.using(request.param):
        yield request.param


def draw(random, rows, inputs, outputs):
    """x, weight, bias, gradient of the output."""
    shapes = (rows, inputs), (outputs, inputs), (outputs,), (rows, outputs)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def exact(x, weight, bias, grad):
    """In float64: the output, and the gradients of x, weight and bias."""
    x, weight, bias, grad = (a.astype(np.float64) for a in (x, weight, bias, grad))
    return x @ weight.T + bias, grad @ weight, grad.T @ x, grad.sum(axis=0)


def both_ways(gpu, x, weight, bias, grad):
    x, weight, bias, grad = (gpu.asarray(a) for a in (x, weight, bias, grad))
    return cuda.forward(x, weight, bias), *cuda.backward(grad, x, weight)


def assert_close(got, want, tolerance):
    np.testing.assert_allclose(to_numpy(got).astype(np.float64), want, rtol=0, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize("multiprocessors", [1, 132])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_agrees_with_float64(gpu, chosen, random, monkeypatch, size, multiprocessors):
    monkeypatch.setattr(driver.driver(), "gpu", driver.driver().gpu._replace(multiprocessors=multiprocessors))
    drawn = draw(random, *size)
    for got, want in zip(both_ways(gpu, *drawn), exact(*drawn), strict=True):
        assert got.dtype == np.float32
        assert_close(got, want, TOLERANCE[chosen])


def test_bfloat16_input_gets_its_gradient_in_bfloat16(gpu, random):
    bfloat16 = ml_dtypes.bfloat16
    x, *others = draw(random, 20, 40, 7)
    x = x.astype(bfloat16)
    with precision.using("bfloat16"):
        results = both_ways(gpu, x, *others)
    assert [a.dtype for a in results] == [np.float32, bfloat16, np.float32, np.float32]
    for got, want in zip(results, exact(x, *others), strict=True):
        assert_close(got, want, TOLERANCE["bfloat16"])


def test_gradients_are_the_adjoint_of_forward(gpu, random):
    x, weight, bias, grad = draw(random, 33, 50, 19)
    y, dx, dw, _ = (to_numpy(a).astype(np.float64) for a in both_ways(gpu, x, weight, 0 * bias, grad))
    product, scale = np.vdot(y, grad), np.linalg.norm(y) * np.linalg.norm(grad)
    assert abs(np.vdot(dx, x) - product) < 1e-6 * scale
    assert abs(np.vdot(dw, weight) - product) < 1e-6 * scale


def test_a_slice_of_one_row_may_begin_anywhere(gpu, random):
    x, weight, bias, grad = draw(random, 1, 20, 4)
    whole = gpu.asarray(x)
    got = cuda.forward(whole[:, 3:11], gpu.asarray(weight[:, :8]), gpu.asarray(bias))
    assert_close(got, exact(x[:, 3:11], weight[:, :8], bias, grad)[0], TOLERANCE["float32"])


def test_a_gradient_that_nobody_needs_is_not_computed(gpu, random):
    x, weight, _, grad = (gpu.asarray(a) for a in draw(random, 4, 8, 3))
    assert cuda.backward(grad, x, weight, need_x=False)[0] is None


def test_float64_falls_back_to_array_code(gpu, random):
    drawn = [a.astype(np.float64) for a in draw(random, 4, 8, 3)]
    before = fallbacks().get("linear", 0)
    for got, want in zip(both_ways(gpu, *drawn), exact(*drawn), strict=True):
        assert_close(got, want, 1e-12)
    assert fallbacks()["linear"] == before + 2
