"""Convolution, batch normalization, ReLU and max-pooling as one operation, so that fast rungs keep it in cache.

Every rung has

    forward(x, weight, gamma, beta, running, eps, windows, groups, pool, needs_grad) -> (y, statistics, saved)
    backward(grad, saved, need_x) -> (grad_x, grad_weight, grad_gamma, grad_beta)

`running` is (mean, var) in evaluation and None in training, where `statistics` gives those of the batch; `saved` is
what the rung itself wants to see again in its backward, None unless `needs_grad`; `pool` is None where the block does
not pool.
"""
