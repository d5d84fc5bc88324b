"""What a run saves: weights with a header that says all one needs to use them, and the state to resume from.

Both are safetensors files: arrays and text, no code. They are written to a temporary name, flushed and renamed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin

import numpy as np

from minicnn import models, rng
from minicnn.data.preprocessing import Preprocessing
from minicnn.device import Array, to_numpy
from minicnn.errors import CheckpointError, UserError
from minicnn.files import atomic_write
from minicnn.nn.module import Module

_KEY = "minicnn"
"""The entry of a file's metadata that holds our JSON."""

_FOREIGN = {
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"PK\x03\x04": "a zip archive, perhaps PyTorch's",
    b"\x89HDF": "an HDF5 file, perhaps Keras's",
    b"\x93NUM": "a NumPy array",
    b"\x08": "an ONNX model, perhaps",
}


@dataclass(frozen=True)
class Header:
    """What a weights file says of its network.

    Attributes:
        architecture: layers, preset and classes, the arguments of minicnn.models.build.
        labels: the name of each output.
        preprocessing: see minicnn.data.preprocessing.Preprocessing.
        metrics: figures of these weights, by name.
        data: what they were trained on: name (as minicnn.data.load takes it), protocol, sha256.
        recipe: how, see minicnn.recipes.Recipe.
    """

    architecture: dict[str, Any]
    labels: list[str]
    preprocessing: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in fields(self):
            kind: Any = get_origin(item.type)
            if not isinstance(getattr(self, item.name), kind):
                raise TypeError(f"expected {item.name} to be a {kind.__name__}, got {getattr(self, item.name)!r}")


def save_weights(path: str | Path, weights: Mapping[str, Array], header: Header) -> None:
    """Write arrays by name, and their header."""
    _save(Path(path), weights, {"kind": "weights", **asdict(header)})


def load_weights(path: str | Path) -> tuple[dict[str, Array], Header]:
    """Read what `save_weights` wrote; raises CheckpointError for anything else."""
    arrays, values = _load(Path(path), "weights")
    try:
        return arrays, Header(**values)
    except TypeError as error:
        raise CheckpointError(f"{path}: its header is not of this version of minicnn ({error})") from error


def load_model(path: str | Path) -> tuple[Module, Preprocessing, Header]:
    """The network of a weights file, ready to use: in evaluation mode, with its preprocessing."""
    arrays, header = load_weights(path)
    try:
        if len(header.labels) != header.architecture.get("classes"):
            raise ValueError(f"{len(header.labels)} labels for the outputs of {header.architecture}")
        random = rng.get_state()  # building draws weights: a training that goes on must not notice
        model = models.build(**header.architecture)
        rng.set_state(random)
        model.load_state_dict(arrays)
        return model.eval(), Preprocessing.from_dict(header.preprocessing), header
    except (TypeError, ValueError, UserError) as error:
        raise CheckpointError(f"{path}: header and weights do not fit: {error}") from error


def save_state(path: str | Path, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
    """Write the state of a training: arrays, and plain values that JSON can hold."""
    _save(Path(path), arrays, {"kind": "state", "values": dict(values)})


def load_state(path: str | Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `save_state` wrote; raises CheckpointError for anything else."""
    arrays, values = _load(Path(path), "state")
    state = values.get("values")
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: the training state in it is damaged: resume from another run")
    return arrays, state


def _save(path: Path, arrays: Mapping[str, Array], values: dict[str, Any]) -> None:
    from safetensors.numpy import save  # here, so that `import minicnn` needs NumPy alone

    # safetensors 0.8.0 writes wrong values for arrays that are not C-contiguous
    whole = {name: np.asarray(to_numpy(array), order="C") for name, array in arrays.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(whole, metadata={_KEY: json.dumps(values)}))


def _load(path: Path, kind: str) -> tuple[dict[str, Array], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: expected a .safetensors file, there is none")
    try:
        with safe_open(path, framework="numpy") as file:
            values = _own_values(path, file.metadata() or {}, kind)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:  # the last two: a dtype NumPy has not
        raise CheckpointError(f"{path}: expected a whole .safetensors file, got {_what_is(path)} ({error})") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    return arrays, values


def _own_values(path: Path, metadata: Mapping[str, str], kind: str) -> dict[str, Any]:
    """Our JSON in a file's metadata; raises CheckpointError where there is none, or none of this kind."""
    try:
        values = json.loads(metadata[_KEY])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: a safetensors file, but not one that minicnn wrote") from error
    found = values.pop("kind", None) if isinstance(values, dict) else None
    if found != kind:
        what = {"weights": "a network's weights", "state": "a training's state"}
        raise CheckpointError(f"{path}: expected {what[kind]}, it holds {what.get(str(found), 'something else')}")
    return dict(values)


def _what_is(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":  # after the length of the header, whose first byte may well be that of a format below
        return "a damaged or truncated one"
    known = (name for magic, name in _FOREIGN.items() if start.startswith(magic))
    return next(known, "something else, or a damaged one" if start else "an empty one")
