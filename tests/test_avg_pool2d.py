"""avg_pool2d and global_avg_pool2d: values by hand, and every rung against the loops."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F
from minicnn.kernels import rungs

IMAGE = np.arange(9).reshape(1, 1, 3, 3)

OPTIONS = [
    {"kernel_size": 2},
    {"kernel_size": 1},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0), "count_include_pad": False},
]


def test_mean_of_every_window(tensor):
    np.testing.assert_array_equal(F.avg_pool2d(tensor(IMAGE), 2, stride=1).numpy(), [[[[2, 3], [5, 6]]]])


def test_stride_is_the_kernel_unless_given_and_a_rest_is_left_out(tensor):
    np.testing.assert_array_equal(F.avg_pool2d(tensor(IMAGE), 2).numpy(), [[[[2]]]])


@pytest.mark.parametrize(("counts", "expected"), [(True, 1.0), (False, 4.0)])
def test_padding_counts_as_zero_or_not_at_all(tensor, counts, expected):
    y = F.avg_pool2d(tensor([[[[4, 4], [4, 4]]]]), 2, padding=1, count_include_pad=counts)
    np.testing.assert_array_equal(y.numpy(), np.full((1, 1, 2, 2), expected))


def test_every_pixel_of_a_window_gets_an_equal_share_of_the_gradient(tensor, gradients):
    x = tensor(IMAGE)
    (grad_x,) = gradients(F.avg_pool2d(x, 2, stride=1), [[4, 40], [400, 4000]], x)
    np.testing.assert_array_equal(grad_x, [[[[1, 11, 10], [101, 1111, 1010], [100, 1100, 1000]]]])


def test_global_pooling_is_the_mean_of_each_image(tensor, random):
    values = random.normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(F.global_avg_pool2d(tensor(values)).numpy(), values.mean((2, 3)), rtol=1e-5, atol=1e-7)


def test_dtype_is_kept(tensor, dtype):
    x = tensor(IMAGE)
    y = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype


def test_any_memory_layout_gives_the_same(random):
    x = random.normal(size=(2, 3, 6, 5))
    got = F.avg_pool2d(Tensor(np.asfortranarray(x)), 3, 2, 1)
    np.testing.assert_array_equal(got.numpy(), F.avg_pool2d(Tensor(x), 3, 2, 1).numpy())


def test_an_empty_batch_stays_empty(dtype):
    x = Tensor(np.zeros((0, 2, 4, 4), dtype), requires_grad=True)
    y = F.avg_pool2d(x, 2)
    y.backward(np.zeros(y.shape, dtype))
    assert (y.shape, x.grad.shape) == ((0, 2, 2, 2), x.shape)


def test_images_with_channels_last_in_memory_give_the_same(random):
    x = random.normal(size=(2, 5, 6, 20)).astype("float32").transpose(0, 3, 1, 2)
    found = []
    for values in (x, np.ascontiguousarray(x)):
        inputs = Tensor(values, requires_grad=True)
        y = F.avg_pool2d(inputs, 3, 2, 1)
        y.backward(np.arange(y.size, dtype="float32").reshape(y.shape))
        found.append((y.data, inputs.grad))
        assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous
    for got, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_any_number_of_threads_gives_the_same(any_number_of_threads, random):
    x = random.normal(size=(9, 3, 7, 6)).astype("float32")

    def both_ways():
        inputs = Tensor(x, requires_grad=True)
        y = F.avg_pool2d(inputs, 3, 1, 1)
        y.sum().backward()
        return y.data, inputs.grad

    any_number_of_threads(both_ways)


@pytest.mark.parametrize("rung", rungs("avg_pool2d")[1:])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 5, 5), (3, 2, 7, 6)])
def test_every_rung_agrees_with_the_reference(agrees_with_reference, random, rung, options, shape):
    agrees_with_reference("avg_pool2d", rung, lambda x: F.avg_pool2d(x, **options), [random.normal(size=shape)])


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (lambda x: F.avg_pool2d(x, 2), (3, 8, 8), r"AvgPool2d\(2\): expected input \(N, C, H, W\), got \(3, 8, 8\)"),
        (lambda x: F.avg_pool2d(x, 2, padding=2), (1, 3, 8, 8), "expected padding of at most half the kernel"),
        (lambda x: F.avg_pool2d(x, 3), (1, 3, 2, 8), "expected an image of at least one window"),
        (F.global_avg_pool2d, (3, 8, 8), r"GlobalAvgPool2d: expected input \(N, C, H, W\), got \(3, 8, 8\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(function, shape, message):
    with pytest.raises(ValueError, match=message):
        function(Tensor(np.ones(shape)))
