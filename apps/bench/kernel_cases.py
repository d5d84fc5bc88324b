"""A representative call of every kernel, for any rung of its ladder."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minicnn.device import Device, module_for
from minicnn.kernels.arrays import Array
from minicnn.kernels.augment import unchanged, words
from minicnn.kernels.windows import Windows


class Shape(NamedTuple):
    """How large a case is: images a batch, channels before and after, pixels a side; and where its arrays live."""

    batch: int
    inputs: int
    outputs: int
    side: int
    device: Device = "cpu"

    def random(self, *extent: int) -> Array:
        """Normally distributed float32 numbers, the same for the same number of axes."""
        numbers = np.random.default_rng(len(extent)).standard_normal(extent, dtype=np.float32)
        return module_for(self.device).asarray(numbers)


FULL = Shape(128, 64, 128, 24)
"""The second layer of the paper's network, where most of its time goes."""

TINY = Shape(1, 2, 2, 6)
"""Small enough for plain loops."""


class Case(NamedTuple):
    """What to call, and how much work it is.

    Attributes:
        label: the shapes.
        unit: "GFLOP/s" where arithmetic is the limit, "GB/s" where memory is.
        work: of forward and backward, in floating-point operations, or in bytes that must be read and written at least.
        forward: takes the rung, gives what backward wants.
        backward: takes the rung and that; None where there is none.
    """

    label: str
    unit: str
    work: tuple[float, float]
    forward: Callable[[ModuleType], Any]
    backward: Callable[[ModuleType, Any], object] | None


def conv2d(shape: Shape) -> Case:
    """A 3x3 convolution; counted as the direct sum, so that a cleverer algorithm may pass for more than the peak."""
    x, weight, grad, windows, flops = _convolution(shape)
    bias = shape.random(shape.outputs)
    return Case(
        _image(shape),
        "GFLOP/s",
        (flops, 2 * flops),
        lambda rung: rung.forward(x, weight, bias, windows, 1),
        lambda rung, _: rung.backward(grad, x, weight, windows, 1),
    )


