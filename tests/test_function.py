"""Function: how operations are applied, checked, watched and let go; and no_grad()."""

import threading
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from minicnn import Function, Tensor, is_grad_enabled, no_grad, op_hook
from minicnn import functional as F


class Square(Function):
    """x^2, written as the documentation says."""

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        return x * x

    def backward(self, grad: Any) -> Any:
        return 2 * self.saved.x * grad


def made(forward: Callable[..., Any], backward: Callable[[Any], Any]) -> Function:
    """A Function called Made, of two plain functions."""
    body = {"forward": lambda self, *arrays: forward(*arrays), "backward": lambda self, grad: backward(grad)}
    return type("Made", (Function,), body)()


def leaf(*shape: int, dtype: str = "float64") -> Tensor:
    return Tensor(np.arange(1.0, np.prod(shape, dtype=int) + 1).reshape(shape).astype(dtype), requires_grad=True)


# Functions of one's own


def test_ten_lines_make_an_operation() -> None:
    x = leaf(3)
    y = Square()(x)
    y.backward(np.array([1.0, 0.0, -1.0]))
    np.testing.assert_array_equal(y.data, [1, 4, 9])
    np.testing.assert_array_equal(x.grad, [2, 0, -6])


def test_a_function_is_applied_once() -> None:
    square = Square()
    y = square(Tensor([3.0], requires_grad=True))
    with pytest.raises(RuntimeError, match="a Function is one application: make another for each call"):
        square(y)


def test_an_operation_is_called_by_its_class_or_by_the_name_it_gives_itself() -> None:
    class Cube(Square):
        name = "x³"

    class Fourth(Cube):
        pass

    assert (Square.name, Cube.name, Fourth.name) == ("Square", "x³", "Fourth")


def test_forward_and_backward_have_to_be_defined() -> None:
    class Half(Function):
        def forward(self, x: Any) -> Any:
            return x

    with pytest.raises(TypeError, match=r"abstract method '?backward"):
        Half()  # type: ignore[abstract]


def test_backward_knows_which_gradients_anybody_wants() -> None:
    constant, x = Tensor(np.ones(2)), leaf(2)
    function = made(lambda a, b, c: a + b, lambda grad: (None, grad, None))
    type(function).optional = 1
    function(constant, x, None).backward(np.ones(2))
    assert function.needs_grad == (False, True, False)
    np.testing.assert_array_equal(x.grad, [1, 1])


def test_an_input_may_have_no_gradient() -> None:
    x = leaf(2)
    cut = made(lambda a: a.round(), lambda grad: None)(x * 2)
    (cut + x).backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [1, 1])


def test_where_no_gradient_arrives_nothing_is_computed() -> None:
    x = leaf(2)
    made(lambda a: a.round(), lambda grad: None)(Square()(x)).backward(np.ones(2))
    assert x.grad is None


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (lambda grad: (grad, grad), "Made: 1 inputs, but backward gave 2 gradients"),
        (lambda grad: (), "Made: 1 inputs, but backward gave 0 gradients"),
        (lambda grad: grad[:1], r"Made: input \(2,\) float64, but its gradient is \(1,\) float64"),
        (lambda grad: grad[:, None], r"Made: input \(2,\) float64, but its gradient is \(2, 1\) float64"),
        (lambda grad: grad.astype("float32"), r"Made: input \(2,\) float64, but its gradient is \(2,\) float32"),
    ],
    ids=["too many", "too few", "smaller", "a dimension more", "dtype"],
)
def test_a_wrong_gradient_is_reported_by_name(gradient: Callable[[Any], Any], message: str) -> None:
    x = leaf(2)
    with pytest.raises(RuntimeError, match=f"^{message}$"):
        made(lambda a: a * 1, gradient)(x).backward(np.ones(2))
    assert x.grad is None


def test_a_forward_that_changes_the_dtype_is_reported_by_name() -> None:
    with pytest.raises(TypeError, match=r"^Made: the forward pass turned float32 into float64$"):
        made(lambda a: a * np.ones(2), lambda grad: grad)(leaf(2, dtype="float32"))


def test_inputs_of_two_devices_are_refused_by_name() -> None:
    elsewhere = leaf(2)
    elsewhere.data = SimpleNamespace(dtype=np.dtype("float64"), shape=(2,))  # not a NumPy array: on the GPU
    with pytest.raises(TypeError, match=r"^Made: expected inputs of one device, got cpu and gpu: convert one of them$"):
        made(lambda a, b: a, lambda grad: grad)(leaf(2), elsewhere)


