"""Optimizers on a GPU: several parameters a launch, and recorded steps with the numbers of each time."""

import numpy as np
import pytest

from minicnn import Tensor, nn, optim
from minicnn.device import to_numpy
from minicnn.kernels import fallbacks
from minicnn.kernels._gpu import driver
from minicnn.kernels._gpu.recording import Recording
from minicnn.optim import EMA, SGD, Adagrad, Adam, AdamW, Group
from tests.emulator.driver import ORDERS, EmulatorDriver

STEPS = 4
SHAPES = [(3, 5), (7,), (1,), (), (2, 3, 3, 3), (64, 17), (8,), (9, 4), (33,), (2, 2)]
"""More parameters than a launch takes, with sizes that fill vectors or do not."""

MAKE = {
    "sgd": lambda groups: SGD(groups, 0.1),
    "momentum": lambda groups: SGD(groups, 0.1, 0.9),
    "nesterov, decoupled": lambda groups: SGD(groups, 0.1, 0.9, nesterov=True, decoupled=True),
    "adam": lambda groups: Adam(groups, 0.1, (0.8, 0.95), 1e-3),
    "adamw": lambda groups: AdamW(groups, 0.1, (0.8, 0.95), 1e-3),
}
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def draw(dtype="float32"):
    """Values and, for each step, gradients of all parameters."""
    random = np.random.default_rng(0)
    return [[random.standard_normal(shape).astype(dtype) for shape in SHAPES] for _ in range(STEPS + 1)]


def parameters_on(xp, values):
    return [nn.Parameter(xp.array(value)) for value in values]


def in_groups(parameters):
    """Two groups of one weight decay each."""
    return [Group(parameters[:-3], 0.3), Group(parameters[-3:], 0.0)]


def path(xp, make, dtype="float32"):
    """All parameters after the last step, with another learning rate each time."""
    values, *grads = draw(dtype)
    parameters = parameters_on(xp, values)
    optimizer = make(in_groups(parameters))
    for number, step in enumerate(grads):
        optimizer.lr = 0.1 / (number + 1)
        for parameter, grad in zip(parameters, step, strict=True):
            parameter.grad = xp.array(grad)
        optimizer.step()
    return [to_numpy(parameter.data) for parameter in parameters]


@every
def test_all_parameters_move_as_in_float64_on_the_cpu(gpu, make):
    before = fallbacks()
    got = path(gpu, make)
    assert fallbacks() == before
    for one, other in zip(got, path(np, make, "float64"), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


@every
def test_any_order_of_threads_gives_the_same_bits(gpu, emulator, make):
    results = []
    for one in [EmulatorDriver(order, seed=1) for order in ORDERS] if emulator else [driver.driver()] * 3:
        driver.use(one)
        results.append(path(gpu, make))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@every
def test_eight_parameters_take_one_launch(gpu, monkeypatch, make):
    launched = []
    parameters = parameters_on(gpu, draw()[0][:8])
    optimizer = make([Group(parameters, 0.1)])
    for parameter in parameters:
        parameter.grad = parameter.data
    one = driver.driver()
    monkeypatch.setattr(type(one), "launch", lambda self, source, kernel, *_: launched.append(kernel))
    optimizer.step()
    assert launched == ["step"]


@every
def test_memory_that_is_not_aligned_moves_like_any_other(gpu, make):
    values = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    places = []
    for first in (0, 1):
        held = gpu.asarray(np.concatenate([np.zeros(first, np.float32), values]))
        parameter = nn.Parameter(held[first:])
        optimizer = make([Group([parameter], 0.1)])
        for _ in range(2):
            parameter.grad = parameter.data * 2
            optimizer.step()
        places.append(to_numpy(parameter.data))
    np.testing.assert_array_equal(*places)


@pytest.mark.parametrize(("dtype", "order"), [("float64", "C"), ("float32", "F")])
@every
def test_other_dtypes_and_orders_of_memory_are_array_code(gpu, make, dtype, order):
    values, grad, *_ = ([np.asarray(a[5], dtype)] for a in draw())
    ends = []
    for xp in (np, gpu):
        parameter = nn.Parameter(xp.array(values[0], order=order))
        optimizer = make([Group([parameter], 0.1)])
        parameter.grad = xp.array(grad[0])
        optimizer.step()
        ends.append(to_numpy(parameter.data))
    np.testing.assert_allclose(*ends, rtol=1e-5)
    assert sum(fallbacks().values()) > 0


@pytest.mark.parametrize(
    "make", [*MAKE.values(), lambda groups: Adagrad(groups, 0.1, lr_decay=0.5)], ids=[*MAKE, "adagrad"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_recorded_step_has_the_learning_rate_and_the_count_of_each_time(gpu, make, dtype):
    """Bit for bit what the steps themselves give: clipped gradients, moved parameters, averages.

    In float64 Adam's bias corrections are array code, and a GPU's power of the count is not the host's to the last bit.
    """
    values, *grads = draw(dtype)

    def run(recorded):
        parameters = parameters_on(gpu, values)
        held = [gpu.array(grad) for grad in grads[0]]
        model = _Model(parameters)
        optimizer, average = make(in_groups(parameters)), EMA(model, 0.9)

        def step():
            for parameter, grad in zip(parameters, held, strict=True):
                parameter.grad = grad * 1
            if dtype == "float32":  # the norm of others is array code, which cannot be recorded
                optim.clip_grad_norm(parameters, 10.0)
            optimizer.step()
            average.update()

        replay = Recording(step).replay if recorded else step
        for number, some in enumerate(grads):
            optimizer.lr = 0.1 / (number + 1)
            for grad, value in zip(held, some, strict=True):
                grad[...] = gpu.asarray(value)
            replay()
        assert (optimizer.count, average.count) == (STEPS, STEPS)
        return [to_numpy(a) for a in (*(p.data for p in parameters), *average.average.values())]

    for one, other in zip(run(recorded=True), run(recorded=False), strict=True):
        np.testing.assert_allclose(one, other, rtol=0 if dtype == "float32" else 1e-12)


class _Model(nn.Module):
    """Nothing but parameters."""

    def __init__(self, parameters):
        super().__init__()
        for number, parameter in enumerate(parameters):
            setattr(self, f"p{number}", parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x


# Clipping


@pytest.mark.parametrize(("largest", "scale"), [(1.0, 0.2), (5.0, 1.0), (6.0, 1.0)])
def test_clipping_stays_on_the_gpu(gpu, largest, scale):
    parameters = parameters_on(gpu, [np.zeros(2, np.float32)] * 3)
    for parameter, grad in zip(parameters, ([3, 0], None, [0, -4]), strict=True):
        parameter.grad = None if grad is None else gpu.asarray(np.array(grad, np.float32))
    norm = optim.clip_grad_norm(parameters, largest)
    assert norm.shape == ()
    assert to_numpy(norm) == pytest.approx(5)
    np.testing.assert_allclose(to_numpy(parameters[0].grad), [3 * scale, 0], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(parameters[2].grad), [0, -4 * scale], rtol=1e-6)
    assert parameters[2].grad.dtype == np.float32


def test_a_norm_that_is_no_number_leaves_the_gradients(gpu):
    parameter = nn.Parameter(gpu.zeros(2, dtype="float32"))
    parameter.grad = gpu.asarray(np.array([np.nan, 1], np.float32))
    assert np.isnan(to_numpy(optim.clip_grad_norm([parameter], 0.5)))
    np.testing.assert_array_equal(to_numpy(parameter.grad), [np.nan, 1])
