"""The dense layer's operation: x @ weight.T + bias."""

import math

from minicnn import kernels
from minicnn.device import Array
from minicnn.function import Function
from minicnn.tensor import Tensor


class Linear(Function):
    """y = x @ weight.T + bias."""

    mixed = True
    optional = 1  # the bias

    def forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        """The weighted sums, by the kernel in force."""
        self.save(x=x, weight=weight)
        y = kernels.get("linear", x).forward(_rows(x), weight, bias)
        return y.reshape(*x.shape[:-1], len(weight))

    def backward(self, grad: Array) -> tuple[Array | None, Array, Array | None]:
        """Gradients of input, weight and bias, by the kernel in force."""
        x, weight = self.saved.x, self.saved.weight
        need_x, _, need_bias = self.needs_grad
        grad_x, grad_weight, grad_bias = kernels.get("linear", grad).backward(_rows(grad), _rows(x), weight, need_x)
        return None if grad_x is None else grad_x.reshape(x.shape), grad_weight, grad_bias if need_bias else None

    def multiply_adds(self, output: Array) -> int:
        """One for each element of the output and each input feature."""
        return int(output.size * self.saved.weight.shape[1])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Dense layer: `x` (..., in) with `weight` (out, in) and `bias` (out,) gives (..., out).

    Raises ValueError where the number of features does not fit. Source: torch.nn.functional.linear.
    """
    outputs, inputs = weight.shape
    if x.ndim < 1 or x.shape[-1] != inputs:
        hint = ": flatten it first" if x.ndim > 2 else ""
        raise ValueError(f"Linear({inputs}→{outputs}): expected input (..., {inputs}), got {x.shape}{hint}")
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"Linear({inputs}→{outputs}): expected bias ({outputs},), got {bias.shape}")
    return Linear()(x, weight, bias)


def _rows(x: Array) -> Array:
    """(..., features) as (N, features)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # -1 would not do without features
