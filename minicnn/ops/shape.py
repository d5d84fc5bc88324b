"""Operations that move elements and change none: reshape, transpose, pad, concatenate, indexing."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Tensor


class Reshape(Function):
    """The same elements in another shape."""

    mixed = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Array) -> Array:
        """The new shape."""
        self.save(shape=x.shape)
        return x.reshape(self.shape)

    def backward(self, grad: Array) -> Array:
        """The old shape."""
        return grad.reshape(self.saved.shape)


class Transpose(Function):
    """The dimensions in another order."""

    mixed = True

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        """The new order."""
        self.save(inverse=tuple(self.axes.index(axis) for axis in range(x.ndim)))
        return x.transpose(self.axes)

    def backward(self, grad: Array) -> Array:
        """The old order."""
        return grad.transpose(self.saved.inverse)


class Pad(Function):
    """A constant around each dimension."""

    def __init__(self, width: Any, value: float) -> None:
        self.width, self.value = width, value

    def forward(self, x: Array) -> Array:
        """The padded array."""
        xp = array_module(x)
        self.save(shape=x.shape, before=[int(pair[0]) for pair in _pairs(self.width, x.ndim)])
        return xp.pad(x, _pairs(self.width, x.ndim), constant_values=self.value)

    def backward(self, grad: Array) -> Array:
        """What is inside the padding."""
        inside = zip(self.saved.before, self.saved.shape, strict=True)
        return grad[tuple(slice(start, start + size) for start, size in inside)]


class Concatenate(Function):
    """Arrays joined along an axis."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *arrays: Array) -> Array:
        """The joined array."""
        self.save(sizes=[array.shape[self.axis] for array in arrays])
        return array_module(arrays[0]).concatenate(arrays, axis=self.axis)

    def backward(self, grad: Array) -> tuple[Array, ...]:
        """The piece that came from each."""
        ends = [sum(self.saved.sizes[: k + 1]) for k in range(len(self.saved.sizes) - 1)]
        return tuple(array_module(grad).split(grad, ends, axis=self.axis))


class GetItem(Function):
    """The elements at an index."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def forward(self, x: Array) -> Array:
        """The elements."""
        self.save(shape=x.shape)
        return array_module(x).asarray(x[self.index])

    def backward(self, grad: Array) -> Array:
        """Back to where they were; an index array may take an element twice, which then gets both gradients."""
        xp = array_module(grad)
        grad_x = xp.zeros(self.saved.shape, dtype=grad.dtype)
        parts = self.index if isinstance(self.index, tuple) else (self.index,)
        if all(part is None or part is ... or isinstance(part, int | slice) for part in parts):
            grad_x[self.index] = grad
        else:
            xp.add.at(grad_x, self.index, grad)
        return grad_x


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape; one size may be -1, worked out from the others.

    Raises ValueError for a shape with more or fewer elements. Source: numpy.reshape.
    """
    return Reshape(tuple(shape))(x)


def transpose(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """The dimensions of `x`, of any shape, in another order: that of `axes`, reversed where None.

    Raises ValueError unless each is named once. Source: numpy.transpose.
    """
    if axes is None:
        return Transpose(tuple(reversed(range(x.ndim))))(x)
    order = tuple(axis + x.ndim if axis < 0 else axis for axis in axes)
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"transpose: expected each of the {x.ndim} dimensions of {x.shape} once, got {tuple(axes)}")
    return Transpose(order)(x)


def flatten(x: Tensor, start_axis: int = 0) -> Tensor:
    """The dimensions from `start_axis` on as one: the shape (N, C, H, W) becomes (N, C H W) from 1 on.

    Raises ValueError where there is no such axis. Source: torch.flatten.
    """
    if not -x.ndim <= start_axis < max(x.ndim, 1):
        raise ValueError(f"flatten: expected a start_axis of the {x.ndim} dimensions of {x.shape}, got {start_axis}")
    # counted, since -1 would not do for an empty batch
    return reshape(x, (*x.shape[:start_axis], math.prod(x.shape[start_axis:])))


def pad(x: Tensor, width: Any, value: float = 0.0) -> Tensor:
    """`value` added around each dimension of `x`, of any shape: `width` is ((before, after), ...), or fewer for all.

    Raises ValueError unless there is a pair of widths of at least 0 for each dimension. Source: numpy.pad.
    """
    return Pad(width, value)(x)


def concatenate(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Join Tensors along `axis`; their shapes are otherwise equal.

    Raises ValueError where they are not, or there is no Tensor. Source: numpy.concatenate.
    """
    if not tensors:
        raise ValueError("concatenate: expected at least one Tensor, got none")
    return Concatenate(axis)(*tensors)


def getitem(x: Tensor, index: Any) -> Tensor:
    """The elements at a NumPy index: numbers, slices, None, integer or boolean arrays, which decide the shape.

    Raises IndexError where there is no such place. Source: numpy.ndarray.__getitem__.
    """
    return GetItem(index)(x)


def _pairs(width: Any, ndim: int) -> list[tuple[int, int]]:
    """numpy.pad's `width` as one (before, after) a dimension."""
    try:
        widths = np.asarray(width)
        pairs = np.broadcast_to(widths, (ndim, 2))
    except ValueError:
        pairs = np.zeros(0)
    if pairs.dtype.kind not in "iu" or (pairs < 0).any():
        raise ValueError(f"pad: expected {ndim} pairs of widths of at least 0, got {width}")
    return [(int(before), int(after)) for before, after in pairs]
