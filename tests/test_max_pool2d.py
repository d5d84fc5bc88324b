"""max_pool2d: values, ties, NaN and padding by hand, and every rung against the loops."""

import numpy as np
import pytest

from minicnn import Tensor, kernels
from minicnn import functional as F
from minicnn.kernels import rungs

IMAGE = [[[[1, 5, 2], [7, 3, 0], [4, 6, 8]]]]

OPTIONS = [
    {"kernel_size": 2},
    {"kernel_size": 1},
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "stride": (1, 2)},
    {"kernel_size": 2, "stride": 1, "dilation": 2},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1), "dilation": (1, 2)},
]


def test_largest_pixel_of_every_window(tensor):
    np.testing.assert_array_equal(F.max_pool2d(tensor(IMAGE), 2, stride=1).numpy(), [[[[7, 5], [7, 8]]]])


@pytest.mark.parametrize("rung", ["reference", "im2col", "fast"])
def test_a_window_that_sees_padding_alone_is_minus_infinity_and_sends_no_gradient(tensor, gradients, rung):
    x = tensor([[[[3], [4]]]])
    with kernels.using(rung):  # the dilated window has an element above the image and one below it
        y = F.max_pool2d(x, (2, 1), padding=(1, 0), dilation=(3, 1))
        (grad,) = gradients(y, [1], x)
    np.testing.assert_array_equal(y.numpy(), [[[[-np.inf]]]])
    np.testing.assert_array_equal(grad, [[[[0], [0]]]])


def test_stride_is_the_kernel_unless_given_and_a_rest_is_left_out(tensor):
    np.testing.assert_array_equal(F.max_pool2d(tensor(IMAGE), 2).numpy(), [[[[7]]]])


def test_padding_is_never_the_maximum(tensor):
    y = F.max_pool2d(tensor(-np.ones((1, 1, 2, 2))), 2, padding=1)
    np.testing.assert_array_equal(y.numpy(), -np.ones((1, 1, 2, 2)))


@pytest.mark.parametrize("rung", rungs("max_pool2d"))
def test_padding_gets_no_gradient_even_where_all_pixels_are_minus_infinity(rung, use_rung, dtype):
    use_rung("max_pool2d", rung)
    x = Tensor(np.full((1, 1, 3, 3), -np.inf, dtype), requires_grad=True)
    F.max_pool2d(x, 3, stride=2, padding=1).sum().backward()
    np.testing.assert_array_equal(x.grad, [[[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]])


def test_an_empty_batch_stays_empty(dtype):
    x = Tensor(np.zeros((0, 2, 4, 4), dtype), requires_grad=True)
    y = F.max_pool2d(x, 2)
    y.backward(np.zeros(y.shape, dtype))
    assert (y.shape, x.grad.shape) == ((0, 2, 2, 2), x.shape)


def test_dilation_spreads_the_window(tensor):
    np.testing.assert_array_equal(F.max_pool2d(tensor(IMAGE), 2, dilation=2).numpy(), [[[[8]]]])


def test_gradient_goes_to_the_maximum_and_overlapping_windows_add_up(tensor, gradients):
    x = tensor(IMAGE)
    (grad_x,) = gradients(F.max_pool2d(x, 2, stride=1), [[1, 10], [100, 1000]], x)
    np.testing.assert_array_equal(grad_x, [[[[0, 10, 0], [101, 0, 0], [0, 0, 1000]]]])


@pytest.mark.parametrize("rung", rungs("max_pool2d"))
def test_first_of_equal_pixels_gets_the_whole_gradient(rung, use_rung, dtype):
    use_rung("max_pool2d", rung)
    x = Tensor(np.zeros((1, 1, 2, 4), dtype), requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    np.testing.assert_array_equal(x.grad, [[[[1, 0, 1, 0], [0, 0, 0, 0]]]])


@pytest.mark.parametrize("rung", rungs("max_pool2d"))
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_nan_beats_every_number_wherever_it_is(rung, place, use_rung, dtype):
    use_rung("max_pool2d", rung)
    image = np.array([3.0, np.inf, 2.0, 4.0], dtype)
    image[place] = np.nan
    assert np.isnan(F.max_pool2d(Tensor(image.reshape(1, 1, 2, 2)), 2).item())


@pytest.mark.parametrize("rung", rungs("max_pool2d"))
def test_a_window_may_have_more_elements_than_fit_16_bits(rung, use_rung, dtype):
    use_rung("max_pool2d", rung)
    image = np.zeros((1, 1, 1, 40_000), dtype)
    image[..., 39_999] = 1
    x = Tensor(image, requires_grad=True)
    F.max_pool2d(x, (1, 40_000)).sum().backward()
    np.testing.assert_array_equal(x.grad, image)


def test_dtype_is_kept(tensor, dtype):
    x = tensor(IMAGE)
    y = F.max_pool2d(x, 2)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype


def test_any_memory_layout_gives_the_same(random):
    x = random.normal(size=(2, 3, 6, 5))
    got = F.max_pool2d(Tensor(np.asfortranarray(x)), 3, 2, 1)
    np.testing.assert_array_equal(got.numpy(), F.max_pool2d(Tensor(x), 3, 2, 1).numpy())


def test_images_with_channels_last_in_memory_give_the_same(random):
    x = random.normal(size=(2, 5, 6, 20)).astype("float32").transpose(0, 3, 1, 2)
    found = []
    for values in (x, np.ascontiguousarray(x)):
        inputs = Tensor(values, requires_grad=True)
        y = F.max_pool2d(inputs, 3, 2, 1)
        y.backward(np.arange(y.size, dtype="float32").reshape(y.shape))
        found.append((y.data, inputs.grad))
        assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous
    for got, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_any_number_of_threads_gives_the_same(any_number_of_threads, random):
    x = random.normal(size=(9, 3, 7, 6)).astype("float32")

    def both_ways():
        inputs = Tensor(x, requires_grad=True)
        y = F.max_pool2d(inputs, 3, 1, 1)
        y.sum().backward()
        return y.data, inputs.grad

    any_number_of_threads(both_ways)


@pytest.mark.parametrize("rung", rungs("max_pool2d")[1:])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 5, 5), (3, 2, 7, 6)])
@pytest.mark.parametrize("ties", [False, True])
def test_every_rung_agrees_with_the_reference(agrees_with_reference, random, rung, options, shape, ties):
    x = random.integers(0, 3, shape) if ties else random.normal(size=shape)
    agrees_with_reference("max_pool2d", rung, lambda x: F.max_pool2d(x, **options), [x])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 8, 8), {"kernel_size": 2}, r"MaxPool2d\(2\): expected input \(N, C, H, W\), got \(3, 8, 8\)"),
        ((1, 3, 8, 8), {"kernel_size": 2, "padding": 2}, r"expected padding of at most half the kernel, got \(2, 2\)"),
        ((1, 3, 2, 8), {"kernel_size": 3}, r"expected an image of at least one window \(3, 3\), got 2x8"),
        ((1, 3, 4, 8), {"kernel_size": 3, "dilation": 2}, r"at least one window \(5, 5\), got 4x8"),
        ((1, 3, 8, 8), {"kernel_size": 0}, "expected kernel_size as an integer >= 1"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        F.max_pool2d(Tensor(np.ones(shape)), **options)
