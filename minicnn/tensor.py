"""Tensor: an array that remembers how it was computed, so that backward() can give every input its gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.device import Array, Device, array_module, as_device, device_of, module_for, to_numpy

if TYPE_CHECKING:
    from minicnn.function import Function

DTYPES = ("float32", "float64")
"""What a Tensor may hold: float32 to train, float64 to check; on the GPU also what fast kernels give, bfloat16.

Labels and masks stay plain arrays.
"""


class Tensor:
    """An array on a device, with a gradient and a place in the graph.

    Args:
        data: a float32 or float64 array (kept, not copied), or Python numbers (made float32). Other arrays raise
            TypeError, since a silent conversion hides mistakes.
        requires_grad: whether backward() should give this Tensor a `grad`.

    Attributes:
        data: the array; optimizers change it in place. A step between a forward and its backward is not noticed: the
            backward then works with the new numbers.
        grad: the gradient, an array of the same shape, dtype and device, or None. It adds up over backward passes.
        node: the Function that made this Tensor, or None for one that was given.
    """

    # keeps NumPy from taking over in `array * tensor`: Python then calls our __rmul__
    __array_ufunc__ = None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.data = _as_float_array(data)
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.node: Function | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return int(self.data.ndim)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return int(self.data.size)

    @property
    def dtype(self) -> Any:
        """The array's dtype: float32 or float64, or bfloat16 on the GPU."""
        return self.data.dtype

    @property
    def device(self) -> Device:
        """Where the array lives: "cpu" or "gpu"."""
        return device_of(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({np.array2string(self.numpy(), threshold=20, precision=4)}, {self.dtype}{grad})"

    def __bool__(self) -> bool:
        """Whether the one element is not zero; ValueError where there are more, or none. Tensors equal themselves."""
        if self.size != 1:
            raise ValueError(f"expected a Tensor of one element to be true or false, got {self.shape}")
        return bool(self.data.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """What NumPy makes of it: `numpy()`. TypeError where a gradient would be lost with the graph."""
        if self.requires_grad:
            raise TypeError("NumPy has no gradients: take .numpy() or .detach(), or stay with minicnn.functional")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def numpy(self) -> Array:
        """The data as a NumPy array: shared on the CPU, a copy from the GPU."""
        return to_numpy(self.data)

    def item(self) -> float:
        """The one element as a Python number; ValueError where there are more."""
        return float(self.data.item())

    def detach(self) -> Tensor:
        """A Tensor of the same array, outside the graph."""
        return Tensor(self.data)

    def to(self, device: str) -> Tensor:
        """This Tensor on "cpu" or "gpu": itself where it is there, else a copy outside the graph."""
        target = as_device(device)
        if target == self.device:
            return self
        data = to_numpy(self.data) if target == "cpu" else module_for(target).asarray(self.data)
        return Tensor(data, self.requires_grad)

    def backward(self, grad: Array | None = None) -> None:
        """Add d self / d leaf, times `grad`, to the `grad` of every leaf that requires one, and free the graph.

        `grad` is an array of this Tensor's shape and dtype; only a Tensor of one element can do without. The graph
        is walked without recursion, so that its depth has no limit. RuntimeError where there is no graph or it was
        freed by an earlier backward.
        """
        if not self.requires_grad:
            raise RuntimeError("backward(): this Tensor depends on nothing that requires a gradient")
        upstream = self._upstream(grad)
        if self.node is None:
            self._accumulate(upstream.copy())
            return
        waiting = {self.node: upstream}
        for node in _in_backward_order(self.node):
            gradient = waiting.pop(node, None)
            if gradient is None:  # every Function that used this output said that it has no gradient
                node.free()
                continue
            for x, g in _owned(node, gradient):
                if x.node is None:
                    x._accumulate(g)
                elif x.node in waiting:
                    waiting[x.node] = waiting[x.node] + g
                else:
                    waiting[x.node] = g
            node.free()

    def _upstream(self, grad: Array | None) -> Array:
        if grad is None:
            if self.size != 1:
                raise ValueError(
                    f"backward(): a Tensor of shape {self.shape} is not one number: "
                    "pass its gradient, backward(grad), or reduce it first, as in .sum()"
                )
            return array_module(self.data).ones_like(self.data)
        is_array = hasattr(grad, "dtype") and not isinstance(grad, Tensor)
        if not is_array or (grad.shape, grad.dtype, device_of(grad)) != (self.shape, self.dtype, self.device):
            got = f"{grad.shape} {grad.dtype} on {device_of(grad)}" if is_array else f"a {type(grad).__name__}"
            raise ValueError(f"backward(grad): expected an array {self.shape} {self.dtype} on {self.device}, got {got}")
        return grad

    def _accumulate(self, grad: Array) -> None:
        # asarray, since arithmetic on arrays without dimensions gives NumPy scalars, which nobody can write to
        self.grad = array_module(self.data).asarray(grad if self.grad is None else self.grad + grad)

    def __add__(self, other: Operand) -> Tensor:
        return F.add(self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return F.add(other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return F.sub(self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return F.sub(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return F.mul(self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return F.mul(other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return F.div(self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return F.div(other, self)

    def __pow__(self, exponent: float) -> Tensor:
        return F.pow(self, exponent)

    def __neg__(self) -> Tensor:
        return F.neg(self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return F.matmul(self, other)

    def __getitem__(self, index: Any) -> Tensor:
        return F.getitem(self, index)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Sum over `axis` (all where None)."""
        return F.sum(self, axis, keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Mean over `axis` (all where None)."""
        return F.mean(self, axis, keepdims)

    def max(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Largest element along `axis` (of all where None); the first of equals gets the gradient."""
        return F.max(self, axis, keepdims)

    def exp(self) -> Tensor:
        """E to the power of each element."""
        return F.exp(self)

    def log(self) -> Tensor:
        """Natural logarithm of each element."""
        return F.log(self)

    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        """The same elements in another shape, as numbers or one tuple of them; one size may be -1."""
        return F.reshape(self, _numbers(shape))

    def transpose(self, *axes: int | tuple[int, ...]) -> Tensor:
        """The dimensions in another order, as numbers or one tuple of them (reversed where none is given)."""
        return F.transpose(self, _numbers(axes) or None)

    def flatten(self, start_axis: int = 0) -> Tensor:
        """The dimensions from `start_axis` on as one."""
        return F.flatten(self, start_axis)

    def concatenate(self, *others: Tensor, axis: int = 0) -> Tensor:
        """This Tensor and others joined along an axis."""
        return F.concatenate([self, *others], axis)

    def pad(self, width: Any, value: float = 0.0) -> Tensor:
        """`value` added around each dimension: `width` as for numpy.pad."""
        return F.pad(self, width, value)


Operand = Tensor | float | Array
"""What stands on either side of an operator. Numbers take the Tensor's dtype and device; arrays have them already."""

Axis = int | tuple[int, ...] | None


def as_tensor(value: Operand, like: Tensor) -> Tensor:
    """`value` as a Tensor; a number, NumPy's too, becomes one of the dtype and device of `like`."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, int | float | np.integer | np.floating):
        return Tensor(array_module(like.data).full((), value, dtype=like.dtype))  # asarray would copy it to a GPU
    return Tensor(value)


def _numbers(given: tuple[int | tuple[int, ...], ...]) -> tuple[int, ...]:
    """(2, 3) of both f(2, 3) and f((2, 3))."""
    return tuple(number for item in given for number in (item if isinstance(item, tuple) else (item,)))


def _as_float_array(data: Any) -> Array:
    if isinstance(data, Tensor):
        raise TypeError("Tensor(data): data is a Tensor already: use it as it is, or its .detach()")
    if isinstance(data, int | float | list | tuple) and not isinstance(data, np.generic):
        return np.asarray(data, dtype=np.float32)
    array = data if hasattr(data, "shape") and not isinstance(data, np.generic) else np.asarray(data)
    if str(array.dtype) not in DTYPES and (str(array.dtype), device_of(array)) != ("bfloat16", "gpu"):
        raise TypeError(
            f"Tensor(data): expected {' or '.join(DTYPES)}, got {array.dtype}: convert it with .astype('float32'); "
            "labels stay plain arrays"
        )
    return array


def _in_backward_order(last: Function) -> list[Function]:
    """All Functions that led to `last`, each before those it got its inputs from; RuntimeError if one was freed."""
    order: list[Function] = []
    seen: set[Function] = set()
    stack: list[tuple[Function, bool]] = [(last, False)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        if node.freed:
            raise RuntimeError(
                f"backward(): the graph behind {node.name} was freed by an earlier backward(): "
                "run the forward pass again, or add the losses up and go backward once"
            )
        stack.append((node, True))
        stack.extend((x.node, False) for x in node.inputs if x is not None and x.node is not None)
    return order[::-1]


def _owned(node: Function, gradient: Array) -> Iterable[tuple[Tensor, Array]]:
    """The inputs of `node` that require a gradient, each with one.

    A leaf's gradient stays with the user, so it must share memory with no other: what backward merely passed
    through, or gave twice, is copied for leaves. Between two Functions sharing is harmless, since none writes.
    """
    given: set[int] = {id(gradient)}
    for x, g in zip(node.inputs, node.gradients(gradient), strict=True):
        if x is None or g is None or not x.requires_grad:
            continue
        if x.node is None and (id(g) in given or g.base is not None):
            g = g.copy()
        given.add(id(g))
        yield x, g


# Tensor's operators are the public functions, which are made of Functions, which need Tensor: hence down here.
from minicnn import functional as F  # noqa: E402
