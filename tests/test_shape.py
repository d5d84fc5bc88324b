"""reshape, transpose, flatten, pad, concatenate and indexing."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F

X = np.arange(24.0).reshape(2, 3, 4)

INDICES = {
    "number": 1,
    "last": -1,
    "slice": slice(None, None, -1),
    "numbers and slices": (1, slice(0, 2), -1),
    "ellipsis and new axis": (..., None, slice(1, 3)),
    "array": np.array([1, 0, 1]),
    "list": [1, 1],
    "pairs": (np.array([0, 1, 0]), np.array([2, 0, 2])),
    "mask": X % 5 > 1,
}


def test_reshape(tensor, gradients):
    x = tensor(X)
    y = x.reshape(4, -1)
    np.testing.assert_array_equal(y.numpy(), X.reshape(4, 6))
    np.testing.assert_array_equal(gradients(y, X.reshape(4, 6), x), [X])


@pytest.mark.parametrize("axes", [(), (1, 0, 2), (2, 0, 1), (0, -1, 1)])
def test_transpose(tensor, gradients, axes):
    x = tensor(X)
    y = x.transpose(*axes)
    expected = X.transpose(axes or None)
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(gradients(y, expected, x), [X])


@pytest.mark.parametrize(("axis", "shape"), [(0, (24,)), (1, (2, 12)), (2, (2, 3, 4))])
def test_flatten_joins_the_dimensions_from_an_axis_on(tensor, axis, shape):
    assert tensor(X).flatten(axis).shape == shape


@pytest.mark.parametrize(
    "width", [1, (1, 2), ((0, 1), (2, 0), (0, 0)), np.int64(1), (1,), np.array([2, 1]), ((1,), (0,), (2,))], ids=str
)
def test_pad_is_numpy_s(tensor, gradients, width):
    x = tensor(X)
    y = x.pad(width, value=7)
    expected = np.pad(X, width, constant_values=7)
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(gradients(y, expected, x), [X])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenate_gives_every_piece_its_part_of_the_gradient(tensor, gradients, axis):
    pieces = [X, X[tuple(slice(1) if d == axis % 3 else slice(None) for d in range(3))]]
    tensors = [tensor(piece) for piece in pieces]
    y = F.concatenate(tensors, axis)
    expected = np.concatenate(pieces, axis)
    np.testing.assert_array_equal(y.numpy(), expected)
    for got, piece in zip(gradients(y, expected, *tensors), pieces, strict=True):
        np.testing.assert_array_equal(got, piece)


@pytest.mark.parametrize("index", list(INDICES.values()), ids=list(INDICES))
def test_indexing_is_numpy_s_and_the_gradient_goes_back_where_elements_came_from(tensor, gradients, index):
    x = tensor(X)
    y = x[index]
    np.testing.assert_array_equal(y.numpy(), X[index])
    expected = np.zeros_like(X)
    np.add.at(expected, index, X[index])
    np.testing.assert_array_equal(gradients(y, X[index], x), [expected])


def test_element_taken_twice_gets_both_gradients(tensor, gradients):
    x = tensor([1, 2])
    np.testing.assert_array_equal(gradients(x[np.array([0, 0, 1])], [1, 10, 100], x), [[11, 100]])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.reshape(x, (6, 4)),
        F.transpose,
        F.flatten,
        lambda x: F.pad(x, 1),
        lambda x: F.concatenate([x, x]),
        lambda x: F.getitem(x, np.array([0, 0])),
    ],
    ids=["reshape", "transpose", "flatten", "pad", "concatenate", "getitem"],
)
def test_dtype_is_kept(tensor, dtype, function):
    x = tensor(X)
    y = function(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype


@pytest.mark.parametrize("width", [((1, 1), (1, 1)), (1, -1), -1, 1.5, (), (1, 2, 3), ((1, 2), 3)], ids=str)
def test_widths_that_do_not_fit_are_refused(width):
    with pytest.raises(ValueError, match=r"expected 3 pairs of widths of at least 0, got"):
        F.pad(Tensor(X), width)


@pytest.mark.parametrize("axis", [3, 7, -4])
def test_flatten_from_an_axis_that_is_not_there_is_refused(axis):
    with pytest.raises(ValueError, match=rf"flatten: expected a start_axis of the 3 dimensions .*, got {axis}$"):
        F.flatten(Tensor(X), axis)


def test_flatten_takes_an_empty_batch():
    assert F.flatten(Tensor(np.zeros((0, 3, 4))), 1).shape == (0, 12)


@pytest.mark.parametrize("axes", [(0, 1), (0, 1, 1), (0, 1, 5), (0, 1, -4)])
def test_an_order_that_does_not_name_every_dimension_once_is_refused(axes):
    with pytest.raises(ValueError, match=r"transpose: expected each of the 3 dimensions of .* once, got \(0, 1"):
        F.transpose(Tensor(X), axes)


def test_concatenate_as_a_method_begins_with_the_tensor_itself():
    np.testing.assert_array_equal(Tensor([1.0]).concatenate(Tensor([2.0]), Tensor([3.0])).numpy(), [1, 2, 3])


def test_concatenating_nothing_is_refused():
    with pytest.raises(ValueError, match="concatenate: expected at least one Tensor, got none"):
        F.concatenate([])


def test_reshape_and_transpose_take_numbers_or_one_tuple(tensor, random):
    x = tensor(random.normal(size=(2, 3)))
    np.testing.assert_array_equal(x.reshape((3, 2)).numpy(), x.reshape(3, 2).numpy())
    np.testing.assert_array_equal(x.transpose((1, 0)).numpy(), x.transpose(1, 0).numpy())