def test_an_array_that_is_not_wrapped_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"^ReLU: expected Tensors, got a ndarray: wrap it, Tensor\(array\)$"):
        F.relu(np.ones(2))  # type: ignore[arg-type]


def test_an_input_that_is_missing_is_refused_by_name_unless_it_is_optional() -> None:
    with pytest.raises(TypeError, match=r"^ReLU: expected Tensors, input 0 is None: did a forward return nothing\?$"):
        F.relu(None)  # type: ignore[arg-type]
    assert F.linear(Tensor([[1.0]]), Tensor([[2.0]]), None).item() == 2


# Watching


def test_hooks_see_every_operation_in_order_with_its_time_and_array() -> None:
    seen: list[tuple[str, str, float, Any]] = []
    x = leaf(2, 2)
    upstream = np.ones((2, 2))
    with op_hook(lambda function, phase, seconds, array: seen.append((function.name, phase, seconds, array))):
        y = F.relu(x * 2)
        y.backward(upstream)
    assert [(name, phase) for name, phase, _, _ in seen] == [
        ("Mul", "forward"),
        ("ReLU", "forward"),
        ("ReLU", "backward"),
        ("Mul", "backward"),
    ]
    assert seen[1][3] is y.data
    assert seen[2][3] is upstream
    assert all(seconds >= 0 for _, _, seconds, _ in seen)


def test_the_time_is_that_of_the_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    now, seconds = 5.0, {}
    monkeypatch.setattr("minicnn.function.time", SimpleNamespace(perf_counter=lambda: now))

    def lasting(spent: float, array: Any) -> Any:
        nonlocal now
        now += spent
        return array * 1

    with op_hook(lambda function, phase, spent, array: seconds.update({phase: spent})):
        made(lambda a: lasting(2, a), lambda grad: lasting(3, grad))(leaf(2)).backward(np.ones(2))
    assert seconds == {"forward": 2, "backward": 3}


def test_hooks_are_called_in_the_order_they_were_set() -> None:
    calls: list[str] = []
    with op_hook(lambda *_: calls.append("outer")), op_hook(lambda *_: calls.append("inner")):
        leaf(2) * 2
    assert calls == ["outer", "inner"]


def test_a_hook_is_gone_after_its_block_even_if_that_raised() -> None:
    calls: list[str] = []
    with pytest.raises(ValueError, match="cannot reshape"), op_hook(lambda function, *_: calls.append(function.name)):
        (leaf(2) * 2).reshape(3)
    leaf(2) + 2
    assert calls == ["Mul"]


def counted(compute: Callable[[], Tensor]) -> int:
    """The multiply-adds of all operations that `compute` runs."""
    counts: list[int] = []
    with op_hook(lambda function, phase, seconds, array: counts.append(function.multiply_adds(array))):
        compute()
    return sum(counts)


def ones(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, "float32"))


