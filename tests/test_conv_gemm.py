"""The general CPU convolution: right for every geometry, within its memory, and the same bits on any number of threads.

Expected values are array code in float64 (kernels/conv2d/im2col.py).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import parallel
from minicnn.kernels._cpu import conv_gemm, depthwise, workspace
from minicnn.kernels.conv2d import im2col
from minicnn.kernels.windows import Pair, Windows

TOLERANCE = 5e-6
"""Of the largest number: the error that conv_gemm.py states."""

Case = tuple[int, int, int, Pair, Windows, int]  # images, channels, outputs, image size, windows, groups


def case(images: int, channels: int, outputs: int, size: Pair, kernel: Pair, groups: int = 1, **windows: Pair) -> Case:
    return images, channels, outputs, size, Windows(kernel, **windows), groups


CASES = {
    "1x1": case(2, 64, 40, (6, 5), (1, 1)),
    "1x1, last outputs a tile would read beyond": case(3, 16, 7, (5, 5), (1, 1)),
    "1x1, strided": case(2, 16, 8, (9, 8), (1, 1), stride=(2, 2)),
    "1x1, strided, one pixel": case(2, 16, 8, (1, 1), (1, 1), stride=(2, 2)),
    "5x5": case(2, 32, 64, (12, 12), (5, 5), padding=(2, 2)),
    "3x3, no padding": case(2, 16, 16, (10, 10), (3, 3)),
    "one input channel": case(2, 1, 64, (12, 12), (3, 3), padding=(1, 1)),
    "three input channels, seven outputs": case(2, 3, 7, (11, 9), (3, 3), padding=(1, 1)),
    "48 to 72 channels": case(1, 48, 72, (8, 8), (3, 3), padding=(1, 1)),
    "stride 2": case(2, 8, 16, (9, 8), (3, 3), padding=(1, 1), stride=(2, 2)),
    "stride 2 and 3": case(2, 5, 6, (11, 13), (3, 2), padding=(2, 1), stride=(2, 3)),
    "stride larger than the kernel": case(2, 4, 4, (10, 11), (2, 2), stride=(3, 4)),
    "dilation 2": case(2, 16, 16, (12, 12), (3, 3), padding=(2, 2), dilation=(2, 2)),
    "dilation and stride share a factor": case(
        2, 4, 6, (13, 13), (3, 3), padding=(2, 0), stride=(2, 4), dilation=(4, 2)
    ),
    "dilation and stride share no factor": case(
        2, 4, 6, (13, 12), (3, 3), padding=(1, 2), stride=(2, 3), dilation=(3, 2)
    ),
    "strided, a column of pixels": case(64, 16, 16, (1, 1), (5, 5), padding=(2, 2), stride=(2, 2)),
    "strided across, a column of pixels": case(8, 16, 16, (32, 1), (3, 3), padding=(1, 1), stride=(1, 2)),
    "strided and dilated, a column of pixels": case(
        5, 16, 16, (7, 1), (3, 3), padding=(2, 1), stride=(1, 3), dilation=(2, 1)
    ),
    "padding beyond the kernel": case(2, 4, 6, (3, 4), (3, 3), padding=(4, 3)),
    "small image, windows laid out": case(5, 16, 64, (3, 3), (3, 3), padding=(1, 1)),
    "lines of six pixels": case(3, 32, 64, (6, 6), (3, 3), padding=(1, 1), stride=(1, 1)),
    "4 groups": case(2, 64, 64, (8, 8), (3, 3), 4, padding=(1, 1)),
    "groups of 3 and 5": case(2, 6, 10, (7, 9), (3, 3), 2, padding=(1, 1)),
    "groups, strided": case(2, 16, 32, (9, 9), (3, 3), 4, padding=(1, 1), stride=(2, 2)),
    "several blocks an image": case(1, 64, 8, (50, 40), (3, 3), padding=(1, 1)),
    "a line of several blocks": case(1, 32, 4, (2, 3000), (3, 3), padding=(1, 1)),
    "many partial sums": case(40, 4, 4, (12, 12), (3, 3), padding=(1, 1)),
    "depthwise": case(2, 64, 64, (12, 12), (3, 3), 64, padding=(1, 1)),
    "depthwise, 37 channels": case(2, 37, 37, (9, 12), (3, 5), 37, padding=(1, 2)),
    "depthwise, 3 channels": case(2, 3, 3, (9, 12), (2, 3), 3),
    "depthwise, strided and dilated": case(
        2, 19, 19, (9, 22), (3, 4), 19, padding=(2, 4), stride=(2, 3), dilation=(2, 3)
    ),
    "depthwise, image smaller than a tile": case(2, 16, 16, (3, 2), (3, 3), 16, padding=(1, 1)),
    "depthwise, 1x1, strided": case(2, 32, 32, (5, 5), (1, 1), 32, stride=(2, 2)),
    "depthwise, two outputs a channel": case(2, 8, 16, (6, 6), (3, 3), 8, padding=(1, 1)),
    "one channel, one output": case(2, 1, 1, (6, 6), (3, 3), padding=(1, 1)),
}

MIXED = [
    "1x1",
    "48 to 72 channels",
    "stride 2 and 3",
    "4 groups",
    "several blocks an image",
    "many partial sums",
    "depthwise",
]


@pytest.fixture(autouse=True)
def one_thread_afterwards() -> Iterator[None]:
    yield
    parallel.set_threads(1)


def arrays(images: int, channels: int, outputs: int, size: Pair, windows: Windows, groups: int) -> list[Any]:
    """Input and upstream gradient (channels last), weight and bias, float32."""
    random = np.random.default_rng(0)
    shapes = [
        (images, *size, channels),
        (images, *windows.output_size(*size), outputs),
        (outputs, channels // groups, *windows.kernel),
        (outputs,),
    ]
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def expected(x: Any, grad: Any, weight: Any, bias: Any, windows: Windows, groups: int) -> list[Any]:
    x, grad, weight, bias = (array.astype(np.float64) for array in (x, grad, weight, bias))
    x, grad = x.transpose(0, 3, 1, 2), grad.transpose(0, 3, 1, 2)
    dx, dw, db = im2col.backward(grad, x, weight, windows, groups)
    return [im2col.forward(x, weight, bias, windows, groups).transpose(0, 2, 3, 1), dx.transpose(0, 2, 3, 1), dw, db]


def results(x: Any, grad: Any, weight: Any, bias: Any, windows: Windows, groups: int) -> list[Any]:
    y = conv_gemm.forward(x, weight, bias, windows, groups)
    return [y, *conv_gemm.backward(grad, x, weight, windows, groups, need_x=True)]


def assert_near(got: list[Any], want: list[Any]) -> None:
    for name, one, other in zip(("y", "dx", "dw", "db"), got, want, strict=True):
        assert one.shape == other.shape
        assert one.dtype == np.float32
        # what is added up is about 1, also where a sum of it happens to be next to nothing
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * max(1.0, np.abs(other).max()), err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_agree_with_float64(name: str) -> None:
    *shape, windows, groups = CASES[name]
    inputs = arrays(*shape, windows, groups)
    assert_near(results(*inputs, windows, groups), expected(*inputs, windows, groups))


@given(
    images=st.integers(1, 3),
    channels=st.integers(1, 20),
    outputs=st.integers(1, 20),
    groups=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    room=st.tuples(st.integers(-6, 9), st.integers(-6, 9)),
)
@settings(deadline=None, max_examples=60)
def test_any_geometry_agrees_with_float64(
    images: int,
    channels: int,
    outputs: int,
    groups: int,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    room: Pair,
) -> None:
    spans = (dilation[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1))
    # at least one window, which may lie on padding for the most part
    rows, columns = (max(1, span + max(r, -2 * p)) for span, r, p in zip(spans, room, padding, strict=True))
    windows = Windows(kernel, stride, padding, dilation)
    inputs = arrays(images, channels * groups, outputs * groups, (rows, columns), windows, groups)
    assert_near(results(*inputs, windows, groups), expected(*inputs, windows, groups))


@pytest.mark.parametrize("name", MIXED)
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    images, *shape, windows, groups = CASES[name]
    inputs = arrays(8 * images, *shape, windows, groups)  # enough work to be shared
    alone = results(*inputs, windows, groups)
    for threads in (2, 3):
        parallel.set_threads(threads)
        for got, want in zip(results(*inputs, windows, groups), alone, strict=True):
            np.testing.assert_array_equal(got, want)


def test_one_image_is_shared_among_threads() -> None:
    images, *shape, windows, groups = case(1, 64, 96, (24, 24), (3, 3), padding=(1, 1), stride=(2, 2))
    x, grad, weight, bias = arrays(images, *shape, windows, groups)
    want = results(x, grad, weight, bias, windows, groups)
    parallel.set_threads(2)
    for got, one in zip(results(x, grad, weight, bias, windows, groups), want, strict=True):
        np.testing.assert_array_equal(got, one)


COLUMNS = [name for name in CASES if name.endswith("a column of pixels")]
TIGHT = [*MIXED, "1x1, last outputs a tile would read beyond", "depthwise, 37 channels", *COLUMNS]


@pytest.mark.parametrize("name", TIGHT)
def test_memory_around_the_arrays_is_neither_used_nor_changed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    *shape, windows, groups = CASES[name]
    surrounded = []

    def empty(shape: int | tuple[int, ...]) -> Any:
        size, margin = int(np.prod(shape)), 4096
        memory = np.full(size + 2 * margin, np.nan, np.float32)
        surrounded.append((memory[:margin], memory[margin + size :]))
        return memory[margin : margin + size].reshape(shape)

    inputs = []
    for array in arrays(*shape, windows, groups):
        inputs.append(empty(array.shape))
        inputs[-1][...] = array
    monkeypatch.setattr(workspace, "empty", empty)
    assert_near(results(*inputs, windows, groups), expected(*inputs, windows, groups))
    assert all(np.isnan(margin).all() for margins in surrounded for margin in margins)


@pytest.mark.parametrize("name", MIXED)
def test_packed_weight_gives_the_same_bits(name: str) -> None:
    *shape, windows, groups = CASES[name]
    x, _, weight, bias = arrays(*shape, windows, groups)
    packed = conv_gemm.pack(weight, groups)
    np.testing.assert_array_equal(
        conv_gemm.forward(x, weight, bias, windows, groups, packed), conv_gemm.forward(x, weight, bias, windows, groups)
    )


def test_no_bias_is_a_bias_of_zeros() -> None:
    *shape, windows, groups = CASES["4 groups"]
    x, _, weight, bias = arrays(*shape, windows, groups)
    np.testing.assert_array_equal(
        conv_gemm.forward(x, weight, None, windows, groups), conv_gemm.forward(x, weight, 0 * bias, windows, groups)
    )


def test_weight_and_bias_may_lie_in_any_order() -> None:
    *shape, windows, groups = CASES["three input channels, seven outputs"]
    x, grad, weight, bias = arrays(*shape, windows, groups)
    got = results(x, grad, np.asfortranarray(weight), np.repeat(bias, 2)[::2], windows, groups)
    for one, other in zip(got, results(x, grad, weight, bias, windows, groups), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("channels", [2, 64])
@pytest.mark.parametrize("groups", ["dense", "depthwise"])
def test_nan_reaches_the_windows_that_hold_it_and_no_others(channels: int, groups: str) -> None:
    number = channels if groups == "depthwise" else 2
    *shape, windows, _ = case(1, channels, channels, (9, 9), (3, 3), number, padding=(1, 1))
    x, _, weight, bias = arrays(*shape, windows, number)
    x[0, 4, 4, 0] = np.nan
    y = conv_gemm.forward(x, weight, bias, windows, number)
    hit = np.zeros(y.shape, bool)
    hit[0, 3:6, 3:6, : channels // number] = True
    np.testing.assert_array_equal(np.isnan(y), hit)


@pytest.mark.parametrize("groups", [1, 4])
def test_no_input_gradient_unless_asked_for(groups: int) -> None:
    *shape, windows, _ = case(2, 4, 4, (6, 6), (3, 3), groups)
    x, grad, weight, _ = arrays(*shape, windows, groups)
    dx, dw, _ = conv_gemm.backward(grad, x, weight, windows, groups, need_x=False)
    assert dx is None
    np.testing.assert_array_equal(dw, conv_gemm.backward(grad, x, weight, windows, groups, need_x=True)[1])


@pytest.mark.parametrize("groups", [1, 4])
def test_empty_batch_has_gradients_of_zero(groups: int) -> None:
    *shape, windows, _ = case(0, 4, 4, (6, 6), (3, 3), groups)
    y, dx, dw, db = results(*arrays(*shape, windows, groups), windows, groups)
    assert (y.shape, dx.shape) == ((0, 4, 4, 4), (0, 6, 6, 4))
    assert not dw.any()
    assert not db.any()


def test_depthwise_is_what_grouped_convolution_gives() -> None:
    images, channels, _, size, windows, _ = CASES["depthwise"]
    x, _, weight, bias = arrays(images, channels, channels, size, windows, channels)
    each = [
        conv_gemm.forward(x[..., c : c + 1].copy(), weight[c : c + 1], bias[c : c + 1], windows, 1) for c in range(2)
    ]
    np.testing.assert_allclose(
        depthwise.forward(x, weight, bias, windows)[..., :2], np.concatenate(each, -1), rtol=1e-5
    )
