"""How well a network still answers when its images are darker, blurred, moved, noisy or badly compressed."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.apps.evaluate import Subject
from minicnn.apps.metrics import Interval, wilson_interval
from minicnn.opencv import cv2

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Robustness:
    """Accuracy under one change.

    Attributes:
        change, amount: what was done to every image, see CHANGES.
        accuracy: the share of right answers, and `interval` its 95 % Wilson score interval.
    """

    change: str
    amount: float
    accuracy: float
    interval: Interval


def brightness(images: Images, factor: float) -> Images:
    """Every grey level times `factor`; what is beyond white is white."""
    return _levels(images * np.float32(factor))


def contrast(images: Images, factor: float) -> Images:
    """Every difference to the image's mean times `factor`."""
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return _levels(mean + (images - mean) * np.float32(factor))


def noise(images: Images, deviation: float) -> Images:
    """Add Gaussian noise of so many grey levels, the same in every call."""
    drawn = np.random.default_rng(0).standard_normal(images.shape, np.float32)
    return _levels(images + drawn * np.float32(deviation))


def blur(images: Images, deviation: float) -> Images:
    """Blur by a Gaussian of so many pixels."""
    return _each(images, lambda image: cv2().GaussianBlur(image, (0, 0), deviation))


def shift(images: Images, pixels: float) -> Images:
    """Move right and down by whole pixels; the border is repeated."""
    by = int(pixels)
    padded = np.pad(images, ((0, 0), (by, 0), (by, 0)), mode="edge")
    return np.ascontiguousarray(padded[:, : images.shape[1], : images.shape[2]])


def rotate(images: Images, degrees: float) -> Images:
    """Turn counter-clockwise about the middle; the border is repeated."""
    height, width = images.shape[1:]
    matrix = cv2().getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    repeat = cv2().BORDER_REPLICATE
    return _each(images, lambda image: cv2().warpAffine(image, matrix, (width, height), borderMode=repeat))


def jpeg(images: Images, quality: float) -> Images:
    """Store as JPEG of this quality (100 is best) and read again."""

    def stored(image: Images) -> Any:
        _, data = cv2().imencode(".jpg", image, [cv2().IMWRITE_JPEG_QUALITY, int(quality)])
        return cv2().imdecode(data, cv2().IMREAD_GRAYSCALE)

    return _each(images, stored)


CHANGES: dict[Callable[[Images, float], Images], tuple[float, ...]] = {
    brightness: (0.25, 0.5, 1.5, 2.0),
    contrast: (0.25, 0.5, 1.5),
    blur: (0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
    noise: (5, 10, 20),
    shift: (1, 2, 4, 6),
    rotate: (-20, -10, 10, 20),
    jpeg: (50, 20, 10),
}
"""Each change and the amounts of it that are measured."""


def robustness(subject: Subject, tta: bool = False) -> Iterator[Robustness]:
    """Accuracy on the subject's images as they are (change "none"), and under each amount of each change.

    With `tta` by ten views of each image, see minicnn.inference.probabilities.
    """
    yield _accuracy(subject, "none", 0, subject.split.images, tta)
    for change, amounts in CHANGES.items():
        for amount in amounts:
            yield _accuracy(subject, change.__name__, amount, change(subject.split.images, amount), tta)


def to_json(rows: list[Robustness]) -> list[dict[str, Any]]:
    """The rows as `minicnn eval --robustness --json` prints them."""
    return [{**asdict(row), "interval": list(row.interval)} for row in rows]


def format_table(rows: list[Robustness]) -> str:
    """The rows for a terminal, each with what it loses against the images as they are."""
    lines = ["change      amount  accuracy  95 %         loses"]
    for row in rows:
        low, high = row.interval
        loses = f"  {rows[0].accuracy - row.accuracy:6.3f}" if row is not rows[0] else ""
        lines.append(f"{row.change:10}  {row.amount:6g}  {row.accuracy:8.3f}  {low:.3f}-{high:.3f}{loses}")
    return "\n".join(lines)


def _accuracy(subject: Subject, change: str, amount: float, images: Images, tta: bool) -> Robustness:
    right = int((subject.probabilities(images, tta).argmax(axis=1) == subject.split.labels).sum())
    return Robustness(change, float(amount), right / len(images), wilson_interval(right, len(images)))


def _each(images: Images, change: Callable[[Images], Any]) -> Images:
    return np.stack([change(image) for image in images])


def _levels(values: NDArray[np.floating[Any]]) -> Images:
    levels: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels
