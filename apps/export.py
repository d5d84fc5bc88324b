"""A trained network as an ONNX file, which ONNX Runtime, OpenCV and many others run without minicnn.

The file computes what the network computes in evaluation mode: preprocessed `images`, float32 (N, 1, 48, 48), to
`logits`, float32 (N, classes), for any N. Its metadata says the rest as JSON: labels, preprocessing, architecture.
Source of the operators: "ONNX operators", opset 17.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import minicnn
from minicnn import checkpoint, nn
from minicnn.apps.evaluate import weights_of
from minicnn.device import Array, to_numpy
from minicnn.errors import UserError
from minicnn.files import atomic_write
from minicnn.kernels.windows import Pair
from minicnn.nn.batch_norm import BatchNorm

OPSET = 17
"""Old enough for OpenCV 4 and for runtimes on phones; new enough for everything here but GELU, made of its parts."""

_IR_VERSION = 8  # the file format of opset 17: the newest one, which onnx writes by itself, older runtimes refuse
_INPUT, _OUTPUT = "images", "logits"
_IMAGE = (1, 48, 48)
_ABOUT = """images: gray faces, (x / 255 - mean) / std of levels 0 to 255, restored from blur and of the contrast that
the preprocessing says; logits: a score for each label. The metadata has mean, std, contrast, blur and the labels, as
JSON."""


def export_onnx(source: str | Path, path: str | Path) -> dict[str, Any]:
    """Write the best weights of a run folder, or a weights file, as the ONNX file `path`; returns what is in it.

    An old file is replaced when the new one is whole and has been checked. Raises UserError where the weights cannot
    be read, the file cannot be written or the onnx package is missing.
    """
    weights, target = weights_of(source), Path(path)
    _check_target(target, weights)
    network, preprocessing, header = checkpoint.load_model(weights)
    metadata = {
        "labels": header.labels,
        "preprocessing": preprocessing.to_dict(),
        "architecture": header.architecture,
    }
    content = to_onnx(network, metadata)
    try:
        with atomic_write(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from error
    return {
        "onnx": str(target),
        "weights": str(weights),
        "opset": OPSET,
        "bytes": len(content),
        "input": {_INPUT: ["N", *_IMAGE]},
        "output": {_OUTPUT: ["N", len(header.labels)]},
        **metadata,
    }


def to_onnx(network: nn.Module, metadata: Mapping[str, Any]) -> bytes:
    """The content of an ONNX file: `network` in evaluation mode, from `images` to `logits`, in float32.

    `metadata`, of JSON values, needs `labels`, the names of the outputs. Raises UserError for a layer that has no
    translation, for a network that does not take (N, 1, 48, 48) to (N, labels), or where the onnx package is missing.
    """
    onnx = _onnx()
    graph = _Graph()
    # weights are named as in state_dict, below a Sequential: alone, a layer would have no name
    y = graph.add(network if type(network) is nn.Sequential else nn.Sequential(network), "", _INPUT)
    graph.finish(y, len(metadata["labels"]))
    onnx.helper.set_model_props(graph.model, {name: json.dumps(value) for name, value in metadata.items()})
    content: bytes = graph.model.SerializeToString()
    try:
        onnx.checker.check_model(content, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"export: the network does not take (N, 1, 48, 48) to a score a label: {reason}") from error
    return content


class _Graph:
    """The ONNX model so far; what a layer adds to it is named after the layer, as in state_dict."""

    def __init__(self) -> None:
        onnx = _onnx()
        # weights go into the model as they come: onnx.helper.make_graph would copy them, hundreds of megabytes
        self.model = onnx.helper.make_model(
            onnx.GraphProto(name="minicnn"),
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="minicnn",
            producer_version=minicnn.__version__,
            doc_string=_ABOUT,
        )
        self.proto = self.model.graph

    def add(self, layer: nn.Module, name: str, x: str) -> str:
        """Append a layer that reads the value `x`; returns the name of its output."""
        translate = _TRANSLATIONS.get(type(layer))  # not those of its bases: a subclass may compute something else
        if translate is None:
            known = ", ".join(sorted(kind.__name__ for kind in _TRANSLATIONS))
            raise UserError(f"export: layer {name} is {layer!r}, which has no translation to ONNX; known are {known}")
        return translate(self, layer, name, x)

    def node(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Append a node called `name`, as is its output, which is returned."""
        self.proto.node.append(_onnx().helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def weight(self, name: str, array: Array, dtype: str = "<f4") -> str:
        """Store an array, in the byte order of ONNX; returns its name."""
        values = np.asarray(to_numpy(array), dtype)
        kind = _onnx().helper.np_dtype_to_tensor_dtype(values.dtype)
        self.proto.initializer.add(name=name, data_type=kind, dims=values.shape, raw_data=values.tobytes())
        return name

    def finish(self, y: str, classes: int) -> None:
        """Declare the input, and the value `y`, which is the last one, as the output."""
        if y == _INPUT:  # nothing but layers that do nothing
            self.node("Identity", "identity", y)
        self.proto.node[-1].output[0] = _OUTPUT
        onnx = _onnx()
        shapes = ((self.proto.input, _INPUT, ("N", *_IMAGE)), (self.proto.output, _OUTPUT, ("N", classes)))
        for values, name, shape in shapes:  # a size that has a name may be any
            values.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))


