"""What a run saves: weights with a header that says all one needs to use them, and the state to resume from.

Both are safetensors files: arrays and text, no code. They are written to a temporary name, flushed and renamed, and
carry a checksum that tells when a disk or a copy has changed them.
"""

import hashlib
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
from minicnn.foreign import what_is
from minicnn.nn.module import Module

_KEY = "minicnn"
"""The entry of a file's metadata that holds our JSON."""

_SUM = "sha256"
"""The entry that holds the checksum."""

FORMAT = 2
"""Of the files, as their JSON says. Those of format 1, which says nothing, have no checksum and are read without."""

_MOST_CLASSES = 1000

_WANTED = "give a run folder, or a weights file in one"


@dataclass(frozen=True)
class Header:
    """What a weights file says of its network.

    Attributes:
        architecture: layers, preset and classes, the arguments of minicnn.models.build.
        labels: the name of each output.
        preprocessing: see minicnn.data.preprocessing.Preprocessing.
        metrics: figures of these weights, by name.
        data: what they were trained on: name (as minicnn.data.load takes it), protocol, sha256; and answers, the
            SHA-256 of what teachers said of it, where there were some.
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
        if not all(isinstance(label, str) and label.isprintable() for label in self.labels):
            raise TypeError(f"expected labels that can be printed, got {self.labels!r}")
        if not all(isinstance(text, str) for text in self.data.values()):
            raise TypeError(f"expected data to hold texts, got {self.data!r}")


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
        classes = header.architecture.get("classes")
        if type(classes) is not int or classes != len(header.labels) or not 1 <= classes <= _MOST_CLASSES:
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


def checksum(text: str, arrays: Mapping[str, Array]) -> str:
    """SHA-256, in hexadecimal digits, of a file's JSON and of its arrays.

    It runs over the text in UTF-8; then, for each array in the order of names, over a line such as
    "0.conv.weight float32 32,1,3,3" and its newline, and over the array's bytes.
    """
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {','.join(map(str, array.shape))}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _save(path: Path, arrays: Mapping[str, Array], values: dict[str, Any]) -> None:
    from safetensors.numpy import save  # here, so that `import minicnn` needs NumPy alone

    # safetensors 0.8.0 writes wrong values for arrays that are not C-contiguous
    whole = {name: np.asarray(to_numpy(array), order="C") for name, array in arrays.items()}
    text = json.dumps({"format": FORMAT, **values})
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(whole, metadata={_KEY: text, _SUM: checksum(text, whole)}))


def _load(path: Path, kind: str) -> tuple[dict[str, Array], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: expected a .safetensors file, there is none")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise CheckpointError(f"{path}: a safetensors file, but not one that minicnn wrote: {_WANTED}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:  # the last two: a dtype NumPy has not
        raise CheckpointError(
            f"{path}: expected a whole .safetensors file, got {what_is(path)} ({error}): {_WANTED}"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    if _SUM in metadata and metadata[_SUM] != checksum(metadata[_KEY], arrays):
        raise CheckpointError(f"{path}: damaged: its content is not what its checksum was made of: use another copy")
    return arrays, _own_values(path, metadata, kind)


def _own_values(path: Path, metadata: Mapping[str, str], kind: str) -> dict[str, Any]:
    """Our JSON in a file's metadata; raises CheckpointError where it is damaged, or not of this kind."""
    try:
        values = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: a safetensors file, but not one that minicnn wrote") from error
    found = values.pop("kind", None) if isinstance(values, dict) else None
    if found != kind:
        what = {"weights": "a network's weights", "state": "a training's state"}
        raise CheckpointError(f"{path}: expected {what[kind]}, it holds {what.get(str(found), 'something else')}")
    version = values.pop("format", 1)
    if version not in (1, FORMAT):
        raise CheckpointError(f"{path}: is of format {version}, expected up to {FORMAT}: it takes a newer minicnn")
    if version == FORMAT and _SUM not in metadata:
        raise CheckpointError(f"{path}: damaged: it has no checksum, which files of format {FORMAT} have")
    return dict(values)
