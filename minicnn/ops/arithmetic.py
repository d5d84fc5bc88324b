"""Addition, subtraction, multiplication, division, negation and powers, with NumPy's broadcasting."""

import numpy as np

from minicnn.device import Array
from minicnn.function import Function
from minicnn.tensor import Operand, Tensor, as_tensor


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum `grad` over the dimensions along which an input of `shape` was repeated: the adjoint of broadcasting."""
    if grad.shape == shape:
        return grad
    added = grad.ndim - len(shape)
    repeated = tuple(range(added)) + tuple(
        axis + added for axis, size in enumerate(shape) if size == 1 and grad.shape[axis + added] != 1
    )
    summed = grad.sum(axis=repeated, keepdims=True)
    return summed.reshape(shape)


class Add(Function):
    """a + b."""

    def forward(self, a: Array, b: Array) -> Array:
        """The sum."""
        self.save(shapes=(a.shape, b.shape))
        return a + b

    def backward(self, grad: Array) -> tuple[Array, Array]:
        """Both inputs get the upstream gradient."""
        a, b = self.saved.shapes
        return unbroadcast(grad, a), unbroadcast(grad, b)


class Sub(Function):
    """a - b."""

    def forward(self, a: Array, b: Array) -> Array:
        """The difference."""
        self.save(shapes=(a.shape, b.shape))
        return a - b

    def backward(self, grad: Array) -> tuple[Array, Array]:
        """The second input's gradient changes sign."""
        a, b = self.saved.shapes
        return unbroadcast(grad, a), unbroadcast(-grad, b)


class Mul(Function):
    """a b, element by element."""

    def forward(self, a: Array, b: Array) -> Array:
        """The product."""
        self.save(a=a, b=b)
        return a * b

    def backward(self, grad: Array) -> tuple[Array, Array]:
        """Each input's gradient is the upstream times the other input."""
        a, b = self.saved.a, self.saved.b
        return unbroadcast(grad * b, a.shape), unbroadcast(grad * a, b.shape)


class Div(Function):
    """a / b, element by element."""

    def forward(self, a: Array, b: Array) -> Array:
        """The quotient."""
        y = a / b
        self.save(a_shape=a.shape, b=b, y=y)
        return y

    def backward(self, grad: Array) -> tuple[Array, Array | None]:
        """1 / b and - y / b; the second is not worked out for a constant, as where a sum becomes a mean."""
        b = self.saved.b  # - a / b^2 would overflow, or divide by zero, where the square of b does
        grad_b = unbroadcast(-grad * self.saved.y / b, b.shape) if self.needs_grad[1] else None
        return unbroadcast(grad / b, self.saved.a_shape), grad_b


class Neg(Function):
    """- x."""

    def forward(self, x: Array) -> Array:
        """The opposite."""
        return -x

    def backward(self, grad: Array) -> Array:
        """The opposite too."""
        return -grad


class Pow(Function):
    """x to a constant power."""

    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def forward(self, x: Array) -> Array:
        """The power."""
        self.save(x=x)
        return x**self.exponent

    def backward(self, grad: Array) -> Array:
        """P x^(p - 1)."""
        if self.exponent == 0:  # 0 * 0^-1 would be NaN at zero
            return grad * 0
        return grad * (self.exponent * self.saved.x ** (self.exponent - 1))


def add(a: Operand, b: Operand) -> Tensor:
    """The sum a + b of Tensors or numbers whose shapes broadcast; at least one is a Tensor.

    Raises ValueError for other shapes, TypeError where dtypes differ. Source: numpy.add.
    """
    return Add()(*_pair(a, b))


def sub(a: Operand, b: Operand) -> Tensor:
    """The difference a - b of Tensors or numbers whose shapes broadcast; at least one is a Tensor.

    Raises ValueError for other shapes, TypeError where dtypes differ. Source: numpy.subtract.
    """
    return Sub()(*_pair(a, b))


def mul(a: Operand, b: Operand) -> Tensor:
    """The product a b, element by element, of Tensors or numbers whose shapes broadcast; at least one is a Tensor.

    Raises ValueError for other shapes, TypeError where dtypes differ. Source: numpy.multiply.
    """
    return Mul()(*_pair(a, b))


def div(a: Operand, b: Operand) -> Tensor:
    """The quotient a / b, element by element, of Tensors or numbers whose shapes broadcast; at least one is a Tensor.

    Raises ValueError for other shapes, TypeError where dtypes differ. Source: numpy.divide.
    """
    return Div()(*_pair(a, b))


def neg(x: Tensor) -> Tensor:
    """Minus each element, in any shape.

    Raises TypeError unless `x` is a Tensor. Source: numpy.negative.
    """
    return Neg()(x)


def pow(x: Tensor, exponent: float) -> Tensor:
    """Each element to the power of `exponent`, in any shape.

    Raises TypeError unless the exponent is a number. Source: numpy.power.
    """
    if not isinstance(exponent, int | float | np.integer | np.floating):
        raise TypeError(f"pow: expected a number as exponent, got {type(exponent).__name__}")
    return Pow(float(exponent))(x)  # a NumPy number would take the dtype with it


def _pair(a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    if isinstance(a, Tensor):
        return a, as_tensor(b, a)
    if isinstance(b, Tensor):
        return as_tensor(a, b), b
    raise TypeError(f"expected at least one Tensor, got {type(a).__name__} and {type(b).__name__}")
