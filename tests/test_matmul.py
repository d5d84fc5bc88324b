"""matmul: products of matrices and of stacks of them."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (3, 4)), ((5, 2, 3), (5, 3, 1)), ((2, 3), (5, 3, 4)), ((5, 1, 2, 3), (6, 3, 4))]
)
def test_products_are_numpy_s(tensor, random, a, b):
    a, b = random.normal(size=a), random.normal(size=b)
    np.testing.assert_allclose((tensor(a) @ tensor(b)).numpy(), a @ b, rtol=1e-4, atol=1e-5)


def test_gradients_are_products_with_the_other_transposed(tensor, gradients):
    a, b = tensor([[1, 2]]), tensor([[3], [4]])
    grad_a, grad_b = gradients(a @ b, [[10]], a, b)
    np.testing.assert_array_equal(grad_a, [[30, 40]])
    np.testing.assert_array_equal(grad_b, [[10], [20]])


def test_matrix_shared_by_a_stack_gets_the_sum_of_the_gradients(tensor, gradients):
    a, b = tensor([[1]]), tensor([[[2]], [[3]]])
    grad_a, grad_b = gradients(a @ b, [1, 10], a, b)
    np.testing.assert_array_equal(grad_a, [[32]])
    np.testing.assert_array_equal(grad_b, [[[1]], [[10]]])


def test_dtype_is_kept(tensor, dtype):
    a, b = tensor(np.ones((2, 3))), tensor(np.ones((3, 2)))
    y = a @ b
    y.sum().backward()
    assert y.dtype == a.grad.dtype == b.grad.dtype == dtype


@pytest.mark.parametrize(("a", "b"), [((2, 3), (2, 3)), ((3,), (3, 2)), ((2, 3), (3,))])
def test_shapes_that_do_not_fit_are_refused(a, b):
    with pytest.raises(ValueError, match=r"matmul: expected \(\.\.\., M, K\) @ \(\.\.\., K, N\), got"):
        F.matmul(Tensor(np.ones(a)), Tensor(np.ones(b)))
