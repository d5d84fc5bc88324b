"""Tensor: what it holds, its operators, and what backward() promises."""

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn import Tensor, op_hook
from minicnn import functional as F
from minicnn.errors import DeviceError


def leaf(*shape: int, dtype: str = "float64") -> Tensor:
    return Tensor(np.arange(1.0, np.prod(shape, dtype=int) + 1).reshape(shape).astype(dtype), requires_grad=True)


# What a Tensor holds


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_array_is_kept_and_not_copied(dtype: str) -> None:
    array = np.ones((2, 3), dtype)
    t = Tensor(array)
    assert t.data is array
    assert t.numpy() is array
    assert (t.shape, t.ndim, t.size, t.dtype, t.device) == ((2, 3), 2, 6, np.dtype(dtype), "cpu")
    assert (t.requires_grad, t.grad, t.node) == (False, None, None)


@pytest.mark.parametrize("numbers", [1, 2.5, [1, 2], [[1.0, 2.0]], (1, 2)])
def test_python_numbers_become_float32(numbers: Any) -> None:
    t = Tensor(numbers)
    assert t.dtype == np.float32
    np.testing.assert_array_equal(t.data, numbers)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float16", "complex64", "object", ">f4"])
def test_arrays_of_another_dtype_are_refused(dtype: str) -> None:
    with pytest.raises(TypeError, match=r"expected float32 or float64, got .*astype\('float32'\)"):
        Tensor(np.ones(2, dtype))


def test_a_tensor_of_a_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="is a Tensor already"):
        Tensor(leaf(2))


def test_repr_shows_values_dtype_and_whether_a_gradient_is_wanted() -> None:
    assert repr(Tensor([1.0, 2.5])) == "Tensor([1.  2.5], float32)"
    assert repr(Tensor(np.float64(3), requires_grad=True)) == "Tensor(3., float64, requires_grad=True)"


def test_repr_of_a_large_tensor_is_short() -> None:
    assert len(repr(Tensor(np.zeros((1000, 1000))))) < 300


def test_item_gives_the_one_element_as_a_python_number() -> None:
    assert type(Tensor([[2.5]]).item()) is float
    assert Tensor([[2.5]]).item() == 2.5
    with pytest.raises(ValueError, match="size 1"):
        Tensor([1.0, 2.0]).item()


def test_len_is_the_size_of_the_first_dimension() -> None:
    assert len(leaf(3, 2)) == 3


def test_numpy_makes_its_array_of_it() -> None:
    x = Tensor([1.0, 2.0])
    made = np.asarray(x)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, x.data)
    assert np.shares_memory(made, x.data)
    assert not np.shares_memory(np.array(x), x.data)
    assert np.array(x, dtype="float64").dtype == np.float64


def test_numpy_takes_nothing_that_wants_a_gradient() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for lose in (np.asarray, lambda x: np.stack([x, x]), lambda x: Tensor([x, x])):
        with pytest.raises(TypeError, match=r"NumPy has no gradients: take \.numpy\(\) or \.detach\(\)"):
            lose(x)
    np.testing.assert_array_equal(np.asarray(x.detach()), x.data)


def test_one_element_is_true_or_false_and_more_are_not() -> None:
    assert bool(Tensor(1.0))
    assert not Tensor([0.0])
    for many in (Tensor([1.0, 2.0]), Tensor(np.zeros(0, np.float32))):
        with pytest.raises(ValueError, match="expected a Tensor of one element to be true or false"):
            bool(many)


def test_to_the_device_it_is_on_gives_the_tensor_itself() -> None:
    t = leaf(2)
    assert t.to("cpu") is t


def test_to_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match='"cpu" or "gpu", got \'tpu\''):
        leaf(2).to("tpu")


def test_to_the_gpu_without_cupy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"CuPy is not installed: pip install 'cupy-cuda13x\[ctk\]'"):
        leaf(2).to("gpu")


# Operators

A, B = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("other", [2, 0.5, np.float64(3), B, np.ones((1, 1))], ids=repr)
def test_operators_take_numbers_and_arrays_on_either_side(operator: str, other: Any) -> None:
    function = OPERATORS[operator]
    for result, expected in (
        (function(Tensor(A), other), function(A, other)),
        (function(other, Tensor(A)), function(other, A)),
    ):
        assert isinstance(result, Tensor)
        np.testing.assert_array_equal(result.data, expected)


def test_the_gradient_goes_through_an_operator_whose_left_side_is_an_array() -> None:
    x = leaf(2)
    (B * x).backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, B)