# The layers


def _sequential(graph: _Graph, layer: nn.Sequential, name: str, x: str) -> str:
    left = [(f"{name}.{label}".lstrip("."), child) for label, child in layer.children()]
    while left:
        label, child = left.pop(0)
        following = left[0][1] if left else None
        if type(child) is nn.Conv2d and type(following) is nn.BatchNorm2d:
            x = _convolution(graph, child, label, x, following)
            left.pop(0)
        else:
            x = graph.add(child, label, x)
    return x


def _residual(graph: _Graph, layer: nn.Residual, name: str, x: str) -> str:
    y = graph.add(layer.body, f"{name}.body", x)
    way_around = x if layer.shortcut is None else graph.add(layer.shortcut, f"{name}.shortcut", x)
    return graph.node("Add", name, y, way_around)


def _conv_block(graph: _Graph, layer: nn.ConvBlock, name: str, x: str) -> str:
    y = graph.node("Relu", f"{name}.relu", _convolution(graph, layer.conv, f"{name}.conv", x, layer.bn))
    if layer.pool is None:
        return y
    return graph.node("MaxPool", f"{name}.pool", y, kernel_shape=_pair(layer.pool), strides=_pair(layer.pool))


def _convolution(graph: _Graph, layer: nn.Conv2d, name: str, x: str, norm: nn.BatchNorm2d | None = None) -> str:
    """A convolution, with the batch normalization after it folded into its weights.

    In evaluation that is a fixed scale and shift of each channel. Not every runtime folds it by itself, and one that
    does not goes over every image once more. In float64, so that the weights are rounded once.
    """
    weight, bias = layer.weight.data, None if layer.bias is None else layer.bias.data
    if norm is not None:
        gamma, beta, mean, var = (to_numpy(array).astype(np.float64) for array in _statistics(norm).values())
        scale = gamma / np.sqrt(var + norm.eps)
        weight = to_numpy(weight) * scale[:, None, None, None]
        bias = beta - mean * scale + (0 if bias is None else to_numpy(bias) * scale)
    arrays = [graph.weight(f"{name}.weight", weight)]
    if bias is not None:
        arrays.append(graph.weight(f"{name}.bias", bias))
    return graph.node(
        "Conv",
        name,
        x,
        *arrays,
        kernel_shape=layer.weight.shape[2:],
        strides=_pair(layer.stride),
        pads=_pair(layer.padding) * 2,
        dilations=_pair(layer.dilation),
        group=layer.groups,
    )


def _batch_norm(graph: _Graph, layer: BatchNorm, name: str, x: str) -> str:
    """One that follows no convolution."""
    arrays = [graph.weight(f"{name}.{label}", array) for label, array in _statistics(layer).items()]
    return graph.node("BatchNormalization", name, x, *arrays, epsilon=layer.eps)


def _statistics(norm: BatchNorm) -> dict[str, Array]:
    """Scale, shift, mean and variance, in the order of ONNX."""
    state = norm.state_dict()
    return {name: state[name] for name in ("weight", "bias", "running_mean", "running_var")}


def _linear(graph: _Graph, layer: nn.Linear, name: str, x: str) -> str:
    arrays = [graph.weight(f"{name}.weight", layer.weight.data)]
    if layer.bias is not None:
        arrays.append(graph.weight(f"{name}.bias", layer.bias.data))
    return graph.node("Gemm", name, x, *arrays, transB=1)


def _max_pool(graph: _Graph, layer: nn.MaxPool2d, name: str, x: str) -> str:
    return graph.node("MaxPool", name, x, **_window(layer), dilations=_pair(layer.dilation))


