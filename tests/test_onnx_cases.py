"""The forward passes and optimizer steps, against ONNX's own backend test suite (see tests/oracles)."""

from collections import Counter

import numpy as np
import pytest

from minicnn import kernels
from tests.oracles.onnx_adapter import ADAPTERS, not_offered, run
from tests.oracles.onnx_cases import Case, generated_cases, stored_cases

CASES = {
    "onnx": generated_cases(ADAPTERS),
    "pytorch-converted": stored_cases("pytorch-converted", ADAPTERS),
    "pytorch-operator": stored_cases("pytorch-operator", ADAPTERS),
}
LADDERED = {
    "Conv",
    "MaxPool",
    "AveragePool",
    "BatchNormalization",
    "SoftmaxCrossEntropyLoss",
    "Dropout",
    "Momentum",
    "Adam",
}
"""The operators that have more than one kernel."""

MINUTES_AS_LOOPS = {"operator_conv", "MaxPool2d_stride_padding_dilation"}
"""Large cases that the reference kernels are not run on."""

COUNTS_RUN = {
    "onnx": {
        "Adagrad": 2,
        "Adam": 2,
        "Add": 2,
        "AveragePool": 10,
        "BatchNormalization": 4,
        "Concat": 12,
        "Conv": 6,
        "Div": 3,
        "Dropout": 6,
        "Exp": 2,
        "Flatten": 9,
        "Gelu": 2,
        "Gemm": 11,
        "GlobalAveragePool": 2,
        "LeakyRelu": 3,
        "Log": 2,
        "LogSoftmax": 7,
        "MatMul": 4,
        "MaxPool": 9,
        "Momentum": 3,
        "Mul": 3,
        "Neg": 2,
        "NegativeLogLikelihoodLoss": 15,
        "Pad": 3,
        "Pow": 1,
        "ReduceMax": 8,
        "ReduceMean": 8,
        "ReduceSum": 12,
        "Relu": 1,
        "Reshape": 10,
        "Sigmoid": 2,
        "Softmax": 7,
        "SoftmaxCrossEntropyLoss": 28,
        "Sub": 3,
        "Tanh": 2,
        "Transpose": 7,
    },
    "pytorch-converted": {
        "AveragePool": 2,
        "BatchNormalization": 5,
        "Conv": 11,
        "Gemm": 1,
        "LeakyRelu": 2,
        "LogSoftmax": 3,
        "MaxPool": 2,
        "Pad": 2,
        "Relu": 1,
        "Sigmoid": 1,
        "Softmax": 3,
        "Tanh": 1,
    },
    "pytorch-operator": {
        "Add": 4,
        "Concat": 1,
        "Conv": 1,
        "Exp": 1,
        "Flatten": 2,
        "ReduceMean": 2,
        "ReduceSum": 2,
        "Transpose": 1,
    },
}
COUNTS_NOT_OFFERED = {
    "1-D and 3-D images": 37,
    "GELU with the error function": 2,
    "an array of exponents": 8,
    "ceil_mode": 5,
    "integers, booleans, half precision": 35,
    "labels that are no class": 9,
    "matrix products with a vector": 3,
    "padding that repeats the image": 3,
    "random numbers of a dropout from outside": 4,
    "the mask of a dropout that drops nothing": 2,
    "the maximum of nothing": 1,
    "the place of the maximum as an output": 2,
}


def params() -> list[object]:
    """Every case that can be run, on every kernel that serves it."""
    return [
        pytest.param(case, rung, id=f"{suite}-{case.op}-{case.name}-{rung}")
        for suite, cases in CASES.items()
        for case in cases
        if not_offered(case) is None
        for rung in (kernels.CHOICES if case.op in LADDERED else ("fast",))
        if not (rung == "reference" and case.name in MINUTES_AS_LOOPS)
    ]


@pytest.mark.parametrize(("case", "rung"), params())
def test_gives_what_onnx_expects(case: Case, rung: str) -> None:
    with kernels.using(rung):
        outputs = run(case)
    assert len(outputs) == len(case.outputs)
    for output, expected in zip(outputs, case.outputs, strict=True):
        assert (output.shape, output.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(output, expected, rtol=case.rtol, atol=case.atol)


def test_which_cases_are_run_and_which_are_not_is_known_exactly() -> None:
    reasons = {suite: [(case.op, not_offered(case)) for case in cases] for suite, cases in CASES.items()}
    ran = {suite: Counter(op for op, reason in pairs if reason is None) for suite, pairs in reasons.items()}
    left_out = Counter(reason for pairs in reasons.values() for _, reason in pairs if reason is not None)
    for suite, counts in ran.items():
        print(f"{suite}: {counts.total()} cases run:", ", ".join(f"{op} {n}" for op, n in sorted(counts.items())))
    print(f"{left_out.total()} cases not offered:", ", ".join(f"{why} {n}" for why, n in sorted(left_out.items())))
    assert ran == COUNTS_RUN
    assert left_out == COUNTS_NOT_OFFERED
    assert (sum(counts.total() for counts in ran.values()), left_out.total()) == (261, 111)
