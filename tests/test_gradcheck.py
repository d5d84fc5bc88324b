"""The gradient checker: what it accepts, what it refuses to judge, and that every operation and layer passes it.

That it rejects what is wrong is in test_wrong_backwards.py.
"""

import subprocess
import sys

import numpy as np
import pytest

from minicnn import Function, Tensor, kernels, nn, rng
from minicnn import functional as F
from minicnn.apps import gradcheck as app
from minicnn.apps.gradcheck import CASES, Case
from minicnn.gradcheck import GradientError, gradcheck

BY_NAME = {case.name: case for case in CASES}
CHECKED = {name.split(":")[0] for name in BY_NAME}
ON_LADDERS = [name for name in BY_NAME if name.split(":")[0] in kernels.LADDERS]


class Double(Function):
    """2 x, with a backward that is off by `error` at the last element."""

    def __init__(self, error=0.0):
        self.error = error

    def forward(self, x):
        return 2 * x

    def backward(self, grad):
        gradient = 2 * grad
        gradient[..., -1] += self.error
        return gradient


class Absolute(Function):
    """|x|, whose derivative at 0 is said to be 0, as the central difference says."""

    def forward(self, x):
        self.save(sign=np.sign(x))
        return abs(x)

    def backward(self, grad):
        return grad * self.saved.sign


def double(error=0.0):
    return lambda x: Double(error)(x)


def normal(*shape, requires_grad=True):
    return Tensor(np.random.default_rng(0).normal(size=shape), requires_grad)


# Every operation and layer


@pytest.mark.parametrize("name", BY_NAME)
def test_gradients_are_right(name, device):
    BY_NAME[name].check(device)


@pytest.mark.parametrize("name", ON_LADDERS)
@pytest.mark.parametrize("rung", kernels.CHOICES)
def test_gradients_are_right_on_every_rung(name, rung):
    with kernels.using(rung):
        BY_NAME[name].check()


def test_every_public_operation_has_a_case():
    assert set(F.__all__) - CHECKED == set()


def test_every_layer_has_a_case():
    assert {f"nn.{name}" for name in nn.__all__} - {"nn.Module", "nn.Parameter"} - CHECKED == set()


def test_names_of_cases_are_unique():
    assert len(BY_NAME) == len(CASES)


def test_200_seeds_raise_no_false_alarm():
    cheap = [case for name, case in BY_NAME.items() if not name.startswith(("nn.", "conv"))]
    for seed in range(200):
        cheap[seed % len(cheap)].check(seed=seed)


# What is checked


def test_a_constant_needs_no_gradient():
    gradcheck(F.mul, [normal(3), normal(3, requires_grad=False)])


def test_parameters_that_the_function_is_not_given_are_checked():
    weight = normal(4, 3)
    gradcheck(lambda x: F.linear(x, double()(weight)), [normal(2, 3)], parameters=[weight])
    with pytest.raises(GradientError, match=r"parameter 0 +4 of 12"):
        gradcheck(lambda x: F.linear(x, double(0.1)(weight)), [normal(2, 3)], parameters=[weight])


def test_parameters_can_do_without_inputs():
    weight = normal(3)
    gradcheck(lambda: weight * weight, [], parameters=[weight])


def test_a_parameter_that_is_given_twice_is_one():
    weight = normal(3)
    gradcheck(lambda: weight * weight, [], parameters=[weight, weight])


def test_parameters_keep_their_arrays_and_gradients():
    weight = normal(3)
    weight.grad = np.ones(3)
    data, grad, values = weight.data, weight.grad, weight.data.copy()
    gradcheck(lambda x: x * weight, [normal(3)], parameters=[weight])
    assert weight.data is data
    assert weight.grad is grad
    np.testing.assert_array_equal(data, values)
    np.testing.assert_array_equal(grad, 1)


def test_inputs_keep_their_arrays_and_gradients():
    x = normal(3)
    values = x.data.copy()
    gradcheck(F.exp, [x])
    np.testing.assert_array_equal(x.data, values)
    assert x.grad is None


def test_tolerance_and_step_are_the_caller_s():
    with pytest.raises(GradientError, match="promise a slope"):
        gradcheck(double(1e-3), [normal(4)])
    gradcheck(double(1e-3), [normal(4)], atol=1e-2, eps=1e-3)


def test_full_compares_every_element_also_where_the_direction_sees_too_little():
    x = normal(100)
    gradcheck(double(5e-5), [x], atol=1e-5)  # about a tenth of it is seen along one direction of a hundred
    with pytest.raises(GradientError, match=r"input 0 +1 of 100  \(99,\)"):
        gradcheck(double(5e-5), [x], atol=1e-5, full=True)


def test_full_accepts_what_is_right():
    gradcheck(F.matmul, [normal(2, 3), normal(3, 4)], full=True)


def test_table_names_the_worst_element_of_every_tensor():
    with pytest.raises(GradientError) as error:
        gradcheck(lambda a, b: F.add(double(0.5)(a), b), [normal(2, 3), normal(2, 3)])
    _, heading, *rows = str(error.value).splitlines()
    assert heading.split() == ["wrong", "worst", "index", "analytic", "numeric"]
    name, _, wrong, _, size, *index, analytic, numeric = rows[0].split()
    assert (name, wrong, size, index) in [("input", "2", "6", ["(0,", "2)"]), ("input", "2", "6", ["(1,", "2)"])]
    assert float(analytic) == pytest.approx(float(numeric) + 0.5)
    assert rows[1].split()[:5] == ["input", "1", "0", "of", "6"]


