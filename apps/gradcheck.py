"""Check the gradients of every operation and every layer, in all their options: `minicnn gradcheck`."""

import time
from typing import NamedTuple

from minicnn.apps.gradcheck_cases import CASES, Case
from minicnn.device import as_device, module_for

__all__ = ["CASES", "Case", "Result", "run"]


class Result(NamedTuple):
    """What became of a case; `message` says what is wrong, and is empty where it passed."""

    name: str
    passed: bool
    seconds: float
    message: str


def run(device: str = "cpu") -> list[Result]:
    """Check all cases on "cpu" or "gpu"; raises DeviceError where there is no GPU."""
    module_for(as_device(device))
    return [_result(case, device) for case in CASES]


def _result(case: Case, device: str) -> Result:
    started, message = time.perf_counter(), ""
    try:
        case.check(device)
    except Exception as error:  # an operation that breaks down is a finding as well, and the others still count
        message = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    return Result(case.name, not message, time.perf_counter() - started, message)
