"""Optimizers against their formulas written out, clipping, and averaged weights."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minicnn import Tensor, kernels, nn, optim
from minicnn.kernels import arrays
from minicnn.optim import EMA, SGD, Adagrad, Adam, AdamW, Group, Optimizer

Array = np.ndarray
STEPS = 6


def gradients(shape: tuple[int, ...] = (4, 3), dtype: type = np.float64) -> list[Array]:
    rng = np.random.default_rng(2)
    return [rng.standard_normal(shape).astype(dtype) for _ in range(STEPS)]


def start(shape: tuple[int, ...] = (4, 3), dtype: type = np.float64) -> Array:
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


def path(make: Callable[[list[nn.Parameter]], Optimizer], first: Array, grads: list[Array]) -> list[Array]:
    """Where the optimizer has moved one parameter after each gradient."""
    parameter = nn.Parameter(first.copy())
    optimizer = make([parameter])
    places = []
    for grad in grads:
        parameter.grad = grad.copy()
        optimizer.step()
        places.append(parameter.data.copy())
    return places


def assert_path(make: Callable[[list[nn.Parameter]], Optimizer], expected: Iterator[Array]) -> None:
    np.testing.assert_allclose(path(make, start(), gradients()), list(expected), rtol=1e-12, atol=1e-14)


# The formulas


def sgd(lr: float, momentum: float, nesterov: bool, coupled: float, decoupled: float) -> Iterator[Array]:
    w, v = start(), np.zeros((4, 3))
    for g in gradients():
        w, g = (1 - lr * decoupled) * w, g + coupled * w
        v = momentum * v + g
        w = w - lr * (g + momentum * v if nesterov else v)
        yield w


def adam(lr: float, b1: float, b2: float, eps: float, coupled: float, decoupled: float) -> Iterator[Array]:
    w, m, v = start(), np.zeros((4, 3)), np.zeros((4, 3))
    for t, g in enumerate(gradients(), start=1):
        w, g = (1 - lr * decoupled) * w, g + coupled * w
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        w = w - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        yield w


def adagrad(lr: float, lr_decay: float, decay: float, eps: float) -> Iterator[Array]:
    w, total = start(), np.zeros((4, 3))
    for t, g in enumerate(gradients()):
        g = g + decay * w
        total = total + g**2
        w = w - lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps)
        yield w


@pytest.mark.parametrize("rung", ["reference", "im2col"])
@pytest.mark.parametrize("decoupled", [False, True], ids=["coupled", "decoupled"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_follows_its_formula(momentum: float, nesterov: bool, decay: float, decoupled: bool, rung: str) -> None:
    with kernels.using(rung):
        assert_path(
            lambda params: SGD(params, 0.1, momentum, nesterov, decay, decoupled),
            sgd(0.1, momentum, nesterov, 0 if decoupled else decay, decay if decoupled else 0),
        )


@pytest.mark.parametrize("rung", ["reference", "im2col"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam_follows_its_formula_and_adds_decay_to_the_gradient(decay: float, rung: str) -> None:
    with kernels.using(rung):
        assert_path(lambda params: Adam(params, 0.1, (0.8, 0.95), 1e-3, decay), adam(0.1, 0.8, 0.95, 1e-3, decay, 0.0))


@pytest.mark.parametrize("rung", ["reference", "im2col"])
def test_adamw_follows_its_formula_and_shrinks_the_parameter(rung: str) -> None:
    with kernels.using(rung):
        assert_path(lambda params: AdamW(params, 0.1, (0.8, 0.95), 1e-3, 0.3), adam(0.1, 0.8, 0.95, 1e-3, 0.0, 0.3))


@pytest.mark.parametrize("lr_decay", [0.0, 0.5])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adagrad_follows_its_formula(decay: float, lr_decay: float) -> None:
    assert_path(lambda params: Adagrad(params, 0.1, lr_decay, decay, 1e-3), adagrad(0.1, lr_decay, decay, 1e-3))


def test_the_defaults_are_those_of_torch() -> None:
    assert_path(lambda params: SGD(params, 0.1), sgd(0.1, 0.0, False, 0.0, 0.0))
    assert_path(Adam, adam(1e-3, 0.9, 0.999, 1e-8, 0.0, 0.0))
    assert_path(AdamW, adam(1e-3, 0.9, 0.999, 1e-8, 0.0, 1e-2))
    assert_path(Adagrad, adagrad(1e-2, 0.0, 0.0, 1e-10))


# Every optimizer

ALL = {
    "sgd": lambda params: SGD(params, 0.1, 0.9, weight_decay=0.1),
    "nesterov": lambda params: SGD(params, 0.1, 0.9, nesterov=True, weight_decay=0.1, decoupled=True),
    "adam": lambda params: Adam(params, 0.1, weight_decay=0.1),
    "adamw": lambda params: AdamW(params, 0.1, weight_decay=0.1),
    "adagrad": lambda params: Adagrad(params, 0.1, lr_decay=0.1, weight_decay=0.1),
}
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


@every
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 2e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4), (2, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("rung", ["im2col", "fast"])
def test_the_rungs_agree(
    make: Callable[..., Optimizer], shape: tuple[int, ...], dtype: type, rtol: float, rung: str
) -> None:
    with kernels.using("reference"):
        expected = path(make, start(shape, dtype), gradients(shape, dtype))
    with kernels.using(rung):
        got = path(make, start(shape, dtype), gradients(shape, dtype))
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol)
    assert got[0].dtype == expected[0].dtype == dtype


@every
def test_a_parameter_that_is_cut_into_pieces_moves_as_a_whole(
    make: Callable[..., Optimizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = path(make, start((50, 4)), gradients((50, 4)))
    monkeypatch.setattr(arrays, "CACHE_BYTES", 1000)
    np.testing.assert_array_equal(path(make, start((50, 4)), gradients((50, 4))), whole)


@every
def test_any_number_of_threads_moves_a_large_parameter_to_the_same_place(
    make: Callable[..., Optimizer], any_number_of_threads: Callable[..., None]
) -> None:
    shape, dtype = (300, 500), np.float32
    any_number_of_threads(lambda: path(make, start(shape, dtype), gradients(shape, dtype)))


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("of_parameter", [False, True])
def test_memory_in_another_order_changes_nothing(
    make: Callable[..., Optimizer], dtype: type, of_parameter: bool
) -> None:
    first, grads = start(dtype=dtype), gradients(dtype=dtype)
    parameter = nn.Parameter(np.asfortranarray(first) if of_parameter else first)
    optimizer = make([parameter])
    for grad in grads:
        parameter.grad = np.asfortranarray(grad)
        optimizer.step()
    np.testing.assert_allclose(
        parameter.data, path(make, start(dtype=dtype), grads)[-1], rtol=1e-6 if dtype == np.float32 else 0
    )


@every
def test_a_parameter_without_a_gradient_stays_and_so_does_its_state(make: Callable[..., Optimizer]) -> None:
    moved, still = nn.Parameter(start()), nn.Parameter(start())
    optimizer = make([moved, still])
    for grad in gradients():
        moved.grad = grad
        optimizer.step()
    np.testing.assert_array_equal(still.data, start())
    assert not np.array_equal(moved.data, start())
    for name, array in optimizer.state_dict().items():
        assert (array == 0).all() == name.endswith(".1")


@every
def test_a_step_changes_the_array_in_place_and_leaves_the_gradient(make: Callable[..., Optimizer]) -> None:
    parameter = nn.Parameter(start())
    array, grad = parameter.data, gradients()[0]
    parameter.grad = grad.copy()
    make([parameter]).step()
    assert parameter.data is array
    np.testing.assert_array_equal(parameter.grad, grad)


@every
def test_the_next_step_after_loading_the_state_has_the_same_bits(make: Callable[..., Optimizer]) -> None:
    whole = path(make, start(), gradients())
    parameter = nn.Parameter(start())
    optimizer = make([parameter])
    for grad in gradients()[:3]:
        parameter.grad = grad
        optimizer.step()
    saved = {name: array.copy() for name, array in optimizer.state_dict().items()}
    later = nn.Parameter(parameter.data.copy())
    resumed = make([later])
    resumed.load_state_dict(saved, optimizer.count)
    for array in saved.values():
        array[...] = 99  # it was copied
    for grad, expected in zip(gradients()[3:], whole[3:], strict=True):
        later.grad = grad
        resumed.step()
        np.testing.assert_array_equal(later.data, expected)


@every
def test_zero_grad_forgets_the_gradients(make: Callable[..., Optimizer]) -> None:
    parameters = [nn.Parameter(start()), nn.Parameter(start())]
    for parameter in parameters:
        parameter.grad = start()
    make(parameters).zero_grad()
    assert [parameter.grad for parameter in parameters] == [None, None]


def test_the_state_is_named_by_array_and_position() -> None:
    parameters = [nn.Parameter(start()), nn.Parameter(start((5,)))]
    assert list(Adam(parameters).state_dict()) == ["first.0", "second.0", "first.1", "second.1"]
    assert {name: array.shape for name, array in SGD(parameters, 0.1).state_dict().items()} == {
        "velocity.0": (4, 3),
        "velocity.1": (5,),
    }


def test_the_state_has_the_dtype_of_its_parameter() -> None:
    state = Adam([nn.Parameter(start(dtype=np.float32)), nn.Parameter(start())]).state_dict()
    assert [str(array.dtype) for array in state.values()] == ["float32"] * 2 + ["float64"] * 2


def test_lr_can_change_between_steps() -> None:
    parameter = nn.Parameter(np.zeros(1))
    optimizer = SGD([parameter], lr=0.5)
    for lr in (0.5, 0.25, 0.0):
        optimizer.lr = lr
        parameter.grad = np.ones(1)
        optimizer.step()
    assert parameter.data[0] == -0.75


# Which parameters decay


def test_decay_groups_decay_weights_alone() -> None:
    net = nn.Sequential(nn.ConvBlock(1, 2), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(4, 5))
    decayed, left = optim.decay_groups(net, 0.1)
    assert decayed.weight_decay == 0.1
    assert left.weight_decay == 0
    assert decayed.params == [net[0].conv.weight, net[1].weight, net[3].weight]
    assert len(left.params) == len(list(net.parameters())) - 3


@pytest.mark.parametrize("make", [lambda groups: SGD(groups, 0.5), lambda groups: AdamW(groups, 0.5)])
def test_a_step_without_slope_shrinks_weights_and_leaves_biases_and_normalization(
    make: Callable[[list[Group]], Optimizer],
) -> None:
    net = nn.Sequential(nn.ConvBlock(1, 2), nn.Linear(4, 5))
    before = {name: parameter.data.copy() for name, parameter in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = np.zeros_like(parameter.data)
    make(optim.decay_groups(net, 0.1)).step()
    for name, parameter in net.named_parameters():
        factor = np.float32(0.95) if parameter.ndim > 1 else np.float32(1)
        np.testing.assert_allclose(parameter.data, before[name] * factor, rtol=1e-6, err_msg=name)


# Clipping


def with_gradients(*grads: list[float] | None) -> list[nn.Parameter]:
    parameters = [nn.Parameter(np.zeros(2, dtype=np.float32)) for _ in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = None if grad is None else np.array(grad, dtype=np.float32)
    return parameters


def test_clip_grad_norm_scales_all_gradients_by_their_joint_norm_and_returns_it() -> None:
    parameters = with_gradients([3, 0], None, [0, -4])
    assert optim.clip_grad_norm(iter(parameters), 1.0) == pytest.approx(5)
    np.testing.assert_allclose(parameters[0].grad, [0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(parameters[2].grad, [0, -0.8], rtol=1e-6)
    assert parameters[1].grad is None
    assert parameters[0].grad.dtype == np.float32


def test_clip_grad_norm_leaves_gradients_that_are_small_enough() -> None:
    parameters = with_gradients([3, 0], [0, -4])
    assert optim.clip_grad_norm(parameters, 5.0) == 5
    assert [parameter.grad.tolist() for parameter in parameters] == [[3, 0], [0, -4]]


def test_the_norm_of_large_float32_gradients_does_not_overflow() -> None:
    assert optim.clip_grad_norm(with_gradients([3e30, 4e30]), 1.0) == pytest.approx(5e30)


def test_the_norm_of_no_gradients_is_zero() -> None:
    assert optim.clip_grad_norm(with_gradients(None), 1.0) == 0


def test_clip_grad_value_cuts_every_element() -> None:
    parameters = with_gradients([3, 0.5], None, [-0.25, -4])
    optim.clip_grad_value(parameters, 1.0)
    assert parameters[0].grad.tolist() == [1, 0.5]
    assert parameters[2].grad.tolist() == [-0.25, -1]


# Errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD([], 0.1), "SGD: expected parameters to train, got none"),
        (lambda p: SGD(p, -0.1), "optimizer: expected lr of at least 0, got -0.1"),
        (lambda p: Adam(p, math.nan), "optimizer: expected lr of at least 0, got nan"),
        (lambda p: SGD(p, 0.1, weight_decay=-1.0), "optimizer: expected weight_decay of at least 0, got -1.0"),
        (lambda p: SGD(p, 0.1, momentum=-0.9), "optimizer: expected momentum of at least 0, got -0.9"),
        (lambda p: SGD(p, 0.1, nesterov=True), "SGD: Nesterov's step needs a momentum above 0"),
        (lambda p: Adam(p, betas=(0.9, 1.0)), "Adam: expected betas from 0 to below 1, got (0.9, 1.0)"),
        (lambda p: AdamW(p, betas=(-0.1, 0.9)), "AdamW: expected betas from 0 to below 1, got (-0.1, 0.9)"),
        (lambda p: Adam(p, eps=-1e-8), "optimizer: expected eps of at least 0, got -1e-08"),
        (lambda p: Adagrad(p, lr_decay=-1), "optimizer: expected lr_decay of at least 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(make: Callable[..., Optimizer], message: str) -> None:
    with pytest.raises(ValueError, match=r"expected|needs") as raised:
        make([nn.Parameter(start())])
    assert str(raised.value) == message


def test_a_group_may_be_given_what_can_be_gone_through_once() -> None:
    layer = nn.Linear(2, 2)
    optimizer = SGD([Group(layer.parameters(), 0.0)], 1.0)
    before = layer.weight.data.copy()
    layer(Tensor([[1.0, 2.0]])).sum().backward()
    optimizer.step()
    assert len(optimizer.state) == 2
    np.testing.assert_allclose(layer.weight.data, before - [[1, 2], [1, 2]], rtol=1e-6)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (Tensor([[1.0], [2.0]], requires_grad=True), TypeError, "got a single one: put it in a list"),
        ([np.zeros(3)], TypeError, r"SGD: expected Tensors or optim\.Groups of them, got a ndarray"),
        ([Group(nn.Parameter([1.0]), 0.1)], TypeError, "expected Tensors in a Group, got a single one"),
        (nn.Linear(1, 1).named_parameters(), TypeError, "got a tuple"),
        ([nn.Parameter([1.0])] * 2, ValueError, "expected every parameter once"),
        ([nn.Parameter([1.0]) * 2], ValueError, "got the result of an operation, which keeps no gradient"),
    ],
    ids=["one Tensor", "an array", "one Tensor as a group", "names", "twice", "a result"],
)
def test_what_cannot_be_trained_is_refused(params: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SGD(params, 0.1)


def test_the_state_of_another_optimizer_or_network_is_refused() -> None:
    optimizer = SGD([nn.Parameter(start())], 0.1)
    others = Adam([nn.Parameter(start())]), SGD([nn.Parameter(start((3, 4)))], 0.1)
    for other in others:
        with pytest.raises(ValueError, match=r"^SGD: the saved state is of another optimizer or network$"):
            optimizer.load_state_dict(other.state_dict(), 1)


# Averaged weights


def one_weight(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False).double()
    layer.weight.data[...] = value
    return layer


def test_the_average_follows_its_formula_through_warm_up_to_the_decay() -> None:
    model = one_weight(5.0)
    ema, expected = EMA(model, decay=0.5), 5.0
    for t, value in enumerate(np.random.default_rng(0).standard_normal(20), start=1):
        model.weight.data[...] = value
        ema.update()
        decay = min(0.5, (1 + t) / (10 + t))  # 2/11, 3/12, ... and 0.5 from the 8th on
        expected = decay * expected + (1 - decay) * value
        assert ema.average["weight"].item() == pytest.approx(expected, rel=1e-12)


def test_the_average_starts_as_a_copy_of_the_model() -> None:
    model = one_weight(5.0)
    ema = EMA(model, 0.9)
    model.weight.data[...] = 1
    assert ema.average["weight"].item() == 5


def test_buffers_are_averaged_too() -> None:
    model = nn.BatchNorm1d(2)
    ema = EMA(model, decay=0.0)
    model(Tensor(np.array([[1, 2], [5, 2]], dtype=np.float32)))
    ema.update()
    np.testing.assert_allclose(ema.average["running_mean"], model.running_mean)
    assert list(ema.average) == list(model.state_dict())


def test_inside_applied_the_model_holds_the_averages_and_after_it_its_own() -> None:
    model = one_weight(5.0)
    ema = EMA(model, 0.9)
    model.weight.data[...] = 1
    with ema.applied():
        assert model.weight.data.item() == 5
    assert model.weight.data.item() == 1
    assert ema.average["weight"].item() == 5


def test_an_exception_inside_applied_gives_the_model_its_own_weights_back() -> None:
    model = one_weight(5.0)
    ema = EMA(model, 0.9)
    model.weight.data[...] = 1
    with pytest.raises(KeyboardInterrupt), ema.applied():
        raise KeyboardInterrupt
    assert model.weight.data.item() == 1


def test_a_loaded_average_goes_on_as_if_it_had_not_stopped() -> None:
    model = one_weight(5.0)
    whole = EMA(model, 0.9)
    resumed = EMA(model, 0.9)
    for step in range(6):
        if step == 3:
            resumed.load_state_dict({"weight": whole.average["weight"].copy()}, whole.count)
        model.weight.data[...] = step
        whole.update()
        if step >= 3:
            resumed.update()
    assert resumed.average["weight"].item() == whole.average["weight"].item()


def test_averages_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^EMA: the saved averages are of another network$"):
        EMA(one_weight(1.0), 0.9).load_state_dict({"weight": np.zeros((2, 1))}, 3)


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
def test_a_decay_that_averages_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"EMA: expected a decay from 0 to below 1, got {decay}"):
        EMA(one_weight(1.0), decay)
