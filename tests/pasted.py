"""Is a face that the detector finds in a picture read as the face itself is? Faces are pasted into pictures, and found.

`python -m tests.pasted --help`. Every image is enlarged and pasted into a larger picture; where the detector finds it,
the network's answer to the crops of that box is compared with its answer to the image itself. So is the answer to the
exact crop, the pasted square brought back to 48x48 pixels. The ratio of the two agreements is what finding costs.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from minicnn import data
from minicnn.apps.faces import MARGINS, Box, Detector, Reader, crop, crops_of
from minicnn.apps.tracking import overlap

Pixels = NDArray[np.uint8]

HEIGHT, WIDTH = 360, 480
SIDES = (96, 240)
"""Pixels of a picture, and of the face in it: from the first to the second."""

FOUND = 0.5
"""Intersection over union from which a box has found the face, and not something in it."""


GROUNDS = ("plain", "noise", "edge")
"""What is around the face: one tone, which differs from picture to picture, noise, or its own edge, going on."""


@dataclass(frozen=True)
class Found:
    """Faces that were found in pictures.

    Attributes:
        images: the faces themselves, (N, 48, 48).
        exact: the squares where they were pasted, brought back to (N, 48, 48).
        crops: what is cut out for the boxes, (N, len(margins), 48, 48).
        offsets: how far right and down the middle of each box is, and its size, as shares of the face: (N, 3).
    """

    images: Pixels
    exact: Pixels
    crops: Pixels
    offsets: NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How often the answer to so many `crops` is that to the image itself; `interval` holds 95 % of the ratios."""

    crops: int
    agreement: float
    ratio: float
    interval: tuple[float, float]


def paste(image: Pixels, ground: str, seed: Sequence[int]) -> tuple[Pixels, Box]:
    """A picture with the face in it, and where; size, place and ground are drawn from the seed."""
    random = np.random.default_rng(seed)
    side = int(random.integers(SIDES[0], SIDES[1] + 1))
    place = Box(int(random.integers(WIDTH - side + 1)), int(random.integers(HEIGHT - side + 1)), side, side)
    face = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    below, right = HEIGHT - place.y - side, WIDTH - place.x - side
    picture = np.asarray(cv2.copyMakeBorder(face, place.y, below, place.x, right, cv2.BORDER_REPLICATE), np.uint8)
    if ground != "edge":
        picture[:] = random.integers(40, 216) if ground == "plain" else random.integers(0, 256, picture.shape)
        picture[place.y : place.y + side, place.x : place.x + side] = face
    return picture, place


def find(images: Pixels, detector: Detector, margins: Sequence[float] = MARGINS, ground: str = "plain") -> Found:
    """Paste every image into a picture of its own and look for it there; those that are missed are left out."""
    rows, exact, crops, offsets = [], [], [], []
    for number, image in enumerate(tqdm(images, unit="picture", leave=False, disable=None)):
        picture, place = paste(image, ground, (0, number))
        box = max(detector(picture), key=lambda box: overlap(box, place), default=None)
        if box is None or overlap(box, place) < FOUND:
            continue
        rows.append(number)
        exact.append(crop(picture, place, margin=0))
        crops.append(crops_of(picture, [box], margins)[0])
        offsets.append(_offset(box, place))
    shape = images.shape[1:]
    return Found(
        images[rows],
        np.array(exact, np.uint8).reshape(-1, *shape),
        np.array(crops, np.uint8).reshape(-1, len(margins), *shape),
        np.array(offsets).reshape(-1, 3),
    )


def compare(found: Found, reader: Reader, counts: Sequence[int]) -> tuple[float, list[Agreement]]:
    """The agreement of the exact crops, and that of the first so many crops of the boxes, for each of `counts`."""
    itself = reader.read_crops(found.images[:, None]).argmax(axis=1)
    exact = reader.read_crops(found.exact[:, None]).argmax(axis=1) == itself
    rows = []
    for count in counts:
        same = reader.read_crops(found.crops[:, :count]).argmax(axis=1) == itself
        rows.append(Agreement(count, same.mean(), same.mean() / exact.mean(), _interval(same, exact)))
    return float(exact.mean()), rows


def _offset(box: Box, place: Box) -> tuple[float, float, float]:
    right = (box.x + box.width / 2 - place.x) / place.width - 0.5
    down = (box.y + box.height / 2 - place.y) / place.height - 0.5
    return right, down, max(box.width, box.height) / place.width


def _interval(same: NDArray[np.bool_], exact: NDArray[np.bool_]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the ratio; an image is drawn with both its answers."""
    drawn = np.random.default_rng(0).integers(len(same), size=(1000, len(same)))
    low, high = np.quantile(same[drawn].mean(axis=1) / exact[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def measure(given: argparse.Namespace, reader: Reader) -> dict[str, Any]:
    """All figures, as JSON values."""
    images = data.load(given.data).splits[given.split].images[given.first :][: given.images]
    found = find(images, reader.detector, given.margins, given.ground)
    if not len(found.images):
        raise SystemExit(f"none of {len(images)} faces was found")
    exact, rows = compare(found, reader, given.crops or sorted({1, len(given.margins)}))
    return {
        "images": len(images),
        "found": len(found.images),
        "ground": given.ground,
        "margins": list(given.margins),
        "box": dict(zip(("right", "down", "size"), np.median(found.offsets, axis=0).round(4).tolist(), strict=True)),
        "exact": exact,
        "rows": [asdict(row) for row in rows],
    }


def format_figures(figures: dict[str, Any]) -> str:
    """The figures for a terminal."""
    box = figures["box"]
    lines = [
        f"{figures['images']:,} images, {figures['found']:,} found; the median box is {box['size']:.3f} of the face, "
        f"{box['right']:.3f} of it too far right, {box['down']:.3f} too far down",
        f"exact crop: {figures['exact']:.3f} agree with the image itself",
    ]
    for row in figures["rows"]:
        low, high = row["interval"]
        ratio = f"ratio {row['ratio']:.3f} ({low:.3f} to {high:.3f})"
        lines.append(f"{row['crops']} of the crops of the box: {row['agreement']:.3f}, {ratio}")
    return "\n".join(lines)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.pasted", description=__doc__)
    parser.add_argument("--weights", help="weights file or run folder; the package's own unless given")
    parser.add_argument("--data", default="fer2013", help="as minicnn eval takes it (default: %(default)s)")
    parser.add_argument("--split", default="public", help="of the data (default: %(default)s)")
    parser.add_argument("--images", type=int, help="how many; all unless given")
    parser.add_argument("--first", type=int, default=0, help="the first image (default: %(default)s)")
    parser.add_argument("--ground", choices=GROUNDS, default="plain", help="what to paste into (default: %(default)s)")
    parser.add_argument("--margins", type=float, nargs="+", default=MARGINS, help="of the crops (default: %(default)s)")
    parser.add_argument("--crops", type=int, nargs="+", help="how many of them; the first and all unless given")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    if not all(1 <= count <= len(given.margins) for count in given.crops or ()):
        parser.error(f"--crops: expected numbers from 1 to the {len(given.margins)} margins")
    figures = measure(given, Reader(given.weights))
    print(json.dumps(figures) if given.json else format_figures(figures))


if __name__ == "__main__":
    main()