def conv_block(shape: Shape) -> Case:
    """The same convolution with batch normalization, ReLU and 2x2 pooling; counted as the convolution alone."""
    x, weight, _, windows, flops = _convolution(shape)
    gamma, beta, pool = shape.random(shape.outputs), shape.random(shape.outputs), Windows((2, 2), (2, 2))
    grad = shape.random(shape.batch, shape.outputs, shape.side // 2, shape.side // 2)
    return Case(
        _image(shape) + ", pool 2",
        "GFLOP/s",
        (flops, 2 * flops),
        lambda rung: rung.forward(x, weight, gamma, beta, None, 1e-5, windows, 1, pool)[::2],
        lambda rung, done: rung.backward(grad.astype(done[0].dtype, copy=False), done[1]),
    )


def max_pool2d(shape: Shape) -> Case:
    """Windows of 2x2 side by side; each image is read or written once, and the choices."""
    x, grad, windows = _pooling(shape)
    work = x.nbytes + grad.nbytes + grad.size * windows.element_dtype(0).itemsize
    return Case(
        _maps(shape),
        "GB/s",
        (work, work),
        lambda rung: rung.forward(x, windows)[1],
        lambda rung, choice: rung.backward(grad, choice, shape.side, shape.side, windows),
    )


def avg_pool2d(shape: Shape) -> Case:
    """Windows of 2x2 side by side."""
    x, grad, windows = _pooling(shape)
    work = x.nbytes + grad.nbytes
    return Case(
        _maps(shape),
        "GB/s",
        (work, work),
        lambda rung: rung.forward(x, windows, True),
        lambda rung, _: rung.backward(grad, shape.side, shape.side, windows, True),
    )


def batch_norm(shape: Shape) -> Case:
    """In training: x is read for the statistics and again to be normalized; backward reads x and grad twice."""
    x, grad = (shape.random(shape.batch, shape.outputs, shape.side**2) for _ in range(2))
    gamma, beta = shape.random(shape.outputs), shape.random(shape.outputs)

    def forward(rung: ModuleType) -> Any:
        mean, var = rung.statistics(x)
        rung.normalize(x, gamma, beta, mean, var, 1e-5)
        return mean, var

    return Case(
        _maps(shape),
        "GB/s",
        (3 * x.nbytes, 5 * x.nbytes),
        forward,
        lambda rung, statistics: rung.backward(grad, x, gamma, *statistics, 1e-5, True),
    )


def cross_entropy(shape: Shape) -> Case:
    """Seven classes."""
    logits, grad = shape.random(shape.batch, 7), shape.random(shape.batch)
    target = module_for(shape.device).asarray(np.eye(7, dtype=np.float32)[np.arange(shape.batch) % 7])
    return Case(
        f"{shape.batch} x 7",
        "GB/s",
        (3 * logits.nbytes, 3 * logits.nbytes),
        lambda rung: rung.forward(logits, target)[1],
        lambda rung, probabilities: rung.backward(grad, probabilities, target),
    )


def dropout(shape: Shape) -> Case:
    """Half of a dense layer's inputs; which half is worked out anew in backward."""
    x, grad = (shape.random(shape.batch, 36 * shape.outputs) for _ in range(2))
    return Case(
        f"{shape.batch} x {x.shape[1]}",
        "GB/s",
        (2 * x.nbytes, 2 * x.nbytes),
        lambda rung: rung.forward(x, 1, 0.5),
        lambda rung, _: rung.backward(grad, 1, 0.5),
    )


def rrelu(shape: Shape) -> Case:
    """After a convolution, whose maps lie channels last."""
    x, grad = (shape.random(shape.batch, shape.side, shape.side, shape.outputs).transpose(0, 3, 1, 2) for _ in range(2))
    return Case(
        f"{shape.batch} x {shape.outputs} x {shape.side} x {shape.side}",
        "GB/s",
        (2 * x.nbytes, 3 * x.nbytes),
        lambda rung: rung.forward(x, 1, 1 / 8, 1 / 3),
        lambda rung, y: rung.backward(grad, y, 1, 1 / 8, 1 / 3),
    )


def linear(shape: Shape) -> Case:
    """The first dense layer of a network with that convolution."""
    inputs, outputs = 36 * shape.outputs, 8 * shape.outputs
    x, weight, bias = shape.random(shape.batch, inputs), shape.random(outputs, inputs), shape.random(outputs)
    grad, operations = shape.random(shape.batch, outputs), 2.0 * shape.batch * inputs * outputs
    return Case(
        f"{shape.batch} x {inputs} -> {outputs}",
        "GFLOP/s",
        (operations, 2 * operations),
        lambda rung: rung.forward(x, weight, bias),
        lambda rung, _: rung.backward(grad, x, weight, True),
    )


def reduce(shape: Shape) -> Case:
    """The sum of all numbers of a large array."""
    (x,) = _parameters(shape, 1)
    return Case(
        f"{x.shape[0]} x {x.shape[1]}",
        "GB/s",
        (x.nbytes, x.nbytes),
        lambda rung: rung.total(x),
        lambda rung, _: rung.squares(x),
    )


def sgd(shape: Shape) -> Case:
    """One step with momentum: three arrays are read, two written."""
    weight, grad, velocity = _parameters(shape, 3)
    return Case(
        f"{weight.shape[0]} x {weight.shape[1]}",
        "GB/s",
        (5 * weight.nbytes, 0),
        lambda rung: rung.step(weight, grad, velocity, 1e-3, 0.9, True, 5e-4, False),
        None,
    )


def adam(shape: Shape) -> Case:
    """One step of AdamW: four arrays are read, three written."""
    weight, grad, first, second = _parameters(shape, 4)
    second = abs(second)
    return Case(
        f"{weight.shape[0]} x {weight.shape[1]}",
        "GB/s",
        (7 * weight.nbytes, 0),
        lambda rung: rung.step(weight, grad, first, second, 10, 1e-3, (0.9, 0.999), 1e-8, 1e-2, True),
        None,
    )


def augment(shape: Shape) -> Case:
    """Images turned, cropped and mixed; the levels are read and the pixels written once."""
    xp, side = module_for(shape.device), 2 * shape.side
    images = np.random.default_rng(3).integers(0, 256, (shape.batch, side, side), dtype=np.uint8)
    rows = unchanged(shape.batch)
    rows["sin"], rows["crop_down"], rows["weight"] = 0.1, 2, 0.9
    levels, amounts = xp.asarray(images), xp.asarray(words(rows))
    out = xp.empty((shape.batch, 1, side, side), np.float32)
    return Case(
        f"{shape.batch} x {side} x {side}",
        "GB/s",
        (levels.nbytes + out.nbytes, 0),
        lambda rung: rung.forward(levels, amounts, 1 / 64, 2.0, out),
        None,
    )


CASES: dict[str, Callable[[Shape], Case]] = {
    "conv2d": conv2d,
    "conv_block": conv_block,
    "linear": linear,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "batch_norm": batch_norm,
    "cross_entropy": cross_entropy,
    "dropout": dropout,
    "rrelu": rrelu,
    "reduce": reduce,
    "sgd": sgd,
    "adam": adam,
    "augment": augment,
}
"""By operation, as in kernels.LADDERS."""


def _convolution(shape: Shape) -> tuple[Array, Array, Array, Windows, float]:
    """Input, weight, upstream gradient, geometry, and the operations of the forward pass."""
    x = shape.random(shape.batch, shape.inputs, shape.side, shape.side)
    weight = shape.random(shape.outputs, shape.inputs, 3, 3)
    grad = shape.random(shape.batch, shape.outputs, shape.side, shape.side)
    return x, weight, grad, Windows((3, 3), padding=(1, 1)), 2.0 * grad.size * weight[0].size


def _pooling(shape: Shape) -> tuple[Array, Array, Windows]:
    x = shape.random(shape.batch, shape.outputs, shape.side, shape.side)
    grad = shape.random(shape.batch, shape.outputs, shape.side // 2, shape.side // 2)
    return x, grad, Windows((2, 2), (2, 2))


def _parameters(shape: Shape, count: int) -> list[Array]:
    """As large as the paper's first dense layer."""
    return [shape.random(8 * shape.outputs, 72 * shape.inputs) for _ in range(count)]


def _image(shape: Shape) -> str:
    return f"{shape.batch} x {shape.inputs} x {shape.side} x {shape.side} to {shape.outputs} channels, k 3"


def _maps(shape: Shape) -> str:
    return f"{shape.batch} x {shape.outputs} x {shape.side} x {shape.side}"
