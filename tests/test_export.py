"""`minicnn export`: ONNX Runtime and OpenCV compute from the file what minicnn does, and the file says how to ask."""

import copy
import json
import os
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from minicnn import Tensor, checkpoint, functional, inference, models, nn, no_grad
from minicnn.apps.export import to_onnx
from minicnn.data.dataset import CLASSES
from minicnn.data.preprocessing import CONTRASTS, Preprocessing
from minicnn.data.synthetic import draw_faces
from minicnn.errors import UserError
from minicnn.pretrained import default_weights
from tests import torch_standin
from tests.programs import ROOT, minicnn

TOLERANCE = 1e-5
"""How far a runtime may be from minicnn, as a share of the largest logit.

Seen: up to 8e-6, most of it from Winograd convolutions, ours and OpenCV's; without them 2e-6.
"""

LABELS = {"labels": ["a", "b", "c"]}
ARCHITECTURE = {"layers": 2, "preset": "default", "classes": 7}
PREPROCESSING = Preprocessing(mean=0.4, std=0.3, contrast="equalize")
Floats = NDArray[np.float32]


def faces(n: int) -> Floats:
    """Drawn ones, in light that is not evened out: their mean levels differ."""
    return Preprocessing(mean=0.5, std=0.2)(draw_faces(n, (0,))[0])


def trained(network: nn.Module) -> nn.Module:
    """As if it had been trained: nothing is what it starts at, and signals go through at full strength.

    As they start, four dense layers in a row give biases, whatever the image.
    """
    random = np.random.default_rng(2)
    for name, array in network.state_dict().items():
        if array.ndim > 1:
            random.standard_normal(dtype=np.float32, out=array)
            array *= (2 / array[0].size) ** 0.5
        else:
            positive = name.endswith(("weight", "running_var"))
            array[...] = random.uniform(0.4, 2, array.shape) if positive else random.normal(0, 0.3, array.shape)
    return network.eval()


def by_minicnn(network: nn.Module, images: Floats) -> Floats:
    with no_grad():
        logits: Floats = network(Tensor(images)).numpy()
    return logits


def by_onnxruntime(content: bytes, images: Floats) -> Floats:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images})
    return np.asarray(logits)


def by_opencv(content: bytes, images: Floats) -> Floats:
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    network.setInput(images, "images")
    return np.asarray(network.forward("logits"))


def assert_agrees(logits: Floats, expected: Floats) -> None:
    assert logits.shape == expected.shape
    assert np.ptp(expected, axis=0).max() > 0.02 * np.abs(expected).max()  # the images make a difference
    np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


# Every preset and depth


class Exported(NamedTuple):
    """A network, its file's content, and what it makes of two faces."""

    content: bytes
    images: Floats
    logits: Floats


