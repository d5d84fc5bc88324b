"""conv_block: it is the four operations in a row, on every rung, in values, gradients and running statistics."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F
from minicnn.device import module_for
from minicnn.kernels import LADDERS

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


@pytest.mark.parametrize("rung", LADDERS["conv_block"])
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


@pytest.mark.parametrize("rung", LADDERS["conv_block"][1:])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_every_rung_agrees_with_the_reference(agrees_with_reference, random, rung, training, options, batch):
    mean, var = random.normal(size=6), 0.5 + random.random(6)

    def block(x, weight, gamma, beta):
        statistics = mean.astype(x.dtype), var.astype(x.dtype)
        return F.conv_block(x, weight, *statistics, gamma, beta, training, **options)

    agrees_with_reference("conv_block", rung, block, block_inputs(random, options, batch))


@pytest.mark.parametrize("rung", LADDERS["conv_block"])
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
