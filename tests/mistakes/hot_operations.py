"""Wrong backwards of the operations that have kernels: convolution, pooling, normalization, cross-entropy."""

from dataclasses import replace

import numpy as np

from minicnn.kernels.avg_pool2d import im2col as avg_pool2d
from minicnn.kernels.batch_norm import im2col as batch_norm
from minicnn.kernels.conv2d import im2col as conv2d
from minicnn.kernels.conv_block import im2col as conv_block
from minicnn.kernels.cross_entropy import im2col as cross_entropy
from minicnn.kernels.max_pool2d import im2col as max_pool2d
from tests.mistakes import mistake

# Convolution: backward(grad, x, weight, windows, groups, need_x) gives the gradients of input, weight and bias


@mistake("conv2d: stride 2", conv2d)
def takes_the_batch_in_reverse(right, grad, *rest):
    return right(grad[::-1], *rest)


@mistake("conv2d: padding 1", conv2d)
def flips_the_upstream_in_space(right, grad, *rest):
    return right(grad[..., ::-1, ::-1], *rest)


@mistake("conv2d", conv2d)
def takes_the_upstream_s_mean_over_pixels(right, grad, *rest):
    return right(np.broadcast_to(grad.mean((2, 3), keepdims=True), grad.shape), *rest)


@mistake("conv2d", conv2d)
def transposes_the_weight_s_gradient(right, *args):
    grad_x, grad_weight, grad_bias = right(*args)
    return grad_x, grad_weight.swapaxes(2, 3), grad_bias


@mistake("conv2d", conv2d)
def divides_the_weight_s_gradient_by_the_batch(right, grad, *rest):
    grad_x, grad_weight, grad_bias = right(grad, *rest)
    return grad_x, grad_weight / len(grad), grad_bias


@mistake("conv2d", conv2d)
def takes_the_first_image_s_weight_gradient(right, grad, x, *rest):
    grad_x, _, grad_bias = right(grad, x, *rest)
    return grad_x, right(grad[:1], x[:1], *rest)[1], grad_bias


@mistake("conv2d: stride 2", conv2d)
def flips_the_kernel_for_the_input(right, grad, x, weight, *rest):
    return right(grad, x, weight[..., ::-1, ::-1], *rest)


@mistake("conv2d: kernel 5x5", conv2d)
def transposes_the_kernel_for_the_input(right, grad, x, weight, *rest):
    return right(grad, x, weight.swapaxes(2, 3), *rest)


@mistake("conv2d", conv2d)
def averages_the_bias_gradient(right, grad, *rest):
    grad_x, grad_weight, grad_bias = right(grad, *rest)
    return grad_x, grad_weight, grad_bias / grad[:, 0].size


