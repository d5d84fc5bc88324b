"""Gradients, against MyGrad: an engine of other people, made another way (https://github.com/rsokl/MyGrad)."""

import math
from collections.abc import Callable
from typing import Any

import mygrad as mg
import numpy as np
import pytest
from mygrad import nnet
from mygrad.nnet import layers, losses
from numpy.typing import NDArray

from minicnn import Tensor, kernels
from minicnn import functional as F

Array = NDArray[np.float64]
LABELS = np.array([2, 0, 1, 2])


def random(*shape: int, seed: int = 0, positive: bool = False) -> Array:
    array = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return np.abs(array) + 0.5 if positive else array


def assert_same_gradients(
    inputs: list[Array], ours: Callable[..., Tensor], theirs: Callable[..., mg.Tensor], rung: str = "fast"
) -> None:
    """Same output, and same gradient of every input for a random gradient of the output, both in float64."""
    our_inputs = [Tensor(array.copy(), requires_grad=True) for array in inputs]
    their_inputs = [mg.tensor(array) for array in inputs]
    their_output = theirs(*their_inputs)
    upstream = np.asarray(random(*their_output.shape, seed=9))
    with kernels.using(rung):
        our_output = ours(*our_inputs)
        our_output.backward(upstream)
    their_output.backward(upstream)
    np.testing.assert_allclose(our_output.data, their_output.data, rtol=1e-10, atol=1e-12)
    for our_input, their_input in zip(our_inputs, their_inputs, strict=True):
        assert their_input.grad is not None
        np.testing.assert_allclose(our_input.grad, their_input.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rung", kernels.CHOICES)
@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    [
        ((6, 5), 1, 0, 1),
        ((6, 5), 1, 1, 1),
        ((7, 5), 2, 0, 1),
        ((7, 5), 2, 1, 1),
        ((7, 6), 1, 2, 2),
        ((9, 9), (2, 1), (1, 0), (2, 3)),
    ],
)
def test_conv2d(size: tuple[int, int], stride: Any, padding: Any, dilation: Any, rung: str) -> None:
    assert_same_gradients(
        [random(2, 3, *size), random(4, 3, 3, 3), random(4)],
        lambda x, w, b: F.conv2d(x, w, b, stride, padding, dilation),
        lambda x, w, b: layers.conv_nd(x, w, stride=stride, padding=padding, dilation=dilation) + b[:, None, None],
        rung,
    )


@pytest.mark.parametrize("rung", kernels.CHOICES)
@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 2), (1, 2)), ((2, 2), (1, 1))])
def test_max_pool2d(kernel: tuple[int, int], stride: tuple[int, int], rung: str) -> None:
    size = tuple(k + 3 * s for k, s in zip(kernel, stride, strict=True))  # MyGrad wants windows that fit exactly
    assert_same_gradients(
        [random(2, 3, *size)],
        lambda x: F.max_pool2d(x, kernel, stride),
        lambda x: layers.max_pool(x, kernel, stride),
        rung,
    )


@pytest.mark.parametrize("rung", kernels.CHOICES)
@pytest.mark.parametrize("shape", [(8, 3), (4, 3, 5), (4, 3, 5, 2)])
def test_batch_norm_in_training(shape: tuple[int, ...], rung: str) -> None:
    assert_same_gradients(
        [random(*shape), random(3, seed=1), random(3, seed=2)],
        lambda x, w, b: F.batch_norm(x, np.zeros(3), np.ones(3), w, b, training=True, eps=1e-3),
        lambda x, w, b: layers.batchnorm(x, gamma=w, beta=b, eps=1e-3),
        rung,
    )


@pytest.mark.parametrize("rung", kernels.CHOICES)
def test_batch_norm_in_evaluation(rung: str) -> None:
    mean, var = random(3, seed=3), random(3, seed=4, positive=True)
    column = (slice(None), None, None)
    assert_same_gradients(
        [random(4, 3, 5, 2), random(3, seed=1), random(3, seed=2)],
        lambda x, w, b: F.batch_norm(x, mean, var, w, b, eps=1e-3),
        lambda x, w, b: (x - mean[column]) / np.sqrt(var + 1e-3)[column] * w[column] + b[column],
        rung,
    )


@pytest.mark.parametrize("rung", kernels.CHOICES)
def test_cross_entropy(rung: str) -> None:
    assert_same_gradients(
        [random(4, 3)],
        lambda x: F.cross_entropy(x, LABELS),
        lambda x: losses.softmax_crossentropy(x, LABELS),
        rung,
    )


@pytest.mark.parametrize("rung", kernels.CHOICES)
def test_cross_entropy_with_class_weights(rung: str) -> None:
    weights = np.array([0.5, 2.0, 1.0])
    scale = weights[LABELS].sum() / len(LABELS)  # MyGrad's mean divides by the number of labels, ours by their weights
    assert_same_gradients(
        [random(4, 3)],
        lambda x: F.cross_entropy(x, LABELS, weights),
        lambda x: losses.negative_log_likelihood(nnet.activations.logsoftmax(x), LABELS, weights=weights) / scale,
        rung,
    )


@pytest.mark.parametrize("rung", kernels.CHOICES)
def test_cross_entropy_with_label_smoothing(rung: str) -> None:
    target = np.eye(3)[LABELS] * 0.8 + 0.2 / 3
    assert_same_gradients(
        [random(4, 3)],
        lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.2),
        lambda x: -(target * nnet.activations.logsoftmax(x)).sum() / 4,
        rung,
    )


