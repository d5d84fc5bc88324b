"""The cases of ONNX's own backend test suite, as plain arrays.

Most are made in memory by the pinned `onnx` package, one module an operator; its Python reference code computes
what is expected. Older ones lie in the package as files: PyTorch computed those.
"""

import importlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.case import node as node_suite

FILES = Path(onnx.__file__).parent / "backend" / "test" / "data"
MODULES = {"BatchNormalization": "batch_normalization", "SoftmaxCrossEntropyLoss": "softmax_cross_entropy_loss"}
"""The modules that are not simply their operator in lower case."""


@dataclass(frozen=True)
class Case:
    """One node with its inputs (None for one that is left out) and the outputs that it must give."""

    name: str
    op: str
    opset: int
    attributes: dict[str, Any]
    inputs: tuple[NDArray[Any] | None, ...]
    outputs: tuple[NDArray[Any], ...]
    rtol: float = 1e-3  # the suite's own tolerances
    atol: float = 1e-7

    def input(self, number: int) -> NDArray[Any] | None:
        """An input, or None where it is left out."""
        return self.inputs[number] if number < len(self.inputs) else None


def generated_cases(ops: Iterable[str]) -> list[Case]:
    """The suite's "node" cases of these operators.

    Importing a module makes its cases. Each also comes "expanded" into other operators, with the same arrays; those
    are left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ReduceMax's module divides by zero, on purpose
        for op in ops:
            importlib.import_module(f"{node_suite.__name__}.{MODULES.get(op, op.lower())}")
    wanted = set(ops)
    return [
        _case(made.model.graph.node[0], made.model, made.name, *made.data_sets[0])
        for made in node_suite._NodeTestCases
        if made.model.graph.node[0].op_type in wanted and "_expanded" not in made.name
    ]


def stored_cases(folder: str, ops: Iterable[str]) -> list[Case]:
    """The cases in a folder of files whose model is a single node of one of these operators."""
    wanted = set(ops)
    return [case for path in sorted((FILES / folder).iterdir()) for case in _stored(path) if case.op in wanted]


def _stored(path: Path) -> Iterator[Case]:
    if not (path / "model.onnx").exists():
        return
    model = onnx.load(path / "model.onnx")
    if len(model.graph.node) != 1:
        return
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in given:
            given[value.name] = _array(path, f"input_{len(given) - len(model.graph.initializer)}")
    node = model.graph.node[0]
    outputs = [_array(path, f"output_{number}") for number in range(len(node.output))]
    yield _case(node, model, path.name, [given[name] for name in node.input], outputs)


def _array(path: Path, name: str) -> NDArray[Any]:
    tensor = onnx.TensorProto()
    tensor.ParseFromString((path / "test_data_set_0" / f"{name}.pb").read_bytes())
    return numpy_helper.to_array(tensor)


def _case(node: Any, model: Any, name: str, inputs: Iterable[Any], outputs: Iterable[Any]) -> Case:
    present = iter(inputs)
    return Case(
        name=name.removeprefix("test_"),
        op=node.op_type,
        opset=model.opset_import[0].version,
        attributes={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        inputs=tuple(np.asarray(next(present)) if slot else None for slot in node.input),
        outputs=tuple(map(np.asarray, outputs)),
    )
