"""Cameras that are unplugged, streams and films that break off: a clean end, and what came before it is kept."""

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import cv2

from minicnn.apps import sources
from tests.faults import children, pictures
from tests.faults.tally import Tally

CUT = "film cut off"
UNPLUGGED = "camera unplugged or silent"

READER = ("camera", "--no-window", "--threads", 1)


class Camera:
    """OpenCV's capture of a camera that ends after some frames, in one of three ways."""

    def __init__(self, frames: int, end: str) -> None:
        self.frames, self.end = frames, end

    def get(self, _: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, Any]:
        if self.frames == 0:
            if self.end == "hangs":
                threading.Event().wait()
            if self.end == "raises":
                raise cv2.error("the driver is gone")
            return False, None
        self.frames -= 1
        time.sleep(0.005)
        return True, pictures.picture(self.frames)

    def release(self) -> None:
        """Nothing to let go of."""


def disturb(tally: Tally, folder: Path, random: Random, share: float) -> None:
    """Cut films at every hundredth of their length, and take cameras away after any number of frames."""
    weights = pictures.network(folder)
    for ending in (".avi", ".mp4", ".mkv"):
        film = pictures.film(folder / f"whole{ending}")
        _cut(tally, film, weights, random, share)
    for number in range(max(2, round(60 * share))):
        frames, end = random.randrange(8), random.choice(["ends", "hangs", "raises"])
        with tally.fault(UNPLUGGED, f"{end} after {frames} frames, try {number}"):
            _unplug(folder / f"seen-{number}.avi", frames, end, weights)


def _cut(tally: Tally, film: Path, weights: Path, random: Random, share: float) -> None:
    arguments = (*READER, "--weights", weights, "--source")
    whole = children.run(*arguments, film, prepare=pictures.plain)
    assert whole.code == 0, whole
    content, part = film.read_bytes(), film.with_stem("cut")
    for percent in random.sample(range(100), max(1, round(100 * share))):
        part.write_bytes(content[: len(content) * percent // 100])
        with tally.fault(CUT, f"{film.name} at {percent} %"):
            ended = children.run(*arguments, part, prepare=pictures.plain)
            lines = ended.out.splitlines()
            assert lines[:-1] == whole.out.splitlines()[: max(len(lines) - 1, 0)]
            if ended.code:
                assert str(part) in ended.line(), ended
            else:
                assert [json.loads(line)["frame"] for line in lines] == list(range(len(lines)))
                assert f"{part}: {len(lines)} frames in " in ended.err


def _unplug(record: Path, frames: int, end: str, weights: Path) -> None:
    """What was seen until then is printed and recorded, and one line says what has happened."""
    prepare: Callable[[], object] = partial(_plug_in, frames, end)
    ended = children.run(*READER, "--weights", weights, "--record", record, prepare=prepare)
    line = ended.line()
    seen = len(ended.out.splitlines())
    assert line.startswith("minicnn: camera 0: " + (f"no more pictures after {seen} " if seen else "it is there, but"))
    assert record.exists() == (seen > 0)
    if seen:
        read, promised = pictures.frames_of(record)
        assert read == promised > 0
    assert not list(record.parent.glob(".*")), list(record.parent.glob(".*"))


def _plug_in(frames: int, end: str) -> None:
    pictures.plain()
    sources.SILENCE = sources._OPENING = 0.3
    sources._camera = lambda number: Camera(frames, end)
