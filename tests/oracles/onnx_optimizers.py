"""ONNX's optimizer nodes run by minicnn: each is one step, from a state that is given."""

import math
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from minicnn import Tensor, optim
from tests.oracles.onnx_cases import Case

Arrays = list[NDArray[Any]]


def adam(case: Case) -> Arrays:
    a, (rate, time) = case.attributes, case.inputs[:2]
    assert time == 0
    # At time 0 ONNX leaves the bias correction out, lr / (1 - beta1) and v / (1 - beta2): undo it
    undo = math.sqrt(1 - a["beta"])
    lr, eps = float(rate) * (1 - a["alpha"]) / undo, a["epsilon"] / undo
    betas, decay = (a["alpha"], a["beta"]), a["norm_coefficient"]
    return _step(case, lambda params: optim.Adam(params, lr, betas, eps, decay), ["first", "second"])


def momentum(case: Case) -> Arrays:
    a, (rate, time) = case.attributes, case.inputs[:2]
    assert time == 0  # later on ONNX scales the gradient by `beta`, which we have no word for
    nesterov = a["mode"] == b"nesterov"
    return _step(
        case,
        lambda params: optim.SGD(params, float(rate), a["alpha"], nesterov, weight_decay=a["norm_coefficient"]),
        ["velocity"],
    )


def adagrad(case: Case) -> Arrays:
    a, rate = case.attributes, float(case.inputs[0])
    return _step(
        case,
        lambda params: optim.Adagrad(params, rate, a["decay_factor"], a["norm_coefficient"], a["epsilon"]),
        ["squares"],
    )


def _step(case: Case, optimizer_of: Callable[[list[Tensor]], optim.Optimizer], state: list[str]) -> Arrays:
    """One step of all parameters at once. ONNX lists R, T, then all parameters, all gradients, and the states."""
    time, arrays = int(case.inputs[1]), case.inputs[2:]
    count = len(arrays) // (2 + len(state))
    params = [Tensor(array.copy()) for array in arrays[:count]]
    names = [f"{name}.{number}" for name in state for number in range(count)]
    optimizer = optimizer_of(params)
    optimizer.load_state_dict(dict(zip(names, arrays[2 * count :], strict=True)), time)
    for parameter, grad in zip(params, arrays[count : 2 * count], strict=True):
        parameter.grad = grad
    optimizer.step()
    after = optimizer.state_dict()
    return [parameter.data for parameter in params] + [after[name] for name in names]
