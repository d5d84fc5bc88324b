"""Sum, mean and maximum along axes."""

import math

from minicnn import kernels
from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.tensor import Axis, Tensor


class Sum(Function):
    """Sum along axes."""

    def __init__(self, axis: Axis, keepdims: bool) -> None:
        self.axis, self.keepdims = axis, keepdims

    def forward(self, x: Array) -> Array:
        """The sum."""
        self.save(shape=x.shape)
        if self.axis is None and not self.keepdims:
            return total(x)
        return array_module(x).asarray(x.sum(axis=self.axis, keepdims=self.keepdims))

    def backward(self, grad: Array) -> Array:
        """Every element counted once: each gets the upstream gradient of its sum."""
        if not self.keepdims and self.axis is not None:
            grad = array_module(grad).expand_dims(grad, self.axis)
        return array_module(grad).broadcast_to(grad, self.saved.shape)


class Max(Function):
    """Largest element along one axis, or of all."""

    def __init__(self, axis: int | None, keepdims: bool) -> None:
        self.axis, self.keepdims = axis, keepdims

    def forward(self, x: Array) -> Array:
        """The maximum; the first place that it is found at is kept."""
        self.save(shape=x.shape, place=x.argmax(axis=self.axis, keepdims=True))
        return array_module(x).asarray(x.max(axis=self.axis, keepdims=self.keepdims))

    def backward(self, grad: Array) -> Array:
        """The whole gradient goes to the first of the equal maxima, as in torch.max along a dimension."""
        xp, place = array_module(grad), self.saved.place
        grad_x = xp.zeros(self.saved.shape, dtype=grad.dtype)
        if self.axis is None:
            grad_x.reshape(-1)[place.reshape(-1)] = grad.reshape(-1)
        else:
            xp.put_along_axis(grad_x, place, grad.reshape(place.shape), self.axis)
        return grad_x


def total(x: Array) -> Array:
    """The sum of all elements, as an array without dimensions."""
    return kernels.get("reduce", x).total(x)


def sum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over `axis` (all where None), which is gone from the shape of `x`, or of size 1 with `keepdims`.

    Raises ValueError where `x` has no such axis. Source: numpy.sum.
    """
    return Sum(axis, keepdims)(x)


def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean over `axis` (all where None), which is gone from the shape of `x`, or of size 1 with `keepdims`.

    Raises ValueError where `x` has no such axis, or nothing to take a mean of. Source: numpy.mean.
    """
    total = sum(x, axis, keepdims)
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    count = math.prod(x.shape[number] for number in axes)
    if count == 0:
        raise ValueError(f"mean: expected at least one element along axis {axis}, got {x.shape}")
    return total * (1 / count)


def max(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Largest element along `axis` (all where None), which is gone from the shape of `x`, or of size 1 with `keepdims`.

    The first of equals gets the gradient. Raises ValueError where `x` has no such axis or no elements. Source:
    numpy.max.
    """
    return Max(axis, keepdims)(x)
