"""The CUDA rungs that are limited by memory, against float64 on the CPU: on a GPU or in the emulator."""

import ml_dtypes
import numpy as np
import pytest

from minicnn.device import to_numpy
from minicnn.kernels import fallbacks
from minicnn.kernels._gpu import driver, rows
from minicnn.kernels._gpu.recording import Recording, live
from minicnn.kernels.batch_norm import cuda as batch_norm
from minicnn.kernels.batch_norm import im2col as batch_norm_array_code
from minicnn.kernels.cross_entropy import cuda as cross_entropy
from minicnn.kernels.cross_entropy import im2col as cross_entropy_array_code
from minicnn.kernels.dropout import cuda as dropout
from minicnn.kernels.dropout import im2col as dropout_array_code
from minicnn.kernels.max_pool2d import cuda as max_pool2d
from minicnn.kernels.max_pool2d import im2col as max_pool2d_array_code
from minicnn.kernels.reduce import cuda as reduce
from minicnn.kernels.windows import Windows
from tests.emulator.driver import ORDERS, EmulatorDriver

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
"""Of the largest number in an array; measured were 3e-6 (a mean of 1000 times the deviation) and 4e-3."""

DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


def assert_close(got, want, tolerance=TOLERANCE["float32"]):
    want = np.asarray(want, np.float64)
    assert got.shape == want.shape
    np.testing.assert_allclose(to_numpy(got).astype(np.float64), want, rtol=0, atol=tolerance * np.abs(want).max())


@pytest.fixture
def in_any_order(emulator):
    """`in_any_order(compute)`: the arrays that `compute` gives are the same, bit for bit, in each order of threads."""

    def check(compute):
        results = []
        for one in [EmulatorDriver(order, seed=1) for order in ORDERS] if emulator else [driver.driver()] * 3:
            driver.use(one)
            results.append([to_numpy(array) for array in compute()])
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b)

    return check


def channels_last(gpu, x):
    """The same (N, C, ...) with channels last in memory."""
    return gpu.moveaxis(gpu.ascontiguousarray(gpu.moveaxis(x, 1, -1)), -1, 1)


# Launches


@dtypes
@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 8, 100, 4096])
@pytest.mark.parametrize("count", [1, 63, 1000, 10**6, 3 * 10**8])
def test_every_row_and_channel_has_one_block(dtype, sums, channels, count):
    launch = rows.rows_of(count, channels, dtype, sums)
    lanes, slots = launch.block
    wide = int(launch.suffix.lstrip("bfloat"))
    assert lanes * slots == rows.THREADS
    assert slots == rows.power_of_two(slots)
    assert channels % wide == 0
    assert (launch.grid[0] - 1) * launch.each < count <= launch.grid[0] * launch.each
    assert (launch.grid[1] - 1) * lanes * wide < channels <= launch.grid[1] * lanes * wide


# Batch normalization

SHAPES = [(3, 8, 35), (2, 7, 9), (5, 12, 1), (1, 160, 40), (40, 4, 60)]


