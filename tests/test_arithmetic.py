"""add, sub, mul, div, neg and pow, as functions and as operators, with broadcasting."""

import operator

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv]
FUNCTIONS = [F.add, F.sub, F.mul, F.div]


@pytest.mark.parametrize(("apply", "function"), list(zip(OPERATORS, FUNCTIONS, strict=True)))
def test_operators_are_the_functions_and_numpy_s(tensor, apply, function):
    a, b = np.array([[1.0, 2.0, 4.0]]), np.array([[8.0], [0.5]])
    np.testing.assert_array_equal(apply(tensor(a), tensor(b)).numpy(), apply(a, b))
    np.testing.assert_array_equal(function(tensor(a), tensor(b)).numpy(), apply(a, b))


@pytest.mark.parametrize("apply", OPERATORS)
def test_number_on_either_side_takes_the_tensor_s_dtype(tensor, dtype, apply):
    a, x = np.array([1.0, 2.0, 4.0]), tensor([1, 2, 4])
    for got, expected in ((apply(x, 8), apply(a, 8)), (apply(0.5, x), apply(0.5, a))):
        np.testing.assert_array_equal(got.numpy(), expected)
        assert got.dtype == dtype


@pytest.mark.parametrize("apply", OPERATORS)
def test_array_on_the_left_gives_a_tensor(apply):
    y = apply(np.ones(3), Tensor(np.ones(3)))
    assert isinstance(y, Tensor)


def test_minus(tensor, gradients):
    x = tensor([1, -2])
    y = -x
    np.testing.assert_array_equal(y.numpy(), [-1, 2])
    np.testing.assert_array_equal(gradients(y, [1, 10], x), [[-1, -10]])


@pytest.mark.parametrize("exponent", [3, 2.0, 0.5, 0, -1])
def test_power(tensor, gradients, exponent):
    x = tensor([1, 4])
    y = x**exponent
    np.testing.assert_allclose(y.numpy(), np.array([1.0, 4.0]) ** exponent)
    expected = exponent * np.array([1.0, 4.0]) ** (exponent - 1)
    np.testing.assert_allclose(gradients(y, [1, 1], x), [expected])


@pytest.mark.parametrize(("exponent", "slope"), [(0, 0), (1, 1), (2, 0)])
def test_power_has_its_gradient_at_zero(tensor, gradients, exponent, slope):
    x = tensor([0])
    np.testing.assert_array_equal(gradients(x**exponent, [1], x), [[slope]])


def test_gradients_of_quotients(tensor, gradients):
    a, b = tensor([6]), tensor([2])
    np.testing.assert_array_equal(gradients(a / b, [1], a, b), [[0.5], [-1.5]])


def test_gradient_of_a_quotient_needs_no_square_of_the_divisor(tensor, gradients):
    a, b = tensor([1e-25, 1e20, 0]), tensor([1e-25, 1e25, 1e-38])  # float32 has no room for these squares
    _, grad = gradients(a / b, [1e-5, 1, 1], a, b)
    np.testing.assert_allclose(grad, [-1e20, -1e-30, 0], rtol=1e-5)


def test_gradient_of_what_was_repeated_is_the_sum(tensor, gradients):
    row, column, number = tensor([[1, 2, 3]]), tensor([[1], [2]]), tensor(5)
    y = row * column + number
    grad_row, grad_column, grad_number = gradients(y, [[1, 1, 1], [10, 10, 10]], row, column, number)
    np.testing.assert_array_equal(grad_row, [[21, 21, 21]])
    np.testing.assert_array_equal(grad_column, [[6], [60]])
    np.testing.assert_array_equal(grad_number, 33)


def test_gradient_of_a_single_number_is_an_array_too(tensor):
    x = tensor(3)
    (x * x).backward()
    assert x.grad.shape == ()
    x.grad[...] = 0  # NumPy's scalars cannot be written to


@pytest.mark.parametrize("apply", OPERATORS)
def test_dtype_is_kept(tensor, dtype, apply):
    a, b = tensor([1.0]), tensor([2.0])
    y = apply(a, b)
    y.backward()
    assert y.dtype == a.grad.dtype == b.grad.dtype == dtype


@pytest.mark.parametrize("exponent", [Tensor(np.ones(3)), np.ones(3), "2"])
def test_power_takes_a_number_only(exponent):
    with pytest.raises(TypeError, match="pow: expected a number as exponent, got"):
        F.pow(Tensor(np.ones(3)), exponent)


def test_at_least_one_operand_is_a_tensor():
    with pytest.raises(TypeError, match="expected at least one Tensor, got int and float"):
        F.add(1, 2.0)


def test_two_dtypes_are_refused():
    with pytest.raises(TypeError, match="Add: expected inputs of one dtype, got float32 and float64"):
        F.add(Tensor(np.ones(1, "float32")), Tensor(np.ones(1, "float64")))


@pytest.mark.parametrize("number", [2, 2.0, np.int64(2), np.float32(2), np.float64(2)], ids=lambda n: type(n).__name__)
def test_numbers_of_any_type_leave_the_dtype(tensor, dtype, number):
    x = tensor([1, 3])
    for y, expected in ((x * number, [2, 6]), (number - x, [1, -1]), (x**number, [1, 9])):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.numpy(), expected)