def test_power_negative_and_matrix_product() -> None:
    np.testing.assert_array_equal((Tensor(A) ** 3).data, A**3)
    np.testing.assert_array_equal((-Tensor(A)).data, -A)
    np.testing.assert_array_equal((Tensor(A) @ Tensor(A)).data, A @ A)


@pytest.mark.parametrize("number", [2, 0.1, True, np.float64(0.1)])
def test_numbers_take_the_tensors_dtype(number: float) -> None:
    t = Tensor([1.0, 2.0])
    for result in (t * number, number - t, t / number, number + t, t**0.5, t.mean(), t.sum() * number):
        assert result.dtype == np.float32


@pytest.mark.parametrize("operator", OPERATORS)
def test_mixed_dtypes_are_refused_by_the_operations_name(operator: str) -> None:
    name = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div"}[operator]
    with pytest.raises(TypeError, match=f"{name}: expected inputs of one dtype, got float32 and float64: convert one"):
        OPERATORS[operator](Tensor(A), A.astype("float32"))


def test_an_exponent_that_is_a_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="pow: expected a number as exponent, got Tensor"):
        leaf(2) ** leaf(2)  # type: ignore[operator]


INDICES: dict[str, Any] = {
    "number": 1,
    "slice": slice(None, None, 2),
    "both": (slice(1, 3), -1),
    "none": (None, 0),
    "ellipsis": (..., 1),
    "integers": [0, 2, 2],
    "mask": np.array([True, False, True, False]),
}


@pytest.mark.parametrize("name", INDICES)
def test_indexing_is_numpys(name: str) -> None:
    array, index = np.arange(12.0).reshape(4, 3), INDICES[name]
    np.testing.assert_array_equal(Tensor(array)[index].data, array[index])


def test_an_element_taken_twice_gets_both_gradients() -> None:
    x = leaf(3)
    x[[0, 2, 2]].sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 0, 2])


def test_iteration_goes_over_the_first_dimension_and_ends() -> None:
    assert [row.shape for row in leaf(3, 2)] == [(2,)] * 3


# backward()


def test_gradients_add_up_over_backward_passes() -> None:
    x = leaf(2)
    for _ in range(3):
        (2 * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [6, 6])


def test_a_tensor_used_twice_gets_the_sum() -> None:
    x = leaf(2)
    (x * x + x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data + 1)


def test_a_diamond_is_walked_once() -> None:
    x = leaf()
    walked: list[str] = []
    shared = x * 3
    top = (shared * 2) + (shared * shared)
    with op_hook(lambda function, *_: walked.append(function.name)):
        top.backward()
    assert x.grad == 3 * 2 + 2 * 9 * 1
    assert walked[0] == "Add"
    assert walked[1:] == ["Mul"] * 3


def test_a_path_that_is_longer_on_one_side_still_comes_last() -> None:
    x = leaf()
    y = x * 2
    z = y
    for _ in range(5):
        z = z * 2
    (z + y).backward()
    assert x.grad == 2 * 32 + 2


def test_20000_operations_in_a_row_need_no_recursion() -> None:
    x = leaf()
    y = x
    for _ in range(20_000):
        y = -y
    y.backward()
    assert x.grad == 1


def test_20000_operations_in_a_row_can_be_dropped() -> None:
    y = leaf()
    for _ in range(20_000):
        y = -y
    del y
    gc.collect()


def test_backward_of_a_leaf_gives_it_the_upstream_gradient() -> None:
    x, upstream = leaf(2), np.array([3.0, 4.0])
    x.backward(upstream)
    np.testing.assert_array_equal(x.grad, upstream)
    assert not np.shares_memory(x.grad, upstream)


def test_a_second_backward_says_what_to_do_and_changes_nothing() -> None:
    x = leaf(2)
    y = (x * x).sum()
    y.backward()
    before = x.grad.copy()
    with pytest.raises(
        RuntimeError, match=r"behind \w+ was freed by an earlier backward\(\): run the forward pass again"
    ):
        y.backward()
    np.testing.assert_array_equal(x.grad, before)


def test_a_shared_part_of_the_graph_is_freed_with_the_first_backward() -> None:
    x = leaf(2)
    shared = x * x
    first, second = shared.sum(), (shared * 2).sum()
    first.backward()
    before = x.grad.copy()
    with pytest.raises(RuntimeError, match="graph behind Mul was freed"):
        second.backward()
    np.testing.assert_array_equal(x.grad, before)


