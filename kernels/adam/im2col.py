"""The Adam step in array code, piece by piece so that each piece stays in the cache over its passes."""

from minicnn.kernels.arrays import Array, array_module, rows_of


def step(
    parameter: Array,
    grad: Array,
    first: Array,
    second: Array,
    count: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Update `parameter` and its `first` and `second` moments in place; `count` is 1 at the first step."""
    xp = array_module(parameter)
    rows, slices = rows_of(parameter, grad, first, second)
    mean_scale, square_scale = 1 / (1 - betas[0] ** count), 1 / (1 - betas[1] ** count)
    for piece in slices:
        w, g, m, v = (array[piece] for array in rows)
        if decoupled:
            w *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * w
        m *= betas[0]
        m += (1 - betas[0]) * g
        v *= betas[1]
        v += (1 - betas[1]) * g * g
        w -= lr * mean_scale * m / (xp.sqrt(v * square_scale) + eps)
