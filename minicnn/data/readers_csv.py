"""FER2013 as text: fer2013.csv, icml_face_data.csv and the competition's train.csv and test.csv."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import IO, TYPE_CHECKING

import numpy as np
import pandas as pd

from minicnn.data.dataset import CLASSES
from minicnn.data.pixels import parse_texts
from minicnn.data.progress import bar
from minicnn.data.records import CSV_LABELS, USAGES, Records, joined, shown, usage_note, usage_of_file
from minicnn.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 512  # rows: 4 MB of text
_PIECE = 1 << 16  # bytes read at once, and of the longest line; a face takes 12,000 at most


@dataclass(frozen=True)
class CsvFile:
    """A CSV file, wherever it lies.

    Attributes:
        name: what messages call it.
        size: bytes, for the progress bar.
        columns: the names in its header, in lower case and without spaces around them.
        open: opens it from the beginning.
    """

    name: str
    size: int
    columns: tuple[str, ...]
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    @property
    def has_labels(self) -> bool:
        """Whether it holds faces with labels."""
        return {"emotion", "pixels"} <= set(self.columns)

    @property
    def has_usage(self) -> bool:
        """Whether it also tells training and test images apart."""
        return self.has_labels and "usage" in self.columns


def columns_of(head: bytes) -> tuple[str, ...]:
    """The column names in the first line of a file, given its first bytes."""
    line = head.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    try:
        return tuple(field.strip().casefold() for field in next(csv.reader([line]), []))
    except csv.Error:
        return ()


def read(file: CsvFile, *, show_progress: bool) -> Records:
    """Read the faces of one CSV file.

    Raises:
        DataError: a column is missing, or a row is not what it should be; the message names the row, counted in lines
            of the file from 1.
    """
    _check_columns(file)
    usage = usage_of_file(PurePath(file.name).stem)
    parts = []
    with (
        file.open() as stream,
        io.BufferedReader(_Lines(stream, file.name), _PIECE) as lines,
        bar(file.size, "B", "reading", show=show_progress) as progress,
        _faults(file),
        _chunks(lines, file.columns) as chunks,
    ):
        for chunk in chunks:
            parts.append(_records(chunk, file, usage))
            progress.update(stream.tell() - progress.n)
    if not sum(len(part.labels) for part in parts):
        raise DataError(f"{file.name}: a header and no rows, expected one row a face")
    notes = () if file.has_usage else (usage_note(file.name, usage),)
    return replace(joined(parts), notes=notes)


class _Lines(io.RawIOBase):
    """A stream of rows, each on a line of its own and not long, or a DataError: pandas would go on reading.

    A row without an end, or a quote without one, would put all that follows into one field, gigabytes perhaps.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name = stream, name
        self._row, self._length, self._quotes = 1, 0, 0  # the row that the last piece ended in, and what there is of it

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill the buffer with what comes next."""
        room = memoryview(buffer)
        data = self._stream.read(min(len(room), _PIECE))
        for number, part in enumerate(data.split(b"\n")):
            if number:
                self._end_row()
            self._length += len(part)
            self._quotes += part.count(b'"')
            if self._length > _PIECE:
                raise DataError(f"{self._name}, row {self._row}: longer than {_PIECE:,} bytes, expected one row a face")
        room[: len(data)] = data
        return len(data)

    def _end_row(self) -> None:
        if self._quotes % 2:
            raise DataError(
                f"{self._name}, row {self._row}: not well-formed CSV (a quote that does not end), "
                "expected emotion,pixels,Usage"
            )
        self._row, self._length, self._quotes = self._row + 1, 0, 0


def _check_columns(file: CsvFile) -> None:
    if "pixels" in file.columns and not file.has_labels:
        raise DataError(
            f"{file.name}: no column 'emotion': this is the competition's test.csv, which has no labels; "
            "import fer2013.csv, icml_face_data.csv or train.csv"
        )
    if not file.has_labels or len(set(file.columns)) < len(file.columns):
        found = shown(",".join(file.columns))
        raise DataError(f"{file.name}, row 1: expected the columns emotion,pixels,Usage, found {found}")


def _chunks(stream: IO[bytes], columns: Sequence[str]) -> AbstractContextManager[Iterable[pd.DataFrame]]:
    # Text without conversion and without missing values: what is wrong with a value is for this module to say.
    return pd.read_csv(
        stream,
        header=0,
        names=list(columns),
        usecols=[name for name in columns if name in ("emotion", "pixels", "usage")],
        dtype=object,
        na_filter=False,
        skip_blank_lines=False,  # blank lines count: a row's number is its line in the file
        chunksize=_CHUNK,
    )


def _records(chunk: pd.DataFrame, file: CsvFile, usage: int) -> Records:
    texts = {name: chunk[name].tolist() for name in chunk.columns}
    rows = [int(index) + 2 for index in chunk.index]  # the header is row 1
    full = [any(values) for values in zip(*texts.values(), strict=True)]
    if not all(full):  # blank lines, as at the end of a file
        texts = {name: [v for v, keep in zip(values, full, strict=True) if keep] for name, values in texts.items()}
        rows = [row for row, keep in zip(rows, full, strict=True) if keep]
    expected = f"a label 0..{len(CLASSES) - 1} ({', '.join(CLASSES)})"
    labels = _codes(texts["emotion"], CSV_LABELS, "emotion", expected, file.name, rows)
    usages = [usage] * len(rows)
    if file.has_usage:
        usages = _codes(texts["usage"], USAGES, "Usage", "one of " + ", ".join(USAGES), file.name, rows)
    return Records(
        images=parse_texts(texts["pixels"], file.name, rows),
        labels=np.array(labels, np.int64),
        usage=np.array(usages, np.uint8),
        form="CSV",
    )


def _codes(
    texts: Sequence[str], known: Mapping[str, int], column: str, expected: str, name: str, rows: Sequence[int]
) -> list[int]:
    codes = []
    for text, row in zip(texts, rows, strict=True):
        code = known.get(text.strip())
        if code is None:
            raise DataError(f"{name}, row {row}: {column} is {shown(text)}, expected {expected}")
        codes.append(code)
    return codes


@contextmanager
def _faults(file: CsvFile) -> Iterator[None]:
    """Turn what pandas raises on a file that is no CSV into one line."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name}, row {_undecodable_row(file)}: not UTF-8, expected plain text") from error
    except ValueError as error:  # pandas.errors.ParserError is one, but pandas raises others too
        if "source failed" in str(error):  # all that it says of an exception without a value: Ctrl-C's in Python 3.11
            raise KeyboardInterrupt from error
        # "EOF inside string starting at row N", N counted from 0: the one fault pandas finds in text columns
        row = re.search(r"row (\d+)", str(error))
        place = f", row {int(row[1]) + 1}" if row else ""
        raise DataError(f"{file.name}{place}: not well-formed CSV, expected emotion,pixels,Usage") from error


def _undecodable_row(file: CsvFile) -> int:
    """Find the line that is not UTF-8: pandas tells its place in a buffer, not in the file."""
    with file.open() as stream, io.BufferedReader(_Lines(stream, file.name), _PIECE) as lines:
        for row, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return row
    return 1
