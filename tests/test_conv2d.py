"""conv2d: hand-made values, every rung against the loops, and errors that name the layer and the fix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import Tensor
from minicnn import functional as F
from minicnn.kernels import rungs
from minicnn.kernels.conv2d import im2col, reference
from minicnn.kernels.windows import Windows

NINE = np.arange(9).reshape(1, 1, 3, 3)

OPTIONS = [
    {},
    {"padding": 1},
    {"stride": 2},
    {"stride": (2, 1), "padding": (0, 1)},
    {"dilation": 2, "padding": 2},
    {"dilation": (1, 2), "stride": (1, 3), "padding": (2, 1)},
]


def test_weight_is_not_flipped(tensor):
    y = F.conv2d(tensor(NINE), tensor([[[[1, 2], [3, 4]]]]))
    np.testing.assert_array_equal(y.numpy(), [[[[27, 37], [57, 67]]]])  # 0·1 + 1·2 + 3·3 + 4·4 = 27


def test_bias_is_added_to_every_pixel_of_its_channel(tensor):
    weight, bias = tensor([[[[1]]], [[[2]]]]), tensor([10, 20])
    np.testing.assert_array_equal(
        F.conv2d(tensor(NINE), weight, bias).numpy()[0], [NINE[0, 0] + 10, NINE[0, 0] * 2 + 20]
    )


def test_padding_counts_as_zero(tensor):
    y = F.conv2d(tensor([[[[1, 2], [3, 4]]]]), tensor(np.ones((1, 1, 3, 3))), padding=1)
    np.testing.assert_array_equal(y.numpy(), [[[[10, 10], [10, 10]]]])


def test_stride_leaves_windows_out(tensor):
    y = F.conv2d(tensor(NINE), tensor([[[[1]]]]), stride=(2, 1))
    np.testing.assert_array_equal(y.numpy(), [[[[0, 1, 2], [6, 7, 8]]]])


def test_dilation_spreads_the_kernel(tensor):
    y = F.conv2d(tensor(NINE), tensor([[[[1, 10], [100, 1000]]]]), dilation=2)
    np.testing.assert_array_equal(y.numpy(), [[[[0 + 20 + 600 + 8000]]]])


def test_groups_are_convolutions_of_their_own(tensor, random):
    x, weight = tensor(random.normal(size=(2, 4, 5, 5))), tensor(random.normal(size=(6, 2, 3, 3)))
    together = F.conv2d(x, weight, groups=2)
    apart = F.concatenate([F.conv2d(x[:, :2], weight[:3]), F.conv2d(x[:, 2:], weight[3:])], axis=1)
    np.testing.assert_allclose(together.numpy(), apart.numpy(), rtol=1e-5, atol=1e-5)


def test_gradients_of_input_weight_and_bias(tensor, gradients):
    x, weight, bias = tensor(NINE), tensor([[[[1, 2], [3, 4]]]]), tensor([0])
    y = F.conv2d(x, weight, bias)
    grad_x, grad_weight, grad_bias = gradients(y, [[1, 0], [0, 10]], x, weight, bias)
    np.testing.assert_array_equal(grad_x, [[[[1, 2, 0], [3, 14, 20], [0, 30, 40]]]])
    np.testing.assert_array_equal(grad_weight, [[[[40, 51], [73, 84]]]])
    np.testing.assert_array_equal(grad_bias, [11])


def test_no_gradient_for_an_input_that_needs_none(tensor):
    x, weight = tensor(NINE, requires_grad=False), tensor([[[[1]]]])
    F.conv2d(x, weight).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


def test_dtype_is_kept(tensor, dtype):
    x, weight, bias = tensor(NINE), tensor([[[[1]]]]), tensor([1])
    y = F.conv2d(x, weight, bias)
    y.sum().backward()
    assert [y.dtype, x.grad.dtype, weight.grad.dtype, bias.grad.dtype] == [dtype] * 4


def test_any_memory_layout_gives_the_same(random):
    x, weight = random.normal(size=(2, 3, 6, 5)), random.normal(size=(4, 3, 3, 3))
    expected = F.conv2d(Tensor(x), Tensor(weight), padding=1)
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    got = F.conv2d(Tensor(channels_last), Tensor(np.asfortranarray(weight)), padding=1)
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize("rung", rungs("conv2d")[1:])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    ("batch", "channels", "outputs", "kernel", "groups"),
    [(1, 1, 1, (1, 1), 1), (3, 2, 3, (3, 3), 1), (2, 4, 2, (2, 3), 2), (1, 2, 2, (5, 5), 1), (2, 3, 3, (3, 3), 3)],
)
def test_every_rung_agrees_with_the_reference(
    agrees_with_reference, random, rung, options, batch, channels, outputs, kernel, groups
):
    inputs = [
        random.normal(size=(batch, channels, 7, 6)),
        random.normal(size=(outputs, channels // groups, *kernel)),
        random.normal(size=outputs),
    ]
    options = options | {"padding": 4} if kernel == (5, 5) else options  # dilated, it spans 9 pixels
    agrees_with_reference("conv2d", rung, lambda x, w, b: F.conv2d(x, w, b, groups=groups, **options), inputs)


@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 3),
    channels=st.integers(1, 3),
    outputs=st.integers(1, 3),
    groups=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    room=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
@settings(deadline=None, max_examples=25)
def test_im2col_is_the_loops_for_any_window(
    seed, batch, channels, outputs, groups, kernel, stride, padding, dilation, room
):
    random = np.random.default_rng(seed)
    size = [dilation[axis] * (kernel[axis] - 1) + 1 + room[axis] for axis in (0, 1)]  # at least one window
    x = random.normal(size=(batch, channels * groups, *size))
    weight, bias = random.normal(size=(outputs * groups, channels, *kernel)), random.normal(size=outputs * groups)
    windows = Windows(kernel, stride, padding, dilation)
    np.testing.assert_allclose(
        im2col.forward(x, weight, bias, windows, groups),
        reference.forward(x, weight, bias, windows, groups),
        atol=1e-10,
    )


@pytest.mark.parametrize(
    ("x", "weight", "options", "message"),
    [
        (
            (32, 48, 48),
            (16, 1, 3, 3),
            {},
            r"Conv2d\(1→16, k=3\): expected input \(N, 1, H, W\), got \(32, 48, 48\): add",
        ),
        ((2, 3, 8, 8), (4, 1, 3, 3), {}, r"Conv2d\(1→4, k=3\): expected input \(N, 1, H, W\), got \(2, 3, 8, 8\)"),
        ((2, 4, 8, 8), (3, 2, 3, 3), {"groups": 2}, "expected groups to divide the 3 output channels, got 2"),
        ((2, 1, 2, 8), (4, 1, 3, 5), {}, r"k=3x5\): expected an image of at least one window \(3, 5\), got 2x8"),
        ((2, 1, 8, 8), (4, 1, 3, 3), {"stride": 0}, "expected stride as an integer >= 1 or a pair of them, got 0"),
        ((2, 1, 8, 8), (4, 1, 3, 3), {"padding": -1}, "expected padding as an integer >= 0 or a pair of them, got -1"),
        ((2, 1, 8, 8), (4, 1, 3, 3), {"dilation": (1, 2, 3)}, r"expected dilation .* got \(1, 2, 3\)"),
        ((2, 1, 8, 8), (4, 1, 3, 3), {"bias": Tensor(np.ones(3))}, r"expected bias \(4,\), got \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, weight, options, message):
    with pytest.raises(ValueError, match=message):
        F.conv2d(Tensor(np.ones(x)), Tensor(np.ones(weight)), **options)


def test_two_dtypes_are_refused():
    x, weight = Tensor(np.ones((1, 1, 3, 3), "float32")), Tensor(np.ones((1, 1, 1, 1), "float64"))
    with pytest.raises(TypeError, match="Conv2d: expected inputs of one dtype, got float32 and float64"):
        F.conv2d(x, weight)
