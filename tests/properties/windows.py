"""Random cases of convolutions, pooling and batch normalization."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from minicnn import Tensor
from minicnn import functional as F
from tests.properties.case import Array, Case, Operation, by_rows, distinct, forward, numbers
from tests.properties.operations import OPERATIONS as WITHOUT_WINDOWS
from tests.properties.operations import SIZES, X

Pair = tuple[int, int]

_FAR = 1e-3
"""How far from a kink numbers in [-1, 1] are that rounding, or the step of a difference, does not bring across."""


def pair(draw: st.DrawFn, least: int, most: int) -> Pair:
    return draw(st.integers(least, most)), draw(st.integers(least, most))


def images(draw: st.DrawFn, span: Pair, padding: Pair, least: int = 0) -> tuple[int, int, int]:
    """Batch, height and width of images that have room for a window that spans `span` pixels."""
    height, width = (max(1, span[axis] - 2 * padding[axis]) + draw(st.integers(0, 3)) for axis in (0, 1))
    return draw(st.integers(least, 3)), height, width


def span_of(kernel: Pair, dilation: Pair) -> Pair:
    rows, columns = (dilation[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1))
    return rows, columns


def geometry(draw: st.DrawFn, least: int = 0) -> tuple[tuple[int, int, int], Pair, dict[str, Any]]:
    """Batch, height and width, kernel, and the options of a convolution."""
    kernel, stride, padding, dilation = (pair(draw, *ends) for ends in ((1, 3), (1, 3), (0, 2), (1, 2)))
    size = images(draw, span_of(kernel, dilation), padding, least)
    return size, kernel, {"stride": stride, "padding": padding, "dilation": dilation}


def convolutions(draw: st.DrawFn) -> Case:
    (batch, height, width), kernel, options = geometry(draw)
    groups, channels, outputs = (draw(st.integers(1, 3)) for _ in range(3))
    inputs = [
        numbers(draw, (batch, groups * channels, height, width)),
        numbers(draw, (groups * outputs, channels, *kernel)),
        numbers(draw, (groups * outputs,)),
    ]
    return by_rows(Case(partial(F.conv2d, groups=groups, **options), inputs if draw(st.booleans()) else inputs[:2]))


def panels(draw: st.DrawFn) -> Case:
    """3 x 3 windows over as many channels as Winograd's algorithm wants: the loops would take seconds."""
    padding, outputs = draw(st.integers(0, 1)), draw(st.sampled_from([32, 64]))
    batch, height, width = images(draw, (3, 3), (padding, padding))
    size = (batch, 32, height + draw(st.sampled_from([0, 9])), width)
    inputs = [numbers(draw, size), numbers(draw, (outputs, 32, 3, 3)), numbers(draw, (outputs,))]
    return by_rows(Case(partial(F.conv2d, padding=padding), inputs))


