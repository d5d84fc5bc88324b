"""Randomized leaky ReLU: elements above zero stay, the others are multiplied by a random slope each.

Every rung has

    forward(x, seed, lower, upper) -> y
    backward(grad, y, seed, lower, upper) -> grad_x

`seed` is a number, or on a GPU an array (1,) of uint64, which a recorded step gets a new number in each time. The slope
of element number i (in C order, however the array lies in memory) is lower + (upper - lower) * uniform(seed, i); see
kernels/uniform.py. So no slope is kept for backward, which tells from `y` which elements stayed.
"""
