"""The CUDA rung of conv_block, in each precision, against float64 on the CPU: on a GPU or in the emulator."""

import ml_dtypes
import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F
from minicnn.device import to_numpy
from minicnn.kernels import fallbacks, precision
from minicnn.kernels._gpu import driver, first_layer, rows
from minicnn.kernels._gpu.recording import Recording
from minicnn.kernels.conv_block import cuda, im2col
from minicnn.kernels.windows import Windows
from tests.emulator.driver import ORDERS, EmulatorDriver

TOLERANCE = {"float32": 1e-5, "tf32": 2e-3, "bfloat16": 2e-2}
"""Of the largest number in an array; measured were 5e-7, 4e-4 and 4e-3."""

SAME, POOL, EPS = Windows((3, 3), padding=(1, 1)), Windows((2, 2), (2, 2)), 1e-5

# images (N, C, H, W), outputs, pooling: whole and cut vectors of channels, odd edges, several blocks
CASES = {
    "pooled": ((3, 16, 6, 8), 32, POOL),
    "pooled, an odd edge, odd channels": ((2, 3, 7, 9), 7, POOL),
    "pooled, many channels": ((2, 8, 5, 6), 296, POOL),
    "not pooled": ((3, 8, 5, 4), 16, None),
    "not pooled, odd channels": ((2, 5, 6, 7), 9, None),
    "one channel": ((3, 1, 6, 8), 32, POOL),
    "one channel, odd edges, two strips": ((2, 1, 19, 7), 12, POOL),
    "one channel, odd outputs": ((2, 1, 4, 5), 7, POOL),
    "one channel, more outputs than a block": ((2, 1, 4, 4), 68, POOL),
    "one channel, not pooled": ((2, 1, 17, 6), 8, None),
    "one channel, not pooled, odd outputs": ((2, 1, 5, 5), 3, None),
}
one_channel = [name for name in CASES if "one channel" in name]


@pytest.fixture(params=precision.CHOICES)
def chosen(request):
    with precision.using(request.param):
        yield request.param


