"""Matrix products on the GPU, of which convolution, its gradients and the dense layer are made: conv2d/cuda.cu.

Images are (count, height, width, channels) here, float32 or bfloat16; weights are float32 (outputs, channels, kH, kW),
of a dense layer (outputs, channels), and are packed at each use, since they change at every step.
"""

from math import prod
from typing import Any

import numpy as np

from minicnn.kernels import precision
from minicnn.kernels._gpu import tiles
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.sources import Source
from minicnn.kernels._gpu.tiles import Shape, ceil, chunk
from minicnn.kernels.arrays import Array, array_module
from minicnn.kernels.frozen import derived
from minicnn.kernels.windows import Pair, Windows

ROWS = 64
"""Pixels that each row of statistics is over."""

_SOURCE = Source("conv2d")
_THREADS = 256
_WARP = 32


def multiply(
    x: Array, weight: Array, windows: Windows, dtype: Any, bias: Array | None = None, with_statistics: bool = False
) -> tuple[Array, Array | None]:
    """Convolve `x` with `weight` and add `bias` (O,), in the precision in force: y of `dtype`, and statistics.

    Statistics are float32 (ceil(pixels / ROWS), 2, O): for the ROWS pixels of y, in memory order, that a row is over
    (the last row may be over fewer) the sum of each output, and the sum of the squares of the differences from these
    pixels' own mean, both of what was summed up before y was rounded and without a bias. How rows combine: T. Chan,
    G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    math = _precision(x)
    images = pack(x, math)
    size = windows.output_size(*x.shape[1:3])
    shape = _shape(images, size, len(weight), windows)
    y = array_module(x).empty((len(x), *size, len(weight)), dtype)
    statistics = None
    if with_statistics:
        statistics = array_module(x).empty((ceil(len(x) * prod(size), ROWS), 2, len(weight)), np.float32)
    _multiply(images, _packed(weight, math, images.shape[3], backwards=False), shape, math, y, bias, statistics)
    return y, statistics


def input_gradient(grad: Array, weight: Array, windows: Windows, size: Pair, dtype: Any) -> Array:
    """The gradient of images of `size` from that of the output: a convolution with the weights turned around.

    A stride becomes zeros between the pixels of `grad`.
    """
    math = _precision(grad)
    images = pack(grad, math, windows.stride)
    around = [d * (k - 1) - p for d, k, p in zip(windows.dilation, windows.kernel, windows.padding, strict=True)]
    backwards = Windows(windows.kernel, (1, 1), (around[0], around[1]), windows.dilation)
    shape = _shape(images, size, weight.shape[1], backwards)
    grad_x = array_module(grad).empty((len(grad), *size, weight.shape[1]), dtype)
    _multiply(images, _packed(weight, math, images.shape[3], backwards=True), shape, math, grad_x, None, None)
    return grad_x


def weight_gradient(x: Array, grad: Array, windows: Windows) -> Array:
    """The gradient of the weight (O, C, kH, kW), float32."""
    math = _precision(x, grad)
    images, upstream = pack(x, math), pack(grad, math)
    outputs, channels = grad.shape[3], x.shape[3]
    shape = _shape(images, grad.shape[1:3], outputs, windows)
    partial = _weight_gradients(images, upstream, shape, math)
    grad_weight = array_module(x).empty((outputs, channels, *windows.kernel), np.float32)
    _SOURCE.launch(
        "add_weight_gradients", (ceil(outputs * shape.length, _THREADS),), (_THREADS,), partial,
        np.int32(len(partial)), grad_weight, np.int32(channels), np.int32(images.shape[3]),
        np.int32(prod(windows.kernel)), np.int32(outputs),
    )  # fmt: skip
    return grad_weight


def bias_gradient(grad: Array) -> Array:
    """The sums of `grad`, float32 (N, H, W, O) of any strides, over its pixels: (O,)."""
    count, height, width, outputs = grad.shape
    pixels = count * height * width
    each = max(_WARP, ceil(pixels, 4 * driver().gpu.multiprocessors))
    parts = ceil(pixels, each)
    xp = array_module(grad)
    partial = xp.empty((parts, outputs), np.float32)
    _SOURCE.launch(
        "sum_pixels", (ceil(outputs, _WARP), parts), (_WARP, 8), grad, *_strides(grad), partial, np.int32(outputs),
        np.int32(height), np.int32(width), np.int32(pixels), np.int32(each),
    )  # fmt: skip
    total = xp.empty((outputs,), np.float32)
    _add(partial, None, total)
    return total


def pack(x: Array, math: str, spread: Pair = (1, 1)) -> Array:
    """`x` (N, H, W, C) of any strides as pack_images in conv2d/cuda.cu makes it; `x` itself where that is the same."""
    bfloat16 = x.dtype.name == "bfloat16"
    fits = bfloat16 == (math == "bfloat16") and x.shape[3] % chunk(math) == 0 and spread == (1, 1)
    # chunks begin at multiples of 16 bytes; but a single pixel may be a slice that begins anywhere
    if fits and x.flags.c_contiguous and x.size > x.shape[3]:
        return x
    count, height, width, channels = x.shape
    height, width = (height - 1) * spread[0] + 1, (width - 1) * spread[1] + 1
    padded = ceil(channels, chunk(math)) * chunk(math)
    packed = array_module(x).empty((count, height, width, padded), _number(math))
    _SOURCE.launch(
        f"pack_images_{_storage(math)}", (ceil(packed.size, _THREADS),), (_THREADS,), x, np.int32(bfloat16),
        *_strides(x), packed, np.int32(channels), np.int32(padded), np.int32(spread[0]), np.int32(spread[1]),
        np.int32(height), np.int32(width), np.int64(packed.size),
    )  # fmt: skip
    return packed


def _packed(weight: Array, math: str, padded: int, backwards: bool) -> Array:
    """Weights as a product wants them: (O, kH * kW, padded C), backwards (C, kH * kW, padded O)."""

    def make() -> Array:
        xp = array_module(weight)
        outputs, channels, *kernel = weight.shape
        elements = prod(kernel)
        along = (channels * elements, elements)
        (rows, columns), (along_r, along_c) = (
            ((channels, outputs), along[::-1]) if backwards else ((outputs, channels), along)
        )
        packed = xp.empty((rows, elements, padded), _number(math))
        _SOURCE.launch(
            f"pack_weight_{_storage(math)}", (ceil(padded, _WARP), ceil(rows, _WARP)), (_WARP, 8),
            xp.ascontiguousarray(weight), packed, np.int32(rows), np.int32(columns), np.int32(padded),
            np.int32(elements), np.int64(along_r), np.int64(along_c), np.int32(backwards), np.int32(math == "tf32"),
        )  # fmt: skip
        return packed

    return derived(("matrix", math, padded, backwards), (weight,), make)


def _multiply(
    images: Array, packed: Array, shape: Shape, math: str, y: Array, bias: Array | None, statistics: Array | None
) -> None:
    pixels = len(images) * prod(shape.out_size)
    if chosen := tiles.for_neighborhoods(shape, pixels, math):
        tile, shared = chosen
        _SOURCE.launch(
            f"multiply_same_{math}_{tile.name}", (tile.cover(pixels, shape.outputs),), (tile.threads,), images, packed,
            y, _is_bfloat16(y), bias, statistics, np.int32(pixels), *shape.arguments(), shared=shared,
        )  # fmt: skip
        return
    tile = tiles.for_windows(shape, pixels)
    blocks, steps, parts = tile.cover(pixels, shape.outputs), ceil(shape.length, tiles.step(math)), 1
    if statistics is None:  # which need the whole sums
        parts, steps = tiles.split(blocks, steps, tile)
    out = y if parts == 1 else array_module(y).empty((parts, *y.shape), np.float32)
    _SOURCE.launch(
        f"multiply_{math}_{tile.name}", (blocks, 1, parts), (tile.threads,), images, packed, out, _is_bfloat16(out),
        bias if parts == 1 else None, statistics, np.int32(pixels), np.int32(steps), *shape.arguments(),
        shared=tile.shared,
    )  # fmt: skip
    if parts > 1:
        _add(out, bias, y)


def _weight_gradients(images: Array, upstream: Array, shape: Shape, math: str) -> Array:
    """Of parts of the pixels: (parts, outputs, length)."""
    pixels, step = len(images) * prod(shape.out_size), tiles.step(math)
    ring = tiles.for_ring(shape, math)
    tile = tiles.NINE if ring else tiles.for_weight_gradient(shape.outputs)
    blocks = tile.cover(shape.outputs, shape.length)
    parts, steps = tiles.split(blocks, ceil(pixels, step), tile)
    partial = array_module(images).empty((parts, shape.outputs, shape.length), np.float32)
    common = images, upstream, partial, np.int32(pixels), np.int32(steps * step), np.int32(upstream.shape[3])
    grid, block = (blocks, 1, parts), (tile.threads,)
    if ring:
        rows, shared = ring
        name = "weight_gradient_3x3_bfloat16"
        _SOURCE.launch(name, grid, block, *common, np.int32(rows), *shape.arguments(), shared=shared)
    else:
        name = f"weight_gradient_{math}_{tile.name}"
        _SOURCE.launch(name, grid, block, *common, *shape.arguments(), shared=tile.shared)
    return partial


def _add(partial: Array, bias: Array | None, total: Array) -> None:
    _SOURCE.launch(
        "add_partial", (ceil(total.size, _THREADS),), (_THREADS,), partial, np.int32(len(partial)), bias, total,
        _is_bfloat16(total), np.int32(total.shape[-1]), np.int64(total.size),
    )  # fmt: skip


def _shape(images: Array, out_size: Pair, outputs: int, windows: Windows) -> Shape:
    _, height, width, channels = images.shape
    return Shape(
        (height, width), channels, out_size, outputs, windows.kernel, windows.stride, windows.padding, windows.dilation
    )


def _precision(*arrays: Array) -> str:
    """The one in force; arrays of bfloat16 are multiplied as what they are."""
    return "bfloat16" if any(array.dtype.name == "bfloat16" for array in arrays) else precision.chosen()


def _is_bfloat16(array: Array) -> np.int32:
    return np.int32(array.dtype.name == "bfloat16")


def _storage(math: str) -> str:
    return "bfloat16" if math == "bfloat16" else "float32"


def _number(math: str) -> Any:
    """What packed numbers are kept as: NumPy and CuPy need no bfloat16 for what only our kernels see."""
    return np.uint16 if math == "bfloat16" else np.float32


def _strides(x: Array) -> tuple[np.int64, ...]:
    """Of images (N, H, W, C), in elements and in the order N, C, H, W."""
    return tuple(np.int64(x.strides[axis] // x.dtype.itemsize) for axis in (0, 3, 1, 2))
