"""What `minicnn gradcheck` checks: every public operation and layer, in the options that matter to gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn import functional as F
from minicnn import nn
from minicnn.device import Array, array_module, as_device, module_for
from minicnn.gradcheck import gradcheck
from minicnn.tensor import Tensor

Shape = tuple[int, ...]
Inputs = Callable[[np.random.Generator], list[NDArray[np.float64]]]


@dataclass(frozen=True)
class Case:
    """A function to check and inputs at which it is smooth.

    Attributes:
        name: that of the public function or layer, then the options: "conv2d: stride 2".
        function: takes Tensors and returns one.
        inputs: makes float64 arrays from a generator of random numbers.
    """

    name: str
    function: Callable[..., Any]
    inputs: Inputs

    def check(self, device: str = "cpu", seed: int = 0) -> None:
        """Check the gradients at random inputs; raises GradientError."""
        gradcheck(self.function, self.tensors(np.random.default_rng(seed), device), seed=seed)

    def tensors(self, random: np.random.Generator, device: str) -> list[Tensor]:
        """The inputs as Tensors on a device."""
        xp = module_for(as_device(device))
        return [Tensor(xp.asarray(x), requires_grad=True) for x in self.inputs(random)]


class LayerCase(Case):
    """A layer, which `function` builds anew for each check; the gradients of its parameters are checked too."""

    def check(self, device: str = "cpu", seed: int = 0) -> None:
        """Check the gradients at random inputs and weights; raises GradientError."""
        random = np.random.default_rng(seed)
        layer = self.function().double()
        for array in layer.state_dict().values():  # at the ones and zeros that layers start with mistakes can hide
            array[...] = 0.5 + random.random(array.shape) if array.ndim == 1 else random.normal(size=array.shape)
        layer.to(device)
        gradcheck(layer, self.tensors(random, device), parameters=list(layer.parameters()), seed=seed)


def normal(*shapes: Shape) -> Inputs:
    """Normally distributed numbers."""
    return lambda random: [random.normal(size=shape) for shape in shapes]


def away_from_zero(*shapes: Shape) -> Inputs:
    """Numbers of both signs and at least 0.1 in size, for what has a kink or a pole at zero."""
    return lambda random: [np.copysign(0.1 + random.random(shape), random.normal(size=shape)) for shape in shapes]


def positive(*shapes: Shape) -> Inputs:
    """Numbers from 0.5 to 1.5, for logarithms and roots."""
    return lambda random: [0.5 + random.random(shape) for shape in shapes]


def distinct(*shapes: Shape) -> Inputs:
    """Numbers at least 0.05 apart, for maxima, which have a kink where two are equal."""
    return lambda random: [0.05 * random.permutation(np.prod(shape)).reshape(shape) - 1.01 for shape in shapes]


def _beside(x: Tensor, values: Any, dtype: str = "float64") -> Array:
    """A constant array on the device of `x`."""
    return array_module(x.data).asarray(values, dtype=dtype)


def _normalized(function: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    """`batch_norm` or `conv_block`, given running statistics before its last two inputs, scale and shift."""

    def call(*inputs: Tensor) -> Tensor:
        scale, shift = inputs[-2:]
        mean = _beside(scale, [0.3, -0.2, 0.1, 0.4][: scale.size])
        var = _beside(scale, [0.5, 1.5, 0.8, 1.2][: scale.size])
        return function(*inputs[:-2], mean, var, scale, shift, **options)

    return call


def _loss(
    function: Callable[..., Tensor], target: Any, weighted: bool = False, **options: Any
) -> Callable[..., Tensor]:
    """A loss of logits of three classes against a constant target."""

    def call(logits: Tensor) -> Tensor:
        weight = {"weight": _beside(logits, [0.5, 2.0, 1.5])} if weighted else {}
        return function(logits, _beside(logits, target, np.asarray(target).dtype.name), **weight, **options)

    return call


def _joined(*tensors: Tensor, axis: int = 0) -> Tensor:
    return F.concatenate(tensors, axis)


def _network() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), nn.RReLU())
    return nn.Sequential(
        nn.ConvBlock(1, 4, pool=2),
        nn.Residual(body),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(36, 8),
        nn.GELU(),
        nn.Linear(8, 3),
    )


LABELS = [2, 0, 1, 2]
LABEL_IMAGES = [[[0, 1], [2, 0]], [[1, 1], [0, 2]]]
SOFT = [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1], [0.25, 0.5, 0.25]]
SOFT_IMAGES = np.linspace(0.1, 0.9, 24).reshape(2, 3, 2, 2)

IMAGES = (2, 3, 6, 5)
CONVOLUTION = normal(IMAGES, (4, 3, 3, 3), (4,))
BLOCK = normal((3, 2, 6, 5), (4, 2, 3, 3), (4,), (4,))
LOGITS = normal((4, 3))
IMAGE_LOGITS = normal((2, 3, 2, 2))

ARITHMETIC = [
    Case("add", F.add, normal((3, 4), (3, 4))),
    Case("add: broadcast", F.add, normal((3, 1), (2, 1, 4))),
    Case("add: no dimensions", F.add, normal((), (3,))),
    Case("add: number", lambda x: 2.5 + x, normal((3, 4))),
    Case("sub", F.sub, normal((3, 4), (3, 4))),
    Case("sub: broadcast", F.sub, normal((4,), (2, 3, 1))),
    Case("sub: from a number", lambda x: 2.5 - x, normal((3, 4))),
    Case("mul", F.mul, normal((3, 4), (3, 4))),
    Case("mul: broadcast", F.mul, normal((1, 4), (2, 3, 1))),
    Case("mul: by itself", lambda x: x * x, normal((3, 4))),
    Case("div", F.div, away_from_zero((3, 4), (3, 4))),
    Case("div: broadcast", F.div, away_from_zero((3, 1), (4,))),
    Case("div: of a number", lambda x: 2.5 / x, away_from_zero((3, 4))),
    Case("neg", F.neg, normal((3, 4))),
    Case("pow: 3", partial(F.pow, exponent=3), normal((3, 4))),
    Case("pow: 0.5", partial(F.pow, exponent=0.5), positive((3, 4))),
    Case("pow: -1", partial(F.pow, exponent=-1), away_from_zero((3, 4))),
    Case("pow: 0", partial(F.pow, exponent=0), normal((3, 4))),
    Case("exp", F.exp, normal((3, 4))),
    Case("log", F.log, positive((3, 4))),
    Case("matmul", F.matmul, normal((3, 4), (4, 5))),
    Case("matmul: stacks", F.matmul, normal((2, 3, 4), (2, 4, 5))),
    Case("matmul: broadcast", F.matmul, normal((3, 4), (2, 1, 4, 5))),
]

SHAPES = [
    Case("sum", F.sum, normal((3, 4))),
    Case("sum: axis", partial(F.sum, axis=1), normal((3, 4, 2))),
    Case("sum: axes kept", partial(F.sum, axis=(0, -1), keepdims=True), normal((3, 4, 2))),
    Case("mean", F.mean, normal((3, 4))),
    Case("mean: axes", partial(F.mean, axis=(0, 2)), normal((3, 4, 2))),
    Case("max", F.max, distinct((3, 4))),
    Case("max: axis", partial(F.max, axis=1), distinct((3, 4, 2))),
    Case("max: axis kept", partial(F.max, axis=-1, keepdims=True), distinct((3, 4))),
    Case("reshape", partial(F.reshape, shape=(2, -1)), normal((3, 4))),
    Case("flatten", F.flatten, normal((3, 4, 2))),
    Case("flatten: from axis 1", partial(F.flatten, start_axis=1), normal((3, 4, 2))),
    Case("transpose", F.transpose, normal((3, 4, 2))),
    Case("transpose: axes", partial(F.transpose, axes=(1, -1, 0)), normal((3, 4, 2))),
    Case("pad: one width", partial(F.pad, width=2), normal((3, 4))),
    Case("pad: pairs", partial(F.pad, width=((1, 0), (2, 3)), value=1.5), normal((3, 4))),
    Case("concatenate", _joined, normal((3, 4), (1, 4), (2, 4))),
    Case("concatenate: last axis", partial(_joined, axis=-1), normal((3, 4), (3, 1))),
    Case("concatenate: with itself", lambda x: F.concatenate([x, x]), normal((3, 4))),
    Case("getitem: number", lambda x: x[1], normal((3, 4))),
    Case("getitem: slices", lambda x: x[::-2, ..., 1:, None], normal((3, 4, 2))),
    Case("getitem: repeated", lambda x: x[np.array([0, 2, 0, 0])], normal((3, 4))),
    Case("getitem: pairs", lambda x: x[np.array([0, 2, 0]), np.array([1, 3, 1])], normal((3, 4))),
    Case("getitem: mask", lambda x: x[np.arange(12).reshape(3, 4) % 3 > 0], normal((3, 4))),
]

ACTIVATIONS = [
    Case("relu", F.relu, away_from_zero((3, 4))),
    Case("leaky_relu", F.leaky_relu, away_from_zero((3, 4))),
    Case("leaky_relu: slope 0.3", partial(F.leaky_relu, negative_slope=0.3), away_from_zero((3, 4))),
    Case("rrelu: training", partial(F.rrelu, training=True), away_from_zero((3, 4))),
    Case("rrelu: evaluation", F.rrelu, away_from_zero((3, 4))),
    Case("sigmoid", F.sigmoid, normal((3, 4))),
    Case("tanh", F.tanh, normal((3, 4))),
    Case("gelu", F.gelu, normal((3, 4))),
    Case("softmax", F.softmax, normal((3, 4))),
    Case("softmax: axis 1", partial(F.softmax, axis=1), normal((2, 3, 4))),
    Case("log_softmax", F.log_softmax, normal((3, 4))),
    Case("log_softmax: axis 1", partial(F.log_softmax, axis=1), normal((2, 3, 4))),
    Case("dropout: training", partial(F.dropout, p=0.3), normal((5, 6))),
    Case("dropout: all", partial(F.dropout, p=1.0), normal((5, 6))),
    Case("dropout: evaluation", lambda x: 2.0 * F.dropout(x, training=False), normal((5, 6))),
]

CONVOLUTIONS = [
    Case("linear", F.linear, normal((3, 4), (5, 4), (5,))),
    Case("linear: no bias", F.linear, normal((3, 4), (5, 4))),
    Case("linear: more dimensions", F.linear, normal((2, 3, 4), (5, 4), (5,))),
    Case("linear: one row", F.linear, normal((4,), (5, 4), (5,))),
    Case("conv2d", F.conv2d, CONVOLUTION),
    Case("conv2d: no bias", F.conv2d, normal(IMAGES, (4, 3, 3, 3))),
    Case("conv2d: padding 1", partial(F.conv2d, padding=1), CONVOLUTION),
    Case("conv2d: stride 2", partial(F.conv2d, stride=2), CONVOLUTION),
    Case("conv2d: stride (2, 3), padding (0, 2)", partial(F.conv2d, stride=(2, 3), padding=(0, 2)), CONVOLUTION),
    Case("conv2d: dilation 2, padding 2", partial(F.conv2d, dilation=2, padding=2), CONVOLUTION),
    Case("conv2d: dilation (1, 2), stride 2", partial(F.conv2d, dilation=(1, 2), stride=2), CONVOLUTION),
    Case("conv2d: groups 2", partial(F.conv2d, groups=2, padding=1), normal((2, 4, 5, 4), (6, 2, 3, 3), (6,))),
    Case("conv2d: depthwise", partial(F.conv2d, groups=3), normal(IMAGES, (3, 1, 3, 3), (3,))),
    Case("conv2d: kernel 1x1", F.conv2d, normal(IMAGES, (4, 3, 1, 1), (4,))),
    Case("conv2d: kernel 1x1, stride 2", partial(F.conv2d, stride=2), normal(IMAGES, (4, 3, 1, 1), (4,))),
    Case("conv2d: kernel 5x5", partial(F.conv2d, padding=2), normal((2, 2, 6, 5), (3, 2, 5, 5), (3,))),
    Case("conv2d: kernel 2x3", partial(F.conv2d, padding=1), normal(IMAGES, (4, 3, 2, 3), (4,))),
    Case("conv2d: one window", F.conv2d, normal((1, 2, 3, 3), (3, 2, 3, 3), (3,))),
    Case("conv_block: training", _normalized(F.conv_block, training=True, padding=1), BLOCK),
    Case("conv_block: evaluation", _normalized(F.conv_block, padding=1), BLOCK),
    Case("conv_block: training, pool", _normalized(F.conv_block, training=True, padding=1, pool=2), BLOCK),
    Case("conv_block: evaluation, pool", _normalized(F.conv_block, padding=1, pool=(2, 1)), BLOCK),
    Case(
        "conv_block: stride 2, dilation 2",
        _normalized(F.conv_block, training=True, padding=2, stride=2, dilation=2),
        BLOCK,
    ),
    Case(
        "conv_block: groups 2",
        _normalized(F.conv_block, training=True, groups=2),
        normal((3, 4, 5, 4), (4, 2, 3, 3), (4,), (4,)),
    ),
]

NORMALIZATION_AND_POOLING = [
    Case("batch_norm: training, 2-D", _normalized(F.batch_norm, training=True), normal((5, 3), (3,), (3,))),
    Case("batch_norm: training, 3-D", _normalized(F.batch_norm, training=True), normal((2, 3, 4), (3,), (3,))),
    Case("batch_norm: training, 4-D", _normalized(F.batch_norm, training=True, eps=0.1), normal(IMAGES, (3,), (3,))),
    Case("batch_norm: evaluation, 2-D", _normalized(F.batch_norm), normal((5, 3), (3,), (3,))),
    Case("batch_norm: evaluation, 4-D", _normalized(F.batch_norm), normal(IMAGES, (3,), (3,))),
    Case("max_pool2d", partial(F.max_pool2d, kernel_size=2), distinct(IMAGES)),
    Case("max_pool2d: overlapping", partial(F.max_pool2d, kernel_size=3, stride=1), distinct(IMAGES)),
    Case("max_pool2d: padding 1", partial(F.max_pool2d, kernel_size=3, stride=2, padding=1), distinct(IMAGES)),
    Case("max_pool2d: dilation 2", partial(F.max_pool2d, kernel_size=2, stride=1, dilation=2), distinct(IMAGES)),
    Case("max_pool2d: (2, 3)", partial(F.max_pool2d, kernel_size=(2, 3), stride=(1, 2)), distinct(IMAGES)),
    Case("avg_pool2d", partial(F.avg_pool2d, kernel_size=2), normal(IMAGES)),
    Case("avg_pool2d: overlapping", partial(F.avg_pool2d, kernel_size=3, stride=1), normal(IMAGES)),
    Case("avg_pool2d: padding 1", partial(F.avg_pool2d, kernel_size=3, stride=2, padding=1), normal(IMAGES)),
    Case(
        "avg_pool2d: padding not counted",
        partial(F.avg_pool2d, kernel_size=(3, 2), stride=1, padding=1, count_include_pad=False),
        normal(IMAGES),
    ),
    Case("global_avg_pool2d", F.global_avg_pool2d, normal(IMAGES)),
]

LOSSES = [
    Case("cross_entropy", _loss(F.cross_entropy, LABELS), LOGITS),
    Case("cross_entropy: sum", _loss(F.cross_entropy, LABELS, reduction="sum"), LOGITS),
    Case("cross_entropy: none", _loss(F.cross_entropy, LABELS, reduction="none"), LOGITS),
    Case("cross_entropy: weights", _loss(F.cross_entropy, LABELS, weighted=True), LOGITS),
    Case("cross_entropy: smoothing", _loss(F.cross_entropy, LABELS, label_smoothing=0.2), LOGITS),
    Case("cross_entropy: weights, smoothing", _loss(F.cross_entropy, LABELS, True, label_smoothing=0.2), LOGITS),
    Case("cross_entropy: soft", _loss(F.cross_entropy, SOFT), LOGITS),
    Case("cross_entropy: soft, weights, smoothing", _loss(F.cross_entropy, SOFT, True, label_smoothing=0.2), LOGITS),
    Case("cross_entropy: images", _loss(F.cross_entropy, LABEL_IMAGES), IMAGE_LOGITS),
    Case("cross_entropy: images, none", _loss(F.cross_entropy, LABEL_IMAGES, True, reduction="none"), IMAGE_LOGITS),
    Case("cross_entropy: soft images, none", _loss(F.cross_entropy, SOFT_IMAGES, reduction="none"), IMAGE_LOGITS),
    Case("nll_loss", _loss(F.nll_loss, LABELS), LOGITS),
    Case("nll_loss: weights", _loss(F.nll_loss, LABELS, weighted=True), LOGITS),
    Case("nll_loss: images, none", _loss(F.nll_loss, LABEL_IMAGES, reduction="none"), IMAGE_LOGITS),
    Case("nll_loss: sum", _loss(F.nll_loss, LABELS, reduction="sum"), LOGITS),
]

LAYERS = [
    LayerCase("nn.AvgPool2d", lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), normal(IMAGES)),
    LayerCase("nn.BatchNorm1d: training", lambda: nn.BatchNorm1d(3), normal((5, 3))),
    LayerCase("nn.BatchNorm1d: evaluation", lambda: nn.BatchNorm1d(3).eval(), normal((5, 3, 2))),
    LayerCase("nn.BatchNorm2d: training", lambda: nn.BatchNorm2d(3), normal(IMAGES)),
    LayerCase("nn.BatchNorm2d: evaluation", lambda: nn.BatchNorm2d(3).eval(), normal(IMAGES)),
    LayerCase("nn.Conv2d", lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), normal(IMAGES)),
    LayerCase(
        "nn.Conv2d: groups, no bias", lambda: nn.Conv2d(3, 6, (2, 3), dilation=2, groups=3, bias=False), normal(IMAGES)
    ),
    LayerCase("nn.ConvBlock: training", lambda: nn.ConvBlock(3, 4, pool=2), normal(IMAGES)),
    LayerCase("nn.ConvBlock: evaluation", lambda: nn.ConvBlock(3, 4, stride=2, padding=0).eval(), normal(IMAGES)),
    Case("nn.CrossEntropyLoss", _loss(nn.CrossEntropyLoss(label_smoothing=0.1), LABELS), LOGITS),
    LayerCase("nn.Dropout", lambda: nn.Dropout(0.4), normal((5, 6))),
    LayerCase("nn.Flatten", nn.Flatten, normal((3, 4, 2))),
    LayerCase("nn.GELU", nn.GELU, normal((3, 4))),
    LayerCase("nn.GlobalAvgPool2d", nn.GlobalAvgPool2d, normal(IMAGES)),
    LayerCase("nn.LeakyReLU", lambda: nn.LeakyReLU(0.2), away_from_zero((3, 4))),
    LayerCase("nn.Linear", lambda: nn.Linear(4, 5), normal((3, 4))),
    LayerCase("nn.Linear: no bias", lambda: nn.Linear(4, 5, bias=False), normal((2, 3, 4))),
    LayerCase("nn.LogSoftmax", lambda: nn.LogSoftmax(1), normal((2, 3, 4))),
    LayerCase("nn.MaxPool2d", lambda: nn.MaxPool2d(3, 2, 1), distinct(IMAGES)),
    Case("nn.NLLLoss", _loss(nn.NLLLoss(reduction="sum"), LABELS), LOGITS),
    LayerCase("nn.RReLU: training", nn.RReLU, away_from_zero((3, 4))),
    LayerCase("nn.RReLU: evaluation", lambda: nn.RReLU().eval(), away_from_zero((3, 4))),
    LayerCase("nn.ReLU", nn.ReLU, away_from_zero((3, 4))),
    LayerCase("nn.Residual", lambda: nn.Residual(nn.Linear(4, 4)), normal((3, 4))),
    LayerCase("nn.Residual: shortcut", lambda: nn.Residual(nn.Linear(4, 5), nn.Linear(4, 5)), normal((3, 4))),
    LayerCase("nn.Sigmoid", nn.Sigmoid, normal((3, 4))),
    LayerCase("nn.Softmax", nn.Softmax, normal((3, 4))),
    LayerCase("nn.Tanh", nn.Tanh, normal((3, 4))),
    LayerCase("nn.Sequential: a network, training", _network, normal((3, 1, 6, 6))),
    LayerCase("nn.Sequential: a network, evaluation", lambda: _network().eval(), normal((3, 1, 6, 6))),
]
CASES = [*ARITHMETIC, *SHAPES, *ACTIVATIONS, *CONVOLUTIONS, *NORMALIZATION_AND_POOLING, *LOSSES, *LAYERS]
"""Every public operation and layer in its options that make a difference to gradients."""