def _avg_pool(graph: _Graph, layer: nn.AvgPool2d, name: str, x: str) -> str:
    """Padding that counts is a node of its own: OpenCV never counts a pooling's own padding, whatever the file says."""
    window = _window(layer)
    if layer.count_include_pad and any(window["pads"]):
        pads = graph.weight(f"{name}.pads", np.array((0, 0, *_pair(layer.padding)) * 2), "<i8")
        x = graph.node("Pad", f"{name}.padded", x, pads)
        window["pads"] = (0, 0, 0, 0)
    # said once more for versions of ONNX Runtime that move the padding back into the pooling
    return graph.node("AveragePool", name, x, **window, count_include_pad=int(layer.count_include_pad))


def _global_avg_pool(graph: _Graph, layer: nn.GlobalAvgPool2d, name: str, x: str) -> str:
    return graph.node("Flatten", name, graph.node("GlobalAveragePool", f"{name}.mean", x))  # ONNX's is (N, C, 1, 1)


def _gelu(graph: _Graph, layer: nn.GELU, name: str, x: str) -> str:
    """In parts, since ONNX has Gelu from opset 20 on: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.

    Operands are in the order in which OpenCV looks for them to make one layer of it; in another it crashes (4.14).
    """
    constants = {"cubic": 0.044715, "scale": math.sqrt(2 / math.pi), "one": 1.0, "half": 0.5}
    cubic, scale, one, half = (graph.weight(f"{name}.{label}", np.array(v)) for label, v in constants.items())
    cube = graph.node("Mul", f"{name}.cube", x, graph.node("Mul", f"{name}.square", x, x))
    inner = graph.node("Add", f"{name}.inner", x, graph.node("Mul", f"{name}.small", cubic, cube))
    tanh = graph.node("Tanh", f"{name}.tanh", graph.node("Mul", f"{name}.scaled", scale, inner))
    twice = graph.node("Mul", f"{name}.twice", x, graph.node("Add", f"{name}.gate", one, tanh))
    return graph.node("Mul", name, half, twice)


def _simple(operator: str, attributes: Callable[[Any], dict[str, Any]] = lambda _: {}) -> "_Translation":
    """A layer that is one operator, with attributes that are made of the layer's."""
    return lambda graph, layer, name, x: graph.node(operator, name, x, **attributes(layer))


_Translation = Callable[[_Graph, Any, str, str], str]
_TRANSLATIONS: dict[type[nn.Module], _Translation] = {
    nn.Sequential: _sequential,
    nn.Residual: _residual,
    nn.ConvBlock: _conv_block,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.GlobalAvgPool2d: _global_avg_pool,
    nn.Flatten: _simple("Flatten"),
    nn.Dropout: lambda graph, layer, name, x: x,  # it drops in training only
    nn.ReLU: _simple("Relu"),
    nn.LeakyReLU: _simple("LeakyRelu", lambda layer: {"alpha": layer.negative_slope}),
    nn.RReLU: _simple("LeakyRelu", lambda layer: {"alpha": (layer.lower + layer.upper) / 2}),  # in evaluation
    nn.Sigmoid: _simple("Sigmoid"),
    nn.Tanh: _simple("Tanh"),
    nn.GELU: _gelu,
    nn.Softmax: _simple("Softmax", lambda layer: {"axis": layer.axis}),
    nn.LogSoftmax: _simple("LogSoftmax", lambda layer: {"axis": layer.axis}),
}


def _window(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    """The attributes that poolings share; without a stride, windows lie side by side."""
    return {
        "kernel_shape": _pair(layer.kernel_size),
        "strides": _pair(layer.kernel_size if layer.stride is None else layer.stride),
        "pads": _pair(layer.padding) * 2,  # before each axis, then after each
    }


def _pair(size: int | Pair) -> Pair:
    return (size, size) if isinstance(size, int) else size


def _check_target(target: Path, weights: Path) -> None:
    """Refuse early, before the work, and what must not be replaced."""
    if not target.parent.is_dir():
        raise UserError(f"{target}: there is no folder {target.parent} to write it into: make it first")
    if target.exists() and not target.is_file():
        raise UserError(f"{target}: expected the name of a file to write, that is none")
    if target.exists() and weights.exists() and target.samefile(weights):
        raise UserError(f"{target}: these are the weights to export: give the ONNX file another name")


def _onnx() -> Any:
    """The onnx package, which only the export needs."""
    try:
        import onnx
    except ImportError as error:
        raise UserError("export to ONNX needs the onnx package: pip install onnx") from error
    return onnx
