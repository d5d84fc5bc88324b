"""Where frames come from: a camera by its number, a video file, or a stream by its URL."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from minicnn.errors import UserError
from minicnn.opencv import cv2, silence

SILENCE = 5.0
"""Seconds without a frame after which a camera or stream counts as gone."""

_OPENING = 15.0
"""Seconds that one may take to its first frame: some cameras adjust themselves first."""

_USUAL_RATE = 30.0


class Frame(NamedTuple):
    """A picture, uint8 (H, W, 3) in OpenCV's order BGR, and when it was taken, in seconds of its source."""

    image: NDArray[np.uint8]
    time: float


class Source(Protocol):
    """Frames, one after the other.

    Attributes:
        live: frames come when they come, and one that nobody takes is lost.
        rate: frames a second, as the source says.
    """

    live: bool
    rate: float

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Let go of the camera or file."""


def open_source(name: str) -> Source:
    """The camera of a number such as 0, a stream's URL, or a video file.

    Raises:
        UserError: it is not there, or OpenCV cannot read it.
    """
    # FFmpeg and OpenCV tell of every trouble in several lines of their own; ours is one
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    silence()
    if name.isdecimal():
        return Live(_camera(int(name)), f"camera {name}")
    if "://" in name:
        return Live(_opened(name, f"{name}: no stream that can be read: is the address right, and is it on?"), name)
    if not Path(name).exists():
        raise UserError(f"{name}: no such file; --source takes a camera's number, a video file or a stream's URL")
    return Video(_opened(name, f"{name}: not a video that OpenCV can read"), name)


class Video:
    """The frames of a video file, every one in its turn. `time` is the place in the video."""

    live = False

    def __init__(self, capture: Any, name: str) -> None:
        self._capture = capture
        self._name = name
        self.rate = _rate(capture)

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        while (image := _next(self._capture)) is not None:
            yield Frame(image, number / self.rate)
            number += 1
        if number == 0:
            raise UserError(f"{self._name}: a video without a frame that can be read")

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class Live:
    """The newest frame of a camera or stream, again and again; frames that come meanwhile are passed over.

    A thread takes the frames, since the drivers' own queues would hand out old ones, and since a camera that hangs must
    not hang the program. A camera that ends, or is silent for SILENCE seconds, is a UserError.
    """

    live = True

    def __init__(self, capture: Any, name: str) -> None:
        self.rate = _rate(capture)
        self._capture = capture
        self._name = name
        self._newest: Frame | None = None
        self._ended = False
        self._begun = 0.0
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __iter__(self) -> Iterator[Frame]:
        self._begun = time.monotonic()
        self._reader.start()
        count = 0
        while (frame := self._take(SILENCE if count else _OPENING)) is not None:
            yield frame
            count += 1
        if count == 0:
            raise UserError(f"{self._name}: it is there, but gives no picture: does another program use it?")
        raise UserError(f"{self._name}: no more pictures after {count} frames: was it unplugged or switched off?")

    def _take(self, patience: float) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, patience)
            frame, self._newest = self._newest, None
            return frame

    def _read(self) -> None:
        while not self._ended:
            image = _next(self._capture)
            with self._changed:
                if image is None:
                    self._ended = True
                else:
                    self._newest = Frame(image, time.monotonic() - self._begun)
                self._changed.notify()

    def close(self) -> None:
        """Let go of the camera, unless it hangs: then the end of the program does."""
        self._ended = True
        if self._reader.is_alive():
            self._reader.join(timeout=1)
        if not self._reader.is_alive():
            self._capture.release()


def _camera(number: int) -> Any:
    if sys.platform == "linux" and not Path(f"/dev/video{number}").exists():
        there = sorted(int(path.name[5:]) for path in Path("/dev").glob("video*") if path.name[5:].isdecimal())
        found = f"there are {', '.join(map(str, there))}" if there else "this machine has none"
        raise UserError(
            f"camera {number}: not found ({found}): connect one, or give a video file or a stream's URL by --source"
        )
    capture = _opened(number, f"camera {number}: it cannot be opened: does another program use it, or may you not?")
    capture.set(cv2().CAP_PROP_BUFFERSIZE, 1)
    return capture


def _next(capture: Any) -> NDArray[np.uint8] | None:
    """The next picture, None where there is no more."""
    try:
        whole, image = capture.read()
    except cv2().error:  # in place of saying no, as some drivers do when their camera goes
        return None
    return image if whole else None


def _opened(source: str | int, complaint: str) -> Any:
    backend = cv2().CAP_ANY
    if isinstance(source, str) and cv2().CAP_FFMPEG in cv2().videoio_registry.getStreamBackends():
        backend = cv2().CAP_FFMPEG  # what it cannot read others print lines about
    capture = cv2().VideoCapture(source, backend)
    if not capture.isOpened():
        raise UserError(complaint)
    return capture


def _rate(capture: Any) -> float:
    """Frames a second; files that do not say, or say nonsense, are taken for usual ones."""
    rate = float(capture.get(cv2().CAP_PROP_FPS))
    return rate if 1 <= rate <= 1000 else _USUAL_RATE
