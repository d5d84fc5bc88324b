"""Winograd's convolution: exact matrices, and results within the stated error for any shape, batch and thread count."""

from collections.abc import Iterator

import numpy as np
import pytest

from minicnn.kernels import parallel
from minicnn.kernels._cpu import blocks, conv3x3
from minicnn.kernels._cpu.plan import SIZES, Plan, plan, set_largest_tile
from minicnn.kernels._cpu.winograd import matrices, whole_map_matrices
from minicnn.kernels.conv2d import im2col
from minicnn.kernels.windows import Windows

ERROR = {2: 1e-6, 3: 5e-6, 6: 3e-5}
"""Bound of the relative error (Euclidean norm) against float64 for each tile size, as kernels/conv2d/README.md says."""

SHAPES = [  # images, height, width, channels, outputs, padding
    (2, 12, 12, 32, 64, 1),
    (5, 24, 24, 32, 32, 1),  # a last block with fewer images
    (3, 7, 11, 32, 64, 1),  # sizes that no tile divides
    (2, 9, 6, 64, 32, 0),
    (3, 5, 5, 32, 32, 2),
    (1, 3, 3, 32, 32, 1),
    (40, 3, 3, 32, 32, 1),  # several images' tiles in a block
    (1, 1, 1, 32, 32, 1),
]


@pytest.fixture(autouse=True)
def one_thread_afterwards() -> Iterator[None]:
    yield
    parallel.set_threads(1)


