"""Layers: each calls its operation, starts as torch's does, and says what it is and what it wants."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn import Tensor, manual_seed, nn
from minicnn import functional as F

IMAGES = Tensor(np.random.default_rng(0).standard_normal((4, 4, 8, 8)).astype(np.float32))
ROWS = Tensor(np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32))


def of_conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def of_batch_norm(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    mean, var = np.zeros(x.shape[1], dtype=np.float32), np.ones(x.shape[1], dtype=np.float32)
    return F.batch_norm(x, mean, var, layer.weight, layer.bias, True, layer.momentum, layer.eps)


# Layer, input, and the function that it should equal.
CASES: list[tuple[nn.Module, Tensor, Callable[[nn.Module, Tensor], Tensor]]] = [
    (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), IMAGES, of_conv),
    (nn.Conv2d(4, 6, (3, 2), dilation=2, bias=False), IMAGES, of_conv),
    (nn.Linear(5, 3), ROWS, lambda layer, x: F.linear(x, layer.weight, layer.bias)),
    (nn.Linear(5, 3, bias=False), ROWS, lambda layer, x: F.linear(x, layer.weight)),
    (nn.BatchNorm2d(4, eps=1e-3, momentum=0.3), IMAGES, of_batch_norm),
    (nn.BatchNorm1d(5), ROWS, of_batch_norm),
    (nn.MaxPool2d(3, 2, 1), IMAGES, lambda _, x: F.max_pool2d(x, 3, 2, 1)),
    (nn.MaxPool2d(2, dilation=2), IMAGES, lambda _, x: F.max_pool2d(x, 2, None, 0, 2)),
    (nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGES, lambda _, x: F.avg_pool2d(x, 3, 2, 1, False)),
    (nn.GlobalAvgPool2d(), IMAGES, lambda _, x: F.global_avg_pool2d(x)),
    (nn.Flatten(), IMAGES, lambda _, x: x.reshape(4, -1)),
    (nn.ReLU(), ROWS, lambda _, x: F.relu(x)),
    (nn.LeakyReLU(0.2), ROWS, lambda _, x: F.leaky_relu(x, 0.2)),
    (nn.RReLU(0.1, 0.4), ROWS, lambda _, x: F.rrelu(x, 0.1, 0.4, True)),
    (nn.Sigmoid(), ROWS, lambda _, x: F.sigmoid(x)),
    (nn.Tanh(), ROWS, lambda _, x: F.tanh(x)),
    (nn.GELU(), ROWS, lambda _, x: F.gelu(x)),
    (nn.Softmax(axis=0), ROWS, lambda _, x: F.softmax(x, 0)),
    (nn.LogSoftmax(axis=0), ROWS, lambda _, x: F.log_softmax(x, 0)),
    (nn.Dropout(0.3), ROWS, lambda _, x: F.dropout(x, 0.3, True)),
]


@pytest.mark.parametrize(("layer", "x", "function"), CASES, ids=lambda value: repr(value)[:40])
def test_a_layer_equals_its_function(
    layer: nn.Module, x: Tensor, function: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    manual_seed(3)
    y = layer(x)
    manual_seed(3)
    np.testing.assert_array_equal(y.data, function(layer, x).data)


EVALUATION: list[tuple[nn.Module, Tensor, Callable[[Tensor], Tensor]]] = [
    (nn.Dropout(0.3), ROWS, lambda x: x),
    (nn.RReLU(0.1, 0.4), ROWS, lambda x: F.leaky_relu(x, 0.25)),
    (nn.BatchNorm2d(4), IMAGES, lambda x: x / math.sqrt(1 + 1e-5)),  # running statistics are still 0 and 1
]


@pytest.mark.parametrize(("layer", "x", "function"), EVALUATION, ids=lambda value: repr(value)[:40])
def test_a_layer_in_evaluation_uses_neither_chance_nor_the_batch(
    layer: nn.Module, x: Tensor, function: Callable[[Tensor], Tensor]
) -> None:
    np.testing.assert_allclose(layer.eval()(x).data, function(x).data, rtol=1e-6)


def test_loss_objects_equal_their_functions() -> None:
    labels, weight = np.array([0, 1, 2, 3, 4, 0]), np.arange(1, 6, dtype=np.float32)
    loss = nn.CrossEntropyLoss(weight, label_smoothing=0.1, reduction="sum")(ROWS, labels)
    assert loss.item() == F.cross_entropy(ROWS, labels, weight, 0.1, "sum").item()
    loss = nn.NLLLoss(weight, reduction="sum")(ROWS, labels)
    assert loss.item() == F.nll_loss(ROWS, labels, weight, "sum").item()


# How parameters start


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(nn.Conv2d(8, 600, 3), 72), (nn.Conv2d(8, 600, (3, 5), groups=4), 30), (nn.Linear(50, 600), 50)],
    ids=repr,
)
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_weight_and_bias_start_uniform_within_the_root_of_the_fan_in(
    layer: nn.Conv2d | nn.Linear, fan_in: int, name: str
) -> None:
    # torch: kaiming_uniform_(a=sqrt(5)), which is this bound
    values, bound = getattr(layer, name).data, 1 / math.sqrt(fan_in)
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > 0.97 * bound
    assert abs(values.mean()) < 0.1 * bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_the_convolution_of_a_block_starts_he_normal_and_without_a_bias() -> None:
    block = nn.ConvBlock(16, 64)
    weight = block.conv.weight.data
    assert block.conv.bias is None
    assert weight.std() == pytest.approx(math.sqrt(2 / (16 * 9)), rel=0.05)
    assert np.abs(weight).max() > 3 * weight.std()  # a uniform distribution ends at 1.73


def test_batch_norm_starts_as_the_identity() -> None:
    layer = nn.BatchNorm2d(3)
    assert {name: array.tolist() for name, array in layer.state_dict().items()} == {
        "weight": [1, 1, 1],
        "bias": [0, 0, 0],
        "running_mean": [0, 0, 0],
        "running_var": [1, 1, 1],
    }


def test_layers_are_made_in_float32() -> None:
    for layer in (nn.Conv2d(1, 2, 3), nn.Linear(2, 2), nn.BatchNorm2d(2), nn.ConvBlock(1, 2)):
        assert {str(array.dtype) for array in layer.state_dict().values()} == {"float32"}


@pytest.mark.parametrize("make", [lambda: nn.Conv2d(2, 3, 3), lambda: nn.Linear(4, 5), lambda: nn.ConvBlock(2, 3)])
def test_the_same_seed_gives_the_same_weights(make: Callable[[], nn.Module]) -> None:
    manual_seed(1)
    one = make().state_dict()
    manual_seed(1)
    same = make().state_dict()
    other = make().state_dict()
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert any(not np.array_equal(one[name], other[name]) for name in one)


# What layers call themselves


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(1, 16, 3), "Conv2d(1→16, k=3)"),
        (
            nn.Conv2d(4, 8, (3, 5), stride=2, padding=1, dilation=3, groups=4),
            "Conv2d(4→8, k=3x5, stride=2, padding=1, dilation=3, groups=4)",
        ),
        (nn.ConvBlock(1, 16), "ConvBlock(1→16, k=3, padding=1)"),
        (nn.ConvBlock(1, 16, 5, pool=2), "ConvBlock(1→16, k=5, padding=2, pool=2)"),
        (nn.Linear(10, 7), "Linear(10→7)"),
        (nn.BatchNorm1d(5), "BatchNorm1d(5)"),
        (nn.BatchNorm2d(5), "BatchNorm2d(5)"),
        (nn.MaxPool2d(2), "MaxPool2d(2)"),
        (nn.AvgPool2d((2, 3)), "AvgPool2d((2, 3))"),
        (nn.GlobalAvgPool2d(), "GlobalAvgPool2d()"),
        (nn.Dropout(0.2), "Dropout(0.2)"),
        (nn.ReLU(), "ReLU()"),
        (nn.LeakyReLU(), "LeakyReLU(0.01)"),
        (nn.RReLU(), "RReLU(0.125, 0.333)"),
        (nn.Flatten(), "Flatten()"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "Sequential(Flatten(), Linear(4→2))"),
    ],
)
def test_repr_says_what_a_layer_is(layer: nn.Module, text: str) -> None:
    assert repr(layer) == text


# Errors


def zeros(*shape: int) -> Tensor:
    return Tensor(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (
            nn.Conv2d(1, 16, 3),
            zeros(32, 48, 48),
            "Conv2d(1→16, k=3): expected input (N, 1, H, W), got (32, 48, 48): add a channel axis",
        ),
        (nn.Conv2d(3, 16, 3), zeros(2, 1, 8, 8), "Conv2d(3→16, k=3): expected input (N, 3, H, W), got (2, 1, 8, 8)"),
        (
            nn.ConvBlock(1, 16),
            zeros(32, 48, 48),
            "Conv2d(1→16, k=3): expected input (N, 1, H, W), got (32, 48, 48): add a channel axis",
        ),
        (nn.ConvBlock(1, 2, pool=5), zeros(1, 1, 4, 4), "ConvBlock: expected an image of at least 5 to pool, got 4x4"),
        (nn.Linear(4, 2), zeros(3, 5), "Linear(4→2): expected input (..., 4), got (3, 5)"),
        (nn.Linear(4, 2), zeros(3, 1, 5), "Linear(4→2): expected input (..., 4), got (3, 1, 5): flatten it first"),
        (nn.BatchNorm2d(3), zeros(4, 3), "BatchNorm2d(3): expected input (N, 3, H, W), got (4, 3)"),
        (
            nn.BatchNorm1d(3),
            zeros(4, 3, 2, 2),
            "BatchNorm1d(3): expected input (N, 3) or (N, C, L), got (4, 3, 2, 2)",
        ),
        (nn.BatchNorm2d(3), zeros(4, 2, 5, 5), "BatchNorm(3): expected input (N, 3, ...), got (4, 2, 5, 5)"),
        (
            nn.BatchNorm1d(3),
            zeros(1, 3),
            "BatchNorm(3): expected more than one value a channel to train on, got (1, 3): "
            "use a larger batch, or eval()",
        ),
        (
            nn.Residual(nn.Conv2d(1, 2, 3, padding=1)),
            zeros(1, 1, 4, 4),
            "Residual: expected body and shortcut to give one shape, got (1, 2, 4, 4) and (1, 1, 4, 4): "
            "give a shortcut, as in Conv2d(in, out, 1)",
        ),
    ],
)
def test_an_input_that_does_not_fit_is_refused_with_layer_expected_got_and_fix(
    layer: nn.Module, x: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match="expected") as raised:
        layer(x)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.Conv2d(4, 6, 3, groups=4),
            "Conv2d(4→6): expected channels of at least 1, and groups to divide both, got 4 groups",
        ),
        (
            lambda: nn.Conv2d(0, 6, 3),
            "Conv2d(0→6): expected channels of at least 1, and groups to divide both, got 1 groups",
        ),
        (lambda: nn.Conv2d(1, 1, 0), "Conv2d: expected kernel_size as an integer >= 1 or a pair of them, got 0"),
        (
            lambda: nn.Conv2d(1, 1, 3, stride=0),
            "Conv2d: expected stride as an integer >= 1 or a pair of them, got 0",
        ),
        (
            lambda: nn.Conv2d(1, 1, 3, padding=1.0),  # type: ignore[arg-type]
            "Conv2d: expected padding as an integer >= 0 or a pair of them, got 1.0",
        ),
        (lambda: nn.Linear(0, 3), "Linear(0→3): expected at least one feature on either side"),
        (lambda: nn.Dropout(1.5), "Dropout: expected a probability from 0 to 1, got 1.5"),
    ],
)
def test_options_that_make_no_layer_are_refused_when_it_is_made(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match="expected") as raised:
        make()
    assert str(raised.value) == message


# Containers


def test_sequential_runs_its_modules_in_order() -> None:
    one, two = nn.Linear(5, 4), nn.Linear(4, 3)
    np.testing.assert_array_equal(nn.Sequential(one, nn.ReLU(), two)(ROWS).data, two(F.relu(one(ROWS))).data)


def test_sequential_is_a_sequence() -> None:
    modules = [nn.ReLU(), nn.Tanh(), nn.Flatten()]
    sequential = nn.Sequential(*modules)
    assert len(sequential) == 3
    assert list(sequential) == modules
    assert sequential[1] is modules[1]
    assert sequential[-1] is modules[-1]


@pytest.mark.parametrize(
    ("given", "got"),
    [(nn.ReLU, "the class ReLU"), (F.relu, "a function"), ([nn.ReLU()], "a list")],
)
def test_sequential_refuses_what_is_no_module(given: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"Sequential: expected Modules, .* got {got}$"):
        nn.Sequential(nn.Flatten(), given)


def test_an_empty_sequential_gives_its_input() -> None:
    assert nn.Sequential()(ROWS) is ROWS


def test_residual_adds_its_input_to_the_body() -> None:
    body = nn.Linear(5, 5)
    np.testing.assert_array_equal(nn.Residual(body)(ROWS).data, body(ROWS).data + ROWS.data)


def test_residual_adds_a_shortcut_where_it_has_one() -> None:
    body, shortcut = nn.Linear(5, 3), nn.Linear(5, 3, bias=False)
    residual = nn.Residual(body, shortcut)
    np.testing.assert_array_equal(residual(ROWS).data, body(ROWS).data + shortcut(ROWS).data)
    assert list(residual.state_dict()) == ["body.weight", "body.bias", "shortcut.weight"]


def test_residual_sends_the_gradient_both_ways() -> None:
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    body = nn.Linear(3, 3).double()
    upstream = np.arange(6.0).reshape(2, 3)
    nn.Residual(body)(x).backward(upstream)
    np.testing.assert_allclose(x.grad, upstream + upstream @ body.weight.data)


# The block against the four layers it is made of

BLOCKS = {
    "plain": {},
    "pooled": {"pool": 2},
    "pooled with a rest": {"pool": 3},
    "strided": {"stride": 2, "pool": (1, 2)},
    "grouped": {"groups": 2, "pool": 2},
    "5x5 without padding": {"kernel_size": 5, "padding": 0},
}


class FourLayers(nn.Module):
    """What a block promises to equal; it shares the block's parameters and has running statistics of its own."""

    def __init__(self, block: nn.ConvBlock) -> None:
        super().__init__()
        self.conv, self.bn, self.pool = block.conv, nn.BatchNorm2d(block.bn.weight.size).double(), block.pool
        self.bn.load_state_dict(block.bn.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn(self.conv(x)))
        return y if self.pool is None else F.max_pool2d(y, self.pool)


