"""Module: names and their order, modes, what is saved and loaded, and that mistakes change nothing."""

import numpy as np
import pytest

from minicnn import Tensor, nn, optim
from minicnn import functional as F


class Net(nn.Module):
    """Parameters of its own before and after a child, a buffer between them, and modules two levels deep."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.full(1, 2.0, dtype=np.float32))
        self.register_buffer("seen", np.zeros(3, dtype=np.float32))
        self.body = nn.Sequential(nn.ConvBlock(1, 2, pool=2), nn.Flatten(), nn.Dropout(0.5))
        self.offset = nn.Parameter(np.zeros(1, dtype=np.float32))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x) * self.scale + self.offset)


IMAGES = np.random.default_rng(0).standard_normal((5, 1, 4, 4)).astype(np.float32)


def copies(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in module.state_dict().items()}


def assert_same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    assert list(one) == list(two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


# Names


def test_state_dict_has_the_names_and_the_order_of_torch() -> None:
    net = nn.Sequential(nn.ConvBlock(1, 2), nn.ReLU(), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(4, 5))
    assert list(net.state_dict()) == [
        "0.conv.weight",
        "0.bn.weight",
        "0.bn.bias",
        "0.bn.running_mean",
        "0.bn.running_var",
        "2.weight",
        "2.bias",
        "3.weight",
        "3.bias",
        "3.running_mean",
        "3.running_var",
        "4.weight",
        "4.bias",
    ]


def test_a_modules_own_arrays_come_before_those_of_the_modules_in_it() -> None:
    assert list(Net().state_dict()) == [
        "scale",
        "seen",
        "offset",
        "body.0.conv.weight",
        "body.0.bn.weight",
        "body.0.bn.bias",
        "body.0.bn.running_mean",
        "body.0.bn.running_var",
        "head.weight",
        "head.bias",
    ]


def test_named_parameters_are_the_trained_part_of_the_state_in_the_same_order() -> None:
    net = Net()
    buffers = [name for name, _ in net.named_buffers()]
    assert buffers == ["seen", "body.0.bn.running_mean", "body.0.bn.running_var"]
    names = [name for name, _ in net.named_parameters()]
    assert names == [name for name in net.state_dict() if name not in buffers]


def test_parameters_are_the_tensors_that_named_parameters_gives() -> None:
    net = Net()
    named = [parameter for _, parameter in net.named_parameters()]
    assert all(one is two for one, two in zip(net.parameters(), named, strict=True))


def test_named_modules_gives_the_module_itself_and_all_inside_it() -> None:
    names = [name for name, _ in Net().named_modules()]
    assert names == ["", "body", "body.0", "body.0.conv", "body.0.bn", "body.1", "body.2", "head"]


def test_children_are_the_modules_directly_inside() -> None:
    assert [name for name, _ in Net().children()] == ["body", "head"]


def test_a_module_that_is_used_twice_gives_its_parameters_once() -> None:
    # or an optimizer would take two steps with the same gradient
    shared = nn.Linear(3, 3)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]


def test_a_shared_module_takes_one_step_of_the_optimizer() -> None:
    shared = nn.Linear(3, 3)
    net = nn.Sequential(shared, shared)
    before = shared.weight.data.copy()
    optimizer = optim.SGD(net.parameters(), lr=0.5)
    net(Tensor(np.ones((2, 3), dtype=np.float32))).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(shared.weight.data, before - np.float32(0.5) * shared.weight.grad)


def test_a_shared_module_is_saved_by_both_names_as_in_torch() -> None:
    shared = nn.Linear(3, 3)
    assert list(nn.Sequential(shared, shared).state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_parameter_requires_a_gradient_and_keeps_its_dtype() -> None:
    parameter = nn.Parameter(np.zeros(2, dtype=np.float64))
    assert parameter.requires_grad
    assert parameter.dtype == np.float64


# What raises


@pytest.mark.parametrize("module", [nn.Module(), nn.Linear(2, 2), nn.Sequential(nn.ReLU()), nn.ConvBlock(1, 1)])
def test_an_unknown_attribute_raises(module: nn.Module) -> None:
    with pytest.raises(AttributeError, match="wieght"):
        _ = module.wieght


def test_a_module_without_forward_says_so() -> None:
    class Forgetful(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"^Forgetful defines no forward\(\)$"):
        Forgetful()(Tensor([1.0]))


# Modes


def test_modules_start_in_training() -> None:
    assert all(module.training for _, module in Net().named_modules())


def test_train_and_eval_reach_every_module_and_give_the_module_back() -> None:
    net = Net()
    assert net.eval() is net
    assert not any(module.training for _, module in net.named_modules())
    assert net.train() is net
    assert all(module.training for _, module in net.named_modules())
    assert net.train(False) is net
    assert not any(module.training for _, module in net.named_modules())


def test_evaluating_gives_every_module_its_own_mode_back() -> None:
    net = Net()
    net.body.eval()
    before = [module.training for _, module in net.named_modules()]
    with net.evaluating() as same:
        assert same is net
        assert not any(module.training for _, module in net.named_modules())
    assert [module.training for _, module in net.named_modules()] == before
    assert len(set(before)) == 2


def test_evaluating_gives_the_modes_back_after_an_exception() -> None:
    net = Net()
    with pytest.raises(KeyError), net.evaluating():
        raise KeyError
    assert all(module.training for _, module in net.named_modules())


# Gradients, dtype, device


def test_zero_grad_forgets_every_gradient() -> None:
    net = Net()
    F.sum(net(Tensor(IMAGES))).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_double_makes_parameters_and_buffers_float64_of_the_same_values() -> None:
    net = Net()
    before = copies(net)
    assert net.double() is net
    assert {str(array.dtype) for array in net.state_dict().values()} == {"float64"}
    assert_same(net.state_dict(), before)


def test_double_keeps_the_parameters_and_forgets_their_gradients() -> None:
    net = Net()
    parameters = list(net.parameters())
    F.sum(net(Tensor(IMAGES))).backward()
    net.double()
    assert all(one is two for one, two in zip(net.parameters(), parameters, strict=True))
    assert all(parameter.grad is None for parameter in parameters)


def test_a_network_made_double_takes_float64_and_updates_its_buffers_in_float64() -> None:
    net = Net().double()
    assert net(Tensor(IMAGES.astype(np.float64))).dtype == np.float64
    mean = net.state_dict()["body.0.bn.running_mean"]
    assert mean.dtype == np.float64
    assert np.abs(mean).min() > 0


def test_to_the_device_it_is_on_keeps_the_values() -> None:
    net = Net()
    before = copies(net)
    assert net.to("cpu") is net
    assert_same(net.state_dict(), before)


def test_to_an_unknown_device_raises() -> None:
    with pytest.raises(ValueError, match='expected device "cpu" or "gpu", got \'tpu\''):
        Net().to("tpu")


# Saving and loading


def test_state_dict_gives_the_arrays_themselves() -> None:
    net = Net()
    assert net.state_dict()["head.weight"] is net.head.weight.data
    assert net.state_dict()["seen"] is net.seen


def test_a_buffer_that_was_replaced_is_saved_as_it_is_now() -> None:
    net = Net()
    net.seen = np.arange(3, dtype=np.float32)
    assert net.state_dict()["seen"].tolist() == [0, 1, 2]
    assert dict(net.named_buffers())["seen"] is net.seen


def test_an_array_that_was_not_registered_is_not_saved() -> None:
    net = Net()
    net.scratch = np.zeros(3)
    assert "scratch" not in net.state_dict()


def test_loading_makes_another_network_the_same() -> None:
    one, two = Net(), Net()
    one(Tensor(IMAGES))  # moves the running statistics
    one.seen += 7
    two.load_state_dict(one.state_dict())
    assert_same(two.state_dict(), one.state_dict())
    np.testing.assert_array_equal(two.eval()(Tensor(IMAGES)).data, one.eval()(Tensor(IMAGES)).data)


def test_loading_copies_into_the_arrays_that_are_there() -> None:
    net = Net()
    weight, state = net.head.weight.data, copies(net)
    state["head.weight"][:] = 3
    net.load_state_dict(state)
    assert net.head.weight.data is weight
    state["head.weight"][:] = 4
    assert (weight == 3).all()


def test_loading_keeps_the_dtype() -> None:
    net = Net()
    net.load_state_dict({name: array.astype(np.float64) for name, array in net.state_dict().items()})
    assert {str(array.dtype) for array in net.state_dict().values()} == {"float32"}


def test_what_does_not_fit_is_listed_by_name() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = copies(net)
    state["0.weight"] = np.zeros((2, 3))
    del state["1.running_var"]
    state["2.weight"] = np.zeros(1)
    expected = (
        "Sequential: the weights do not fit: 1.running_var is missing, 2.weight is unknown, 0.weight is (2, 3), "
        "not (3, 2)"
    )
    with pytest.raises(ValueError, match="do not fit") as raised:
        net.load_state_dict(state)
    assert str(raised.value) == expected


def test_of_many_that_do_not_fit_five_are_named_and_the_rest_counted() -> None:
    with pytest.raises(ValueError, match=r"seen is missing, offset is missing, .* and 5 more$"):
        Net().load_state_dict({})


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_change_nothing(fault: str) -> None:
    net = Net()
    before = copies(net)
    state = {name: array + 1 for name, array in before.items()}
    if fault == "missing":
        del state["head.bias"]
    elif fault == "unknown":
        state["head.scale"] = np.zeros(1)
    else:
        state["head.bias"] = np.zeros(4)
    with pytest.raises(ValueError, match=r"head\."):
        net.load_state_dict(state)
    assert_same(net.state_dict(), before)