def inputs(shape: tuple[int, ...], cut: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images, height, width, channels, outputs, _ = shape
    x = random.standard_normal((images, height, width, channels), np.float32)
    weight = random.standard_normal((outputs, channels, 3, 3), np.float32) / np.float32(3 * channels**0.5)
    return x, weight, random.standard_normal((images, cut.out_height, cut.out_width, outputs), np.float32)


def plan_of(shape: tuple[int, ...], m: int) -> Plan:
    cut = plan(shape[:4], shape[4], shape[5], m)
    assert cut is not None
    return cut


def convolve(x: np.ndarray, weight: np.ndarray, grad: np.ndarray, cut: Plan) -> list[np.ndarray]:
    """Output, sums, sums of squares, gradients of input and weight; images in NCHW."""
    y = np.full_like(grad, np.nan)
    weights = conv3x3.transform_weight(weight, cut, with_transposed=True)
    v, statistics = conv3x3.forward(x, weights, cut, conv3x3.Finish(y))
    dx, dw = conv3x3.backward(
        lambda first, last, slot, dm: blocks.grad_images(grad, dm, cut, conv3x3.ZEROS, first, last),
        v,
        weights,
        cut,
        need_x=True,
    )
    total, squares = statistics.sum(axis=0, dtype=float).swapaxes(0, 1).reshape(2, -1)
    return [y.transpose(0, 3, 1, 2), total, squares, dx.transpose(0, 3, 1, 2), dw.copy()]


def expected(x: np.ndarray, weight: np.ndarray, grad: np.ndarray, padding: int) -> list[np.ndarray]:
    windows = Windows((3, 3), padding=(padding, padding))
    x, grad = x.transpose(0, 3, 1, 2).astype(float), grad.transpose(0, 3, 1, 2).astype(float)
    y = im2col.forward(x, weight.astype(float), None, windows, 1)
    dx, dw, _ = im2col.backward(grad, x, weight.astype(float), windows, 1)
    return [y, y.sum(axis=(0, 2, 3)), (y * y).sum(axis=(0, 2, 3)), dx, dw]


@pytest.mark.parametrize("m", SIZES)
def test_matrices_turn_a_correlation_into_products(m: int) -> None:
    a_t, g, b_t = matrices(m)
    random = np.random.default_rng(m)
    data, taps = random.normal(size=m + 2), random.normal(size=3)
    np.testing.assert_allclose(a_t @ ((g @ taps) * (b_t @ data)), np.correlate(data, taps), rtol=1e-12, atol=1e-13)


def test_a_row_of_three_pixels_between_zeros_takes_four_products() -> None:
    a_t, g, b_t = whole_map_matrices()
    random = np.random.default_rng(0)
    data, taps = random.normal(size=3), random.normal(size=3)
    assert g.shape == (4, 3)
    np.testing.assert_allclose(a_t @ ((g @ taps) * (b_t @ data)), np.correlate(data, taps, "same"), rtol=1e-12)


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_and_gradients_are_within_the_stated_error(shape: tuple[int, ...], m: int) -> None:
    cut = plan_of(shape, m)
    arrays = inputs(shape, cut)
    names = ("y", "sums", "squares", "dx", "dw")
    for name, got, want in zip(names, convolve(*arrays, cut), expected(*arrays, shape[5]), strict=True):
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        # a sum may cancel to nearly nothing: it is held against what was added up
        if name == "sums":
            error = np.linalg.norm(got - want) / np.linalg.norm(np.abs(want) + want.size)
        assert error < ERROR[m], name


@pytest.mark.parametrize("shape", [(9, 12, 12, 64, 160, 1), (2, 24, 24, 32, 32, 1)], ids=str)
def test_any_number_of_threads_gives_the_same_bits(shape: tuple[int, ...]) -> None:
    cut = plan_of(shape, 0)
    arrays, found = inputs(shape, cut), []
    for threads in (1, 2, 5):
        parallel.set_threads(threads)
        found.append([array.copy() for array in convolve(*arrays, cut)])
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


def test_a_second_backward_gives_the_same() -> None:
    cut = plan_of(SHAPES[0], 0)
    x, weight, grad = inputs(SHAPES[0], cut)
    weights = conv3x3.transform_weight(weight, cut, with_transposed=True)
    v, _ = conv3x3.forward(x, weights, cut, conv3x3.Finish(np.empty_like(grad)))

    def transform(first: int, last: int, slot: int, dm: np.ndarray) -> None:
        blocks.grad_images(grad, dm, cut, conv3x3.ZEROS, first, last)

    once, twice = (conv3x3.backward(transform, v, weights, cut, need_x=True) for _ in range(2))
    for one, other in zip(once, twice, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_the_finish_adds_the_bias_cuts_at_zero_and_pools(relu: bool, pool: bool) -> None:
    shape = (3, 9, 12, 32, 64, 1)
    cut = plan_of(shape, 3)
    x, weight, grad = inputs(shape, cut)
    bias = np.linspace(-1, 1, 64, dtype=np.float32)
    want = expected(x, weight, grad, 1)[0] + bias[:, None, None]
    if pool:
        want = want[:, :, :8].reshape(3, 64, 4, 2, 6, 2).max(axis=(3, 5))
    if relu:
        want = np.maximum(want, 0)
    y = np.full((3, *want.shape[2:], 64), np.nan, np.float32)
    weights = conv3x3.transform_weight(weight, cut, with_transposed=False)
    conv3x3.forward(x, weights, cut, conv3x3.Finish(y, bias, relu, pool))
    np.testing.assert_allclose(y.transpose(0, 3, 1, 2), want, atol=1e-5)


def test_one_pixel_that_is_nan_reaches_its_neighbors() -> None:
    cut = plan_of(SHAPES[0], 6)
    x, weight, grad = inputs(SHAPES[0], cut)
    x[0, 3, 3, 5] = np.nan
    y = convolve(x, weight, grad, cut)[0]
    assert np.isnan(y[0, :, 2:5, 2:5]).all()
    assert not np.isnan(y[1]).any()


def test_tiles_are_large_for_many_images_and_not_used_where_they_do_not_pay() -> None:
    assert plan_of((128, 24, 24, 64, 128, 1), 0).m == 6
    assert plan_of((128, 3, 3, 512, 512, 1), 0)[8:10] == (3, 4)  # the whole map
    assert plan_of((128, 5, 5, 512, 512, 0), 0)[8:10] == (3, 5)  # a window into a larger one
    assert plan((128, 1, 1, 64), 64, 1) is None


def test_the_largest_tile_may_be_limited_for_more_exact_results() -> None:
    try:
        set_largest_tile(2)
        assert plan_of((128, 24, 24, 64, 128, 1), 0).m == 2
    finally:
        set_largest_tile(6)
    with pytest.raises(ValueError, match="tile: expected one of 6, 3, 2, got 4"):
        set_largest_tile(4)