def pooling(draw: st.DrawFn, dilated: bool) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The shape of images and the options of a pooling."""
    kernel = pair(draw, 1, 3)
    padding = draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2))
    dilation = pair(draw, 1, 2) if dilated else (1, 1)
    batch, height, width = images(draw, span_of(kernel, dilation), padding)
    options = {"kernel_size": kernel, "stride": draw(st.none() | st.just(pair(draw, 1, 3))), "padding": padding}
    return (batch, draw(SIZES), height, width), options | ({"dilation": dilation} if dilated else {})


def max_poolings(draw: st.DrawFn) -> Case:
    shape, options = pooling(draw, dilated=True)
    return by_rows(Case(partial(F.max_pool2d, **options), [distinct(draw, shape)]))


def avg_poolings(draw: st.DrawFn) -> Case:
    shape, options = pooling(draw, dilated=False)
    options["count_include_pad"] = draw(st.booleans())
    return by_rows(Case(partial(F.avg_pool2d, **options), [numbers(draw, shape)]))


def global_poolings(draw: st.DrawFn) -> Case:
    shape = (draw(st.integers(0, 3)), *(draw(SIZES) for _ in range(3)))
    return by_rows(Case(F.global_avg_pool2d, [numbers(draw, shape)]))


def normalized(function: Callable[..., Tensor], mean: Array, var: Array, **options: Any) -> Callable[..., Tensor]:
    """`function` with running statistics before its last two inputs; training moves a copy of them."""

    def call(*inputs: Tensor) -> Tensor:
        *before, scale, shift = inputs
        statistics = (array.astype(scale.dtype) for array in (mean, var))
        return function(*before, *statistics, scale, shift, **options)

    return call


def statistics(draw: st.DrawFn, channels: int) -> tuple[Array, Array]:
    """Running mean and variance."""
    return numbers(draw, (channels,)), numbers(draw, (channels,), 0.5, 1.5)


def normalizations(training: bool) -> Callable[[st.DrawFn], Case]:
    def cases(draw: st.DrawFn) -> Case:
        channels, places = draw(SIZES), draw(st.lists(SIZES, max_size=2))
        shape = (draw(st.integers(2 if training else 0, 5)), channels, *places)
        inputs = [distinct(draw, shape), numbers(draw, (channels,)), numbers(draw, (channels,))]
        case = Case(normalized(F.batch_norm, *statistics(draw, channels), training=training), inputs)
        return case if training else by_rows(case)

    return cases


def blocks(training: bool) -> Callable[[st.DrawFn], Case]:
    def cases(draw: st.DrawFn) -> Case:
        (batch, height, width), kernel, options = geometry(draw, least=2 if training else 1)
        groups, channels, outputs = (draw(st.integers(1, 2)) for _ in range(3))
        options |= {"groups": groups}
        pool = draw(st.sampled_from([None, 2, (2, 1), 3]))
        moments = statistics(draw, groups * outputs)
        inputs = [
            numbers(draw, (batch, groups * channels, height, width)),
            numbers(draw, (groups * outputs, channels, *kernel)),
            numbers(draw, (groups * outputs,), 0.5, 1.5),
            numbers(draw, (groups * outputs,)),
        ]
        window = (pool, pool) if isinstance(pool, int) else pool or (1, 1)
        assume(_is_smooth(inputs, options, moments, training, window))
        case = Case(normalized(F.conv_block, *moments, training=training, pool=pool, **options), inputs)
        return case if training else by_rows(case)

    return cases


def _is_smooth(
    inputs: list[Array], options: dict[str, Any], moments: tuple[Array, Array], training: bool, window: Pair
) -> bool:
    """Whether no pixel of a block is near ReLU's kink, no window has two largest, and the batch's variance is large."""
    convolved = forward(Case(partial(F.conv2d, **options), inputs[:2]), inputs[:2])
    rows, columns = (convolved.shape[2 + axis] // window[axis] for axis in (0, 1))
    if min(rows, columns) == 0 or (training and convolved.var(axis=(0, 2, 3)).min() < 0.01):
        return False
    before = Case(normalized(F.batch_norm, *moments, training=training), [])
    pixels = forward(before, [convolved, *inputs[2:]])
    cut = pixels[:, :, : rows * window[0], : columns * window[1]]
    sides = (len(cut), cut.shape[1], rows, window[0], columns, window[1])
    windows = np.sort(cut.reshape(sides).swapaxes(3, 4).reshape(*sides[:3], columns, window[0] * window[1]), axis=-1)
    largest, second = windows[..., -1], windows[..., -2:-1]
    tied = (second[..., :] > largest[..., None] - _FAR) & (largest[..., None] > 0)
    return bool(np.abs(pixels).min(initial=1) > _FAR) and not (window != (1, 1) and tied.any())


OPERATIONS = WITHOUT_WINDOWS | {
    "conv2d": Operation(convolutions, "conv2d", linear=((0, 2), (1, 2)), by_row=True),
    "conv2d: 32 channels": Operation(panels, linear=((0, 2), (1, 2)), by_row=True),
    "max_pool2d": Operation(max_poolings, "max_pool2d", homogeneous=True, exact=True, repeats=False, by_row=True),
    "avg_pool2d": Operation(avg_poolings, "avg_pool2d", linear=X, by_row=True),
    "global_avg_pool2d": Operation(global_poolings, linear=X, by_row=True),
    "batch_norm": Operation(normalizations(training=False), "batch_norm", linear=((1, 2),), by_row=True),
    "batch_norm: training": Operation(normalizations(training=True), "batch_norm", linear=((1, 2),), repeats=False),
    "conv_block": Operation(blocks(training=False), "conv_block", repeats=False, by_row=True),
    "conv_block: training": Operation(blocks(training=True), "conv_block", repeats=False),
}
"""Every public operation, by its name and, where that is not all, a colon and what is special."""
