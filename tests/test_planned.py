"""A frozen network's short cut for few images: the same answers as layer by layer, and when it is taken."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest

from minicnn import Tensor, inference, manual_seed, models, nn, no_grad, op_hook
from minicnn.kernels import parallel
from minicnn.planned import FEW, _Planned, planned


def faces(count: int) -> Tensor:
    return Tensor(np.random.default_rng(count).standard_normal((count, 1, 48, 48), np.float32))


def layer_by_layer(model: nn.Sequential, x: Tensor) -> np.ndarray:
    return nn.Sequential.forward(model, x).numpy()


def network(layers: int = 4, preset: str = "bench") -> nn.Sequential:
    """With running statistics and biases that change something."""
    manual_seed(layers)
    model, rng = models.build(layers, preset), np.random.default_rng(layers)
    for _, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean[:] = rng.normal(0, 0.1, module.running_mean.shape)
            module.running_var[:] = rng.uniform(0.5, 2, module.running_var.shape)
            module.weight.data[:] = rng.normal(1, 0.3, module.weight.shape)
            module.bias.data[:] = rng.normal(0, 0.3, module.bias.shape)
    return model


def was_planned(model: nn.Sequential) -> bool:
    """Whether the last shape asked for inside `frozen` went through a chain."""
    forward = vars(model)["forward"]
    assert isinstance(forward, _Planned)
    return any(chain is not None for chain in forward.chains.values())


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """A number of threads; afterwards there are as many as before."""
    before = parallel.threads()
    parallel.set_threads(request.param)
    yield request.param
    parallel.set_threads(before)


@pytest.mark.parametrize("images", [1, 2, 3, 4, 7, FEW])
@pytest.mark.parametrize(
    ("layers", "preset"), [(2, "bench"), (4, "bench"), (6, "bench"), (3, "default"), (6, "default")]
)
def test_the_chain_gives_what_the_layers_give(layers: int, preset: str, images: int) -> None:
    model, x = network(layers, preset), faces(images)
    with inference.frozen(model):
        got, expected = model(x).numpy(), layer_by_layer(model, x)
        assert was_planned(model)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_any_number_of_threads_gives_the_same_bits(threads: int) -> None:
    model, x = network(6), faces(1)
    with inference.frozen(model):
        got = model(x).numpy()
        again = [model(x).numpy() for _ in range(20)]
    parallel.set_threads(1)
    with inference.frozen(model):
        np.testing.assert_array_equal(got, model(x).numpy())
    for other in again:
        np.testing.assert_array_equal(got, other)


def test_the_answer_is_an_array_of_its_own() -> None:
    model = network(3)
    with inference.frozen(model):
        first = model(faces(1)).numpy()
        kept = first.copy()
        assert not np.array_equal(model(Tensor(faces(1).numpy() + 1)).numpy(), first)
        np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_not_lost(bad: float) -> None:
    model, x = network(3), faces(1)
    x.data[0, 0, 20, 20] = bad
    with inference.frozen(model):
        assert np.isnan(model(x).numpy()).all() == np.isnan(layer_by_layer(model, x)).all()
        assert was_planned(model)
        x.data[:] = np.nan
        assert np.isnan(model(x).numpy()).all()


def test_networks_that_have_no_chain_go_layer_by_layer() -> None:
    narrow = nn.Sequential(nn.ConvBlock(1, 6, pool=2), nn.ConvBlock(6, 5), nn.Flatten(), nn.Linear(5 * 24 * 24, 3))
    no_head = nn.Sequential(nn.ConvBlock(1, 32, pool=2), nn.ConvBlock(32, 32))
    other = nn.Sequential(nn.ConvBlock(1, 32, pool=2), nn.Tanh(), nn.Flatten(), nn.Linear(32 * 24 * 24, 3))
    for model in (narrow, no_head, other):
        x = faces(1)
        with inference.frozen(model):
            np.testing.assert_array_equal(model(x).numpy(), layer_by_layer(model, x))
            assert not was_planned(model)


@pytest.mark.parametrize(
    "block",
    [
        nn.ConvBlock(32, 64, 1),
        nn.ConvBlock(32, 64, 5, stride=3),
        nn.ConvBlock(32, 64, 3, stride=(2, 4), padding=(0, 2)),
        nn.ConvBlock(32, 64, 3, padding=0, pool=2),
        nn.ConvBlock(32, 32, 2, padding=0, pool=2),
    ],
    ids=repr,
)
def test_convolutions_of_any_kind_on_small_images(block: nn.ConvBlock) -> None:
    first = nn.ConvBlock(1, 32, pool=2)
    model = nn.Sequential(first, nn.Flatten(), nn.Linear(1, 1))
    x = Tensor(np.random.default_rng(0).standard_normal((2, 1, 8, 12), np.float32))
    features = block.eval()(first.eval()(x)).data[0].size
    model = nn.Sequential(first, block, nn.Flatten(), nn.Linear(features, 9), nn.ReLU(), nn.Linear(9, 5, bias=False))
    with inference.frozen(model):
        got, expected = model(x).numpy(), layer_by_layer(model, x)
        assert was_planned(model)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_who_watches_the_layers_sees_them() -> None:
    model, seen = network(3), []
    with inference.frozen(model), op_hook(lambda function, *_: seen.append(function.name)):
        model(faces(1))
    assert seen.count("ConvBlock") == 3


def test_a_network_that_trains_goes_layer_by_layer() -> None:
    model = network(3)
    with no_grad(), planned(model.eval()):
        model(faces(1))
        assert was_planned(model)
    model[-2].train()  # its dropout alone
    with no_grad(), planned(model):
        model(faces(1))
        assert not was_planned(model)


def test_mistakes_are_explained_as_they_are_layer_by_layer() -> None:
    model = network(3)
    with inference.frozen(model):
        for shape in ((1, 1, 60, 60), (1, 2, 48, 48), (1, 48, 48)):
            with pytest.raises(ValueError, match="expected"):
                model(Tensor(np.zeros(shape, np.float32)))


def test_afterwards_and_in_copies_the_network_is_as_it_was() -> None:
    model, x = network(3), faces(1)
    with inference.frozen(model):
        with inference.frozen(model):
            model(x)
        model(x)
        assert was_planned(model)
        clone = copy.deepcopy(model)
    assert "forward" not in vars(model)
    for parameter in clone.parameters():
        parameter.data *= 2
    expected = clone.eval()(x).numpy()
    assert not np.allclose(model.eval()(x).numpy(), expected)
    np.testing.assert_array_equal(layer_by_layer(clone, x), expected)
