"""A stream of frames, read as it comes: what `minicnn camera` does with every frame, in a window or on the page."""

import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from minicnn.apps.faces import Box, Detector, Reader, crops_of, grey_levels
from minicnn.apps.tracking import Sighting, Tracker
from minicnn.opencv import cv2

ROWS = 480
"""Faces are looked for in a frame shrunk to so many rows: more show no face of a useful size that these do not."""

_RATE_SECONDS = 1.0


class Shrinking:
    """A detector that looks at large frames in a smaller size."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def __call__(self, grey: NDArray[np.uint8]) -> list[Box]:
        """The faces in grey levels (H, W), in pixels of the frame as it came."""
        factor = min(grey.shape) / ROWS
        if factor <= 1:
            return self.detector(grey)
        height, width = grey.shape
        size = (round(width / factor), round(height / factor))
        small = cv2().resize(grey, size, interpolation=cv2().INTER_AREA)
        return [Box(*(round(side * factor) for side in box)) for box in self.detector(small)]


class Watcher:
    """Follows the faces of one stream.

    Args:
        reader: what reads them.
        detector: what finds them.
    """

    def __init__(self, reader: Reader, detector: Detector) -> None:
        self.reader = reader
        self.detector = detector
        self.tracker = Tracker(reader.classes)

    def look(self, image: NDArray[np.uint8], time: float) -> list[Sighting]:
        """The faces in the next frame, uint8 (H, W, 3) BGR, taken at `time` in seconds."""
        grey = grey_levels(image)
        boxes = self.detector(grey)
        crops = crops_of(grey, boxes)
        return self.tracker.update(boxes, crops[:, 0], self.reader.read_crops(crops), time)

    def heat(self, sightings: list[Sighting]) -> list[NDArray[np.float32]]:
        """For each face a map (48, 48), 0 to 1, of what spoke for its emotion: see minicnn.explain."""
        if not sightings:
            return []
        crops = np.array([sighting.crop for sighting in sightings])
        return list(self.reader.heat(crops, [sighting.face.emotion for sighting in sightings]))


class Rate:
    """Frames a second, over the last second."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def tick(self, time: float) -> float:
        """A frame is done at `time`, in seconds; returns the rate so far, 0 for the first frame."""
        self._times.append(time)
        while time - self._times[0] > _RATE_SECONDS:
            self._times.popleft()
        passed = time - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0 else 0.0


def describe(sighting: Sighting) -> dict[str, Any]:
    """A face as JSON values: what `minicnn predict` says of one, and the number under which it is followed."""
    face = sighting.face
    return {
        "number": sighting.number,
        "box": list(face.box),
        "emotion": face.emotion,
        "probabilities": {name: round(value, 6) for name, value in face.probabilities.items()},
    }


@contextmanager
def interruptible() -> Iterator[None]:
    """End the block at Ctrl-C and at a request to end (SIGTERM), as if its work were done."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
