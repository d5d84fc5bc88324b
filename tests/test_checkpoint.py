"""Checkpoints: what is saved comes back bit for bit, and anything else is refused in one clear line."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from minicnn import Tensor, checkpoint, models, no_grad
from minicnn.checkpoint import Header
from minicnn.data.dataset import CLASSES
from minicnn.errors import CheckpointError

HEADER = Header(
    architecture={"layers": 2, "preset": "default", "classes": 7},
    labels=list(CLASSES),
    preprocessing={"mean": 0.5, "std": 0.25, "contrast": "keep", "blur": 0.0},
    metrics={"epoch": 3, "val_accuracy": 0.5},
    data={"name": "synthetic", "protocol": "official", "sha256": "0" * 64},
    recipe={"lr": 0.1, "flip": True},
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The weights of a network."""
    file = tmp_path / "net.safetensors"
    checkpoint.save_weights(file, models.build(2).state_dict(), HEADER)
    return file


def refusal(file: Path, load: Callable[[Path], object] = checkpoint.load_weights) -> str:
    """The message for a file that is refused: one line that begins with the file's name."""
    with pytest.raises(CheckpointError) as refused:
        load(file)
    message = str(refused.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


def raw(header: dict[str, Any], data: bytes = b"") -> bytes:
    """A safetensors file made by hand."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


# What is saved comes back


def test_weights_and_header_come_back(weights: Path) -> None:
    arrays, header = checkpoint.load_weights(weights)
    assert header == HEADER
    checkpoint.save_weights(weights, arrays, header)
    again, _ = checkpoint.load_weights(weights)
    assert list(again) == list(arrays)
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


def test_a_loaded_model_computes_the_same_bits_in_evaluation_mode(tmp_path: Path) -> None:
    model = models.build(3)
    checkpoint.save_weights(
        tmp_path / "net.safetensors",
        model.state_dict(),
        Header({**HEADER.architecture, "layers": 3}, HEADER.labels, HEADER.preprocessing),
    )
    loaded, preprocessing, _ = checkpoint.load_model(tmp_path / "net.safetensors")
    assert not loaded.training
    assert preprocessing.to_dict() == HEADER.preprocessing
    x = Tensor(np.random.default_rng(0).normal(size=(2, 1, 48, 48)).astype("float32"))
    with no_grad():
        assert np.array_equal(loaded(x).data, model.eval()(x).data)


BASE = np.arange(24, dtype="float32").reshape(2, 3, 4)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(BASE, id="contiguous"),
        pytest.param(BASE.T, id="transposed"),
        pytest.param(BASE.transpose(1, 0, 2), id="axes swapped"),
        pytest.param(np.asfortranarray(BASE), id="column by column"),
        pytest.param(BASE[:, ::2, 1:], id="every other row of a part"),
        pytest.param(BASE[::-1, :, ::-1], id="backwards"),
        pytest.param(np.broadcast_to(BASE[0, 0], (5, 4)), id="broadcast"),
        pytest.param(BASE.astype("float64") / 3, id="float64"),
        pytest.param(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45], "float32"), id="odd numbers"),
        pytest.param(np.float32(3.5).reshape(()), id="no axes"),
        pytest.param(np.zeros((0, 3), "float32"), id="empty"),
    ],
)
@pytest.mark.parametrize("kind", ["weights", "state"])
def test_an_array_of_any_layout_comes_back_bit_for_bit(tmp_path: Path, array: np.ndarray, kind: str) -> None:
    file = tmp_path / "a.safetensors"
    if kind == "weights":
        checkpoint.save_weights(file, {"a": array}, HEADER)
        back = checkpoint.load_weights(file)[0]["a"]
    else:
        checkpoint.save_state(file, {"a": array}, {})
        back = checkpoint.load_state(file)[0]["a"]
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_a_state_brings_its_plain_values_back(tmp_path: Path) -> None:
    values = {"epoch": 3, "best": float("inf"), "rng": {"state": {"inc": 2**127 + 1}}, "history": [{"loss": 0.1 + 0.2}]}
    checkpoint.save_state(tmp_path / "s.safetensors", {"a": BASE}, values)
    assert checkpoint.load_state(tmp_path / "s.safetensors")[1] == values


def test_the_header_can_be_read_without_minicnn(weights: Path) -> None:
    with safe_open(weights, framework="numpy") as file:
        header = json.loads(file.metadata()["minicnn"])
    assert header["kind"] == "weights"
    assert header["architecture"] == {"layers": 2, "preset": "default", "classes": 7}
    assert header["labels"] == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert set(header) == {"format", "kind", "architecture", "labels", "preprocessing", "metrics", "data", "recipe"}


# How it is written


def test_no_temporary_file_is_left(weights: Path) -> None:
    assert [path.name for path in weights.parent.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_mode_of_the_file_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        checkpoint.save_state(tmp_path / "s.safetensors", {"a": BASE}, {})
    finally:
        os.umask(before)
    assert (tmp_path / "s.safetensors").stat().st_mode & 0o777 == mode


def test_objects_are_not_saved_and_the_old_file_stays(weights: Path) -> None:
    old = weights.read_bytes()
    with pytest.raises(Exception, match="object"):
        checkpoint.save_weights(weights, {"a": np.array([print], object)}, HEADER)
    assert weights.read_bytes() == old
    assert [path.name for path in weights.parent.iterdir()] == ["net.safetensors"]


# What is refused


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "net.safetensors"
    file.write_bytes(pickle.dumps(Bomb(tmp_path / "boom"), protocol))
    message = refusal(file)
    if protocol >= 2:  # before that they have no mark to know them by
        assert "expected a whole .safetensors file, got a Python pickle" in message
    assert not (tmp_path / "boom").exists()


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    return stream.getvalue()


def numpy_file() -> bytes:
    stream = io.BytesIO()
    np.save(stream, BASE)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (zipped(), "a PyTorch file, whose weights are pickled"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file, perhaps Keras's"),
        (numpy_file(), "a NumPy array"),
        (b"\x08\x07\x12\x07minicnn" + bytes(50), "an ONNX model, perhaps"),
        (b"weights, honestly\n" * 20, "a text"),
        ("сеть".encode("utf-16"), "something else, or a damaged one"),
        (bytes(1000), "something else, or a damaged one"),
        (b"\xff" * 1000, "something else, or a damaged one"),
        (b"", "an empty one"),
        (b"{", "a text"),
        (raw({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, bytes(35)), "a damaged or truncated one"),
        (raw({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "a damaged or truncated one"),
    ],
)
def test_a_foreign_file_is_refused_by_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    file = tmp_path / "net.safetensors"
    file.write_bytes(content)
    assert refusal(file).startswith(f"expected a whole .safetensors file, got {what} (")
    assert refusal(file, checkpoint.load_state).startswith(f"expected a whole .safetensors file, got {what} (")


@pytest.mark.parametrize("length", [0x0480, 0x0408])
def test_a_truncated_file_whose_length_looks_like_another_format_is_called_truncated(
    tmp_path: Path, length: int
) -> None:
    file = tmp_path / "net.safetensors"
    file.write_bytes(struct.pack("<Q", length) + b'{"__metadata__":{"minicnn":"')
    assert "got a damaged or truncated one" in refusal(file)


def test_a_file_cut_off_anywhere_is_refused(weights: Path) -> None:
    whole = weights.read_bytes()
    cut = weights.with_name("cut.safetensors")
    for length in [*range(1, 64), *range(64, len(whole), 997), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        assert refusal(cut, checkpoint.load_model).startswith("expected a whole .safetensors file, got")


def test_a_wrong_bit_anywhere_is_refused_or_changes_nothing(weights: Path) -> None:
    whole = weights.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    bad = weights.with_name("bad.safetensors")
    arrays, header = checkpoint.load_weights(weights)
    refused, places = 0, [*range(0, 8 + length, 3), *range(8 + length, len(whole), 997)]
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << place % 7
        bad.write_bytes(content)
        try:
            found, told = checkpoint.load_weights(bad)
        except CheckpointError as error:
            assert str(error).startswith(f"{bad}: ")  # noqa: PT017 - not every one is refused
            refused += 1
        else:  # an upper case letter in an escape of JSON, or a blank after its end
            assert told == header
            assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert refused > 0.99 * len(places)


def parts(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(file, framework="numpy") as opened:
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        return arrays, opened.metadata()


@pytest.mark.parametrize("change", ["an array", "its name", "its shape", "its dtype", "the header"])
def test_what_is_changed_behind_the_checksums_back_is_refused(weights: Path, change: str) -> None:
    arrays, metadata = parts(weights)
    name = next(name for name in arrays if arrays[name].ndim == 4)
    array = arrays.pop(name)
    if change == "the header":
        metadata["minicnn"] = metadata["minicnn"].replace("0.25", "0.26")
    changed = {
        "an array": {name: np.nextafter(array, np.float32(1))},
        "its name": {"other": array},
        "its shape": {name: array.reshape(-1)},
        "its dtype": {name: array.view("int32")},
        "the header": {name: array},
    }
    save_file({**arrays, **changed[change]}, weights, metadata=metadata)
    assert refusal(weights) == "damaged: its content is not what its checksum was made of: use another copy"


def test_a_file_without_its_checksum_is_refused(weights: Path) -> None:
    arrays, metadata = parts(weights)
    save_file(arrays, weights, metadata={"minicnn": metadata["minicnn"]})
    assert refusal(weights) == "damaged: it has no checksum, which files of format 2 have"


def test_a_file_of_format_1_which_had_no_checksum_can_be_read(weights: Path) -> None:
    arrays, metadata = parts(weights)
    values = json.loads(metadata["minicnn"])
    del values["format"]
    save_file(arrays, weights, metadata={"minicnn": json.dumps(values)})
    assert checkpoint.load_weights(weights)[1] == HEADER


def test_a_file_of_a_later_format_says_so(weights: Path) -> None:
    arrays, metadata = parts(weights)
    save_file(arrays, weights, metadata={"minicnn": metadata["minicnn"].replace('"format": 2', '"format": 3')})
    assert refusal(weights) == "is of format 3, expected up to 2: it takes a newer minicnn"


def test_a_folder_or_nothing_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "expected a .safetensors file, there is none"
    assert refusal(tmp_path / "nowhere") == "expected a .safetensors file, there is none"


def test_a_safetensors_file_of_others_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "theirs.safetensors"
    save_file({"a": BASE}, file, metadata={"format": "pt"})
    assert refusal(file).startswith("a safetensors file, but not one that minicnn wrote: give a run folder")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_arrays_that_numpy_does_not_know_are_refused(tmp_path: Path, dtype: str) -> None:
    size = 2 if dtype == "BF16" else 1
    array = {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}
    file = tmp_path / "net.safetensors"
    file.write_bytes(raw({"__metadata__": {"format": "pt"}, "a": array}, bytes(size)))
    assert refusal(file).startswith("a safetensors file, but not one that minicnn wrote: give a run folder")
    file.write_bytes(raw({"__metadata__": {"minicnn": '{"kind": "weights"}'}, "a": array}, bytes(size)))
    refusal(file)  # in which words depends on whether some other package has taught NumPy the type


def test_a_state_is_no_weights(tmp_path: Path) -> None:
    checkpoint.save_state(tmp_path / "s.safetensors", {"a": BASE}, {"epoch": 1})
    assert refusal(tmp_path / "s.safetensors") == "expected a network's weights, it holds a training's state"


def test_weights_are_no_state(weights: Path) -> None:
    assert refusal(weights, checkpoint.load_state) == "expected a training's state, it holds a network's weights"


def test_the_state_of_no_training_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    save_file({"a": BASE}, file, metadata={"minicnn": '{"kind": "state", "values": 3}'})
    assert "the training state in it is damaged" in refusal(file, checkpoint.load_state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": {"layers": 3, "preset": "default", "classes": 7}}, "the weights do not fit"),
        ({"architecture": {"layers": 99, "preset": "default", "classes": 7}}, "layers: expected 2 to 8"),
        ({"architecture": {"layers": 2, "preset": "vgg", "classes": 7}}, "preset: expected one of"),
        ({"architecture": {"layers": 2, "depth": 2, "classes": 7}}, "depth"),
        ({"architecture": {"layers": "2", "preset": "default", "classes": 7}}, "layers"),
        ({"architecture": {"layers": 2.0, "preset": "default", "classes": "7"}}, "7 labels"),
        ({"architecture": {}}, "7 labels"),
        ({"architecture": [2, "default", 7]}, "expected architecture to be a dict"),
        ({"labels": "angry"}, "expected labels to be a list"),
        ({"labels": ["angry"]}, "1 labels"),
        ({"data": None}, "expected data to be a dict"),
        ({"preprocessing": {"mean": 0.5}}, "Preprocessing"),
        ({"preprocessing": {"mean": "0.5", "std": 1.0, "contrast": "keep", "blur": 0.0}}, "expected mean to be float"),
        ({"preprocessing": {"mean": 0.5, "std": 0.0, "contrast": "keep", "blur": 0.0}}, "std > 0"),
        ({"preprocessing": None}, "expected preprocessing to be a dict"),
        ({"color": "blue"}, "color"),
        ({"kind": "state"}, "expected a network's weights"),
        ({"kind": ["weights"]}, "expected a network's weights"),
    ],
)
def test_a_header_that_does_not_fit_says_what_is_wrong(weights: Path, change: dict[str, Any], message: str) -> None:
    arrays, metadata = parts(weights)
    values = json.loads(metadata["minicnn"])
    text = json.dumps({**values, **change})
    save_file(arrays, weights, metadata={"minicnn": text, "sha256": checkpoint.checksum(text, arrays)})
    assert message in refusal(weights, checkpoint.load_model)


def test_weights_of_another_shape_are_named(weights: Path) -> None:
    arrays, header = checkpoint.load_weights(weights)
    name = next(iter(arrays))
    checkpoint.save_weights(weights, {**arrays, name: BASE}, header)
    assert f"{name} is (2, 3, 4), not" in refusal(weights, checkpoint.load_model)
