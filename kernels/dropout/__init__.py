"""Inverted dropout: set a share p of the elements to zero and scale up the others.

Every rung has

    forward(x, seed, p) -> y
    backward(grad, seed, p) -> grad_x

`seed` is a number, or on a GPU an array (1,) of uint64, which a recorded step gets a new number in each time. A rung
drops element number i (in C order) where uniform(seed, i) < p; see kernels/uniform.py.
"""