@pytest.fixture(params=[256, 32], ids=["large blocks", "small blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(rows, "THREADS", request.param)
    monkeypatch.setattr(rows, "SUM_ROWS", request.param // 64 or 1)


def normalized(kernel, x, gamma, beta, running, grad):
    """Statistics, output, and the gradients in training and in evaluation."""
    statistics = kernel.statistics(x)
    y = kernel.normalize(x, gamma, beta, *statistics, 1e-3)
    gradients = kernel.backward(grad, x, gamma, *statistics, 1e-3, True)
    return [*statistics, y, *gradients, *kernel.backward(grad, x, gamma, *running, 1e-3, False)]


def normalization_inputs(random, shape):
    vectors = random.standard_normal((2, shape[1])), random.random((2, shape[1])) + 0.5
    x, grad = random.standard_normal((2, *shape))
    return [a.astype(np.float32) for a in (3 * x + 5, *vectors[0], *vectors[1], grad)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_batch_norm_agrees_with_float64(gpu, blocks, random, shape, last):
    x, gamma, beta, *running, grad = normalization_inputs(random, shape)
    exact = [a.astype(np.float64) for a in (x, gamma, beta, *running, grad)]
    want = normalized(batch_norm_array_code, *exact[:3], exact[3:5], exact[5])
    x, gamma, beta, *running, grad = (gpu.asarray(a) for a in (x, gamma, beta, *running, grad))
    if last:
        x, grad = channels_last(gpu, x), channels_last(gpu, grad)
    before = fallbacks()
    got = normalized(batch_norm, x, gamma, beta, running, grad)
    assert fallbacks() == before
    for one, other in zip(got, want, strict=True):
        assert_close(one, other)


def test_batch_norm_keeps_the_order_of_memory(gpu, random):
    x, gamma, beta, mean, var, _ = (gpu.asarray(a) for a in normalization_inputs(random, (2, 8, 6)))
    y = batch_norm.normalize(channels_last(gpu, x), gamma, beta, mean, var, 1e-3)
    assert y.transpose(0, 2, 1).flags.c_contiguous


def test_batch_norm_keeps_digits_far_from_zero(gpu, random):
    x = (random.standard_normal((4, 8, 200)) + 1000).astype(np.float32)
    mean, var = batch_norm.statistics(gpu.asarray(x))
    assert_close(mean, x.mean((0, 2), dtype=np.float64))
    assert_close(var, x.astype(np.float64).var((0, 2)), 1e-5)


@pytest.mark.parametrize("blocks", [1, 5, 128, 300])
def test_sums_of_any_number_of_blocks_come_together(gpu, random, blocks):
    """Also of a last block with fewer rows than the others."""
    x = random.standard_normal((blocks * 4 - 3, 9)) + 3
    parts = [x[first : first + 4] for first in range(0, len(x), 4)]
    partial = np.array([[part.sum(0), part.var(0) * len(part)] for part in parts], np.float32)
    gamma = gpu.asarray(np.linspace(-1, 2, 9, dtype=np.float32))
    mean, var, scale = batch_norm.combined_statistics(gpu.asarray(partial), 4, len(x), gamma, 0.1)
    for got, want in zip(
        (mean, var, scale), (x.mean(0), x.var(0), to_numpy(gamma) / np.sqrt(x.var(0) + 0.1)), strict=True
    ):
        assert_close(got, want)
    _, grad_gamma, grad_beta = batch_norm.combined_gradients(gpu.asarray(partial), gamma, var, 0.1, 0)
    total = partial.sum(0, dtype=np.float64)
    assert_close(grad_beta, total[0])
    assert_close(grad_gamma, total[1] / np.sqrt(to_numpy(var) + 0.1))


def test_batch_norm_takes_vectors_of_any_stride(gpu, random):
    x, *vectors, grad = (gpu.asarray(a) for a in normalization_inputs(random, (3, 8, 10)))
    held = gpu.asarray(np.zeros((4, 8, 3), np.float32))
    strided = [held[number, :, 1] for number in range(4)]
    for one, other in zip(strided, vectors, strict=True):
        one[...] = other

    def compute(gamma, beta, mean, var):
        y = batch_norm.normalize(x, gamma, beta, mean, var, 1e-3)
        return [y, *batch_norm.backward(grad, x, gamma, mean, var, 1e-3, True)]

    for one, other in zip(compute(*strided), compute(*vectors), strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [1, 2])
def test_running_statistics_move_in_place(gpu, random, dtype, step):
    mean, var, running_mean, running_var = random.standard_normal((4, 600)).astype(dtype)
    on_gpu = [gpu.asarray(a)[::step] for a in (running_mean, running_var, mean, var)]
    batch_norm.update_running(*on_gpu, 11, 0.3)
    for got, running, batch in zip(on_gpu[:2], (running_mean, running_var), (mean, var * 1.1), strict=True):
        assert_close(got, (running + 0.3 * (batch - running))[::step])


def test_batch_norm_in_any_order_of_threads(gpu, in_any_order, random):
    x, gamma, beta, *running, grad = (gpu.asarray(a) for a in normalization_inputs(random, (6, 8, 100)))
    in_any_order(lambda: normalized(batch_norm, x, gamma, beta, running, grad))


# Max-pooling

WINDOWS = {
    "2x2": Windows((2, 2), (2, 2)),
    "overlapping": Windows((3, 3), (2, 2), (1, 1)),
    "dilated": Windows((2, 3), (1, 2), (1, 0), (2, 1)),
    "with gaps": Windows((1, 2), (3, 4)),
}


@dtypes
@pytest.mark.parametrize("windows", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("shape", [(2, 16, 6, 8), (3, 5, 7, 9), (1, 8, 5, 5)], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_max_pool2d_agrees_with_array_code(gpu, random, dtype, windows, shape, last):
    x = random.integers(-4, 5, shape).astype(dtype)  # so that there are ties
    want, choice = max_pool2d_array_code.forward(x.astype(np.float64), windows)
    grad = random.standard_normal(want.shape).astype(dtype)
    want_grad = max_pool2d_array_code.backward(grad.astype(np.float64), choice, *shape[2:], windows)
    on_gpu, grad, before = gpu.asarray(x), gpu.asarray(grad), fallbacks()
    if last:
        on_gpu = channels_last(gpu, on_gpu)
    y, chosen = max_pool2d.forward(on_gpu, windows)
    grad_x = max_pool2d.backward(grad, chosen, *shape[2:], windows)
    assert fallbacks() == before
    np.testing.assert_array_equal(to_numpy(y).astype(np.float64), want)
    np.testing.assert_array_equal(to_numpy(chosen), choice)
    assert_close(grad_x, want_grad, TOLERANCE[dtype.name])
    assert y.dtype == grad_x.dtype == dtype
    assert (y.transpose(0, 2, 3, 1).flags.c_contiguous, grad_x.flags.c_contiguous) == (last, not last)


@dtypes
@pytest.mark.parametrize("channels", [1, 16])
def test_max_pool2d_takes_the_first_nan_and_never_padding(gpu, dtype, channels):
    x = np.full((1, channels, 4, 4), -np.inf, dtype)
    x[0, :, 0, 1] = x[0, :, 1, 0] = np.nan
    y, chosen = max_pool2d.forward(channels_last(gpu, gpu.asarray(x)), Windows((3, 3), (2, 2), (1, 1)))
    for channel in range(channels):
        np.testing.assert_array_equal(to_numpy(y)[0, channel].astype(np.float32), [[np.nan] * 2, [np.nan, -np.inf]])
        np.testing.assert_array_equal(to_numpy(chosen)[0, channel], [[5, 3], [1, 0]])


def test_max_pool2d_in_any_order_of_threads(gpu, in_any_order, random):
    x = channels_last(gpu, gpu.asarray(random.standard_normal((2, 8, 9, 9)).astype(np.float32)))

    def both_ways():
        y, chosen = max_pool2d.forward(x, WINDOWS["overlapping"])
        return y, chosen, max_pool2d.backward(y, chosen, 9, 9, WINDOWS["overlapping"])

    in_any_order(both_ways)


@pytest.mark.parametrize(("dtype", "kernel"), [("float64", 2), ("float32", 17)])
def test_max_pool2d_of_other_dtypes_and_large_windows_is_array_code(gpu, random, dtype, kernel):
    x = random.standard_normal((1, 2, 18, 18)).astype(dtype)
    windows, before = Windows((kernel, kernel)), fallbacks().get("max_pool2d", 0)
    y, chosen = max_pool2d.forward(gpu.asarray(x), windows)
    np.testing.assert_array_equal(to_numpy(y), max_pool2d_array_code.forward(x, windows)[0])
    assert max_pool2d.backward(y, chosen, 18, 18, windows).dtype == dtype
    assert fallbacks()["max_pool2d"] == before + 2


# Dropout

SEED = 0x0123_4567_89AB_CDEF


@dtypes
@pytest.mark.parametrize("size", [1, 7, 8, 4096, 2055])
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_dropout_drops_what_every_rung_drops(gpu, random, dtype, size, p):
    x = random.standard_normal(size).astype(np.float32)
    want = dropout_array_code.forward(x.astype(dtype).astype(np.float32), SEED, p)
    y = dropout.forward(gpu.asarray(x.astype(dtype)), gpu.asarray(np.array([SEED], np.uint64)), p)
    assert y.dtype == dtype
    np.testing.assert_array_equal(to_numpy(y), want.astype(dtype))


def test_dropout_takes_elements_in_the_order_of_their_indices(gpu, random):
    x = random.standard_normal((2, 6, 3, 5)).astype(np.float32)
    y = dropout.forward(channels_last(gpu, gpu.asarray(x)), SEED, 0.5)
    np.testing.assert_array_equal(to_numpy(y), dropout_array_code.forward(x, SEED, 0.5))


def test_dropout_of_memory_that_is_not_aligned(gpu, random):
    x = gpu.asarray(random.standard_normal(50).astype(np.float32))
    y = dropout.forward(x[1:], SEED, 0.5)
    np.testing.assert_array_equal(to_numpy(y), dropout_array_code.forward(to_numpy(x)[1:], SEED, 0.5))


def test_a_recorded_dropout_reads_its_seed_anew(gpu, random):
    x, seeds, held = random.standard_normal(100).astype(np.float32), iter(range(100)), []
    on_gpu = gpu.asarray(x)
    step = Recording(lambda: held.append(dropout.forward(on_gpu, live(lambda: next(seeds), np.uint64), 0.5)))
    for seed in range(3):
        step.replay()
        np.testing.assert_array_equal(to_numpy(held[0]), dropout_array_code.forward(x, seed, 0.5))


# Cross-entropy


@pytest.mark.parametrize("shape", [(1, 7), (9, 7), (20, 33), (3, 1), (5, 100)], ids=str)
def test_cross_entropy_agrees_with_float64(gpu, in_any_order, random, shape):
    logits, target = (10 * random.standard_normal(shape)).astype(np.float32), random.random(shape).astype(np.float32)
    grad = random.standard_normal(shape[0]).astype(np.float32)
    want = cross_entropy_array_code.forward(logits.astype(np.float64), target.astype(np.float64))
    want_grad = cross_entropy_array_code.backward(grad.astype(np.float64), want[1], target.astype(np.float64))
    logits, target, grad = (gpu.asarray(a) for a in (logits, target, grad))

    def both_ways():
        loss, probabilities = cross_entropy.forward(logits, target)
        return loss, probabilities, cross_entropy.backward(grad, probabilities, target)

    for got, other in zip(both_ways(), (*want, want_grad), strict=True):
        assert got.dtype == np.float32
        assert_close(got, other)
    in_any_order(both_ways)


def test_cross_entropy_of_huge_and_infinite_logits(gpu):
    logits = np.array([[1e30, 0, 0], [0, -np.inf, 0], [np.nan, 0, 0]], np.float32)
    target = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    loss, probabilities = cross_entropy.forward(gpu.asarray(logits), gpu.asarray(target))
    np.testing.assert_allclose(to_numpy(loss), [1e30, np.log(2), np.nan], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(probabilities), [[1, 0, 0], [0.5, 0, 0.5], [np.nan] * 3])


def test_cross_entropy_takes_a_gradient_that_is_one_number_broadcast(gpu, random):
    target = random.random((4, 7)).astype(np.float32)
    probabilities, one = gpu.asarray(target), gpu.asarray(np.float32(0.25))
    got = cross_entropy.backward(gpu.broadcast_to(one, (4,)), probabilities, gpu.asarray(target))
    assert_close(got, cross_entropy_array_code.backward(np.full(4, 0.25), target, target))


# Sums


@pytest.mark.parametrize("shape", [(), (1,), (1027,), (5, 4, 300), (64, 64)], ids=str)
def test_sums_are_those_of_float64(gpu, in_any_order, random, shape):
    x = random.standard_normal(shape).astype(np.float32)
    on_gpu = gpu.asarray(x)
    total, squares = reduce.total(on_gpu), reduce.squares(on_gpu)
    assert (total.shape, total.dtype, squares.shape, squares.dtype) == ((), "float32", (), "float64")
    np.testing.assert_allclose(to_numpy(total), x.sum(dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(to_numpy(squares), (x.astype(np.float64) ** 2).sum(), rtol=1e-12)
    in_any_order(lambda: [reduce.total(on_gpu), reduce.squares(on_gpu)])


def test_sums_of_more_than_all_blocks_take_at_once(gpu, monkeypatch, random):
    monkeypatch.setattr(reduce, "_BLOCKS", 2)
    x = random.standard_normal(9000).astype(np.float32)
    np.testing.assert_allclose(to_numpy(reduce.total(gpu.asarray(x))), x.sum(dtype=np.float64), rtol=1e-6)


def test_sums_of_views_count_their_elements_alone(gpu, random):
    x = random.standard_normal((9, 11)).astype(np.float32)
    on_gpu = gpu.asarray(x)
    for view, same in ((on_gpu[1:, 3:], x[1:, 3:]), (on_gpu.reshape(-1)[1:], x.reshape(-1)[1:])):
        np.testing.assert_allclose(to_numpy(reduce.total(view)), same.sum(dtype=np.float64), rtol=1e-6)


def test_squares_of_large_numbers_do_not_overflow(gpu):
    x = gpu.asarray(np.full(3, 1e30, np.float32))
    np.testing.assert_allclose(to_numpy(reduce.squares(x)), 3e60, rtol=1e-6)


def test_sums_of_nothing_and_of_float64_are_array_code(gpu):
    before = fallbacks().get("reduce", 0)
    assert to_numpy(reduce.total(gpu.zeros((0, 3), dtype="float32"))) == 0
    assert reduce.total(gpu.ones(3, dtype="float64")).dtype == "float64"
    assert to_numpy(reduce.squares(gpu.ones(3, dtype="float64"))) == 3
    assert fallbacks()["reduce"] == before + 3
