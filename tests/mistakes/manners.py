"""Backwards that write where they should read, share memory, or give what has the wrong form."""

from typing import Any

import numpy as np

from minicnn import rng
from minicnn import tensor as engine
from minicnn.ops import exp, linear, log, matmul, reduce, relu, sigmoid, softmax, tanh
from tests.mistakes import mistake


@mistake("exp", exp.Exp, "forward", says="input 0 was written to")
def works_in_place(right, self, x):
    x[...] = np.exp(x)
    self.save(y=x.copy())
    return self.saved.y


@mistake("relu", relu.ReLU, "forward", says="input 0 was written to")
def works_in_place_where_twice_changes_nothing_more(right, self, x):
    np.maximum(x, 0, out=x)
    return right(self, x)


@mistake("log", log.Log, says="input 0 was written to")
def uses_the_input_as_scratch(right, self, grad):
    np.reciprocal(self.saved.x, out=self.saved.x)
    return grad * self.saved.x


@mistake("tanh", tanh.Tanh, says="the upstream gradient was written to")
def scales_the_upstream_in_place(right, self, grad):
    grad *= 1 - self.saved.y**2
    return grad


@mistake("sigmoid", sigmoid.Sigmoid, says="backward failed: Sigmoid: .* float64, but its gradient is .* float32")
def gives_float32(right, self, grad):
    return right(self, grad).astype("float32")


@mistake("sigmoid", sigmoid.Sigmoid, says="backward failed: Sigmoid: .* but its gradient is")
def gives_another_shape(right, self, grad):
    return right(self, grad).sum(0)


@mistake(
    "sigmoid", engine.Tensor, "_accumulate", says="the gradient of input 0 is .*'float32'.*, expected shape, dtype"
)
def keeps_gradients_in_float32(right, self, grad):
    right(self, grad.astype("float32"))


@mistake("sigmoid", engine.Tensor, "_accumulate", says=r"the gradient of input 0 is \(\(12,\)")
def keeps_gradients_flat(right, self, grad):
    right(self, grad.reshape(-1))


@mistake("linear", linear.Linear, says="backward failed: Linear: 3 inputs, but backward gave 2 gradients")
def gives_too_few(right, self, grad):
    return right(self, grad)[:2]


@mistake("linear", linear.Linear, says="input 1 requires a gradient and got none")
def gives_none_for_the_weight(right, self, grad):
    grad_x, _, grad_bias = right(self, grad)
    return grad_x, None, grad_bias


@mistake("softmax", softmax.Softmax, says="backward failed: operands could not be broadcast")
def breaks_down(right, self, grad):
    return grad * np.ones(7)


@mistake("exp", exp.Exp, says="the gradient of input 0 is not finite")
def divides_by_zero(right, self, grad):
    return np.where(grad == grad.max(), np.nan, right(self, grad))


_noise = np.random.default_rng()


@mistake("tanh", tanh.Tanh, says="two runs gave different values of the gradient of input 0")
def is_not_deterministic(right, self, grad):
    return right(self, grad) * (1 + 1e-12 * _noise.random(grad.shape))


@mistake("dropout: training", rng, "generator", says="two runs gave different outputs")
def draws_from_a_generator_of_its_own(right):
    return _noise


@mistake("matmul", matmul.MatMul, says="the gradient of input 0 changes when the arrays are not contiguous")
def reads_memory_in_its_own_order(right, self, grad):
    in_memory_order = self.saved.b.ravel(order="K").reshape(self.saved.b.shape)
    return grad @ in_memory_order.T, right(self, grad)[1]


@mistake("mean", reduce.Sum, "forward", says="the output changes when the arrays are not contiguous")
def sums_the_memory(right, self, x):
    return right(self, np.lib.stride_tricks.as_strided(x, x.shape, (8 * x.shape[1], 8)))


_workspace: dict[tuple[int, ...], Any] = {}


def _in_workspace(array: Any) -> Any:
    kept = _workspace.setdefault(array.shape, np.empty(array.shape))
    kept[...] = array
    return kept


@mistake("exp", exp.Exp, says="the gradient of input 0 of another run shares memory with the gradient of input 0")
def hands_out_its_workspace_as_the_gradient(right, self, grad):
    return _in_workspace(right(self, grad))


@mistake("exp", exp.Exp, "forward", says="wrote to the output of an earlier one")
def hands_out_its_workspace_as_the_output(right, self, x):
    return _in_workspace(right(self, x))


@mistake("exp", exp.Exp, says="the gradient of input 0 shares memory with")
def hands_out_what_it_saved(right, self, grad):
    self.saved.y *= grad
    return self.saved.y


def _as_backward_gave_them(right, node, gradient):
    """What the engine does without copying what backward only passed through."""
    return zip(node.inputs, node.gradients(gradient), strict=True)


for _case in ("add", "add: number", "reshape"):
    mistake(_case, engine, "_owned", says="the gradient of input 0 shares memory with the upstream gradient")(
        _as_backward_gave_them
    )