def test_nll_loss() -> None:
    assert_same_gradients(
        [random(4, 3)],
        lambda x: F.nll_loss(x, LABELS),
        lambda x: losses.negative_log_likelihood(x, LABELS),
    )


def test_linear() -> None:
    assert_same_gradients(
        [random(5, 4), random(3, 4), random(3)],
        F.linear,
        lambda x, w, b: mg.matmul(x, w.T) + b,
    )


GELU_SCALE = math.sqrt(2 / math.pi)
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[mg.Tensor], mg.Tensor]]] = {
    "relu": (F.relu, nnet.activations.relu),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), lambda x: nnet.activations.leaky_relu(x, 0.2)),
    "sigmoid": (F.sigmoid, nnet.activations.sigmoid),
    "tanh": (F.tanh, nnet.activations.tanh),
    "gelu": (F.gelu, lambda x: 0.5 * x * (1 + mg.tanh(GELU_SCALE * (x + 0.044715 * x**3)))),
    "softmax": (F.softmax, nnet.activations.softmax),
    "softmax over axis 0": (lambda x: F.softmax(x, 0), lambda x: nnet.activations.softmax(x, axis=0)),
    "log_softmax": (F.log_softmax, nnet.activations.logsoftmax),
    "log_softmax over axis 1": (lambda x: F.log_softmax(x, 1), lambda x: nnet.activations.logsoftmax(x, axis=1)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    assert_same_gradients([3 * random(2, 3, 4)], *ACTIVATIONS[name])


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "all": lambda a, b: a * b + a / b - b,
}


@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 3)), ((2, 3, 4), (3, 1)), ((1, 4), (3, 1)), ((), (2, 3)), ((2, 3), ())]
)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_broadcasts(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    inputs = [np.asarray(random(*shape, seed=seed, positive=True)) for seed, shape in enumerate(shapes)]
    assert_same_gradients(inputs, ARITHMETIC[name], ARITHMETIC[name])


ONE_INPUT: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[mg.Tensor], mg.Tensor]]] = {
    "exp": (F.exp, mg.exp),
    "log": (F.log, mg.log),
    "power": (lambda x: x**2.5, lambda x: x**2.5),
    "negative": (lambda x: -x, lambda x: -x),
    "number minus": (lambda x: 1 - x, lambda x: 1 - x),
    "number over": (lambda x: 1 / x, lambda x: 1 / x),
    "sum": (lambda x: x.sum(), mg.sum),
    "sum over axes": (lambda x: x.sum((0, 2)), lambda x: x.sum((0, 2))),
    "mean kept": (lambda x: x.mean(1, keepdims=True), lambda x: x.mean(1, keepdims=True)),
    "max": (lambda x: x.max(), mg.max),
    "max over axis": (lambda x: x.max(1), lambda x: x.max(1)),
    "reshape": (lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1)),
    "transpose": (lambda x: x.transpose(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    "slices": (lambda x: x[:, 1, ::2], lambda x: x[:, 1, ::2]),
    "a row taken twice": (lambda x: x[[0, 1, 1]], lambda x: x[[0, 1, 1]]),
    "used three times": (lambda x: x * x + x, lambda x: x * x + x),
}


@pytest.mark.parametrize("name", ONE_INPUT)
def test_operations_on_one_input(name: str) -> None:
    assert_same_gradients([random(2, 3, 4, positive=True)], *ONE_INPUT[name])


def test_matmul_broadcasts() -> None:
    assert_same_gradients([random(2, 1, 3, 4), random(5, 4, 2)], F.matmul, mg.matmul)


def test_concatenate() -> None:
    assert_same_gradients(
        [random(2, 3), random(2, 1), random(2, 2)],
        lambda *parts: F.concatenate(parts, 1),
        lambda *parts: mg.concatenate(parts, axis=1),
    )


def their_network(x: Any, weight: Any, gamma: Any, beta: Any, dense: Any, bias: Any) -> mg.Tensor:
    convolved = layers.conv_nd(x, weight, stride=1, padding=1)
    normalized = layers.batchnorm(convolved, gamma=gamma, beta=beta, eps=1e-5)
    pooled = layers.max_pool(nnet.activations.relu(normalized), (2, 2), 2)
    logits = mg.matmul(pooled.reshape(4, -1), dense.T) + bias
    return losses.softmax_crossentropy(logits, LABELS)


def our_network(x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, dense: Tensor, bias: Tensor) -> Tensor:
    y = F.conv2d(x, weight, padding=1)
    y = F.batch_norm(y, np.zeros(5), np.ones(5), gamma, beta, training=True)
    y = F.max_pool2d(F.relu(y), 2)
    return F.cross_entropy(F.linear(y.flatten(1), dense, bias), LABELS)


def our_network_of_a_block(
    x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, dense: Tensor, bias: Tensor
) -> Tensor:
    y = F.conv_block(x, weight, np.zeros(5), np.ones(5), gamma, beta, training=True, padding=1, pool=2)
    return F.cross_entropy(F.linear(y.flatten(1), dense, bias), LABELS)


@pytest.mark.parametrize("rung", kernels.CHOICES)
@pytest.mark.parametrize("network", [our_network, our_network_of_a_block])
def test_a_small_network(network: Callable[..., Tensor], rung: str) -> None:
    inputs = [random(4, 2, 6, 6), random(5, 2, 3, 3), random(5), random(5, seed=1), random(3, 45), random(3)]
    assert_same_gradients(inputs, network, their_network, rung)