def batch(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, 4, 9, 8))


def block_and_layers(options: dict[str, object], training: bool) -> tuple[nn.ConvBlock, FourLayers]:
    manual_seed(4)
    block = nn.ConvBlock(4, 6, **options).double()
    rng = np.random.default_rng(5)
    for array in block.bn.state_dict().values():  # away from the identity
        array += rng.uniform(0.1, 0.6, array.shape)
    block.bn.bias.data -= 2  # so that also after pooling some pixels are negative before ReLU
    return block.train(training), FourLayers(block).train(training)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("options", BLOCKS.values(), ids=BLOCKS)
def test_a_block_gives_what_its_four_layers_give(options: dict[str, object], training: bool) -> None:
    block, layers = block_and_layers(options, training)
    x = Tensor(batch())
    y, expected = block(x), layers(x)
    np.testing.assert_allclose(y.data, expected.data, rtol=1e-10, atol=1e-12)
    assert (y.data == 0).any()
    assert (y.data > 0).any()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("options", BLOCKS.values(), ids=BLOCKS)
def test_a_block_has_the_gradients_of_its_four_layers(options: dict[str, object], training: bool) -> None:
    block, layers = block_and_layers(options, training)
    x = Tensor(batch(), requires_grad=True)
    wanted = [x, block.conv.weight, block.bn.weight, block.bn.bias]
    y = block(x)
    upstream = np.random.default_rng(6).standard_normal(y.shape)
    y.backward(upstream)
    got = [tensor.grad for tensor in wanted]
    for tensor in wanted:
        tensor.grad = None
    layers(x).backward(upstream)
    expected = [x.grad, layers.conv.weight.grad, layers.bn.weight.grad, layers.bn.bias.grad]
    for one, two in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("options", BLOCKS.values(), ids=BLOCKS)
