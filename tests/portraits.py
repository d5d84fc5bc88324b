"""What the tests of faces share: photographs from scikit-image, small networks, and an ONNX file that acts as YuNet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from minicnn import models
from minicnn.apps.faces import Box
from minicnn.checkpoint import Header, save_weights
from minicnn.data.dataset import CLASSES
from minicnn.data.preprocessing import Preprocessing

Pixels = NDArray[np.uint8]

FACE = Box(177, 66, 95, 95)
"""Where the astronaut's face is, give or take a few pixels."""


def astronaut() -> Pixels:
    """Eileen Collins, a NASA photograph in the public domain: (512, 512, 3) BGR."""
    picture: Pixels = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    return picture


def framed(picture: NDArray[Any], side: int = 100) -> Pixels:
    """A picture of lfw_subset, 25x25 grey levels from 0 to 1, enlarged and on a grey ground."""
    larger = cv2.resize((picture * 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    edges: Pixels = cv2.copyMakeBorder(larger, *[side] * 4, cv2.BORDER_CONSTANT, value=128)
    return edges


def near(found: Box, expected: Box, pixels: float = 8) -> bool:
    """Whether two boxes differ by no more than so many pixels in place and size."""
    return all(abs(a - b) <= pixels for a, b in zip(found, expected, strict=True))


def write_network(path: Path, layers: int = 2, classes: Sequence[str] = CLASSES) -> Path:
    """A weights file of a network with random weights."""
    header = Header(
        architecture={"layers": layers, "preset": "default", "classes": len(classes)},
        labels=list(classes),
        preprocessing=Preprocessing(0.5, 0.25).to_dict(),
    )
    save_weights(path, models.build(layers, classes=len(classes)).state_dict(), header)
    return path


def write_blob_finder(path: Path) -> Path:
    """A network with YuNet's outputs: in the middle of every white cell of 32x32 pixels it sees a face of 16x16."""
    nodes, outputs = [], []
    constants: dict[str, Any] = {
        "grey": np.full((1, 3, 1, 1), 1 / (3 * 255), np.float32),
        "nothing": np.zeros(1, np.float32),
        "row": np.array([1, -1, 1], np.int64),
    }
    for name, width, middle in (("bbox", 4, [0.5, 0.5, *np.log([0.5, 0.5])]), ("kps", 10, [0] * 10)):
        constants[f"{name}_weight"] = np.zeros((width, 1, 1, 1), np.float32)
        constants[f"{name}_bias"] = np.array(middle, np.float32)
        constants[f"{name}_row"] = np.array([1, -1, width], np.int64)
    side = {"kernel_shape": [1, 1]}  # which OpenCV 4.10 does not take from the weights
    nodes.append(helper.make_node("Conv", ["input", "grey"], ["level"], **side))
    for stride in (8, 16, 32):
        cells, score, grid = f"cells_{stride}", f"score_{stride}", (640 // stride) ** 2
        nodes.append(
            helper.make_node("AveragePool", ["level"], [cells], kernel_shape=[stride, stride], strides=[stride, stride])
        )
        seen = cells
        if stride != 32:  # the finer grids see nothing
            seen = f"blind_{stride}"
            nodes.append(helper.make_node("Mul", [cells, "nothing"], [seen]))
        nodes.append(helper.make_node("Reshape", [seen, "row"], [score]))
        for name in ("cls", "obj"):
            nodes.append(helper.make_node("Identity", [score], [f"{name}_{stride}"]))
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, [1, grid, 1]))
        for name, width in (("bbox", 4), ("kps", 10)):
            wide, last = f"{name}_wide_{stride}", f"{name}_last_{stride}"
            nodes.append(helper.make_node("Conv", [cells, f"{name}_weight", f"{name}_bias"], [wide], **side))
            nodes.append(helper.make_node("Transpose", [wide], [last], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [last, f"{name}_row"], [f"{name}_{stride}"]))
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, [1, grid, width]))
    graph = helper.make_graph(
        nodes,
        "blobs",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