@mistake("conv2d: groups 2", conv2d)
def swaps_the_groups(right, grad, x, weight, *rest):
    grad_x, grad_weight, grad_bias = right(grad, x, weight, *rest)
    return grad_x, np.roll(grad_weight, len(weight) // 2, axis=0), grad_bias


@mistake("conv2d: dilation 2, padding 2", conv2d)
def forgets_the_dilation(right, grad, x, weight, windows, *rest):
    smaller = replace(windows, dilation=(1, 1), padding=(1, 1))  # as many windows, elsewhere
    return right(grad, x, weight, smaller, *rest)


@mistake("conv2d: padding 1", conv2d, "col2im")
def overwrites_where_windows_overlap(right, columns, windows, height, width):
    padded = np.zeros((*columns.shape[:1], columns.shape[3], height + 2, width + 2))
    for i, j, tap in windows.taps(*columns.shape[4:]):
        padded[(..., *tap)] = columns[:, i, j]
    return windows.crop(padded).swapaxes(0, 1)


@mistake("conv2d: padding 1", conv2d, "col2im")
def crops_one_pixel_off(right, *args):
    return np.roll(right(*args), 1, axis=3)


@mistake("conv2d: padding 1", conv2d, "col2im")
def halves_one_corner(right, *args):
    grad_x = right(*args).copy()
    grad_x[:, :, 0, 0] *= 0.5
    return grad_x


# Pooling: backward(grad, choice, height, width, windows), backward(grad, height, width, windows, count_padding)


@mistake("max_pool2d", max_pool2d)
def shares_equally_in_the_window(right, grad, choice, height, width, windows):
    return avg_pool2d.backward(grad, height, width, windows, True)


@mistake("max_pool2d", max_pool2d)
def swaps_row_and_column_of_the_maximum(right, grad, choice, *rest):
    return right(grad, choice % 2 * 2 + choice // 2, *rest)


@mistake("max_pool2d: overlapping", max_pool2d)
def keeps_only_the_last_window_of_a_pixel(right, grad, choice, height, width, windows):
    grad_x = np.zeros((*grad.shape[:2], height, width))
    for i, j, tap in windows.taps(*grad.shape[2:]):
        np.copyto(grad_x[(..., *tap)], grad, where=choice == 3 * i + j)
    return grad_x


@mistake("max_pool2d: padding 1", max_pool2d)
def forgets_the_padding(right, grad, choice, height, width, windows):
    padded = right(grad, choice, height + 2, width + 2, replace(windows, padding=(0, 0)))
    return padded[:, :, :height, :width]


@mistake("avg_pool2d", avg_pool2d)
def sums_instead_of_averaging(right, *args):
    return 4 * right(*args)


@mistake("avg_pool2d: padding not counted", avg_pool2d)
def counts_the_padding(right, grad, height, width, windows, count_padding):
    return right(grad, height, width, windows, True)


# Batch normalization: backward(grad, x, gamma, mean, var, eps, training) for x (N, C, L)


def _batch_norm_terms(grad, x, gamma, mean, var, eps):
    """What the input's gradient in training subtracts from grad: the mean's term and the variance's."""
    deviation = np.sqrt(var + eps)[:, None]
    normalized = (x - mean[:, None]) / deviation
    mean_term = grad.mean((0, 2), keepdims=True)
    variance_term = normalized * (grad * normalized).mean((0, 2), keepdims=True)
    return mean_term * gamma[:, None] / deviation, variance_term * gamma[:, None] / deviation


@mistake("batch_norm: training, 4-D", batch_norm)
def drops_the_mean_term(right, *args):
    grad_x, grad_gamma, grad_beta = right(*args)
    return grad_x + _batch_norm_terms(*args[:-1])[0], grad_gamma, grad_beta


@mistake("batch_norm: training, 4-D", batch_norm)
def drops_the_variance_term(right, *args):
    grad_x, grad_gamma, grad_beta = right(*args)
    return grad_x + _batch_norm_terms(*args[:-1])[1], grad_gamma, grad_beta


@mistake("batch_norm: training, 2-D", batch_norm)
def divides_by_the_unbiased_count(right, grad, *rest):
    grad_x, grad_gamma, grad_beta = right(grad, *rest)
    terms = sum(_batch_norm_terms(grad, *rest[:-1]))
    return grad_x - terms / (len(grad) - 1), grad_gamma, grad_beta  # n / (n - 1) is 1 + 1 / (n - 1)


@mistake("batch_norm: training, 4-D", batch_norm)
def takes_the_statistics_for_constants(right, *args):
    return right(*args[:-1], False)


@mistake("batch_norm: evaluation, 4-D", batch_norm)
def takes_constants_for_the_batch_s_statistics(right, *args):
    return right(*args[:-1], True)


@mistake("batch_norm: training, 3-D", batch_norm)
def leaves_gamma_out(right, grad, x, gamma, *rest):
    return right(grad, x, np.ones_like(gamma), *rest)


@mistake("batch_norm: training, 4-D", batch_norm)
def does_not_normalize_for_gamma(right, grad, x, *rest):
    grad_x, _, grad_beta = right(grad, x, *rest)
    return grad_x, (grad * x).sum((0, 2)), grad_beta


# The fused block: backward(grad, saved, need_x)


@mistake("conv_block: evaluation", conv_block)
def forgets_the_relu(right, grad, saved, need_x):
    return right(grad, saved._replace(y=abs(saved.y) + 1), need_x)


@mistake("conv_block: evaluation", conv_block)
def leaves_the_scale_out_of_the_weight_s_gradient(right, *args):
    grad_x, grad_weight, grad_gamma, grad_beta = right(*args)
    return grad_x, grad_weight / args[1].gamma[:, None, None, None], grad_gamma, grad_beta


@mistake("conv_block: training, pool", conv_block)
def halves_the_gradient_of_gamma(right, *args):
    grad_x, grad_weight, grad_gamma, grad_beta = right(*args)
    return grad_x, grad_weight, grad_gamma / 2, grad_beta


# Cross-entropy: backward(grad, probabilities, target)


@mistake("cross_entropy: none", cross_entropy)
def ignores_the_upstream(right, grad, probabilities, target):
    return (probabilities - target) / len(grad)


@mistake("cross_entropy: weights", cross_entropy)
def forgets_what_the_target_sums_to(right, grad, probabilities, target):
    return grad[:, None] * (probabilities - target)


@mistake("cross_entropy: smoothing", cross_entropy)
def forgets_the_smoothing(right, grad, probabilities, target):
    return grad[:, None] * (probabilities - (target > 0.5))


@mistake("cross_entropy", cross_entropy)
def divides_by_the_batch_twice(right, grad, *rest):
    return right(grad, *rest) / len(grad)
