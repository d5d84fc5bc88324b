"""The dense layer's operation: x @ weight.T + bias."""

from minicnn.device import Array
from minicnn.function import Function
from minicnn.tensor import Tensor


class Linear(Function):
    """y = x @ weight.T + bias."""

    def forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        """The weighted sums."""
        self.save(x=x, weight=weight)
        y = x @ weight.T
        if bias is not None:
            y += bias
        return y

    def backward(self, grad: Array) -> tuple[Array | None, Array, Array | None]:
        """Grad @ weight, grad.T @ x and the sum of grad over the batch."""
        x, weight = self.saved.x, self.saved.weight
        need_x, _, need_bias = self.needs_grad
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            grad @ weight if need_x else None,
            rows.T @ x.reshape(-1, x.shape[-1]),
            rows.sum(axis=0) if need_bias else None,
        )

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
