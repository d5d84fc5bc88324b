"""Matrix product."""

from minicnn.device import Array
from minicnn.function import Function
from minicnn.ops.arithmetic import unbroadcast
from minicnn.tensor import Tensor


class MatMul(Function):
    """a @ b for matrices, or stacks of matrices with broadcasting."""

    def forward(self, a: Array, b: Array) -> Array:
        """The product."""
        self.save(a=a, b=b)
        return a @ b

    def backward(self, grad: Array) -> tuple[Array, Array]:
        """Grad @ b.T and a.T @ grad."""
        a, b = self.saved.a, self.saved.b
        return (
            unbroadcast(grad @ b.swapaxes(-1, -2), a.shape),
            unbroadcast(a.swapaxes(-1, -2) @ grad, b.shape),
        )

    def multiply_adds(self, output: Array) -> int:
        """One for each element of the output and of the summed dimension."""
        return int(output.size * self.saved.a.shape[-1])


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product of `a` (..., M, K) and `b` (..., K, N): (..., M, N).

    Raises ValueError where the shapes do not fit. Source: numpy.matmul.
    """
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: expected (..., M, K) @ (..., K, N), got {a.shape} @ {b.shape}")
    return MatMul()(a, b)
