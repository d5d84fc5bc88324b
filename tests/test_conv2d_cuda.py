"""The CUDA rung of conv2d, in each precision, against float64 on the CPU: on a GPU or in the emulator."""

import ml_dtypes
import numpy as np
import pytest

from minicnn.device import to_numpy
from minicnn.kernels import fallbacks, precision
from minicnn.kernels._gpu import driver
from minicnn.kernels._gpu.recording import Recording
from minicnn.kernels._gpu.tiles import SQUARE, split
from minicnn.kernels.conv2d import cuda, im2col
from minicnn.kernels.frozen import frozen_weights
from minicnn.kernels.windows import Windows
from tests.emulator.driver import ORDERS, EmulatorDriver

TOLERANCE = {"float32": 1e-5, "tf32": 2e-3, "bfloat16": 2e-2}
"""Of the largest number in an array: float32 carries 24 bits, operands of the others 11 and 8."""

SAME = Windows((3, 3), padding=(1, 1))

# images (N, C, H, W), outputs, windows: pixels, channels and outputs that fill tiles or leave them half empty
CASES = {
    "three by three": ((1, 32, 12, 12), 64, SAME),
    "more outputs than a small tile": ((3, 96, 5, 6), 96, SAME),
    "several tiles": ((2, 64, 13, 11), 72, SAME),
    "odd sizes": ((2, 8, 7, 9), 7, SAME),
    "one channel": ((2, 1, 11, 9), 8, Windows((5, 5), (2, 1), (2, 0))),
    "one by one": ((2, 64, 13, 8), 128, Windows((1, 1), (2, 2))),
    "dilated": ((1, 16, 10, 10), 24, Windows((3, 3), (1, 1), (2, 2), (2, 2))),
    "everything": ((2, 3, 13, 12), 5, Windows((3, 2), (2, 3), (0, 1), (1, 2))),
}


@pytest.fixture(params=precision.CHOICES)
def chosen(request):
    with precision.using(request.param):
        yield request.param


@pytest.fixture(params=[1, 132])
def multiprocessors(request, gpu, monkeypatch):
    """How many there are decides on tiles, and on how many blocks share a sum."""
    monkeypatch.setattr(driver.driver(), "gpu", driver.driver().gpu._replace(multiprocessors=request.param))


