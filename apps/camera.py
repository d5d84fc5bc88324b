"""The live demo: faces of a camera, a video or a stream, in a window or as a line of JSON a frame.

The page in the browser is minicnn.apps.web.
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from minicnn.apps.annotate import annotate
from minicnn.apps.faces import Box, Face
from minicnn.apps.live import Rate, Watcher, describe, interruptible
from minicnn.apps.recorder import Recorder
from minicnn.apps.sources import Frame, Source
from minicnn.apps.tracking import Sighting

Image = NDArray[np.uint8]
Heat = list[NDArray[np.float32]]


class Screen(Protocol):
    """What shows pictures and takes keys: minicnn.apps.window.Window."""

    def show(self, image: Image, note: str) -> None:
        """Show a picture, and a note below it."""

    def key(self, seconds: float) -> str:
        """The key that is pressed within so many seconds, or an empty text."""


class Count(NamedTuple):
    """How many frames were read, and in how many seconds."""

    frames: int
    seconds: float


class Camera:
    """Reads a source frame by frame, and hands on what was seen.

    Args:
        source: where frames come from.
        watcher: what follows their faces.
        screen: shows them, where there is one.
        record: the video file to write, if any.
        out: takes a JSON value for each frame, where wanted.
        mirrored: show pictures as in a mirror, until the key m.
        explain: show heat maps, until the key w.
    """

    def __init__(
        self,
        source: Source,
        watcher: Watcher,
        *,
        screen: Screen | None = None,
        record: Path | None = None,
        out: Callable[[dict[str, Any]], None] | None = None,
        mirrored: bool = False,
        explain: bool = False,
    ) -> None:
        self.source = source
        self.watcher = watcher
        self.screen = screen
        self.record = record
        self.out = out
        self.mirrored = mirrored
        self.explain = explain
        self._rate = Rate()
        self._begun = 0.0
        self._seen: tuple[Image, list[Sighting]]

    def run(self) -> Count:
        """Go on until the source ends, the screen's user quits, or Ctrl-C, which is a usual end here.

        Raises:
            UserError: the camera has gone, or the video cannot be read or written.
        """
        frames, self._begun = 0, time.monotonic()
        with ExitStack() as stack, interruptible():
            recorder = stack.enter_context(Recorder(self.record, self.source.rate)) if self.record else None
            for frame in self.source:
                self._read(frame, frames, recorder)
                frames += 1
                if self.screen is not None and self._quits(self.screen, frame):
                    break
        return Count(frames, time.monotonic() - self._begun)

    def _read(self, frame: Frame, number: int, recorder: Recorder | None) -> None:
        sightings = self.watcher.look(frame.image, frame.time)
        rate = self._rate.tick(time.monotonic())
        if self.out is not None:
            found = [describe(sighting) for sighting in sightings if sighting.found]
            self.out({"frame": number, "time": round(frame.time, 3), "faces": found})
        if self.screen is None and recorder is None:
            return
        self._seen = frame.image, sightings
        picture = self._picture()
        if recorder is not None:
            recorder.write(picture, frame.time)
        if self.screen is not None:
            self.screen.show(picture, f"{rate:.0f} frames/s")

    def _picture(self) -> Image:
        image, sightings = self._seen
        faces = [sighting.face for sighting in sightings]
        heat = self.watcher.heat(sightings) if self.explain else []
        if self.mirrored:
            image, faces, heat = _mirrored(image, faces, heat)
        return annotate(image, faces, heat or None)

    def _quits(self, screen: Screen, frame: Frame) -> bool:
        """Take the key that waits, or comes before a video's next frame is due."""
        early = 0.0 if self.source.live else self._begun + frame.time - time.monotonic()
        key = screen.key(max(early, 0.0))
        if key == "space":
            key = self._pause(screen)
        self._toggle(key)
        return key == "q"

    def _pause(self, screen: Screen) -> str:
        """Keep the picture until the key that goes on, or quits."""
        begun = time.monotonic()
        screen.show(self._picture(), "paused")
        while (key := screen.key(0.1)) not in ("space", "q"):
            if key:
                self._toggle(key)
                screen.show(self._picture(), "paused")
        self._begun += time.monotonic() - begun
        return key

    def _toggle(self, key: str) -> None:
        if key == "m":
            self.mirrored = not self.mirrored
        if key == "w":
            self.explain = not self.explain


def print_line(value: dict[str, Any]) -> None:
    """One JSON object on a line of stdout, at once: whoever reads it may be waiting."""
    print(json.dumps(value), flush=True)


def _mirrored(image: Image, faces: list[Face], heat: Heat) -> tuple[Image, list[Face], Heat]:
    """Picture, faces and heat maps as in a mirror; what was read stays as it was."""
    width = image.shape[1]
    boxes = [Box(width - face.box.x - face.box.width, *face.box[1:]) for face in faces]
    turned = [face._replace(box=box) for face, box in zip(faces, boxes, strict=True)]
    return np.ascontiguousarray(image[:, ::-1]), turned, [np.ascontiguousarray(part[:, ::-1]) for part in heat]
