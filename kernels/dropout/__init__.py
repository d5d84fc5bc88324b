"""Inverted dropout: set a share p of the elements to zero and scale up the others.

Every rung has

    forward(x, seed, p) -> y
    backward(grad, seed, p) -> grad_x

`seed` is a number, or on a GPU an array (1,) of uint64, which a recorded step gets a new number in each time. A rung
drops element number i (in C order) where uniform(seed, i) < p. That number, in [0, 1), is a hash of 64 bits of
seed and the element's number: it can be worked out anywhere, in any order, on any device, so nothing is kept for
backward, and no generator has to go through all elements one after the other. With all values of 32 bits,

    mix(h):    h ^= h >> 16;  h *= 0x7feb352d;  h ^= h >> 15;  h *= 0x846ca68b;  h ^= h >> 16
    uniform:   (mix(mix(i ^ low half of seed) + high half of seed) >> 8) / 2**24

Sources: the constants, C. Wellons, "Prospecting for hash functions", 2018; numbers by counting, J. Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", 2011.
"""
