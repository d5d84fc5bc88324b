"""What an import of FER2013 keeps on disk: arrays that load at once, and a description."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data.dataset import CLASSES, IMAGE_SIZE
from minicnn.data.records import SPLITS, Records
from minicnn.errors import DataError
from minicnn.files import atomic_folder, atomic_write

_FORMAT = 1  # of the folder; raise it when the meaning of a file in it changes
_ARRAYS = ("images", "labels", "usage")


def data_home() -> Path:
    """Where imported data lives: $MINICNN_DATA, else $XDG_DATA_HOME/minicnn, else ~/.local/share/minicnn."""
    if own := os.environ.get("MINICNN_DATA"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_DATA_HOME"):
        return Path(shared).expanduser() / "minicnn"
    return Path.home() / ".local" / "share" / "minicnn"


def folder() -> Path:
    """The folder of the import: images.npy, labels.npy, usage.npy and info.json."""
    return data_home() / "fer2013"


def save(records: Records, info: dict[str, Any]) -> None:
    """Keep `records` and their description, in place of any that were kept before.

    Raises:
        DataError: the folder cannot be written.
    """
    try:
        with atomic_folder(folder()) as building:
            for name in _ARRAYS:
                content = io.BytesIO()  # NumPy, writing to a file itself, does not say when the disk is full
                np.save(content, getattr(records, name))
                with atomic_write(building / f"{name}.npy") as temporary:
                    temporary.write_bytes(content.getbuffer())
            with atomic_write(building / "info.json") as temporary:
                temporary.write_text(json.dumps({"format": _FORMAT} | info, indent=2), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{folder()}: cannot be written ({reason}); set MINICNN_DATA to a folder that can") from error


def info() -> dict[str, Any]:
    """The description that was kept.

    Raises:
        DataError: nothing has been imported, or it is damaged.
    """
    try:
        kept = json.loads((folder() / "info.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"FER2013 is not in {folder()}: bring it in with `minicnn data import PATH`") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(error) from error
    if not isinstance(kept, dict) or kept.pop("format", None) != _FORMAT:
        raise _damaged("info.json is not of this version")
    return kept


def load() -> tuple[Records, dict[str, Any]]:
    """The records that were kept, and their description.

    Raises:
        DataError: nothing has been imported, or it is damaged.
    """
    kept = info()
    try:
        images, labels, usage = (np.load(folder() / f"{name}.npy", allow_pickle=False) for name in _ARRAYS)
        records = Records(images, labels, usage, form=kept["form"], notes=tuple(kept["notes"]))
    except Exception as error:  # NumPy reads a header as Python, and raises whatever that does
        raise _damaged(error) from error
    if not _fit(records):
        raise _damaged("the arrays do not fit each other")
    return records, kept


def _fit(records: Records) -> bool:
    arrays = (records.images, records.labels, records.usage)
    if not all(isinstance(array, np.ndarray) and array.ndim for array in arrays):
        return False
    n = len(records.labels)
    shapes, dtypes = zip(*((array.shape, array.dtype) for array in arrays), strict=True)
    return (
        shapes == ((n, IMAGE_SIZE, IMAGE_SIZE), (n,), (n,))
        and dtypes == (np.uint8, np.int64, np.uint8)
        and bool(((records.labels >= 0) & (records.labels < len(CLASSES)) & (records.usage < len(SPLITS))).all())
    )


def _damaged(reason: object) -> DataError:
    return DataError(f"{folder()}: damaged ({reason}); import again with `minicnn data import PATH`")
