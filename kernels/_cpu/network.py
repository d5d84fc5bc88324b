"""A whole network in evaluation, for one image or a few, as one chain of kernels.

Going through a network's layers takes Python a third of a millisecond, a fifth of what ONNX Runtime needs for an
image. So the layers of a frozen network are planned once for each shape of its input: which kernel, with which
memory. What is left for each image is one call.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import carray

from minicnn.kernels._cpu import crew, dots, few_images, first_layer, workspace
from minicnn.kernels._cpu.atomics import floats, pointer
from minicnn.kernels._cpu.evaluation import fold
from minicnn.kernels._cpu.jit import compiled, compiled_reordered
from minicnn.kernels._cpu.plan import winograd_plan
from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows


class ConvBlock(NamedTuple):
    """Convolution, batch normalization, ReLU and, with `pool`, 2 x 2 pooling."""

    weight: Array
    gamma: Array
    beta: Array
    mean: Array
    var: Array
    eps: float
    windows: Windows
    groups: int
    pool: bool


class Flatten(NamedTuple):
    """(N, C, H, W) to (N, features)."""


class Linear(NamedTuple):
    """Weighted sums and, with `relu`, ReLU."""

    weight: Array
    bias: Array | None
    relu: bool


Layer = ConvBlock | Flatten | Linear
Shape = tuple[int, ...]

_PAD = crew.arguments("images", "height", "width")
_FIRST = crew.arguments("weight", "shift", "choice", "images", "rows", "columns", "outputs")
_FLATTEN = crew.arguments("pixels", "channels")


def chain(layers: Sequence[Layer], shape: Shape) -> tuple[crew.Chain, Shape] | None:
    """The kernels from images of `shape` (N, H, W, C) to vectors (N, features), and these' shape.

    None where a layer has no kernel for few images, or does not fit what it gets.
    """
    kernels: list[crew.Kernel] = []
    shapes = []
    for layer in layers:
        planned = _plan(layer, shape)
        if planned is None:
            return None
        for kernel, shape in planned:
            kernels.append(kernel)
            shapes.append(shape)
    if not kernels or len(shape) != 2:
        return None
    return crew.Chain(kernels, [workspace.empty(each) for each in shapes[:-1]]), shape


def _plan(layer: Layer, shape: Shape) -> list[tuple[crew.Kernel, Shape]] | None:
    """Kernels and the shapes of what they write."""
    if isinstance(layer, Flatten):
        if len(shape) == 2:
            return []
        images, height, width, channels = shape
        numbers = np.array([(0, 0, height * width, channels)], _FLATTEN)
        return [(crew.Kernel(numbers, (), (_flatten, images)), (images, height * width * channels))]
    if isinstance(layer, Linear):
        if len(shape) != 2 or shape[1] != layer.weight.shape[1]:
            return None
        return [(dots.kernel(layer.weight, layer.bias, shape[0], layer.relu), (shape[0], len(layer.weight)))]
    return _plan_block(layer, shape)


def _plan_block(block: ConvBlock, shape: Shape) -> list[tuple[crew.Kernel, Shape]] | None:
    weight, windows, groups, pool = block.weight, block.windows, block.groups, block.pool
    if len(shape) != 4 or shape[3] != weight.shape[1] * groups:
        return None
    height, width = windows.output_size(*shape[1:3])
    results = (shape[0], height // 2, width // 2, len(weight)) if pool else (shape[0], height, width, len(weight))
    if min(results) < 1:
        return None
    folded, shift = (np.ascontiguousarray(array, np.float32) for array in fold(*block[:6]))
    if pool and first_layer.fits(shape, weight, windows):
        return _plan_first(folded, shift, shape, results)
    if plan := winograd_plan(shape, weight, windows, groups):
        return [(few_images.winograd(folded, shift, plan, pool), results)]
    if few := few_images.direct_shape(shape, weight, windows, groups):
        return [(few_images.direct(folded, shift, few, pool), results)]
    return None


def _plan_first(weight: Array, shift: Array, shape: Shape, results: Shape) -> list[tuple[crew.Kernel, Shape]]:
    """For images of one channel: a border around them, and the block."""
    images, height, width, _ = shape
    taps, shift = first_layer.as_taps(weight, shift)
    choice = np.empty(results, np.uint8)
    addresses = (crew.address(array) for array in (taps, shift, choice))
    pad = crew.Kernel(np.array([(0, 0, images, height, width)], _PAD), (), (_pad, images))
    block = crew.Kernel(
        np.array([(0, 0, *addresses, *results)], _FIRST), (taps, shift, choice), (_first_layer, images * results[1])
    )
    return [(pad, (images, height + 2, width + 2)), (block, results)]


@compiled
def _pad(arguments: int, part: int, slot: int) -> None:
    """A border of zeros around an image."""
    a = carray(pointer(arguments), (1,), _PAD)[0]
    x, y = floats(a.x, (a.images, a.height, a.width)), floats(a.y, (a.images, a.height + 2, a.width + 2))
    y[part] = 0
    y[part, 1:-1, 1:-1] = x[part]


@compiled_reordered
def _first_layer(arguments: int, part: int, slot: int) -> None:
    """A row of an image's results."""
    a = carray(pointer(arguments), (1,), _FIRST)[0]
    x = floats(a.x, (a.images, 2 * a.rows + 2, 2 * a.columns + 2))
    shape = a.images, a.rows, a.columns, a.outputs
    choice = carray(pointer(a.choice), shape, np.uint8)
    weight, shift = floats(a.weight, (9, a.outputs)), floats(a.shift, (a.outputs,))
    first_layer.forward_row(x, weight, shift, floats(a.y, shape), choice, part // a.rows, part % a.rows)


@compiled
def _flatten(arguments: int, part: int, slot: int) -> None:
    """An image, channel by channel."""
    a = carray(pointer(arguments), (1,), _FLATTEN)[0]
    first = 4 * part * a.pixels * a.channels
    x, y = floats(a.x + first, (a.pixels, a.channels)), floats(a.y + first, (a.channels, a.pixels))
    for c in range(a.channels):
        for pixel in range(a.pixels):
            y[c, pixel] = x[pixel, c]
