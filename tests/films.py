"""What the tests of live sources share: videos, written and read, and a source of stills."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from minicnn.apps.sources import Frame
from tests.browser import scene

RATE = 25


def write_video(path: Path, frames: list[np.ndarray]) -> Path:
    """A video of 25 frames/s."""
    codec = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), codec, RATE, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def read_video(path: Path) -> tuple[list[np.ndarray], float]:
    """Its frames, and how many of them make a second."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


class Stills:
    """A source of the same picture, a 25th of a second apart."""

    live, rate = True, float(RATE)

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self.count):
            yield Frame(scene(), number / RATE)

    def close(self) -> None:
        pass