def test_a_block_moves_its_running_statistics_as_its_four_layers_do(options: dict[str, object]) -> None:
    block, layers = block_and_layers(options, training=True)
    before = block.bn.running_mean.copy()
    for step in range(3):
        x = Tensor(batch(step))
        block(x)
        layers(x)
    np.testing.assert_allclose(block.bn.running_mean, layers.bn.running_mean, rtol=1e-10)
    np.testing.assert_allclose(block.bn.running_var, layers.bn.running_var, rtol=1e-10)
    assert np.abs(block.bn.running_mean - before).min() > 0


def test_a_block_in_evaluation_leaves_its_running_statistics() -> None:
    block, _ = block_and_layers({}, training=False)
    before = block.bn.running_mean.copy(), block.bn.running_var.copy()
    block(Tensor(batch()))
    np.testing.assert_array_equal(block.bn.running_mean, before[0])
    np.testing.assert_array_equal(block.bn.running_var, before[1])


def test_a_block_keeps_the_size_of_the_image_unless_told_otherwise() -> None:
    for kernel_size in (1, 3, 5):
        assert nn.ConvBlock(4, 6, kernel_size)(IMAGES).shape == (4, 6, 8, 8)
    assert nn.ConvBlock(4, 6, 3, padding=0, pool=2)(IMAGES).shape == (4, 6, 3, 3)


def test_sizes_may_be_numpys_whole_numbers() -> None:
    layer = nn.Conv2d(1, 2, np.int64(3), stride=np.int64(2), padding=np.array([1, 1]))
    assert layer(Tensor(np.zeros((1, 1, 8, 8), np.float32))).shape == (1, 2, 4, 4)


def test_a_block_keeps_the_size_of_images_with_a_window_that_is_no_square() -> None:
    assert nn.ConvBlock(1, 2, (3, 5))(Tensor(np.zeros((2, 1, 8, 9), np.float32))).shape == (2, 2, 8, 9)
