"""ONNX nodes run by minicnn: one function an operator, and the table of what minicnn does not offer.

Where the two have other conventions, the difference is bridged here in the open, by minicnn's own operations.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn import Tensor
from minicnn import functional as F
from tests.oracles.onnx_cases import Case
from tests.oracles.onnx_optimizers import adagrad, adam, momentum

Arrays = list[NDArray[Any]]
Pads = list[tuple[int, int]]

NOT_OFFERED: dict[str, Callable[[Case], bool]] = {
    "integers, booleans, half precision": lambda case: case.inputs[0].dtype not in (np.float32, np.float64),
    "1-D and 3-D images": lambda case: case.op in IMAGE_OPS and case.inputs[0].ndim != 4,
    "ceil_mode": lambda case: bool(case.attributes.get("ceil_mode")),
    "the place of the maximum as an output": lambda case: case.op == "MaxPool" and len(case.outputs) > 1,
    "the mask of a dropout that drops nothing": lambda case: (
        case.op == "Dropout" and len(case.outputs) > 1 and case.input(2) is None
    ),
    "random numbers of a dropout from outside": lambda case: (
        case.op == "Dropout" and case.input(2) is not None and _dropout_ratio(case) > 0
    ),
    "GELU with the error function": lambda case: case.op == "Gelu" and "approximate" not in case.attributes,
    "matrix products with a vector": lambda case: case.op == "MatMul" and min(a.ndim for a in case.inputs) < 2,
    "an array of exponents": lambda case: case.op == "Pow" and case.inputs[1].ndim > 0,
    "padding that repeats the image": lambda case: (
        case.op == "Pad" and case.attributes.get("mode", b"constant") != b"constant"
    ),
    "the maximum of nothing": lambda case: case.op == "ReduceMax" and case.inputs[0].size == 0,
    "labels that are no class": lambda case: (
        case.op in LOSS_OPS and not 0 <= case.inputs[1].min() <= case.inputs[1].max() < case.inputs[0].shape[1]
    ),
}
"""Why a case cannot be run: the first reason that holds is the one that counts."""

IMAGE_OPS = ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool")
LOSS_OPS = ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")


def not_offered(case: Case) -> str | None:
    """Why minicnn cannot run a case, or None where it can."""
    return next((reason for reason, holds in NOT_OFFERED.items() if holds(case)), None)


def run(case: Case) -> Arrays:
    """The outputs that minicnn gives."""
    return ADAPTERS[case.op](case)


def tensors(case: Case) -> list[Tensor]:
    """The inputs as Tensors."""
    return [Tensor(array) for array in case.inputs if array is not None]


def each(function: Callable[..., Tensor]) -> Callable[[Case], Arrays]:
    """An operator that takes its inputs as minicnn does, and has no attributes."""
    return lambda case: [function(*tensors(case)).data]


def conv(case: Case) -> Arrays:
    x, weight, *bias = tensors(case)
    x, padding = _padded(x, _pads(case, weight.shape[2:]), 0.0, most=weight.shape[2:])
    stride, dilation = _pair(case, "strides"), _pair(case, "dilations")
    return [F.conv2d(x, weight, *bias or [None], stride, padding, dilation, case.attributes.get("group", 1)).data]


def max_pool(case: Case) -> Arrays:
    kernel = tuple(case.attributes["kernel_shape"])
    half = tuple(size // 2 for size in kernel)  # more than this is refused, as it is in PyTorch
    x, padding = _padded(Tensor(case.inputs[0]), _pads(case, kernel), -math.inf, most=half)
    return [F.max_pool2d(x, kernel, _pair(case, "strides"), padding, _pair(case, "dilations")).data]


def average_pool(case: Case) -> Arrays:
    kernel, x, stride = tuple(case.attributes["kernel_shape"]), Tensor(case.inputs[0]), _pair(case, "strides")
    half = tuple(size // 2 for size in kernel)
    pads, count_padding = _pads(case, kernel), bool(case.attributes.get("count_include_pad", 0))
    wide, padding = _padded(x, pads, 0.0, most=half)
    if wide is x or count_padding:
        return [F.avg_pool2d(wide, kernel, stride, padding, count_padding).data]
    # padded beforehand, every mean counts the padding: divide by the share of the window that is inside
    inside, _ = _padded(Tensor(np.ones_like(x.data)), pads, 0.0, most=half)
    return [(F.avg_pool2d(wide, kernel, stride) / F.avg_pool2d(inside, kernel, stride)).data]


def global_average_pool(case: Case) -> Arrays:
    y = F.global_avg_pool2d(*tensors(case))
    return [y.reshape(*y.shape, 1, 1).data]  # ONNX keeps the two dimensions


def batch_norm(case: Case) -> Arrays:
    x, weight, bias = tensors(case)[:3]
    mean, var = case.inputs[3].copy(), case.inputs[4].copy()
    eps, keep = case.attributes.get("epsilon", 1e-5), case.attributes.get("momentum", 0.9)
    training = bool(case.attributes.get("training_mode", 0))
    # ONNX's momentum is the share of the old statistics that stays, ours (PyTorch's) the share of the new
    y = F.batch_norm(x, mean, var, weight, bias, training, 1 - keep, eps).data
    if not training:
        return [y]
    # and ONNX's running variance takes in the biased variance, ours the unbiased, n / (n - 1) times as large
    count = x.size // x.shape[1]
    kept = keep * case.inputs[4]
    return [y, mean, kept + (var - kept) * ((count - 1) / count)]


def gemm(case: Case) -> Arrays:
    a, b, *c = tensors(case)
    alpha, beta = case.attributes.get("alpha", 1.0), case.attributes.get("beta", 1.0)
    a = a.transpose() if case.attributes.get("transA") else a
    product = F.linear(a, b) if case.attributes.get("transB") else a @ b
    return [(alpha * product + beta * c[0]).data if c else (alpha * product).data]


def softmax(function: Callable[[Tensor, int], Tensor]) -> Callable[[Case], Arrays]:
    def adapter(case: Case) -> Arrays:
        x = Tensor(case.inputs[0])
        if case.opset >= 13:
            return [function(x, case.attributes.get("axis", -1)).data]
        # before opset 13 all dimensions from `axis` on were one
        axis = case.attributes.get("axis", 1) % x.ndim
        return [function(x.flatten(axis), axis).reshape(*x.shape).data]

    return adapter


def loss(function: Callable[..., Tensor]) -> Callable[[Case], Arrays]:
    def adapter(case: Case) -> Arrays:
        x, labels, weight = Tensor(case.inputs[0]), case.inputs[1], case.input(2)
        ignored = case.attributes.get("ignore_index")
        if ignored is not None and 0 <= ignored < x.shape[1]:
            # a class that is to be ignored is one that weighs nothing
            weight = np.ones(x.shape[1], x.dtype) if weight is None else weight.copy()
            weight[ignored] = 0
        y = function(x, labels, weight, reduction=case.attributes.get("reduction", b"mean").decode())
        return [y.data] if len(case.outputs) == 1 else [y.data, F.log_softmax(x, 1).data]

    return adapter


def dropout(case: Case) -> Arrays:
    x, training = case.inputs[0], case.input(2) is not None
    y = F.dropout(Tensor(x), _dropout_ratio(case), training).data
    return [y, y == x][: len(case.outputs)]


def _dropout_ratio(case: Case) -> float:
    return float(case.attributes.get("ratio", 0.5) if case.input(1) is None else case.inputs[1])


def power(case: Case) -> Arrays:
    return [F.pow(Tensor(case.inputs[0]), float(case.inputs[1])).data]


def leaky_relu(case: Case) -> Arrays:
    return [F.leaky_relu(*tensors(case), case.attributes.get("alpha", 0.01)).data]


def concat(case: Case) -> Arrays:
    return [F.concatenate(tensors(case), case.attributes["axis"]).data]


def transpose(case: Case) -> Arrays:
    return [Tensor(case.inputs[0]).transpose(*case.attributes.get("perm", [])).data]


def flatten(case: Case) -> Arrays:
    x = Tensor(case.inputs[0])
    axis = case.attributes.get("axis", 1) % x.ndim
    return [x.flatten(axis).reshape(-1, math.prod(x.shape[axis:])).data]  # ONNX's result is always a matrix


def reshape(case: Case) -> Arrays:
    x, shape = case.inputs[0], case.inputs[1].tolist()
    if not case.attributes.get("allowzero"):  # a zero then stands for the size that was there
        shape = [size or x.shape[axis] for axis, size in enumerate(shape)]
    return [Tensor(x).reshape(*shape).data]


def pad(case: Case) -> Arrays:
    x, pads = case.inputs[0], case.attributes.get("pads")
    value = case.attributes.get("value", 0.0) if case.input(2) is None else float(case.inputs[2])
    pads = case.inputs[1].tolist() if pads is None else pads
    axes = range(x.ndim) if case.input(3) is None else case.inputs[3].tolist()
    width = [(0, 0)] * x.ndim
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        width[axis] = (before, after)
    return [F.pad(Tensor(x), width, value).data]


def reduction(function: Callable[..., Tensor], one_axis: bool = False) -> Callable[[Case], Arrays]:
    def adapter(case: Case) -> Arrays:
        axes: Any = case.attributes.get("axes") if case.input(1) is None else case.inputs[1].tolist()
        axis = tuple(axes) if axes or case.attributes.get("noop_with_empty_axes") else None
        keepdims = bool(case.attributes.get("keepdims", 1))
        return [function(Tensor(case.inputs[0]), axis[0] if one_axis and axis else axis, keepdims).data]

    return adapter


def _pair(case: Case, name: str) -> tuple[int, int]:
    down, across = case.attributes.get(name, (1, 1))
    return down, across


def _pads(case: Case, kernel: tuple[int, ...]) -> Pads:
    """How many pixels to add before and after, for each direction."""
    rule = case.attributes.get("auto_pad", b"NOTSET")
    if rule == b"NOTSET":
        top, left, bottom, right = case.attributes.get("pads", (0, 0, 0, 0))
        return [(top, bottom), (left, right)]
    pads = []
    for size, window, step in zip(case.inputs[0].shape[2:], kernel, _pair(case, "strides"), strict=True):
        total = max((math.ceil(size / step) - 1) * step + window - size, 0)
        less, more = total // 2, total - total // 2
        pads.append({b"SAME_UPPER": (less, more), b"SAME_LOWER": (more, less)}[rule])
    return pads


def _padded(x: Tensor, pads: Pads, value: float, most: tuple[int, ...]) -> tuple[Tensor, tuple[int, int]]:
    """The image and the padding left for the operation: all where it takes it, else none, padded beforehand."""
    if all(before == after <= limit for (before, after), limit in zip(pads, most, strict=True)):
        return x, (pads[0][0], pads[1][0])
    return F.pad(x, ((0, 0), (0, 0), *pads), value), (0, 0)


ADAPTERS: dict[str, Callable[[Case], Arrays]] = {
    "Conv": conv,
    "BatchNormalization": batch_norm,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "Gemm": gemm,
    "MatMul": each(F.matmul),
    "Softmax": softmax(F.softmax),
    "LogSoftmax": softmax(F.log_softmax),
    "SoftmaxCrossEntropyLoss": loss(F.cross_entropy),
    "NegativeLogLikelihoodLoss": loss(F.nll_loss),
    "Relu": each(F.relu),
    "LeakyRelu": leaky_relu,
    "Sigmoid": each(F.sigmoid),
    "Tanh": each(F.tanh),
    "Gelu": each(F.gelu),
    "Dropout": dropout,
    "Adam": adam,
    "Momentum": momentum,
    "Adagrad": adagrad,
    "Add": each(F.add),
    "Sub": each(F.sub),
    "Mul": each(F.mul),
    "Div": each(F.div),
    "Neg": each(F.neg),
    "Exp": each(F.exp),
    "Log": each(F.log),
    "Pow": power,
    "ReduceSum": reduction(F.sum),
    "ReduceMean": reduction(F.mean),
    "ReduceMax": reduction(F.max, one_axis=True),
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Concat": concat,
    "Pad": pad,
}