def draw(random, case, dtype="float32"):
    """Images, weight, gamma, beta, running mean and variance, and the gradient of the output.

    Where numbers are rounded on the way, whole ones that no rounding changes up to the convolution's results: another
    pixel might be the largest of its window otherwise. So there are ties too.
    """
    shape, outputs, pool = CASES[case]
    size = (POOL if pool else Windows((1, 1))).output_size(*shape[2:])
    if pool:
        size = (shape[2] // 2, shape[3] // 2)
    weights = (outputs, shape[1], 3, 3)
    if precision.chosen() == "float32" or shape[1] == 1:  # of which nothing is rounded before the output
        x, weight = random.standard_normal(shape) + 1, random.standard_normal(weights) / 3
    else:
        x, weight = random.integers(-2, 3, shape), random.integers(-1, 2, weights)
    gamma, beta = random.standard_normal(outputs), random.standard_normal(outputs)
    running = random.standard_normal(outputs), random.random(outputs) + 0.5
    grad = random.standard_normal((shape[0], outputs, *size))
    arrays = [np.asarray(a, np.float32) for a in (weight, gamma, beta, *running)]
    out = ml_dtypes.bfloat16 if precision.chosen() == "bfloat16" else np.float32
    return [np.asarray(x, dtype), *arrays, grad.astype(out)]


def four_operations(arrays, training, pool):
    """The same as `both_ways`, operation by operation in float64 on the CPU."""
    arrays = [a.astype(np.float64) for a in arrays]
    tensors = [Tensor(a, requires_grad=True) for a in arrays[:4]]
    x, weight, gamma, beta = tensors
    convolved = F.conv2d(x, weight, padding=1)
    statistics = (convolved.data.mean((0, 2, 3)), convolved.data.var((0, 2, 3))) if training else arrays[4:6]
    y = F.relu(F.batch_norm(convolved, *(a.copy() for a in arrays[4:6]), gamma, beta, training, eps=EPS))
    y = F.max_pool2d(y, 2) if pool else y
    y.backward(arrays[6])
    return [y.data, *statistics, *(t.grad for t in tensors)]


def both_ways(arrays, training, pool, need_x=True):
    """The output, its statistics, and all gradients."""
    *inputs, mean, var, grad = arrays
    y, statistics, saved = cuda.forward(*inputs, None if training else (mean, var), EPS, SAME, 1, pool)
    return [y, *statistics, *cuda.backward(grad, saved, need_x)]


def assert_all_close(got, want, tolerance):
    """For each array, as a share of its largest number."""
    for one, other in zip(got, want, strict=True):
        if one is not None:  # the gradient that nobody needs
            assert one.shape == other.shape
            assert_close(one, other, tolerance)


def assert_close(got, want, tolerance):
    want = np.asarray(want, np.float64)
    np.testing.assert_allclose(to_numpy(got).astype(np.float64), want, rtol=0, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_float64(gpu, chosen, random, case, training):
    arrays, before = draw(random, case), fallbacks()
    need_x = CASES[case][0][1] > 1  # the first layer's input has a path of its own
    got = both_ways([gpu.asarray(a) for a in arrays], training, CASES[case][2], need_x)
    assert fallbacks() == before
    assert_all_close(got, four_operations(arrays, training, CASES[case][2]), TOLERANCE[chosen])
    assert got[0].dtype == arrays[-1].dtype
    assert [array.dtype for array in got[1:] if array is not None] == ["float32"] * (6 if need_x else 5)


def test_bfloat16_comes_in_and_its_gradient_goes_out(gpu, random):
    with precision.using("bfloat16"):
        arrays = draw(random, "pooled", ml_dtypes.bfloat16)
        got = both_ways([gpu.asarray(a) for a in arrays], True, POOL)
    assert [array.dtype.name for array in got] == ["bfloat16", "float32", "float32", "bfloat16", *["float32"] * 3]
    assert_all_close(got, four_operations(arrays, True, POOL), TOLERANCE["bfloat16"])


@pytest.mark.parametrize("case", ["pooled", "not pooled", "one channel, odd edges, two strips"])
def test_any_order_of_threads_gives_the_same_bits(gpu, emulator, chosen, random, case):
    arrays = [gpu.asarray(a) for a in draw(random, case)]
    results = []
    for one in [EmulatorDriver(order, seed=1) for order in ORDERS] if emulator else [driver.driver()] * 3:
        driver.use(one)
        got = both_ways(arrays, True, CASES[case][2], "one channel" not in case)
        results.append([to_numpy(a) for a in got if a is not None])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", ["pooled", "not pooled, odd channels", *one_channel[:2]])
def test_sums_of_many_blocks_are_those_of_one(gpu, monkeypatch, random, case):
    monkeypatch.setattr(rows, "THREADS", 32)
    monkeypatch.setattr(rows, "SUM_ROWS", 1)
    monkeypatch.setattr(first_layer, "_STRIP", 2)
    arrays = draw(random, case)
    need_x = "one channel" not in case
    want = four_operations(arrays, True, CASES[case][2])
    for blocks in (2, 1000):  # each with several strips, or one
        monkeypatch.setattr(first_layer, "_BLOCKS", blocks)
        got = both_ways([gpu.asarray(a) for a in arrays], True, CASES[case][2], need_x)
        assert_all_close(got, want, TOLERANCE["float32"])


@pytest.mark.parametrize("case", ["pooled", "not pooled", "one channel", "one channel, not pooled"])
def test_without_gradients_nothing_is_kept_and_the_output_is_the_same(gpu, chosen, random, case):
    *arrays, _ = (gpu.asarray(a) for a in draw(random, case))
    with_grad, without = (
        cuda.forward(*arrays[:4], tuple(arrays[4:]), EPS, SAME, 1, CASES[case][2], needs_grad)
        for needs_grad in (True, False)
    )
    assert without[2] is None
    np.testing.assert_array_equal(to_numpy(without[0]), to_numpy(with_grad[0]))


@pytest.mark.parametrize("case", ["pooled", "one channel"])
def test_statistics_keep_their_digits_far_from_zero(gpu, random, case):
    arrays = draw(random, case)
    arrays[0] += 30
    got = both_ways([gpu.asarray(a) for a in arrays], True, POOL, False)
    assert_all_close(got[1:3], four_operations(arrays, True, POOL)[1:3], 1e-5)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("pool", [POOL, None])
def test_nan_is_not_cut_to_zero(gpu, chosen, channels, pool):
    x, weight = np.ones((1, channels, 6, 6), np.float32), np.zeros((8, channels, 3, 3), np.float32)
    x[0, 0, 5, 2], weight[:, :, 1, 1] = np.nan, 1
    one = gpu.asarray(np.ones(8, np.float32))
    y, _, _ = cuda.forward(gpu.asarray(x), gpu.asarray(weight), one, one, (one, one), EPS, SAME, 1, pool)
    lost = np.isnan(to_numpy(y).astype(np.float32))
    # a NaN in an image is one in all windows of 3x3 around it, weight zero or not
    assert lost.sum() == 8 * (4 if pool else 6) - (8 * 2 if pool else 0)
    assert lost.all(axis=1).any()


@pytest.mark.parametrize("channels", [1, 4])
def test_the_first_of_equal_pixels_gets_the_gradient(gpu, chosen, channels):
    x, weight = np.ones((1, channels, 4, 4), np.float32), np.zeros((4, channels, 3, 3), np.float32)
    weight[:, 0, 1, 1] = 1  # the image itself, and all its pixels are equal
    one, zero = (gpu.asarray(np.full(4, value, np.float32)) for value in (1, 0))
    y, _, saved = cuda.forward(gpu.asarray(x), gpu.asarray(weight), one, zero, (zero, one), 0.0, SAME, 1, POOL)
    grad_x = to_numpy(cuda.backward(gpu.ones(y.shape, dtype=y.dtype), saved)[0])
    np.testing.assert_array_equal(np.argwhere(grad_x[0, 0]), [[0, 0], [0, 2], [2, 0], [2, 2]])


def test_the_first_layer_has_a_gradient_of_its_input_too(gpu, chosen, random):
    arrays = draw(random, "one channel")
    got = both_ways([gpu.asarray(a) for a in arrays], True, POOL)
    assert got[3].dtype == "float32"
    assert_all_close(got, four_operations(arrays, True, POOL), TOLERANCE[chosen])


@pytest.mark.parametrize(
    ("dtype", "groups", "pool"),
    [("float32", 2, POOL), ("float32", 1, Windows((2, 1), (2, 1))), ("float64", 1, POOL)],
)
def test_what_is_not_covered_is_array_code(gpu, random, dtype, groups, pool):
    draws = [random.standard_normal(s) for s in [(2, 4, 6, 6), (8, 4 // groups, 3, 3), (8,), (8,)]]
    arrays = [a.astype(dtype) for a in draws]
    before = fallbacks().get("conv_block", 0)
    y, _, saved = cuda.forward(*(gpu.asarray(a) for a in arrays), None, EPS, SAME, groups, pool)
    want, _, exact = im2col.forward(*(a.astype(np.float64) for a in arrays), None, EPS, SAME, groups, pool)
    assert y.dtype == dtype
    assert_close(y, want, 1e-5)
    for one, other in zip(cuda.backward(y, saved), im2col.backward(want, exact), strict=True):
        assert one.dtype == dtype
        assert_close(one, other, 1e-5)
    assert fallbacks()["conv_block"] == before + 2


def test_array_code_gives_the_dtype_of_the_precision(gpu, random):
    x = random.standard_normal((2, 4, 6, 6)).astype(ml_dtypes.bfloat16)
    others = [random.standard_normal(s).astype(np.float32) for s in [(8, 2, 3, 3), (8,), (8,)]]
    with precision.using("bfloat16"):
        y, _, saved = cuda.forward(gpu.asarray(x), *map(gpu.asarray, others), None, EPS, SAME, 2, POOL)
        grads = cuda.backward(y, saved)
    assert [y.dtype.name, *(g.dtype.name for g in grads)] == ["bfloat16", "bfloat16", *["float32"] * 3]


@pytest.mark.parametrize("case", ["pooled", "one channel"])
def test_a_recorded_block_gives_the_same_bits(gpu, chosen, random, case):
    arrays = [gpu.asarray(a) for a in draw(random, case)]
    need_x = case == "pooled"
    eager, recorded = both_ways(arrays, True, POOL, need_x), []
    Recording(lambda: recorded.extend(both_ways(arrays, True, POOL, need_x))).replay()
    for one, other in zip(recorded, eager, strict=True):
        if other is not None:
            np.testing.assert_array_equal(to_numpy(one), to_numpy(other))
