"""The SGD step in array code, piece by piece so that each piece stays in the cache over its passes."""

from minicnn.kernels.arrays import Array, pieces


def step(
    parameter: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Update `parameter` and `velocity` in place.

    Coupled weight decay adds weight_decay * parameter to the gradient; decoupled shrinks the parameter itself.
    """
    flat = parameter.reshape(-1), grad.reshape(-1), velocity.reshape(-1)
    for piece in pieces(flat[0].size, 4 * parameter.itemsize):
        w, g, v = (array[piece] for array in flat)
        if decoupled:
            w *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * w
        v *= momentum
        v += g
        w -= lr * (g + momentum * v) if nesterov else lr * v
