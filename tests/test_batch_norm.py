"""batch_norm: the formula, the running statistics, and every rung against the loops."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F
from minicnn.device import module_for, to_numpy
from minicnn.kernels import rungs

COLUMN = [[1.0], [3.0], [8.0]]  # mean 4, biased variance 26/3, unbiased 13


@pytest.fixture
def running(device, dtype):
    """Running mean and variance of one channel, as they are at the start."""
    xp = module_for(device)
    return xp.zeros(1, dtype=dtype), xp.ones(1, dtype=dtype)


@pytest.fixture
def scale_and_shift(tensor):
    return tensor([2.0]), tensor([10.0])


def test_training_normalizes_by_the_biased_variance_of_the_batch(tensor, running, scale_and_shift):
    y = F.batch_norm(tensor(COLUMN), *running, *scale_and_shift, training=True, eps=0.5)
    expected = 10 + 2 * (np.array(COLUMN) - 4) / np.sqrt(26 / 3 + 0.5)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)


def test_training_moves_running_statistics_by_momentum_to_the_unbiased_variance(tensor, running, scale_and_shift):
    F.batch_norm(tensor(COLUMN), *running, *scale_and_shift, training=True, momentum=0.25)
    mean, var = map(to_numpy, running)
    np.testing.assert_allclose([mean[0], var[0]], [0.75 * 0 + 0.25 * 4, 0.75 * 1 + 0.25 * 13], rtol=1e-6)


def test_evaluation_uses_the_running_statistics(tensor, running, scale_and_shift):
    mean, var = running
    mean += 3
    var += 8
    y = F.batch_norm(tensor(COLUMN), mean, var, *scale_and_shift, eps=0.0)
    np.testing.assert_allclose(y.numpy(), 10 + 2 * (np.array(COLUMN) - 3) / 3, rtol=1e-6)


def test_evaluation_leaves_the_running_statistics_alone(tensor, running, scale_and_shift):
    F.batch_norm(tensor(COLUMN), *running, *scale_and_shift)
    assert [float(array[0]) for array in running] == [0.0, 1.0]


def test_images_are_normalized_over_batch_and_pixels(tensor, device, dtype, random):
    values, xp = random.normal(3, 5, (4, 2, 3, 5)), module_for(device)
    statistics = xp.zeros(2, dtype=dtype), xp.ones(2, dtype=dtype)
    y = F.batch_norm(tensor(values), *statistics, tensor([1, 1]), tensor([0, 0]), training=True).numpy()
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(256, 1), (16, 1, 16)])
def test_a_mean_far_from_zero_costs_no_digits(shape):
    x = (1000 + np.random.default_rng(0).normal(size=shape)).astype("float32")
    one, zero = Tensor(np.ones(1, "float32")), Tensor(np.zeros(1, "float32"))
    y = F.batch_norm(Tensor(x), np.zeros(1, "float32"), np.ones(1, "float32"), one, zero, training=True)
    expected = (x - x.mean(dtype="float64")) / x.std(dtype="float64")
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-3)  # float32 keeps 1000 to 6e-5


def test_an_empty_batch_stays_empty_in_evaluation(tensor, running, scale_and_shift):
    assert F.batch_norm(tensor(np.zeros((0, len(running[0])))), *running, *scale_and_shift).shape[0] == 0


def test_dtype_is_kept(tensor, dtype, running, scale_and_shift):
    x, (weight, bias) = tensor(COLUMN), scale_and_shift
    y = F.batch_norm(x, *running, weight, bias, training=True)
    y.sum().backward()
    found = [y, x.grad, weight.grad, bias.grad, *running]
    assert [array.dtype for array in found] == [dtype] * 6


def test_any_memory_layout_gives_the_same(random):
    x, weight, bias = random.normal(size=(3, 2, 4, 5)), Tensor(np.ones(2)), Tensor(np.zeros(2))
    expected, got = (
        F.batch_norm(Tensor(array), np.zeros(2), np.ones(2), weight, bias, training=True).numpy()
        for array in (x, np.asfortranarray(x))
    )
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def training_both_ways(x):
    """Output, running statistics and gradients."""
    channels, grad = x.shape[1], np.random.default_rng(1).normal(size=x.shape).astype(x.dtype)
    inputs, weight, bias = (Tensor(a, requires_grad=True) for a in (x, *np.ones((2, channels), x.dtype)))
    mean, var = np.zeros(channels, x.dtype), np.ones(channels, x.dtype)
    y = F.batch_norm(inputs, mean, var, weight, bias, training=True)
    y.backward(grad)
    return y.data, mean, var, inputs.grad, weight.grad, bias.grad


@pytest.mark.parametrize("shape", [(3, 5, 6, 20), (2, 100, 100, 4), (5, 1, 1, 7)], ids=str)
def test_channels_last_in_memory_give_the_same_and_stay_last(random, shape):
    x = random.normal(1, 2, shape).astype("float32").transpose(0, 3, 1, 2)
    got, expected = training_both_ways(x), training_both_ways(np.ascontiguousarray(x))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())
    assert got[0].transpose(0, 2, 3, 1).flags.c_contiguous
    assert expected[0].flags.c_contiguous


@pytest.mark.parametrize("last", [False, True])
def test_any_number_of_threads_gives_the_same(any_number_of_threads, random, last):
    x = random.normal(1, 2, (9, 100, 100, 4) if last else (9, 4, 100, 100)).astype("float32")
    any_number_of_threads(lambda: training_both_ways(x.transpose(0, 3, 1, 2) if last else x))


@pytest.mark.parametrize("rung", rungs("batch_norm")[1:])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (1, 2, 7), (3, 2, 5, 3), (1, 1, 2, 2)])
def test_every_rung_agrees_with_the_reference(agrees_with_reference, random, rung, training, shape):
    channels = shape[1]
    mean, var = random.normal(size=channels), 0.5 + random.random(channels)

    def normalize(x, weight, bias):
        return F.batch_norm(x, mean.astype(x.dtype), var.astype(x.dtype), weight, bias, training)

    inputs = [random.normal(1, 2, shape), random.normal(size=channels), random.normal(size=channels)]
    agrees_with_reference("batch_norm", rung, normalize, inputs)


@pytest.mark.parametrize("rung", rungs("batch_norm"))
def test_running_statistics_are_the_same_on_every_rung(use_rung, random, rung, dtype):
    use_rung("batch_norm", rung)
    x, one, zero = random.normal(2, 3, (4, 2, 5)).astype(dtype), np.ones(2, dtype), np.zeros(2, dtype)
    mean, var, rtol = zero.copy(), one.copy(), {"float32": 1e-6, "float64": 1e-10}[dtype]
    F.batch_norm(Tensor(x), mean, var, Tensor(one), Tensor(zero), training=True)
    np.testing.assert_allclose(mean, 0.1 * x.mean((0, 2)), rtol=rtol)
    np.testing.assert_allclose(var, 0.9 + 0.1 * x.var((0, 2), ddof=1), rtol=rtol)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3, 2, 2), r"BatchNorm\(2\): expected input \(N, 2, ...\), got \(4, 3, 2, 2\)"),
        ((4,), r"BatchNorm\(2\): expected input \(N, 2, ...\), got \(4,\)"),
        ((1, 2), r"expected more than one value a channel to train on, got \(1, 2\): use a larger batch, or eval"),
        ((1, 2, 1, 1), "expected more than one value a channel to train on"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        F.batch_norm(
            Tensor(np.ones(shape)), np.zeros(2), np.ones(2), Tensor(np.ones(2)), Tensor(np.ones(2)), training=True
        )


@pytest.mark.parametrize("name", ["bias", "running_mean", "running_var"])
def test_a_vector_that_has_not_a_value_a_channel_is_refused(name):
    vectors = {"running_mean": np.zeros(2), "running_var": np.ones(2), "bias": np.zeros(2)} | {name: np.ones(1)}
    bias = Tensor(vectors.pop("bias"))
    with pytest.raises(ValueError, match=rf"BatchNorm\(2\): expected {name} \(2,\), got \(1,\)"):
        F.batch_norm(Tensor(np.ones((4, 2))), **vectors, weight=Tensor(np.ones(2)), bias=bias)


@pytest.mark.parametrize("rung", rungs("batch_norm"))
def test_evaluation_takes_an_empty_batch_both_ways(use_rung, rung, dtype):
    use_rung("batch_norm", rung)
    one, zero, empty = np.ones(2, dtype), np.zeros(2, dtype), np.zeros((0, 2, 3), dtype)
    weight = Tensor(one, requires_grad=True)
    F.batch_norm(Tensor(empty), zero, one, weight, Tensor(zero)).backward(empty)
    np.testing.assert_array_equal(weight.grad, [0, 0])


def test_a_training_step_between_evaluation_and_its_backward_changes_no_gradient(tensor, running, scale_and_shift):
    x = tensor(COLUMN)
    y = F.batch_norm(x, *running, *scale_and_shift, eps=0)
    F.batch_norm(tensor(COLUMN), *running, *scale_and_shift, training=True)
    y.sum().backward()
    np.testing.assert_allclose(to_numpy(x.grad), np.full((3, 1), 2.0), rtol=1e-6)