# What it refuses to judge


def test_float32_is_refused():
    with pytest.raises(TypeError, match="input 1: expected float64, got float32"):
        gradcheck(F.add, [normal(2), Tensor(np.ones(2, "float32"), True)])
    with pytest.raises(TypeError, match="parameter 0: expected float64, got float32"):
        gradcheck(F.exp, [normal(2)], parameters=[Tensor(np.ones(2, "float32"), True)])


def test_nothing_that_requires_a_gradient_is_refused():
    with pytest.raises(ValueError, match="expected an input or a parameter with requires_grad=True, got none"):
        gradcheck(F.exp, [normal(2, requires_grad=False)])


@pytest.mark.parametrize(
    ("function", "point"),
    [
        (F.relu, [0.0, 1.0, -1.0]),
        (lambda x: Absolute()(x), [0.0, 1.0, -1.0]),
        (lambda x: F.max_pool2d(x.reshape(1, 1, 2, 2), 2), [3.0, 3.0, 1.0, 2.0]),
        (F.max, [2.0, 5.0, 5.0]),
    ],
    ids=["relu at 0", "absolute value at 0", "max_pool2d with equal pixels", "max of equals"],
)
def test_a_kink_is_refused(function, point):
    with pytest.raises(GradientError, match="input sits on a kink"):
        gradcheck(function, [Tensor(np.array(point), requires_grad=True)])


@pytest.mark.parametrize("distance", [0.0, 1e-6, 1e-5 / 3, 5e-6, 9e-6])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_kink_within_the_step_is_refused_wherever_it_lies(distance, side):
    with pytest.raises(GradientError, match="input sits on a kink"):
        gradcheck(F.relu, [Tensor(np.array([side * distance]), requires_grad=True)])


def test_a_kink_beyond_the_step_is_none():
    gradcheck(F.relu, [Tensor(np.array([1.1e-5, -1.1e-5]), requires_grad=True)])


@pytest.mark.parametrize(
    ("function", "x"),
    [(F.exp, 8.0), (F.log, 0.02), (lambda x: x**9, 3.0), (lambda x: 1 / x, 0.05), (lambda x: F.tanh(50 * x), 0.01)],
    ids=["exp", "log", "power", "reciprocal", "steep tanh"],
)
def test_a_steep_and_curved_function_is_not_taken_for_a_kink(function, x):
    gradcheck(function, [Tensor(np.array([x, 1.1 * x]), requires_grad=True)])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_point_without_a_value_or_a_slope_is_refused():
    for x in (-1.0, 0.0):
        with pytest.raises(GradientError, match="the output is not finite"):
            gradcheck(F.log, [Tensor(np.array([x, 1.0]), requires_grad=True)])
    with pytest.raises(GradientError, match="the gradient of input 0 is not finite"):
        gradcheck(lambda x: x**0.5, [Tensor(np.array([0.0, 1.0]), requires_grad=True)])


# What it leaves as it was


@pytest.mark.parametrize("function", [F.dropout, lambda x: F.rrelu(x, training=True)], ids=["dropout", "rrelu"])
def test_random_functions_draw_the_same_numbers_every_time_and_the_generator_stays(function):
    state = rng.get_state()
    gradcheck(function, [normal(5, 6)])
    assert rng.get_state() == state


def test_generator_stays_also_when_the_gradient_is_wrong():
    state = rng.get_state()
    with pytest.raises(GradientError):
        gradcheck(lambda x: double(0.1)(F.dropout(x)), [normal(5, 6)])
    assert rng.get_state() == state


def test_running_statistics_that_move_do_not_disturb():
    mean, var = np.zeros(3), np.ones(3)
    gradcheck(lambda x, w, b: F.batch_norm(x, mean, var, w, b, training=True), [normal(5, 3), normal(3), normal(3)])
    assert mean.any()


def test_it_needs_numpy_alone():
    code = (
        "import sys, minicnn.gradcheck\n"
        "print({name.split('.')[0] for name in sys.modules} & {'scipy', 'pandas', 'cv2', 'cupy', 'matplotlib'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# The program: minicnn gradcheck


def test_run_tells_of_every_case_and_goes_on_after_a_failure(monkeypatch):
    def breaks_down(x):
        raise NotImplementedError("no such kernel")

    def inputs(random):
        return [random.normal(size=3)]

    cases = [Case("wrong", double(1.0), inputs), Case("broken", breaks_down, inputs), Case("right", F.exp, inputs)]
    monkeypatch.setattr(app, "CASES", cases)
    results = app.run()
    assert [(result.name, result.passed) for result in results] == [
        ("wrong", False),
        ("broken", False),
        ("right", True),
    ]
    assert "promise a slope" in results[0].message
    assert results[1].message == "NotImplementedError: no such kernel"
    assert results[2].message == ""
    assert all(result.seconds > 0 for result in results)


def test_run_refuses_an_unknown_device():
    with pytest.raises(ValueError, match='expected device "cpu" or "gpu", got \'tpu\''):
        app.run("tpu")


def test_a_function_that_returns_no_tensor_is_refused():
    with pytest.raises(TypeError, match="expected a function that returns a Tensor, got a ndarray"):
        gradcheck(lambda x: x.data, [Tensor(np.ones(2), requires_grad=True)])