@pytest.mark.parametrize("groups", [1, 2])
def test_multiply_adds_of_a_convolution(groups: int) -> None:
    out = 2 * 6 * 4 * 3  # N, outputs, and a 3x3 window with padding 1 and stride 2 over 8x5 pixels
    weight = ones(6, 4 // groups, 3, 3)
    assert counted(lambda: F.conv2d(ones(2, 4, 8, 5), weight, None, 2, 1, 1, groups)) == out * (4 // groups) * 9


def test_multiply_adds_of_a_block_are_those_of_its_convolution() -> None:
    args = ones(6, 4, 3, 3), np.zeros(6, "float32"), np.ones(6, "float32"), ones(6), ones(6)
    assert counted(lambda: F.conv_block(ones(2, 4, 8, 6), *args, padding=1, pool=2)) == 2 * 6 * 8 * 6 * 4 * 9


def test_multiply_adds_of_matrix_products() -> None:
    assert counted(lambda: F.linear(ones(5, 3), ones(7, 3), ones(7))) == 5 * 3 * 7
    assert counted(lambda: ones(2, 5, 3) @ ones(3, 7)) == 2 * 5 * 3 * 7


def test_other_operations_count_no_multiply_adds() -> None:
    assert counted(lambda: F.softmax(F.relu(ones(5, 3) * 2))) == 0


# Letting go


def test_backward_lets_go_of_inputs_and_saved_arrays() -> None:
    x = leaf(1000)
    middle = x * 2
    y = middle * middle
    array, node = weakref.ref(middle.data), y.node
    del middle
    assert array() is not None
    y.backward(np.ones(1000))
    assert array() is None
    assert node is not None
    assert (node.inputs, vars(node.saved), node.freed) == ((), {}, True)


def test_without_a_graph_nothing_is_kept() -> None:
    x = leaf(1000)
    with no_grad():
        middle = x * 2
        y = middle * middle
    array = weakref.ref(middle.data)
    del middle
    assert array() is None
    assert y.node is None


def test_what_requires_no_gradient_keeps_nothing() -> None:
    middle = Tensor(np.ones(1000)) * 2
    y = middle * middle
    array = weakref.ref(middle.data)
    del middle
    assert array() is None
    assert y.node is None


# no_grad()


def test_no_grad_builds_no_graph() -> None:
    x = leaf(2)
    with no_grad():
        y = x * 2
        assert not is_grad_enabled()
    assert (y.requires_grad, y.node) == (False, None)
    assert (x * 2).requires_grad


def test_no_grad_nests_and_ends_with_an_exception() -> None:
    with no_grad():
        with pytest.raises(KeyError), no_grad():
            raise KeyError
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_no_grad_decorates_a_function_that_calls_itself() -> None:
    @no_grad()
    def down(depth: int) -> list[bool]:
        return [is_grad_enabled()] + (down(depth - 1) if depth else [])

    assert down(3) == [False] * 4
    assert is_grad_enabled()


def test_no_grad_holds_in_its_own_thread_alone() -> None:
    seen: list[bool] = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_a_function_decorated_with_no_grad_serves_two_threads_at_once() -> None:
    inside, first_left = threading.Barrier(2, timeout=10), threading.Event()
    after: dict[str, bool] = {}

    @no_grad()
    def predict(name: str) -> None:
        inside.wait()
        if name == "second":
            first_left.wait(10)

    def work(name: str) -> None:
        predict(name)
        after[name] = is_grad_enabled()
        first_left.set()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert after == {"first": True, "second": True}


# bfloat16, which a GPU's fast kernels give


class Narrow(Function):
    """What a block does: from either dtype to bfloat16."""

    mixed = True

    def forward(self, x: Any, weight: Any) -> Any:
        self.save(dtype=x.dtype)
        return (x.astype("float32") * weight).astype(ml_dtypes.bfloat16)

    def backward(self, grad: Any) -> Any:
        wide = grad.astype("float32")
        return wide.astype(self.saved.dtype), wide


@pytest.mark.parametrize("given", ["float32", ml_dtypes.bfloat16])
def test_bfloat16_and_float32_meet_in_a_mixed_function_and_gradients_come_back_in_their_own(
    given: Any, gpu: Any
) -> None:
    x = Tensor(gpu.ones(2, dtype="float32").astype(given), requires_grad=True)
    weight = Tensor(gpu.full(2, 3, dtype="float32"), requires_grad=True)
    y = Narrow()(x, weight)
    y.backward(gpu.ones(2, dtype="float32").astype(ml_dtypes.bfloat16))
    assert [str(array.dtype) for array in (y, x.grad, weight.grad)] == ["bfloat16", str(np.dtype(given)), "float32"]


@pytest.mark.parametrize("move", [lambda x: x.reshape(3, 2), lambda x: x.transpose(1, 0), lambda x: F.dropout(x, 0.5)])
def test_what_only_moves_data_keeps_bfloat16(move: Any, gpu: Any) -> None:
    x = Tensor(gpu.ones((2, 3), dtype=ml_dtypes.bfloat16), requires_grad=True)
    y = move(x)
    y.backward(gpu.ones(y.shape, dtype=ml_dtypes.bfloat16))
    assert (str(y.dtype), str(x.grad.dtype)) == ("bfloat16", "bfloat16")


def test_every_other_function_refuses_bfloat16(gpu: Any) -> None:
    x = Tensor(gpu.ones(2, dtype=ml_dtypes.bfloat16))
    with pytest.raises(TypeError, match="Exp: expected float32, got bfloat16, which this operation has not"):
        x.exp()
    with pytest.raises(TypeError, match="Add: expected inputs of one dtype, got bfloat16 and float32"):
        x + Tensor(gpu.ones(2, dtype="float32"))


def test_a_mixed_function_still_refuses_float64_beside_float32(gpu: Any) -> None:
    with pytest.raises(TypeError, match="Narrow: expected inputs of one dtype, got float32 and float64"):
        Narrow()(Tensor(gpu.ones(2, dtype="float32")), Tensor(gpu.ones(2, dtype="float64")))


def test_on_the_cpu_there_is_no_bfloat16() -> None:
    with pytest.raises(TypeError, match="expected float32 or float64, got bfloat16"):
        Tensor(np.ones(2, dtype=ml_dtypes.bfloat16))
