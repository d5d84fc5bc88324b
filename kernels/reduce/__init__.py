"""Sums of all elements of an array, always in the same order.

Rungs have

    total(x) -> the sum, an array () of the dtype of x
    squares(x) -> the sum of the squares, an array () of float64, where large float32 numbers do not overflow
"""