def test_two_losses_added_up_share_one_backward() -> None:
    x = leaf(2)
    shared = x * x
    (shared.sum() + (shared * 2).sum()).backward()
    np.testing.assert_array_equal(x.grad, 6 * x.data)


def test_without_an_argument_only_one_element_can_go_backward() -> None:
    x = leaf(2)
    (x * 2)[:1].backward()
    np.testing.assert_array_equal(x.grad, [2, 0])
    with pytest.raises(ValueError, match=r"shape \(2,\) is not one number: pass its gradient.*\.sum\(\)"):
        (x * 2).backward()


@pytest.mark.parametrize(
    ("grad", "got"),
    [
        (np.ones(3), r"\(3,\) float64"),
        (np.ones((2, 1)), r"\(2, 1\) float64"),
        (np.ones(2, "float32"), r"\(2,\) float32"),
        (np.ones(2, int), r"\(2,\) int64"),
        ([1.0, 1.0], "a list"),
        (1.0, "a float"),
        (Tensor(np.ones(2)), "a Tensor"),
    ],
    ids=["longer", "broadcastable", "float32", "integers", "list", "number", "Tensor"],
)
def test_a_gradient_that_does_not_fit_is_refused(grad: Any, got: str) -> None:
    x = leaf(2)
    with pytest.raises(ValueError, match=rf"backward\(grad\): expected an array \(2,\) float64 on cpu, got {got}"):
        (x * 2).backward(grad)
    assert x.grad is None


def test_backward_without_anything_to_differentiate_says_so() -> None:
    with pytest.raises(RuntimeError, match="depends on nothing that requires a gradient"):
        (Tensor([1.0]) * 2).backward()


def test_only_leaves_that_asked_get_a_gradient() -> None:
    x, constant = leaf(2), Tensor(np.ones(2))
    middle = x * constant
    middle.sum().backward()
    assert x.grad is not None
    assert constant.grad is None
    assert middle.grad is None


def test_a_result_requires_a_gradient_where_any_input_does() -> None:
    assert (leaf(2) * Tensor(np.ones(2))).requires_grad
    assert not (Tensor(np.ones(2)) * 2).requires_grad


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_arrays_of_the_leafs_shape_and_dtype(dtype: str) -> None:
    leaves = [leaf(dtype=dtype), leaf(1, dtype=dtype), leaf(2, 1, dtype=dtype), leaf(2, 3, dtype=dtype)]
    a, b, c, d = leaves
    for _ in range(2):
        (a * b + c * d + a * a).sum().backward()
        for x in leaves:
            assert isinstance(x.grad, np.ndarray)
            assert (x.grad.shape, x.grad.dtype) == (x.shape, x.dtype)


PASSING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda x, y: x + y,
    "add itself": lambda x, y: (x + x) + y,
    "add twice": lambda x, y: (x + y) + (x + y),
    "reshape": lambda x, y: x.reshape(3, 2).reshape(2, 3) + y,
    "transpose": lambda x, y: (x.transpose() + y.transpose()).transpose(),
    "concatenate": lambda x, y: F.concatenate([x, y]),
    "concatenate itself": lambda x, y: F.concatenate([x, x, y], 1),
    "pad": lambda x, y: F.pad(x, 1) + F.pad(y, 1),
    "index": lambda x, y: x[:1] + y[:1],
    "sum": lambda x, y: x.sum() + y.sum(0),
    "broadcast": lambda x, y: x + y[0] + y.mean(),
    "leaf": lambda x, y: x,
}


@pytest.mark.parametrize("name", PASSING)
def test_no_gradient_shares_memory_with_another_or_with_the_upstream(name: str) -> None:
    x, y = leaf(2, 3), leaf(2, 3)
    out = PASSING[name](x, y)
    upstream = np.full(out.shape, 2.0)  # owns its memory, as a view would not
    kept = upstream.copy()
    out.backward(upstream)
    arrays = [upstream, x.data, y.data] + [t.grad for t in (x, y) if t.grad is not None]
    for number, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in arrays[number + 1 :])
    for grad in arrays[3:]:
        grad += 1  # as clipping does; a read-only broadcast would raise
    np.testing.assert_array_equal(upstream, kept)


def test_detach_shares_the_array_and_leaves_the_graph() -> None:
    x = leaf(2)
    y = (x * 2).detach()
    assert (y.requires_grad, y.node) == (False, None)
    assert np.shares_memory(x.detach().data, x.data)
    (y * x).sum().backward()
    np.testing.assert_array_equal(x.grad, y.data)  # and nothing by way of y
