"""A wrong file given as weights: one line says what it is, and what to give."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import save

from minicnn import nn
from minicnn.apps.evaluate import weights_of
from minicnn.apps.export import to_onnx
from minicnn.checkpoint import load_model
from minicnn.errors import UserError
from tests.programs import minicnn

ARRAY = np.arange(6, dtype=np.float32)
PICTURE = np.zeros((4, 4, 3), np.uint8)


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"\x80\x02.")
    return content.getvalue()


def saved(save_as: Callable[..., None], **arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    save_as(content, *([ARRAY] if not arrays else []), **arrays)
    return content.getvalue()


def encoded(kind: str) -> bytes:
    return cv2.imencode(kind, PICTURE)[1].tobytes()


FILES: dict[str, tuple[bytes, str]] = {
    "network.onnx": (to_onnx(nn.Sequential(nn.Flatten(), nn.Linear(2304, 2)), {"labels": [0, 1]}), "an ONNX model"),
    "network.pkl": (pickle.dumps({"0.weight": ARRAY}), "a Python pickle"),
    "network.pt": (zipped("archive/data.pkl", "archive/data/0"), "a PyTorch file, whose weights are pickled"),
    "old.pth": (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2), "a Python pickle"),
    "network.h5": (b"\x89HDF\r\n\x1a\n" + bytes(2000), "an HDF5 file, perhaps Keras's"),
    "network.keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "a Keras model, perhaps"),
    "network.tflite": (b"\x1c\0\0\0TFL3" + bytes(100), "a TensorFlow Lite model"),
    "network.gguf": (b"GGUF\x03\0\0\0" + bytes(100), "a GGUF file, a language model's"),
    "arrays.npz": (saved(np.savez, weight=ARRAY), "NumPy arrays (.npz)"),
    "array.npy": (saved(np.save), "a NumPy array"),
    "others.zip": (zipped("readme.txt"), "a zip archive"),
    "notes.txt": (b"the weights are in the cellar\n", "a text"),
    "metrics.csv": ("époque,perte\n1,0.5\n".encode(), "a text"),
    "photo.jpg": (encoded(".jpg"), "a JPEG picture"),
    "photo.png": (encoded(".png"), "a PNG picture"),
    "page.html": (b"<!DOCTYPE html><title>404</title>", "a web page, perhaps a download's error message"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a Git LFS pointer in place of the file",
    ),
    "weights.gz": (b"\x1f\x8b\x08" + bytes(30), "a gzip archive"),
    "empty": (b"", "an empty one"),
    "zeros": (bytes(5000), "something else, or a damaged one"),
    "half.safetensors": (save({"a": ARRAY})[:-3], "a damaged or truncated one"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_refused_by_what_it_is_and_what_to_give(name: str, tmp_path: Path) -> None:
    content, what = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_model(weights_of(tmp_path / name))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name}: expected a whole .safetensors file, got {what}")
    assert message.endswith(": give a run folder, or a weights file in one")
    assert message.isprintable()


def test_weights_of_other_programs_are_refused_by_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "theirs.safetensors").write_bytes(save({"a": ARRAY}))
    with pytest.raises(UserError, match=r"a safetensors file, but not one that minicnn wrote: give a run folder"):
        load_model(tmp_path / "theirs.safetensors")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a run folder or a weights file, there is no best.safetensors in it"):
        weights_of(tmp_path)


@pytest.mark.parametrize("command", [["predict", "photo.png", "--weights"], ["export", "--onnx", "out.onnx"], ["eval"]])
def test_every_command_says_it_in_one_line(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(encoded(".png"))
    Path("network.onnx").write_bytes(FILES["network.onnx"][0])
    result = minicnn(*command, "network.onnx")
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert line.startswith("minicnn: network.onnx: expected a whole .safetensors file, got an ONNX model")
