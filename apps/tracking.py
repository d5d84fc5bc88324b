"""Faces followed from frame to frame: what the network says of each is smoothed, and no two people are ever mixed.

A face goes on as the one before it where the two overlap, look alike, and nobody else comes into question. In doubt a
face starts anew: that costs a moment of smoothing, and a mix-up would put one person's expression on another.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn.apps.faces import Box, Face

OVERLAP = 0.3
"""Intersection over union from which two boxes may be one face. Between frames a face hardly moves."""

LIKENESS = 0.75
"""Correlation of two crops from which they may be one face.

Crops of one still face, found 2 % off, have 0.84 or more; of two faces of scikit-image's `lfw_subset`, 99 in 100 pairs
have less than 0.74.
"""

PATIENCE = 0.3
"""Seconds for which a face that is not found stays where it was: a detector misses a frame now and then."""

PROBABILITY_SECONDS = 0.25
BOX_SECONDS = 0.05
"""Time constants of the smoothing: a change has come through to 63 % after so long, at any frame rate."""


class Sighting(NamedTuple):
    """A face in a frame: as smoothed, with the crop (48, 48) that was last found of it.

    `number` stays the same while the face is followed; `found` is false in a frame that missed it.
    """

    number: int
    face: Face
    crop: NDArray[np.uint8]
    found: bool


@dataclass(eq=False)  # two tracks are never the same one
class _Track:
    number: int
    box: NDArray[np.float64]  # x, y, width, height
    probabilities: NDArray[np.float64]
    last: Box  # as found, not as smoothed: smoothing lags behind a face that moves
    crop: NDArray[np.uint8]
    time: float

    def go_on(self, box: Box, crop: NDArray[np.uint8], probabilities: NDArray[np.float32], time: float) -> None:
        passed = max(time - self.time, 0.0)
        self.box += (np.asarray(box) - self.box) * (1 - math.exp(-passed / BOX_SECONDS))
        change = 1 - math.exp(-passed / PROBABILITY_SECONDS)
        self.probabilities += (probabilities - self.probabilities) * change
        self.last, self.crop, self.time = box, crop, time


class Tracker:
    """Follows the faces of one stream of frames.

    Args:
        classes: the names of the probabilities.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self._tracks: list[_Track] = []
        self._count = 0

    def update(
        self, boxes: list[Box], crops: NDArray[np.uint8], probabilities: NDArray[np.float32], time: float
    ) -> list[Sighting]:
        """The faces of the next frame, in order of their numbers.

        Args:
            boxes: where faces were found.
            crops: how they look, (N, 48, 48).
            probabilities: what the network says of them, (N, classes).
            time: of the frame in seconds, on any clock that does not go back.
        """
        known = [track for track in self._tracks if time - track.time <= PATIENCE]
        partners = _partners(known, boxes, crops)
        found = []
        for row, (box, crop) in enumerate(zip(boxes, crops, strict=True)):
            track = partners.get(row) or self._start(box, crop, probabilities[row], time)
            track.go_on(box, crop, probabilities[row], time)
            found.append(track)
        # one that was missed, and whose place is taken, has gone or can no longer be told from who is there now
        missed = [
            track
            for track in known
            if track not in found and not any(overlap(track.last, box) >= OVERLAP for box in boxes)
        ]
        self._tracks = sorted(found + missed, key=lambda track: track.number)
        return [self._sighting(track, track in found) for track in self._tracks]

    def _start(self, box: Box, crop: NDArray[np.uint8], probabilities: NDArray[np.float32], time: float) -> _Track:
        self._count += 1
        return _Track(self._count, np.array(box, float), probabilities.astype(float), box, crop, time)

    def _sighting(self, track: _Track, found: bool) -> Sighting:
        named = dict(zip(self.classes, track.probabilities.tolist(), strict=True))
        box = Box(*(round(side) for side in track.box.tolist()))
        return Sighting(track.number, Face(box, max(named, key=named.__getitem__), named), track.crop, found)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    shared = max(width, 0) * max(height, 0)
    return shared / (one.width * one.height + other.width * other.height - shared)


def likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Pearson's correlation of two crops, -1 to 1; 0 where one of them is a single tone."""
    a, b = one - one.mean(), other - other.mean()
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _partners(tracks: list[_Track], boxes: list[Box], crops: NDArray[np.uint8]) -> dict[int, _Track]:
    """The track that each box goes on with, where that is beyond doubt."""
    near = [[overlap(track.last, box) >= OVERLAP for box in boxes] for track in tracks]
    partners = {}
    for track, reached in zip(tracks, near, strict=True):
        if sum(reached) != 1:
            continue
        row = reached.index(True)
        rivals = sum(others[row] for others in near) - 1
        if rivals == 0 and likeness(track.crop, crops[row]) >= LIKENESS:
            partners[row] = track
    return partners
