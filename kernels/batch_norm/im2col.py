"""Batch normalization in array code, piece by piece through the batch.

Centering before scaling, rather than folding both into one multiply-add, keeps float32 right to about 1e-6 also
where the mean is far from zero.
"""

from minicnn.kernels.arrays import Array, array_module, pieces


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel of `x` (N, C, L): (C,) and (C,)."""
    count = x.shape[0] * x.shape[2]
    mean = x.sum(axis=(0, 2)) / x.dtype.type(count)
    squares = array_module(x).zeros_like(mean)
    for piece in pieces(len(x), x[0].nbytes):
        centered = x[piece] - mean[:, None]
        centered *= centered
        squares += centered.sum(axis=(0, 2))
    return mean, squares / x.dtype.type(count)


def normalize(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """Shift and scale each channel of `x` (N, C, L) by the statistics (C,), then by gamma and beta (C,)."""
    y = array_module(x).empty(x.shape, dtype=x.dtype)
    scale = gamma / _deviation(var, eps)
    for piece in pieces(len(x), x[0].nbytes):
        part = y[piece]
        array_module(x).subtract(x[piece], mean[:, None], out=part)
        part *= scale[:, None]
        part += beta[:, None]
    return y


def backward(
    grad: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float, training: bool
) -> tuple[Array, Array, Array]:
    """Gradients of x, gamma and beta; in training the statistics depend on x, otherwise they are constants.

    In training: grad_x = gamma / deviation * (grad - mean(grad) - normalized * mean(grad * normalized)).
    """
    grad_gamma, grad_beta = parameter_gradients(grad, x, mean, var, eps)
    grad_x = array_module(x).empty(x.shape, dtype=x.dtype)
    for piece in pieces(len(x), x[0].nbytes):
        grad_x[piece] = (
            input_gradient(grad[piece], x[piece], gamma, mean, var, eps, grad_gamma, grad_beta, len(x))
            if training
            else grad[piece] * (gamma / _deviation(var, eps))[:, None]
        )
    return grad_x, grad_gamma, grad_beta


def parameter_gradients(grad: Array, x: Array, mean: Array, var: Array, eps: float) -> tuple[Array, Array]:
    """Gradients of gamma and beta, summed over batch and positions: (C,) and (C,)."""
    xp = array_module(x)
    grad_gamma, grad_beta = xp.zeros_like(mean), xp.zeros_like(mean)
    for piece in pieces(len(x), x[0].nbytes):
        upstream = grad[piece]
        grad_beta += upstream.sum(axis=(0, 2))
        centered = x[piece] - mean[:, None]
        centered *= upstream
        grad_gamma += centered.sum(axis=(0, 2))
    return grad_gamma / _deviation(var, eps), grad_beta


def input_gradient(
    grad: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    var: Array,
    eps: float,
    grad_gamma: Array,
    grad_beta: Array,
    batch: int,
) -> Array:
    """The input's gradient in training, for a part (n, C, L) of a batch whose parameter gradients are known."""
    deviation, count = _deviation(var, eps), batch * x.shape[2]
    grad_x = x - mean[:, None]
    grad_x *= (grad_gamma / (deviation * count))[:, None]
    grad_x += (grad_beta / count)[:, None]
    array_module(x).subtract(grad, grad_x, out=grad_x)
    grad_x *= (gamma / deviation)[:, None]
    return grad_x


def _deviation(var: Array, eps: float) -> Array:
    return array_module(var).sqrt(var + var.dtype.type(eps))
