"""Pictures to look for faces in: files, folders, patterns, videos, and standard input."""

import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn.apps import sources
from minicnn.data.image_size import claimed_size
from minicnn.errors import DataError, UserError
from minicnn.opencv import cv2, silence

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm", ".jp2", ".avif")
"""Endings of the pictures that are looked at in a folder."""

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".mjpeg", ".mjpg")
"""Endings of videos."""

STDIN = "-"
"""The source that is standard input."""

_LARGEST = 1 << 28
"""Pixels of the largest picture: 16,384 x 16,384, or 800 MB in memory. A file of a megabyte can unpack to more."""

_LARGEST_FILE = 1 << 30
"""Bytes."""

_BAND = 1 << 20
"""Pixels that are mixed with white at a time."""

_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
"""How HDR files begin. OpenCV would write them to a temporary file, and leave it there where they are damaged."""

# OpenCV looks here when it is first imported, and refuses larger pictures before it unpacks them.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_LARGEST))


class Picture(NamedTuple):
    """A picture, and where it is from.

    Attributes:
        source: the file, or "-".
        image: uint8 (H, W, 3), in OpenCV's order BGR.
        frame: its number in a video, from 0; None for a picture of its own.
        rate: frames a second of the video.
    """

    source: str
    image: NDArray[np.uint8]
    frame: int | None = None
    rate: float = 0.0


def decode(data: bytes, name: str) -> NDArray[np.uint8]:
    """A picture file's picture: uint8 (H, W, 3) BGR, turned as its EXIF data says; transparent parts become white.

    16 bits a channel become 8: the highest that the picture uses.

    Args:
        data: the file, in any format that OpenCV reads.
        name: what messages call it.

    Raises:
        DataError: it is no whole picture, too large, or of numbers that are not 8 or 16 bits.
    """
    opencv = cv2()
    silence()
    if data.startswith(_RADIANCE):
        raise DataError(f"{name}: expected 8 or 16 bits a channel, got float32 (Radiance HDR): convert it first")
    hopeless = not data or (data.startswith(b"\xff\xd8") and claimed_size(data) is None)
    try:
        codes = np.frombuffer(data, np.uint8)
        image = None if hopeless else opencv.imdecode(codes, opencv.IMREAD_COLOR | opencv.IMREAD_ANYDEPTH)
        # a second look, for the transparency, at what may have some; it would not turn by EXIF data
        whole = (
            None if data.startswith(b"\xff\xd8") or image is None else opencv.imdecode(codes, opencv.IMREAD_UNCHANGED)
        )
    except opencv.error as error:
        reason = f"larger than {_LARGEST:,} pixels" if "MAX_IMAGE" in str(error) else "damaged"
        raise DataError(f"{name}: cannot be read as a picture: {reason}") from error
    if image is None:
        raise DataError(f"{name}: expected a picture (JPEG, PNG, ...), got {_what_is(data)}")
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{name}: expected 8 or 16 bits a channel, got {image.dtype}: convert it first")
    if whole is not None and whole.ndim == 3 and whole.shape[2] == 4:
        image = _on_white(whole)
    return _eight_bits(image)


def expand(names: Sequence[str], on_error: Callable[[UserError], None]) -> list[str]:
    """The files that `names` name: themselves, what is in folders (at any depth) and what patterns match, in order.

    What names nothing goes to `on_error`.
    """
    found: list[str] = []
    for source in names:
        files = list(_files(source))
        if not files:
            on_error(DataError(f"{source}: {_nothing(source)}"))
        found += files
    return list(dict.fromkeys(found))


def is_video(source: str) -> bool:
    """Whether a file's ending is a video's."""
    return Path(source).suffix.lower() in VIDEOS


def pictures_in(source: str) -> Iterator[Picture]:
    """The picture in a file or in standard input, or a video's frames.

    Raises:
        UserError: it cannot be read.
    """
    if is_video(source):
        with closing(sources.open_source(source)) as video:
            for number, frame in enumerate(video):
                yield Picture(source, frame.image, number, video.rate)
    else:
        yield Picture(source, decode(_read(source), "standard input" if source == STDIN else source))


def _files(source: str) -> Iterator[str]:
    path = Path(source)
    if source == STDIN or path.is_file():
        yield source
    elif path.is_dir():
        inside = (file for file in path.rglob("*") if file.suffix.lower() in (*PICTURES, *VIDEOS))
        yield from sorted(str(file) for file in inside if file.is_file() and not file.name.startswith("."))
    elif not path.exists() and glob.has_magic(source):
        yield from sorted(match for match in glob.glob(source, recursive=True) if Path(match).is_file())
    elif path.exists():
        yield source  # a pipe or a device, as <(command) gives


def _nothing(source: str) -> str:
    if Path(source).is_dir():
        return "expected pictures or videos in this folder, there are none"
    if glob.has_magic(source):
        return "no file matches this pattern"
    return "no such file or folder"


def _read(source: str) -> bytes:
    if source == STDIN:
        if sys.stdin.isatty():
            raise DataError("-: expected a picture on standard input, it is a terminal: minicnn predict - < photo.jpg")
        stream = sys.stdin.buffer
        data = stream.read(_LARGEST_FILE + 1)
    else:
        try:
            with open(source, "rb") as file:
                data = file.read(_LARGEST_FILE + 1)
        except OSError as error:
            raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
    if len(data) > _LARGEST_FILE:
        raise DataError(f"{source}: expected a picture of at most {_LARGEST_FILE:,} bytes, it is larger")
    return data


def _on_white(image: NDArray[Any]) -> NDArray[Any]:
    most, mixed = np.iinfo(image.dtype).max, np.empty((*image.shape[:2], 3), image.dtype)
    band = max(1, _BAND // image.shape[1])
    for top in range(0, len(image), band):  # in float32 a whole picture may be gigabytes
        part = image[top : top + band]
        alpha = part[:, :, 3:].astype(np.float32) / most
        mixed[top : top + band] = (part[:, :, :3] * alpha + most * (1 - alpha)).round()
    return mixed


def _eight_bits(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Many cameras give 10 or 12 bits in 16: the highest eight in use are taken."""
    shift = max(0, int(image.max()).bit_length() - 8)
    return (image >> shift).astype(np.uint8) if image.dtype == np.uint16 else image


def _what_is(data: bytes) -> str:
    known = {b"\xff\xd8": "a damaged or unfinished JPEG", b"\x89PNG": "a damaged or unfinished PNG", b"%PDF": "a PDF"}
    for start, what in known.items():
        if data.startswith(start):
            return what
    return "something else, or a damaged one" if data else "an empty file"