@pytest.fixture(
    scope="module",
    params=[(preset, layers) for preset in models.PRESETS for layers in models.DEPTHS],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def exported(request: pytest.FixtureRequest) -> Exported:
    preset, layers = request.param
    with pytest.MonkeyPatch.context() as patch:
        for draw in ("uniform", "normal", "kaiming_normal"):  # `trained` draws again; all large weights cost seconds
            patch.setattr(nn.init, draw, lambda *_: None)
        network, images = models.build(layers, preset, classes=3), faces(2)
    trained(network)
    return Exported(to_onnx(network, LABELS), images, by_minicnn(network, images))


def test_onnxruntime_gives_minicnns_logits_for_every_preset_and_depth(exported: Exported) -> None:
    assert_agrees(by_onnxruntime(exported.content, exported.images), exported.logits)


def test_opencv_gives_minicnns_logits_for_every_preset_and_depth(exported: Exported) -> None:
    assert_agrees(by_opencv(exported.content, exported.images), exported.logits)


@pytest.mark.parametrize("run", [by_onnxruntime, by_opencv])
def test_the_network_in_the_package_answers_the_same(run: Any) -> None:
    network, preprocessing, _ = checkpoint.load_model(default_weights())
    images = preprocessing(draw_faces(20, (3,))[0])
    assert_agrees(run(to_onnx(network, {"labels": list(CLASSES)}), images), by_minicnn(network, images))


# Its weights in PyTorch


def test_the_code_of_the_how_to_gives_pytorch_the_network_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for PyTorch, which is not among the dependencies; with the real one it gave the same."""
    for name, module in torch_standin.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    page = (ROOT / "docs" / "how-to" / "export.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```python\n(from collections.*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(default_weights().parent)
    names: dict[str, Any] = {}
    exec(snippet.replace("best.safetensors", default_weights().name), names)
    network, preprocessing, _ = checkpoint.load_model(default_weights())
    images = preprocessing(draw_faces(3, (3,))[0])
    assert_agrees(names["network"](images), by_minicnn(network, images))


# Every layer

HEAD = (nn.GlobalAvgPool2d(), nn.Linear(4, 3))
LAYERS: dict[str, nn.Module] = {
    "Conv2d of odd sizes": nn.Conv2d(1, 4, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    "Conv2d in groups without bias": nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3, groups=2, bias=False)),
    "BatchNorm2d after Conv2d": nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, eps=0.1)),
    "BatchNorm2d after Conv2d without bias": nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4)),
    "BatchNorm2d by itself": nn.Sequential(nn.BatchNorm2d(1, eps=0.1), nn.Conv2d(1, 4, 3)),
    "BatchNorm1d": nn.Sequential(nn.Conv2d(1, 4, 3), nn.GlobalAvgPool2d(), nn.BatchNorm1d(4)),
    "ConvBlock": nn.Sequential(nn.ConvBlock(1, 4, 5, stride=2, pool=(2, 3)), nn.ConvBlock(4, 4, groups=2, padding=0)),
    "MaxPool2d with padding": nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(3, 2, 1)),
    "MaxPool2d that leaves pixels over": nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d((5, 7))),
    "AvgPool2d": nn.Sequential(nn.Conv2d(1, 4, 3), nn.AvgPool2d(5)),
    "AvgPool2d with padding that counts": nn.Sequential(nn.Conv2d(1, 4, 3), nn.AvgPool2d(5, 3, (2, 1))),
    "AvgPool2d with padding that does not": nn.Sequential(nn.Conv2d(1, 4, 3), nn.AvgPool2d(5, 3, 2, False)),
    "Linear without bias": nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 46 * 46, 4, bias=False)),
    "Dropout": nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.9)),
    "Residual": nn.Sequential(nn.Conv2d(1, 4, 3), nn.Residual(nn.ConvBlock(4, 4))),
    "Residual with a shortcut": nn.Residual(
        nn.Sequential(nn.ConvBlock(1, 4), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)), nn.Conv2d(1, 4, 1)
    ),
    "ReLU": nn.ReLU(),
    "LeakyReLU": nn.LeakyReLU(0.3),
    "RReLU": nn.RReLU(0.1, 0.5),
    "Sigmoid": nn.Sigmoid(),
    "Tanh": nn.Tanh(),
    "GELU": nn.GELU(),
    "Softmax": nn.Softmax(1),
    "LogSoftmax": nn.LogSoftmax(1),
}
ACTIVATIONS = {name for name in LAYERS if not isinstance(LAYERS[name], (nn.Sequential, nn.Conv2d, nn.Residual))}


def small(name: str) -> nn.Module:
    layer = copy.deepcopy(LAYERS[name])
    flat = "Linear" in name or "1d" in name
    before, after = [nn.Conv2d(1, 4, 3)] if name in ACTIVATIONS else [], HEAD[1:] if flat else HEAD
    return trained(nn.Sequential(*before, layer, *copy.deepcopy(after)))


@pytest.mark.parametrize("run", [by_onnxruntime, by_opencv])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_translated(name: str, run: Any) -> None:
    network, images = small(name), faces(2)
    assert_agrees(run(to_onnx(network, LABELS), images), by_minicnn(network, images))


def test_a_dilated_max_pooling_is_translated() -> None:
    """OpenCV overlooks the dilation."""
    network, images = trained(nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(3, 2, 1, 2), *HEAD)), faces(2)
    assert_agrees(by_onnxruntime(to_onnx(network, LABELS), images), by_minicnn(network, images))


def test_no_layer_of_minicnn_nn_is_forgotten() -> None:
    modules = {value for name in nn.__all__ if isinstance(value := getattr(nn, name), type)}
    layers = {kind.__name__ for kind in modules if issubclass(kind, nn.Module)}
    tested = {re.split(r"\W", name)[0] for name in LAYERS}
    losses = {"CrossEntropyLoss", "NLLLoss"}
    assert layers - losses - {"Module"} == tested | {"Sequential", "Flatten", "GlobalAvgPool2d"}


def test_the_network_may_end_in_layers_that_do_nothing() -> None:
    network, images = trained(nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 3), nn.Dropout(0.5))), faces(2)
    assert_agrees(by_onnxruntime(to_onnx(network, LABELS), images), by_minicnn(network, images))


def test_a_layer_alone_is_a_network() -> None:
    network, images = nn.Flatten(), faces(2)
    content = to_onnx(network, {"labels": list(range(48 * 48))})
    np.testing.assert_array_equal(by_onnxruntime(content, images), images.reshape(2, -1))


def test_a_network_in_training_is_exported_as_it_is_in_evaluation() -> None:
    network = trained(models.build(2, classes=3))
    assert to_onnx(network.train(), LABELS) == to_onnx(network.eval(), LABELS)
    assert to_onnx(network.double(), LABELS)  # float64 weights are rounded


class Doubled(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x) * 2.0


def test_an_unknown_layer_is_named_with_its_place() -> None:
    network = nn.Sequential(nn.ConvBlock(1, 3), nn.Residual(nn.Sequential(nn.ReLU(), Doubled())), nn.GlobalAvgPool2d())
    message = r"^export: layer 1\.body\.1 is Doubled\(\), which has no translation to ONNX; known are AvgPool2d, "
    with pytest.raises(UserError, match=message):
        to_onnx(network, LABELS)


@pytest.mark.parametrize("network", [nn.Flatten(), nn.Sequential(nn.Linear(48, 3), nn.GlobalAvgPool2d())])
def test_a_network_that_is_none_from_faces_to_labels_is_refused_in_one_line(network: nn.Module) -> None:
    with pytest.raises(UserError, match=r"^export: the network does not take \(N, 1, 48, 48\) to .*$"):
        to_onnx(network, LABELS)


# The file


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder `run` in an empty working directory; its best weights."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    path = tmp_path / "run" / "best.safetensors"
    header = checkpoint.Header(ARCHITECTURE, list(CLASSES), PREPROCESSING.to_dict())
    checkpoint.save_weights(path, trained(models.build(2)).state_dict(), header)
    return path


@pytest.fixture
def model(weights: Path) -> Iterator[onnx.ModelProto]:
    """What `minicnn export` writes as network.onnx, read again."""
    result = minicnn("export", "run", "--onnx", "network.onnx")
    assert (result.code, result.err) == (0, "")
    return onnx.load("network.onnx")


def sizes(value: onnx.ValueInfoProto) -> list[str | int]:
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


def test_input_output_and_opset_are_as_promised(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert [(value.name, sizes(value)) for value in model.graph.input] == [("images", ["N", 1, 48, 48])]
    assert [(value.name, sizes(value)) for value in model.graph.output] == [("logits", ["N", 7])]


def test_batch_normalization_is_folded_and_dropout_gone(model: onnx.ModelProto) -> None:
    block = ["Conv", "Relu", "MaxPool"]
    assert [node.op_type for node in model.graph.node] == [*block, *block, "Flatten", "Gemm"]
    names = ["0.conv.weight", "0.conv.bias", "1.conv.weight", "1.conv.bias", "4.weight", "4.bias"]
    assert [weight.name for weight in model.graph.initializer] == names


def test_metadata_holds_labels_preprocessing_and_architecture_as_json(model: onnx.ModelProto) -> None:
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert set(metadata) == {"labels", "preprocessing", "architecture"}
    assert metadata["labels"] == list(CLASSES)
    assert Preprocessing.from_dict(metadata["preprocessing"]) == PREPROCESSING
    assert metadata["architecture"] == ARCHITECTURE


@pytest.mark.parametrize("n", [1, 5])
def test_a_batch_may_have_any_size(weights: Path, model: onnx.ModelProto, n: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (5, 48, 48), np.uint8)
    expected = inference.logits(checkpoint.load_model(weights)[0], pixels, PREPROCESSING)[:n]
    content, images = model.SerializeToString(), PREPROCESSING(pixels[:n])
    for logits in (by_onnxruntime(content, images), by_opencv(content, images)):
        np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_settings_of_older_weights_are_written_by_their_names_of_today(weights: Path) -> None:
    arrays, header = checkpoint.load_weights(weights)
    older = {"mean": 0.4, "std": 0.3, "equalize": True}
    checkpoint.save_weights(weights, arrays, replace(header, preprocessing=older))
    assert json.loads(minicnn("export", "run", "--onnx", "a.onnx", "--json").out)["preprocessing"] == {
        "mean": 0.4, "std": 0.3, "contrast": "equalize", "blur": 0.0
    }  # fmt: skip


def test_a_weights_file_gives_the_same_as_its_run_folder(weights: Path, model: onnx.ModelProto) -> None:
    assert minicnn("export", weights, "--onnx", "again.onnx").code == 0
    assert Path("again.onnx").read_bytes() == Path("network.onnx").read_bytes()


def test_json_says_what_was_written(weights: Path) -> None:
    result = minicnn("export", "run", "--onnx", "network.onnx", "--json")
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == {
        "onnx": "network.onnx",
        "weights": "run/best.safetensors",
        "opset": 17,
        "bytes": Path("network.onnx").stat().st_size,
        "input": {"images": ["N", 1, 48, 48]},
        "output": {"logits": ["N", 7]},
        "labels": list(CLASSES),
        "preprocessing": PREPROCESSING.to_dict(),
        "architecture": ARCHITECTURE,
    }


def test_text_names_both_files(weights: Path) -> None:
    out = minicnn("export", "run", "--onnx", "network.onnx").out
    assert out == "network.onnx: run/best.safetensors as ONNX (opset 17), 0.3 MB\n"


EMOTIONS = {"keep": "neutral", "equalize": "disgust", "standardize": "happy"}
"""What a network says of one face of little contrast, whatever is done to it: so that a wrong contrast is noticed."""


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_the_code_of_the_how_to_finds_the_emotion_that_minicnn_finds(
    contrast: str, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preprocessing = replace(PREPROCESSING, contrast=contrast)
    arrays, header = checkpoint.load_weights(weights)
    checkpoint.save_weights(weights, arrays, replace(header, preprocessing=preprocessing.to_dict()))
    Path("network.json").write_text(minicnn("export", "run", "--onnx", "network.onnx", "--json").out)
    pixels = (np.random.default_rng(104).integers(0, 40, (1, 48, 48)) ** 2 // 20).astype(np.uint8)
    cv2.imwrite("face.png", pixels[0])
    emotion = CLASSES[inference.logits(checkpoint.load_model(weights)[0], pixels, preprocessing).argmax()]
    assert emotion == EMOTIONS[contrast]
    page = (ROOT / "docs" / "how-to" / "export.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets[:2]:  # the last one is PyTorch's
        Path("snippet.py").write_text(snippet)
        runpy.run_path("snippet.py")
        assert capsys.readouterr().out == f"{emotion}\n"


# What goes wrong


def refusal(*arguments: object) -> str:
    """The one line that the command says before it exits with 1."""
    result = minicnn("export", *arguments)
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    return line.removeprefix("minicnn: ")


def test_a_file_that_was_there_is_replaced_whole(weights: Path) -> None:
    Path("network.onnx").write_text("old")
    os.link("network.onnx", "held")  # one who reads the old file goes on reading it
    assert minicnn("export", "run", "--onnx", "network.onnx").code == 0
    assert onnx.load("network.onnx").producer_name == "minicnn"
    assert Path("held").read_text() == "old"
    assert sorted(os.listdir()) == ["held", "network.onnx", "run"]


def test_a_file_that_was_there_stays_where_the_export_fails(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    Path("network.onnx").write_text("old")
    monkeypatch.setattr("minicnn.files.os.fsync", full)
    assert refusal("run", "--onnx", "network.onnx") == "network.onnx: cannot be written (No space left on device)"
    assert Path("network.onnx").read_text() == "old"
    assert sorted(os.listdir()) == ["network.onnx", "run"]


def test_no_such_run_is_one_line(weights: Path) -> None:
    assert refusal("no", "--onnx", "x.onnx") == "no: expected a .safetensors file, there is none"
    assert not Path("x.onnx").exists()


def test_a_missing_folder_is_named(weights: Path) -> None:
    line = refusal("run", "--onnx", "no/x.onnx")
    assert line == "no/x.onnx: there is no folder no to write it into: make it first"


@pytest.mark.parametrize("target", ["run", os.devnull])
def test_what_is_no_file_is_not_replaced(weights: Path, target: str) -> None:
    assert refusal("run", "--onnx", target) == f"{target}: expected the name of a file to write, that is none"


def test_the_weights_do_not_overwrite_themselves(weights: Path) -> None:
    before = weights.read_bytes()
    line = refusal("run", "--onnx", weights)
    assert line == f"{weights}: these are the weights to export: give the ONNX file another name"
    assert weights.read_bytes() == before


def test_without_the_onnx_package_the_extra_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    line = refusal("run", "--onnx", "x.onnx")
    assert line == "export to ONNX needs the onnx package: pip install onnx"


def test_no_file_named_is_wrong_usage(weights: Path) -> None:
    result = minicnn("export", "run")
    assert (result.code, result.err.splitlines()[-1]) == (2, "Error: Missing option '--onnx'.")
