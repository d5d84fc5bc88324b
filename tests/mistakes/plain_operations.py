"""Wrong backwards of the operations in plain array code: activations, products, arithmetic, shapes."""

import numpy as np

from minicnn.ops import (
    arithmetic,
    dropout,
    gelu,
    leaky_relu,
    linear,
    log,
    matmul,
    reduce,
    relu,
    rrelu,
    shape,
    sigmoid,
    softmax,
    tanh,
)
from tests.mistakes import mistake

# Softmax


@mistake("softmax", softmax.Softmax)
def takes_the_diagonal_only(right, self, grad):
    return grad * self.saved.y * (1 - self.saved.y)


@mistake("softmax", softmax.Softmax)
def subtracts_the_plain_mean(right, self, grad):
    return self.saved.y * (grad - grad.mean(-1, keepdims=True))


@mistake("softmax: axis 1", softmax.Softmax)
def sums_along_the_last_axis(right, self, grad):
    return self.saved.y * (grad - (grad * self.saved.y).sum(-1, keepdims=True))


@mistake("log_softmax", softmax.LogSoftmax)
def forgets_the_sum_of_the_upstream(right, self, grad):
    return grad - np.exp(self.saved.y)


# Dense layers and products


@mistake("matmul", matmul.MatMul)
def scales_by_the_sum_of_the_upstream(right, self, grad):
    a, b = self.saved.a, self.saved.b
    mean = np.full_like(grad, grad.mean())
    return mean @ b.T, a.T @ mean


@mistake("linear", linear.Linear)
def averages_the_bias_over_the_batch(right, self, grad):
    grad_x, grad_weight, grad_bias = right(self, grad)
    return grad_x, grad_weight, grad_bias / len(grad)


@mistake("linear: more dimensions", linear.Linear)
def sums_over_the_first_dimension_only(right, self, grad):
    grad_x, grad_weight, _ = right(self, grad)
    return grad_x, grad_weight, grad.sum(0)[0]


@mistake("linear: no bias", linear.Linear)
def shuffles_the_outputs_of_the_weight(right, self, grad):
    grad_x, grad_weight, grad_bias = right(self, grad)
    return grad_x, grad_weight[::-1], grad_bias


@mistake("matmul: broadcast", matmul.MatMul, says="backward failed: MatMul: input .* but its gradient is")
def does_not_sum_over_the_stack(right, self, grad):
    return grad @ self.saved.b.swapaxes(-1, -2), self.saved.a.swapaxes(-1, -2) @ grad


# Activations and random operations


@mistake("relu", relu.ReLU)
def passes_everything(right, self, grad):
    return grad * 1.0


@mistake("leaky_relu: slope 0.3", leaky_relu.LeakyReLU)
def uses_the_default_slope(right, self, grad):
    return grad * np.where(self.saved.factor == 1, 1, 0.01)


@mistake("leaky_relu: slope 0.3", leaky_relu.LeakyReLU)
def multiplies_the_slope_twice(right, self, grad):
    return right(self, grad) * self.saved.factor


@mistake("rrelu: training", rrelu.RReLU)
def uses_the_mean_slope(right, self, grad):
    return grad * np.where(self.saved.y > 0, 1, (self.lower + self.upper) / 2)


@mistake("rrelu: training", rrelu.RReLU)
def uses_slopes_of_other_elements(right, self, grad):
    return right(self, grad[::-1])[::-1]


@mistake("dropout: training", dropout.Dropout)
def forgets_to_scale_up(right, self, grad):
    return right(self, grad) * (1 - self.p)


@mistake("dropout: training", dropout.Dropout)
def drops_others_in_backward(right, self, grad):
    return right(self, grad[::-1])[::-1]


@mistake("gelu", gelu.GELU)
def treats_the_gate_as_constant(right, self, grad):
    return grad * 0.5 * (1 + self.saved.t)


@mistake("sigmoid", sigmoid.Sigmoid)
def differentiates_at_the_input(right, self, grad):
    y = np.log(self.saved.y / (1 - self.saved.y))
    return grad * y * (1 - y)


@mistake("tanh", tanh.Tanh)
def forgets_the_square(right, self, grad):
    return grad * (1 - self.saved.y)


@mistake("log", log.Log)
def forgets_the_reciprocal(right, self, grad):
    return grad * self.saved.x


# Arithmetic, reductions and shapes


@mistake("add: broadcast", arithmetic, "unbroadcast")
def averages_over_what_was_repeated(right, grad, shape):
    return right(grad, shape) * (np.prod(shape) / grad.size)


@mistake("sub", arithmetic.Sub)
def forgets_the_sign_of_the_second(right, self, grad):
    return grad, 1.0 * grad


@mistake("mul", arithmetic.Mul)
def multiplies_by_the_same_input(right, self, grad):
    return grad * self.saved.a, grad * self.saved.b


@mistake("div", arithmetic.Div)
def divides_only_once(right, self, grad):
    return grad / self.saved.b, -grad * self.saved.y


@mistake("pow: 3", arithmetic.Pow)
def does_not_lower_the_exponent(right, self, grad):
    return grad * self.exponent * self.saved.x**self.exponent


@mistake("getitem: repeated", shape.GetItem)
def keeps_one_of_the_gradients_of_a_repeated_index(right, self, grad):
    grad_x = np.zeros(self.saved.shape)
    grad_x[self.index] = grad
    return grad_x


@mistake("transpose: axes", shape.Transpose)
def reshapes_instead_of_transposing(right, self, grad):
    return grad.reshape(right(self, grad).shape)


@mistake("concatenate: with itself", shape.Concatenate)
def gives_the_pieces_in_reverse(right, self, grad):
    return tuple(piece * sign for piece, sign in zip(right(self, grad), (1, -1), strict=True))


@mistake("pad: pairs", shape.Pad)
def swaps_before_and_after(right, self, grad):
    return np.flip(right(self, np.flip(grad)))


@mistake("sum: axis", reduce.Sum)
def spreads_along_the_wrong_axis(right, self, grad):
    return right(self, grad)[::-1]


@mistake("max: axis", reduce.Max)
def sends_the_gradient_to_the_next_element(right, self, grad):
    return np.roll(right(self, grad), 1, axis=self.axis)
