"""The table of a network's layers: what comes out of each, what it holds and what it costs."""

import numpy as np

from minicnn.device import Array
from minicnn.function import Function, no_grad, op_hook
from minicnn.nn.module import Module, tracers
from minicnn.tensor import Tensor


class _Trace:
    """Follows one forward pass: which Modules ran, what they gave, and the multiply-adds of their operations."""

    def __init__(self) -> None:
        self.running: list[Module] = []
        self.entered: set[Module] = set()
        self.operations: dict[Module, int] = {}
        self.outputs: dict[Module, tuple[int, ...]] = {}

    def enter(self, module: Module) -> None:
        self.running.append(module)
        self.entered.add(module)

    def leave(self, module: Module, output: Tensor) -> None:
        self.running.pop()
        self.outputs.pop(module, None)  # a Module that runs twice is listed where it ran last
        self.outputs[module] = output.shape

    def count(self, function: Function, _phase: str, _seconds: float, output: Array) -> None:
        if self.running:
            module = self.running[-1]
            self.operations[module] = self.operations.get(module, 0) + function.multiply_adds(output)


def summarize(model: Module, input_shape: tuple[int, ...]) -> str:
    """A line for every Module that computes something itself, and the totals."""
    trace = _Trace()
    dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype("float32"))
    tracers.append(trace)
    try:
        with no_grad(), op_hook(trace.count), model.evaluating():
            model(Tensor(np.zeros(input_shape, dtype=dtype)).to(_device(model)))
    finally:
        tracers.remove(trace)
    names = {module: name for name, module in model.named_modules()}
    rows = [
        (names[module], repr(module), str(shape), _parameters(module, trace), trace.operations.get(module, 0))
        for module, shape in trace.outputs.items()
        if module in trace.operations or not any(module.children())
    ]
    return _table(rows, sum(parameter.size for parameter in model.parameters()))


def _device(model: Module) -> str:
    return next((parameter.device for parameter in model.parameters()), "cpu")


def _parameters(module: Module, trace: _Trace) -> int:
    """Those of the Module, and of the Modules in it that never ran by themselves."""
    own = sum(value.size for value in vars(module).values() if isinstance(value, Tensor))
    return own + sum(_parameters(child, trace) for _, child in module.children() if child not in trace.entered)


def _table(rows: list[tuple[str, str, str, int, int]], parameters: int) -> str:
    lines = [("name", "layer", "output", "parameters", "multiply-adds")]
    lines += [(name, layer, shape, f"{count:,}", f"{cost:,}") for name, layer, shape, count, cost in rows]
    lines.append(("total", "", "", f"{parameters:,}", f"{sum(row[4] for row in rows):,}"))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    aligned = [
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, aligned))
    return "\n".join([aligned[0], rule, *aligned[1:-1], rule, aligned[-1]])
