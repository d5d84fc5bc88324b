"""FER2013 as one .parquet file, as data-set hubs serve it. Needs pyarrow, the extra `parquet`."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.data.dataset import CLASSES
from minicnn.data.pixels import decode_image, parse_texts
from minicnn.data.progress import bar
from minicnn.data.records import (
    USAGES,
    Records,
    joined,
    label_of_name,
    names_of,
    shown,
    usage_note,
    usage_of_file,
)
from minicnn.errors import DataError

_ROWS = 512  # read at once
_MOST_ROWS = 1 << 20  # FER2013 has 35,887; a few bytes can stand for many equal ones


def read(path: Path, *, show_progress: bool) -> Records:
    """Read a parquet file of labels and either image files (bytes, or a struct of bytes and path) or pixel texts.

    Raises:
        DataError: pyarrow is missing, or the file is damaged or holds something else; the message names the row,
            counted from 1.
    """
    pyarrow, parquet = _pyarrow(path)
    parts = []
    try:
        with parquet.ParquetFile(path) as file:
            table = _Table(path, file.schema_arrow)
            if file.metadata.num_rows > _MOST_ROWS:
                raise DataError(f"{path}: {file.metadata.num_rows:,} rows, expected at most {_MOST_ROWS:,}")
            with bar(file.metadata.num_rows, " rows", "reading", show=show_progress) as progress:
                for batch in file.iter_batches(batch_size=_ROWS, columns=table.columns):
                    parts.append(table.records(batch.to_pydict(), int(progress.n) + 1))
                    progress.update(batch.num_rows)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: truncated or damaged parquet file ({reason}); get it again") from error
    if not parts:
        raise DataError(f"{path}: no rows, expected one row a face")
    return replace(joined(parts), notes=table.notes)


def _pyarrow(path: Path) -> tuple[ModuleType, ModuleType]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(f"{path}: a parquet file needs pyarrow: pip install pyarrow") from error


class _Table:
    """Which columns of a parquet file hold what, and how to read them."""

    def __init__(self, path: Path, schema: Any) -> None:
        self.path = path
        found = {name.strip().casefold(): name for name in schema.names}
        label = next((found[name] for name in ("emotion", "label", "labels") if name in found), None)
        faces = next((name for name in schema.names if _holds_images(schema.field(name).type)), found.get("pixels"))
        if label is None or faces is None:
            raise DataError(
                f"{path}: expected a column of labels (emotion or label) and one of images or pixels, "
                f"found {names_of(schema.names)}"
            )
        self.label, self.faces, self.usage = label, faces, found.get("usage")
        self.names = _label_names(schema.metadata or {}, label)
        self.default_usage = usage_of_file(path.stem)
        self.notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        return [name for name in (self.label, self.faces, self.usage) if name is not None]

    def records(self, batch: dict[str, list[Any]], first: int) -> Records:
        """The faces of one batch, whose first row is row `first` of the file."""
        rows = range(first, first + len(batch[self.label]))
        labels = [self._label(value, row) for value, row in zip(batch[self.label], rows, strict=True)]
        usage = [self._usage(index, batch, row) for index, row in enumerate(rows)]
        return Records(
            images=self._images(batch[self.faces], rows),
            labels=np.array(labels, np.int64),
            usage=np.array(usage, np.uint8),
            form="parquet",
        )

    def _label(self, value: Any, row: int) -> int:
        # Numbers are the CSV's unless the file lists names for them: a hub numbers folders in alphabetical order.
        known = self.names is None or (isinstance(value, int) and 0 <= value < len(self.names))
        name = self.names[value] if self.names is not None and known else value
        label = label_of_name(str(name)) if known else None
        if label is None:
            raise DataError(
                f"{self.path}, row {row}: {self.label} is {shown(name)}, expected one of {', '.join(CLASSES)} "
                f"or 0..{len(CLASSES) - 1}"
            )
        return label

    def _usage(self, index: int, batch: dict[str, list[Any]], row: int) -> int:
        if self.usage is not None:
            value = batch[self.usage][index]
            if not isinstance(value, str) or value not in USAGES:
                expected = ", ".join(USAGES)
                raise DataError(f"{self.path}, row {row}: Usage is {shown(value)}, expected one of {expected}")
            return USAGES[value]
        face = batch[self.faces][index]
        path = face.get("path") if isinstance(face, dict) else None
        stem = PurePosixPath(path if isinstance(path, str) else "").stem
        usage = USAGES.get(stem.partition("_")[0])
        if usage is None:
            self.notes = (usage_note(str(self.path), self.default_usage),)
            return self.default_usage
        return usage

    def _images(self, faces: Sequence[Any], rows: Sequence[int]) -> NDArray[np.uint8]:
        if all(isinstance(face, str) for face in faces):
            return parse_texts(faces, str(self.path), rows)
        images = []
        for face, row in zip(faces, rows, strict=True):
            data = face["bytes"] if isinstance(face, dict) else face
            if not isinstance(data, bytes):
                raise DataError(f"{self.path}, row {row}: {self.faces} holds {shown(face)}, expected an image file")
            images.append(decode_image(data, f"{self.path}, row {row}"))
        return np.stack(images)


def _holds_images(kind: Any) -> bool:
    """Whether an Arrow type is binary, or a struct with a field `bytes`."""
    if str(kind).startswith("struct"):
        return any(kind.field(index).name == "bytes" for index in range(kind.num_fields))
    return str(kind) in ("binary", "large_binary")


def _label_names(metadata: dict[bytes, bytes], column: str) -> list[str] | None:
    """The names of the numbers in a label column, where Hugging Face's metadata lists them."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None