def draw(random, images, outputs, windows):
    """Images, weight, bias and the gradient of the output."""
    size = windows.output_size(*images[2:])
    shapes = images, (outputs, images[1], *windows.kernel), (outputs,), (images[0], outputs, *size)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def assert_close(got, want, tolerance):
    want = np.asarray(want, np.float64)
    np.testing.assert_allclose(to_numpy(got).astype(np.float64), want, rtol=0, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_float64(gpu, chosen, multiprocessors, random, case):
    *_, windows = CASES[case]
    x, weight, bias, grad = draw(random, *CASES[case])
    exact = [a.astype(np.float64) for a in (x, weight, bias, grad)]
    want = [
        im2col.forward(exact[0], exact[1], exact[2], windows, 1),
        *im2col.backward(exact[3], exact[0], exact[1], windows, 1),
    ]
    on_gpu = [gpu.asarray(a) for a in (x, weight, bias, grad)]
    got = [
        cuda.forward(on_gpu[0], on_gpu[1], on_gpu[2], windows, 1),
        *cuda.backward(on_gpu[3], on_gpu[0], on_gpu[1], windows, 1),
    ]
    for one, other in zip(got, want, strict=True):
        assert one.dtype == np.float32
        assert_close(one, other, TOLERANCE[chosen])


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_adjoint_of_forward(gpu, random, case):
    images, outputs, windows = CASES[case]
    x, weight, _, grad = draw(random, images, outputs, windows)
    dx, dw, _ = cuda.backward(gpu.asarray(grad), gpu.asarray(x), gpu.asarray(weight), windows, 1)
    y = to_numpy(cuda.forward(gpu.asarray(x), gpu.asarray(weight), None, windows, 1))
    product = np.vdot(y.astype(np.float64), grad)
    scale = np.linalg.norm(y) * np.linalg.norm(grad)
    assert abs(np.vdot(to_numpy(dx).astype(np.float64), x) - product) < 1e-6 * scale
    assert abs(np.vdot(to_numpy(dw).astype(np.float64), weight) - product) < 1e-6 * scale


def test_any_order_of_threads_gives_the_same_bits(gpu, emulator, chosen, random):
    x, weight, bias, grad = (gpu.asarray(a) for a in draw(random, (2, 32, 12, 13), 72, SAME))
    drivers = [EmulatorDriver(order, seed=1) for order in ORDERS] if emulator else [driver.driver()] * 3
    results = []
    for one in drivers:
        driver.use(one)
        y = cuda.forward(x, weight, bias, SAME, 1)
        results.append([to_numpy(a) for a in (y, *cuda.backward(grad, x, weight, SAME, 1))])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_any_order_of_memory_gives_the_same_bits(gpu, chosen, random):
    x, weight, bias, grad = (gpu.asarray(a) for a in draw(random, (2, 12, 6, 5), 8, SAME))

    def both_ways(lay_out):
        y = cuda.forward(lay_out(x), weight, bias, SAME, 1)
        return [to_numpy(a) for a in (y, *cuda.backward(lay_out(grad), lay_out(x), weight, SAME, 1))]

    last = both_ways(lambda a: gpu.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    for a, b in zip(both_ways(lambda a: a), last, strict=True):
        np.testing.assert_array_equal(a, b)


def test_output_has_channels_last_in_memory(gpu, random):
    x, weight, bias, _ = (gpu.asarray(a) for a in draw(random, (2, 8, 6, 5), 8, SAME))
    assert cuda.forward(x, weight, bias, SAME, 1).transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("channels", [8, 32])
def test_nan_reaches_the_windows_that_it_is_in_and_no_other(gpu, chosen, multiprocessors, random, channels):
    x, weight, _, grad = draw(random, (2, channels, 7, 7), 8, SAME)
    x[1, 3, 0, 6] = np.nan  # in the upper right corner, under no lower or left element of a window
    y = to_numpy(cuda.forward(gpu.asarray(x), gpu.asarray(weight), None, SAME, 1))
    lost = np.zeros((2, 1, 7, 7), bool)
    lost[1, :, :2, 5:] = True
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(lost, y.shape))
    _, dw, _ = cuda.backward(gpu.asarray(grad), gpu.asarray(x), gpu.asarray(weight), SAME, 1)
    lost = np.zeros(weight.shape, bool)
    lost[:, 3, :2, 1:] = True
    np.testing.assert_array_equal(np.isnan(to_numpy(dw)), lost)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("windows", [Windows((3, 3)), SAME], ids=["inside", "same"])
def test_statistics_lose_no_digits_to_a_large_mean(gpu, multiprocessors, dtype, windows, random):
    x = (random.standard_normal((3, 7, 11, 32)) / 8 + 100).astype(dtype)
    weight = random.integers(-4, 5, (24, 32, 3, 3)).astype(np.float32)  # exact in bfloat16
    y, statistics = cuda.multiply(gpu.asarray(x), gpu.asarray(weight), windows, dtype, with_statistics=True)
    images = x.astype(np.float64).transpose(0, 3, 1, 2)
    exact = im2col.forward(images, weight.astype(np.float64), None, windows, 1).transpose(0, 2, 3, 1).reshape(-1, 24)
    assert y.dtype == dtype
    assert len(statistics) == -(-len(exact) // cuda.ROWS)
    for number, (sums, squares) in enumerate(to_numpy(statistics)):
        rows = exact[number * cuda.ROWS : (number + 1) * cuda.ROWS]
        np.testing.assert_allclose(sums / len(rows), rows.mean(0), rtol=1e-5, atol=1e-5 * np.abs(rows).max())
        np.testing.assert_allclose(squares, ((rows - rows.mean(0)) ** 2).sum(0), rtol=1e-3)


def test_bfloat16_arrays_are_multiplied_as_they_are(gpu, random):
    x, weight, _, grad = draw(random, (2, 16, 6, 7), 24, SAME)
    bfloat16 = ml_dtypes.bfloat16
    images, upstream = (a.transpose(0, 2, 3, 1).astype(bfloat16) for a in (x, grad))
    rounded = weight.astype(bfloat16).astype(np.float64)
    exact = [a.astype(np.float64).transpose(0, 3, 1, 2) for a in (images, upstream)]
    want_x, want_weight, _ = im2col.backward(exact[1], exact[0], rounded, SAME, 1)
    images, upstream, weight = gpu.asarray(images), gpu.asarray(upstream), gpu.asarray(weight)
    y, _ = cuda.multiply(images, weight, SAME, np.float32)
    assert_close(y.transpose(0, 3, 1, 2), im2col.forward(exact[0], rounded, None, SAME, 1), 1e-6)
    dx = cuda.input_gradient(upstream, weight, SAME, (6, 7), bfloat16)
    assert dx.dtype == bfloat16
    assert_close(dx.transpose(0, 3, 1, 2), want_x, 2**-8)
    assert_close(cuda.weight_gradient(images, upstream, SAME), want_weight, 1e-6)


def test_a_recorded_step_gives_the_same_bits(gpu, chosen, random):
    x, weight, bias, grad = (gpu.asarray(a) for a in draw(random, (2, 32, 9, 7), 8, SAME))
    results = []

    def step():
        y = cuda.forward(x, weight, bias, SAME, 1)
        results.append([y, *cuda.backward(grad, x, weight, SAME, 1)])

    step()
    Recording(step).replay()
    for eager, replayed in zip(*results, strict=True):
        np.testing.assert_array_equal(to_numpy(replayed), to_numpy(eager))


def test_frozen_weights_are_packed_once(gpu, random, monkeypatch):
    x, weight, bias, _ = (gpu.asarray(a) for a in draw(random, (1, 8, 4, 4), 8, SAME))
    launched = []
    launch = driver.driver().launch
    monkeypatch.setattr(driver.driver(), "launch", lambda *a: launched.append(a[1]) or launch(*a))
    with frozen_weights():
        for _ in range(3):
            cuda.forward(x, weight, bias, SAME, 1)
    assert launched.count("pack_weight_float32") == 1


@pytest.mark.parametrize(
    ("dtype", "groups", "count"), [("float64", 1, 2), ("float32", 2, 2), ("float32", 1, 0)], ids=str
)
def test_falls_back_to_array_code(gpu, random, dtype, groups, count):
    x = random.standard_normal((count, 4, 5, 5)).astype(dtype)
    weight = random.standard_normal((6, 4 // groups, 3, 3)).astype(dtype)
    before = fallbacks().get("conv2d", 0)
    y = cuda.forward(gpu.asarray(x), gpu.asarray(weight), None, SAME, groups)
    gradients = cuda.backward(y, gpu.asarray(x), gpu.asarray(weight), SAME, groups)
    assert fallbacks()["conv2d"] == before + 2
    want = im2col.forward(x, weight, None, SAME, groups)
    np.testing.assert_allclose(to_numpy(y), want, rtol=1e-5, atol=1e-5)
    for got, shape in zip(gradients, (x.shape, weight.shape, (6,)), strict=True):
        assert got.shape == shape


def test_parts_of_a_sum_fill_the_waves_of_blocks(gpu, monkeypatch):
    monkeypatch.setattr(driver.driver(), "gpu", driver.driver().gpu._replace(multiprocessors=132))
    tiles, steps = 144, 576  # 512 to 512 channels, images of 6 x 6: more than one wave of 264 blocks, less than two
    parts, each = split(tiles, steps, SQUARE)
    assert (parts - 1) * each < steps <= parts * each
    waves = -(-tiles * parts // 264)
    assert tiles * parts / (waves * 264) > 0.9
