"""conv_block: it is the four operations in a row, on every rung, in values, gradients and running statistics."""

import numpy as np
import pytest

from minicnn import Tensor, kernels, no_grad
from minicnn import functional as F
from minicnn.device import module_for
from minicnn.kernels import rungs

OPTIONS = [
    {"padding": 1},
    {"padding": 1, "pool": 2},
    {"pool": (2, 1)},
    {"stride": 2, "padding": (1, 0), "pool": 2},
    {"dilation": 2, "padding": 2, "groups": 2},
]


def four_operations(x, weight, mean, var, gamma, beta, training=False, momentum=0.1, eps=1e-5, pool=None, **options):
    y = F.batch_norm(F.conv2d(x, weight, **options), mean, var, gamma, beta, training, momentum, eps)
    y = F.relu(y)
    return y if pool is None else F.max_pool2d(y, pool)


def block_inputs(random, options, batch=3):
    channels = 4 // options.get("groups", 1)
    return [
        random.normal(size=(batch, 4, 9, 7)),
        random.normal(size=(6, channels, 3, 3)),
        random.normal(size=6),
        random.normal(size=6),
    ]


@pytest.mark.parametrize("rung", rungs("conv_block"))
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_rung_gives_what_the_four_operations_give(use_rung, random, rung, training, options):
    use_rung("conv_block", rung)
    arrays = block_inputs(random, options, batch=2)
    found = []
    for function in (F.conv_block, four_operations):
        x, weight, gamma, beta = tensors = [Tensor(array, requires_grad=True) for array in arrays]
        mean, var = np.linspace(-1, 1, 6), np.linspace(0.5, 2, 6)
        y = function(x, weight, mean, var, gamma, beta, training, 0.3, 0.01, **options)
        y.backward(np.random.default_rng(1).normal(size=y.shape))
        found.append([y.data, *(t.grad for t in tensors), mean, var])
    for got, expected in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rung", rungs("conv_block")[1:])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_every_rung_agrees_with_the_reference(agrees_with_reference, random, rung, training, options, batch):
    mean, var = random.normal(size=6), 0.5 + random.random(6)

    def block(x, weight, gamma, beta):
        statistics = mean.astype(x.dtype), var.astype(x.dtype)
        return F.conv_block(x, weight, *statistics, gamma, beta, training, **options)

    agrees_with_reference("conv_block", rung, block, block_inputs(random, options, batch))


@pytest.mark.parametrize("rung", rungs("conv_block"))
@pytest.mark.parametrize("pool", [None, 2])
def test_nan_is_not_cut_to_zero(use_rung, rung, pool):
    use_rung("conv_block", rung)
    x, one = np.ones((1, 1, 2, 2)), Tensor(np.ones(1))
    x[0, 0, 1, 0] = np.nan
    y = F.conv_block(Tensor(x), Tensor(np.ones((1, 1, 1, 1))), np.zeros(1), np.ones(1), one, one, pool=pool)
    assert np.isnan(y.numpy()).sum() == 1


def test_input_that_needs_no_gradient_gets_none(random):
    x, weight = Tensor(random.normal(size=(2, 1, 4, 4))), Tensor(random.normal(size=(2, 1, 3, 3)), requires_grad=True)
    for training in (True, False):
        F.conv_block(
            x, weight, np.zeros(2), np.ones(2), Tensor(np.ones(2)), Tensor(np.ones(2)), training
        ).sum().backward()
        assert x.grad is None


def test_dtype_is_kept(tensor, dtype, device):
    xp = module_for(device)
    inputs = [tensor(np.ones((2, 1, 4, 4))), tensor(np.ones((2, 1, 3, 3))), tensor([1, 1]), tensor([0.5, 1])]
    x, weight, gamma, beta = inputs
    y = F.conv_block(x, weight, xp.zeros(2, dtype=dtype), xp.ones(2, dtype=dtype), gamma, beta, pool=2)
    y.sum().backward()
    assert [y.dtype, *(t.grad.dtype for t in inputs)] == [dtype] * 5


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        ((2, 3, 8, 8), {}, r"Conv2d\(1→2, k=3\): expected input \(N, 1, H, W\), got \(2, 3, 8, 8\)"),
        ((1, 1, 3, 3), {"training": True}, r"BatchNorm\(2\): expected more than one value a channel to train on"),
        ((2, 1, 3, 3), {"pool": 2}, "ConvBlock: expected an image of at least 2 to pool, got 1x1"),
        ((2, 1, 2, 8), {}, "expected an image of at least one window"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, options, message):
    two = Tensor(np.ones(2))
    with pytest.raises(ValueError, match=message):
        F.conv_block(Tensor(np.ones(x)), Tensor(np.ones((2, 1, 3, 3))), np.zeros(2), np.ones(2), two, two, **options)


