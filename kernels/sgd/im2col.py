"""The SGD step in array code, piece by piece so that each piece stays in the cache over its passes."""

from minicnn.kernels.arrays import Array, rows_of


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
    rows, slices = rows_of(parameter, grad, velocity)
    for piece in slices:
        w, g, v = (array[piece] for array in rows)
        if decoupled:
            w *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * w
        v *= momentum
        v += g
        w -= lr * (g + momentum * v) if nesterov else lr * v
