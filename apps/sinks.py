"""Where `minicnn predict` puts what it found: lines of text, JSON, a CSV table, and annotated copies."""

import csv
import json
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from minicnn.apps.annotate import annotate, legible
from minicnn.apps.faces import Face
from minicnn.apps.pictures import STDIN, Picture
from minicnn.apps.recorder import Recorder
from minicnn.errors import UserError
from minicnn.files import atomic_write
from minicnn.opencv import cv2

_WRITTEN = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Kinds of pictures that copies are written as; of others they are PNG."""


class Result(NamedTuple):
    """What was found in a picture; `heat` is None where nobody asked for it."""

    picture: Picture
    faces: list[Face]
    heat: NDArray[np.float32] | None

    def to_json(self) -> dict[str, Any]:
        """As `minicnn predict --json` prints it; frames of videos have their number and time in seconds."""
        place: dict[str, Any] = {}
        if self.picture.frame is not None:
            place = {"frame": self.picture.frame, "time": round(self.picture.frame / self.picture.rate, 3)}
        faces = [
            {
                "box": list(face.box),
                "emotion": face.emotion,
                "probabilities": {name: round(p, 6) for name, p in face.probabilities.items()},
            }
            for face in self.faces
        ]
        return {"source": self.picture.source, **place, "faces": faces}


class Sink(Protocol):
    """Takes what was found, picture by picture."""

    def take(self, result: Result) -> None:
        """Write down what was found in a picture."""


class Lines:
    """Prints a line for every face, for people to read."""

    def take(self, result: Result) -> None:
        """Print what was found in a picture."""
        picture = result.picture
        name = picture.source if picture.frame is None else f"{picture.source} {picture.frame / picture.rate:.2f} s"
        if not result.faces:
            print(f"{name}: no face")
        for face in result.faces:
            x, y, width, height = face.box
            print(f"{name}: {face.emotion} {face.probabilities[face.emotion]:.0%}, {width}x{height} at {x},{y}")


class JsonList:
    """Prints one JSON list, a line for every picture."""

    def __init__(self) -> None:
        self._count = 0

    def take(self, result: Result) -> None:
        """Print what was found in a picture."""
        print(",\n" if self._count else "\n", json.dumps(result.to_json()), sep="", end="")
        self._count += 1

    def end(self) -> None:
        """Print the end of the list."""
        print("\n]" if self._count else "]")


@contextmanager
def json_list() -> Iterator[JsonList]:
    """The list that is printed inside the block: whole even where that ends by Ctrl-C."""
    print("[", end="")
    sink = JsonList()
    try:
        yield sink
    finally:
        sink.end()


class Table:
    """Writes a CSV row for every face."""

    def __init__(self, rows: Any, classes: Sequence[str]) -> None:
        self._rows, self._classes = rows, classes
        rows.writerow(["source", "frame", "x", "y", "width", "height", "emotion", *classes])

    def take(self, result: Result) -> None:
        """Write a row for each of a picture's faces."""
        frame = "" if result.picture.frame is None else result.picture.frame
        for face in result.faces:
            shares = [f"{face.probabilities[name]:.6f}" for name in self._classes]
            self._rows.writerow([result.picture.source, frame, *face.box, face.emotion, *shares])


@contextmanager
def table(path: Path, classes: Sequence[str], originals: Set[Path]) -> Iterator[Table]:
    """The CSV file that is written inside the block; it takes its name at the end.

    Raises:
        UserError: there can be no such file, or it is one of the originals.
    """
    if (path.exists() and not path.is_file()) or not path.absolute().parent.is_dir():
        raise UserError(f"--csv {path}: expected the name of a file in a folder that is there")
    if path.resolve() in originals:
        raise UserError(f"--csv {path}: is one of the pictures themselves: name another file")
    shown = "backslashreplace"  # of what in the names of files is no text
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors=shown) as file:
        yield Table(csv.writer(file), classes)


class Album:
    """Writes an annotated copy of every picture and video into a folder, as NAME-faces.

    No original is overwritten, not even where the folder is theirs. Names that occur twice in a run are numbered.
    """

    def __init__(self, folder: Path, originals: Set[Path], stack: ExitStack) -> None:
        self._folder, self._originals, self._stack = folder, originals, stack
        self._names: set[str] = set()
        self._video: tuple[str, Recorder] | None = None

    def take(self, result: Result) -> None:
        """Write a picture, or add a frame to its video."""
        picture = result.picture
        image, faces = legible(picture.image, result.faces)
        drawn = annotate(image, faces, result.heat)
        if picture.frame is not None:
            self._recorder(picture.source, picture.rate).write(drawn, picture.frame / picture.rate)
            return
        target = self._target(picture.source)
        whole, data = cv2().imencode(target.suffix, drawn)
        if not whole:
            raise UserError(f"{target}: OpenCV cannot write this kind of picture")
        with atomic_write(target) as temporary:
            temporary.write_bytes(data.tobytes())

    def _recorder(self, source: str, rate: float) -> Recorder:
        if self._video is None or self._video[0] != source:
            self._stack.close()  # the video before is whole
            self._video = source, self._stack.enter_context(Recorder(self._target(source, ".mp4"), rate))
        return self._video[1]

    def _target(self, source: str, ending: str = "") -> Path:
        path = Path("stdin.png" if source == STDIN else source)
        ending = ending or (path.suffix.lower() if path.suffix.lower() in _WRITTEN else ".png")
        name, number = f"{path.stem}-faces{ending}", 1
        while name in self._names or (self._folder / name).resolve() in self._originals:
            number += 1
            name = f"{path.stem}-faces-{number}{ending}"
        self._names.add(name)
        return self._folder / name


@contextmanager
def album(folder: Path, originals: Set[Path]) -> Iterator[Album]:
    """The folder that is filled inside the block; it is made where there is none.

    Raises:
        UserError: there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: expected a folder: {error.strerror}") from error
    with ExitStack() as stack:
        yield Album(folder, originals, stack)
