"""What was seen, as a video file."""

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from minicnn.errors import UserError
from minicnn.files import atomic_write
from minicnn.opencv import cv2

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
"""What each ending is written with: what every build of OpenCV has, so that no other program is needed."""


_ROOM, _ROOM_EACH = 1 << 20, 100
"""Bytes that must be free beside the next frame: what is buffered and the file's end take less, and a bit a frame."""

_LONGEST = 1.0
"""Seconds that a frame stays at most: of a pause no more is recorded."""


class Recorder:
    """Writes frames as a video that runs as they came: one that stays long is repeated, too many are left out.

    The file takes its name when the block ends, also by an error or Ctrl-C: what was recorded until then is kept.

    Args:
        path: the video file; its ending says which kind.
        rate: frames a second of the video.
    """

    def __init__(self, path: Path, rate: float) -> None:
        check_path(path)
        self.path = path
        self.rate = rate
        self._writer: Any = None
        self._size = (0, 0)
        self._start = 0.0
        self._count = 0
        self._building = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")

    def __enter__(self) -> Self:
        return self

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Add a frame, uint8 (H, W, 3) BGR, taken at `time` in seconds; of another size than the first, it is resized.

        Raises:
            UserError: the file cannot be written, or the disk is full: what was written until then is kept.
        """
        if self._writer is None:
            self._open(image, time)
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2().resize(image, self._size, interpolation=cv2().INTER_AREA)
        # the video lasts until this frame has been seen, which makes it at least one frame long
        due = round((time - self._start) * self.rate) + 1
        if (pause := due - self._count - round(self.rate * _LONGEST)) > 0:
            self._start += pause / self.rate
            due -= pause
        for _ in range(due - self._count):
            self._check_room(image.nbytes)
            self._writer.write(image)
            self._count += 1

    def _check_room(self, size: int) -> None:
        """OpenCV does not say when a disk is full, and a file that it could not end cannot be played."""
        if shutil.disk_usage(self._building.parent).free < size + _ROOM + _ROOM_EACH * self._count:
            raise UserError(f"{self.path}: no room left on its disk: the recording ends here")

    def _open(self, image: NDArray[np.uint8], time: float) -> None:
        self._start, self._size = time, (image.shape[1], image.shape[0])
        codec = cv2().VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
        self._writer = cv2().VideoWriter(str(self._building), codec, self.rate, self._size)
        if not self._writer.isOpened():
            raise UserError(f"{self.path}: OpenCV cannot write this video: try another ending, such as .avi")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        try:
            if self._count:
                with atomic_write(self.path) as temporary:
                    os.replace(self._building, temporary)
        finally:
            self._building.unlink(missing_ok=True)


def check_path(path: Path) -> None:
    """Raise UserError, before anything is opened, where no video can be written to `path`."""
    if path.suffix.lower() not in CODECS:
        raise UserError(f"{path}: expected a file that ends in {', '.join(CODECS)}")
    folder = path.absolute().parent
    if not folder.is_dir() or path.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{path}: expected a file in a folder that is there and can be written to")
