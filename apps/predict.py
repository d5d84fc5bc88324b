"""Faces in photos, folders and videos: what `minicnn predict` does."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from minicnn import kernels
from minicnn.apps import sinks
from minicnn.apps.faces import Box, Reader
from minicnn.apps.pictures import Picture, expand, is_video, pictures_in
from minicnn.errors import UserError

_FACES = 64
"""Faces that go through the network at once."""

_SECONDS = 1.0
"""How long a picture that was looked through waits at most for others: somebody may be watching."""

_MANY = 500
"""Files from which the compiled kernels, which take a second to start, are done sooner than array code."""

_PIXELS = 1 << 25
"""Pixels of pictures that wait for their faces to be read: 100 MB."""


class Count(NamedTuple):
    """How much was read; `failed` is the number of files that could not be."""

    pictures: int
    faces: int
    failed: int
    seconds: float


def predict(
    sources: Sequence[str],
    reader: Reader,
    on_error: Callable[[UserError], None],
    *,
    as_json: bool = False,
    csv_file: Path | None = None,
    out: Path | None = None,
    explain: bool = False,
) -> Count:
    """Read the faces in files, folders, patterns and "-", and print what was found in each picture.

    Args:
        sources: what to look at; see `pictures.expand`.
        reader: what finds and reads faces.
        on_error: told of every source that cannot be read; the next one follows.
        as_json: print one JSON list in place of lines.
        csv_file: a table to write, a row a face.
        out: a folder for annotated copies.
        explain: lay Grad-CAM's heat maps over the faces in them.

    Raises:
        UserError: a result cannot be written.
    """
    missing: list[UserError] = []
    files = expand(sources, missing.append)
    for error in missing:
        on_error(error)
    few = len(files) < _MANY and not any(map(is_video, files))
    originals = {Path(file).resolve() for file in files}
    with ExitStack() as stack:
        stack.enter_context(kernels.using("im2col" if few else "fast"))
        takers: list[sinks.Sink] = [stack.enter_context(sinks.json_list()) if as_json else sinks.Lines()]
        if csv_file is not None:
            takers.append(stack.enter_context(sinks.table(csv_file, reader.classes, originals)))
        if out is not None:
            takers.append(stack.enter_context(sinks.album(out, originals)))
        count = _read_files(files, reader, takers, on_error, explain)
    return count._replace(failed=count.failed + len(missing))


def format_count(count: Count) -> str:
    """How much was read, and how fast."""
    return (
        f"{count.faces:,} faces in {count.pictures:,} pictures, {count.seconds:.1f} s: "
        f"{count.pictures / count.seconds:.1f} pictures/s, {count.faces / count.seconds:.1f} faces/s"
    )


def _read_files(
    files: Sequence[str],
    reader: Reader,
    takers: Sequence[sinks.Sink],
    on_error: Callable[[UserError], None],
    explain: bool,
) -> Count:
    """Go through the files; on a terminal a bar shows how far it is."""
    start = time.perf_counter()
    pictures = faces = failed = 0

    def fail(error: UserError) -> None:
        nonlocal failed
        failed += 1
        bar.clear()
        on_error(error)

    shown = sys.stderr.isatty() and (len(files) > 1 or any(map(is_video, files)))
    with tqdm(total=len(files), desc="reading", unit="file", file=sys.stderr, disable=not shown) as bar:
        for result in read_all(reader, _pictures(files, bar, fail), explain=explain):
            bar.clear()  # it may be on the terminal that lines go to
            for taker in takers:
                taker.take(result)
            pictures, faces = pictures + 1, faces + len(result.faces)
            bar.set_postfix_str(f"{faces / (time.perf_counter() - start):.1f} faces/s", refresh=False)
    return Count(pictures, faces, failed, time.perf_counter() - start)


def read_all(reader: Reader, pictures: Iterable[Picture], *, explain: bool = False) -> Iterator[sinks.Result]:
    """The faces in each picture, in order; those of several pictures go through the network together."""
    waiting: list[_Found] = []
    faces = pixels = 0
    begun = time.monotonic()
    for picture in pictures:
        waiting.append(_Found(picture, *reader.find(picture.image)))
        faces, pixels = faces + len(waiting[-1].boxes), pixels + picture.image.size // 3
        if faces >= _FACES or pixels >= _PIXELS or time.monotonic() - begun >= _SECONDS:
            yield from _answers(reader, waiting, explain)
            waiting, faces, pixels, begun = [], 0, 0, time.monotonic()
    yield from _answers(reader, waiting, explain)


class _Found(NamedTuple):
    picture: Picture
    boxes: list[Box]
    crops: NDArray[np.uint8]


def _answers(reader: Reader, waiting: list[_Found], explain: bool) -> Iterator[sinks.Result]:
    if not waiting:
        return
    crops = np.concatenate([found.crops for found in waiting])
    boxes = [box for found in waiting for box in found.boxes]
    faces = reader.faces(boxes, reader.read_crops(crops))
    heat = reader.heat(crops[:, 0], [face.emotion for face in faces]) if explain else None
    first = 0
    for found in waiting:
        own = slice(first, first := first + len(found.boxes))
        yield sinks.Result(found.picture, faces[own], None if heat is None else heat[own])


def _pictures(files: Sequence[str], bar: "tqdm[Any]", fail: Callable[[UserError], None]) -> Iterator[Picture]:
    for file in files:
        try:
            yield from pictures_in(file)
        except UserError as error:
            fail(error)
        bar.update()