def test_a_scale_that_has_not_a_value_a_channel_is_refused():
    x, weight, ones = Tensor(np.ones((1, 2, 4, 4))), Tensor(np.ones((3, 2, 3, 3))), Tensor(np.ones(3))
    with pytest.raises(ValueError, match=r"expected gamma \(3,\), got \(1,\)"):
        F.conv_block(x, weight, np.zeros(3), np.ones(3), Tensor(np.ones(1)), ones)


# What the CPU's fast paths are made for: Winograd's convolution, and images of one channel

FAST_PATHS = [  # batch, channels, height, width, outputs, pool
    (3, 32, 12, 12, 64, 2),
    (2, 32, 7, 9, 32, 2),
    (2, 64, 6, 6, 32, None),
    (5, 1, 12, 14, 32, 2),
    (3, 1, 6, 6, 7, 2),
    (2, 1, 6, 6, 32, None),
]


def run_block(rung, dtype, case, *, training=True, gamma=None, offset=0.0, need_x=True):
    batch, channels, height, width, outputs, pool = case
    random = np.random.default_rng(0)
    x = Tensor((random.normal(size=(batch, channels, height, width)) + offset).astype(dtype), requires_grad=need_x)
    weight = random.normal(size=(outputs, channels, 3, 3)) / (3 * channels**0.5)
    vectors = [random.normal(size=outputs) if gamma is None else np.full(outputs, gamma), random.normal(size=outputs)]
    weight, scale, shift = (Tensor(array.astype(dtype), requires_grad=True) for array in (weight, *vectors))
    mean, var = np.linspace(-1, 1, outputs).astype(dtype), np.linspace(0.5, 2, outputs).astype(dtype)
    with kernels.using(rung):
        y = F.conv_block(x, weight, mean, var, scale, shift, training, padding=1, pool=pool)
        y.backward(np.random.default_rng(1).normal(size=y.shape).astype(dtype))
        with no_grad():
            evaluated = F.conv_block(x, weight, mean, var, scale, shift, False, padding=1, pool=pool)
    grads = [t.grad for t in (x, weight, scale, shift) if t.requires_grad]
    return [y.data, mean, var, evaluated.data, *grads]


@pytest.mark.parametrize("case", FAST_PATHS, ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"training": False}, {"gamma": 0.0}, {"gamma": -2.0}, {"need_x": False}, {"offset": 30.0}],
    ids=str,
)
def test_the_fast_paths_agree_with_array_code_in_float64(case, options):
    found, expected = run_block("fast", "float32", case, **options), run_block("im2col", "float64", case, **options)
    # the offset's share of each sum is lost to rounding, whatever the kernel
    tolerance = 3e-3 if "offset" in options else 2e-5
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(np.abs(want).max(), 1e-2))


def test_consecutive_blocks_pass_channels_last_memory_on(random):
    x = Tensor(random.normal(size=(2, 1, 16, 16)).astype("float32"))
    one = F.conv_block(x, *block_arrays(random, 1, 32), training=True, padding=1, pool=2)
    assert one.data.transpose(0, 2, 3, 1).flags.c_contiguous
    two = F.conv_block(one, *block_arrays(random, 32, 32), training=True, padding=1)
    assert two.shape == (2, 32, 8, 8)


def test_an_input_in_either_memory_order_gives_the_same(random):
    x, arrays = random.normal(size=(2, 32, 8, 8)).astype("float32"), block_arrays(random, 32, 32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    first, second = (F.conv_block(Tensor(array), *arrays, training=True, padding=1) for array in (x, last))
    np.testing.assert_array_equal(first.data, second.data)


def block_arrays(random, channels, outputs):
    weight = Tensor((random.normal(size=(outputs, channels, 3, 3)) / 10).astype("float32"))
    ones, zeros = np.ones(outputs, "float32"), np.zeros(outputs, "float32")
    return weight, zeros.copy(), ones.copy(), Tensor(ones), Tensor(zeros)


@pytest.mark.parametrize("rung", rungs("conv_block"))
def test_a_training_step_between_evaluation_and_its_backward_changes_no_gradient(use_rung, random, rung):
    use_rung("conv_block", rung)
    arrays = [array.astype(np.float32) for array in block_inputs(random, {})]
    gradients = []
    for between in (False, True):
        x, weight, gamma, beta = (Tensor(array, requires_grad=True) for array in arrays)
        mean, var = np.zeros(6, np.float32), np.ones(6, np.float32)
        y = F.conv_block(x, weight, mean, var, gamma, beta)
        if between:
            F.conv_block(x, weight, mean, var, gamma, beta, training=True)
            assert abs(mean).max() > 0
        y.sum().backward()
        gradients.append(x.grad)
    np.testing.assert_array_equal(*gradients)
