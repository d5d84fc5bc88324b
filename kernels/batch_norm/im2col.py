"""Batch normalization in array code, piece by piece through the batch.

Centering before scaling, rather than folding both into one multiply-add, keeps float32 right to about 1e-6 also
where the mean is far from zero.
"""

from minicnn.kernels.arrays import Array, array_module, bytes_each
from minicnn.kernels.parallel import add_up, each_piece, run_pieces


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel of `x` (N, C, L): (C,) and (C,)."""
    count = x.dtype.type(x.shape[0] * x.shape[2])
    mean = add_up(each_piece(lambda piece: x[piece].sum(axis=(0, 2)), x, bytes_each(x))) / count

    def squares(piece: slice) -> Array:
        centered = x[piece] - mean[:, None]
        centered *= centered
        return centered.sum(axis=(0, 2))

    return mean, add_up(each_piece(squares, x, bytes_each(x))) / count


def normalize(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """Shift and scale each channel of `x` (N, C, L) by the statistics (C,), then by gamma and beta (C,)."""
    y = array_module(x).empty(x.shape, dtype=x.dtype)

    def scale(piece: slice) -> None:
        y[piece] = normalize_piece(x[piece], gamma, beta, mean, var, eps)

    run_pieces(scale, x, bytes_each(x))
    return y


def backward(
    grad: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float, training: bool
) -> tuple[Array, Array, Array]:
    """Gradients of x, gamma and beta; in training the statistics depend on x, otherwise they are constants."""
    sums = each_piece(lambda p: parameter_gradients_piece(grad[p], x[p], mean, var, eps), x, bytes_each(x))
    grad_gamma, grad_beta = add_up(sums)
    grad_x = array_module(x).empty(x.shape, dtype=x.dtype)

    def input_gradient(piece: slice) -> None:
        grad_x[piece] = (
            input_gradient_piece(grad[piece], x[piece], gamma, mean, var, eps, grad_gamma, grad_beta, len(x))
            if training
            else grad[piece] * (gamma / deviation(var, eps))[:, None]
        )

    run_pieces(input_gradient, x, bytes_each(x))
    return grad_x, grad_gamma, grad_beta


def normalize_piece(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """Normalize, scale and shift a part (n, C, L) of a batch."""
    y = x - mean[:, None]
    y *= (gamma / deviation(var, eps))[:, None]
    y += beta[:, None]
    return y


def parameter_gradients_piece(grad: Array, x: Array, mean: Array, var: Array, eps: float) -> Array:
    """What a part (n, C, L) of a batch adds to the gradients of gamma and beta: (2, C)."""
    centered = x - mean[:, None]
    centered *= grad
    grad_gamma = centered.sum(axis=(0, 2)) / deviation(var, eps)
    return array_module(x).stack([grad_gamma, grad.sum(axis=(0, 2))])


def input_gradient_piece(
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
    """The input's gradient in training, for a part (n, C, L) of a batch whose parameter gradients are known.

    gamma / deviation * (grad - mean(grad) - normalized * mean(grad * normalized)), means over the whole batch.
    """
    spread, count = deviation(var, eps), batch * x.shape[2]
    grad_x = x - mean[:, None]
    grad_x *= (grad_gamma / (spread * count))[:, None]
    grad_x += (grad_beta / count)[:, None]
    array_module(x).subtract(grad, grad_x, out=grad_x)
    grad_x *= (gamma / spread)[:, None]
    return grad_x


def deviation(var: Array, eps: float) -> Array:
    """sqrt(var + eps)."""
    return array_module(var).sqrt(var + var.dtype.type(eps))
