"""Augmentation as array code over a whole batch: no loop over images, no change to the input.

Images are float32 (B, C, H, W), already normalized, so that 0 is the mean grey. Every function takes the
random generator that it draws from, draws for each image of the batch separately, and returns float32.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Images = NDArray[np.float32]

_ERASED_AREA = 0.2  # of the image, at most: enough to hide an eye or the mouth, not the face
_FEW = 16  # images warped at a time


def random_crop(x: Images, rng: np.random.Generator, padding: int) -> Images:
    """Shift by up to `padding` whole pixels each way; what comes in at the border is the image mirrored.

    The mirror image (without repeating the edge pixel) keeps texture and tone at the border, where black bars
    would be edges that no test image has.

    Raises:
        ValueError: `padding` is negative or not smaller than the image.
    """
    height, width = x.shape[2:]
    if not 0 <= padding < min(height, width):
        raise ValueError(f"random_crop: expected padding in 0..{min(height, width) - 1}, got {padding}")
    rows, columns = rng.integers(0, 2 * padding + 1, (2, len(x)))
    border = (padding, padding)
    windows = sliding_window_view(np.pad(x, ((0, 0), (0, 0), border, border), mode="reflect"), (height, width), (2, 3))
    crops: Images = windows[np.arange(len(x)), :, rows, columns]
    return crops


def random_flip(x: Images, rng: np.random.Generator, p: float = 0.5) -> Images:
    """Mirror left and right with probability `p`."""
    flipped = rng.random((len(x), 1, 1, 1)) < p
    return np.where(flipped, x[..., ::-1], x)


def random_affine(x: Images, rng: np.random.Generator, degrees: float, shift: float, zoom: float) -> Images:
    """Rotate, shift and zoom by random amounts, see `affine`.

    Args:
        x: the images.
        rng: where the amounts are drawn, each evenly from its range.
        degrees: the angle is in -degrees..degrees.
        shift: the shift is in -shift..shift, as a fraction of the size, in each direction.
        zoom: the factor is in 1 - zoom..1 + zoom.
    """
    n = len(x)
    return affine(
        x,
        rng.uniform(-degrees, degrees, n),
        rng.uniform(-shift, shift, (n, 2)),
        rng.uniform(1 - zoom, 1 + zoom, n),
    )


def affine(x: Images, degrees: NDArray[Any], shift: NDArray[Any], zoom: NDArray[Any]) -> Images:
    """Rotate, zoom and then shift each image, in one bilinear gather.

    Args:
        x: the images.
        degrees: (B,) counter-clockwise, about the middle of the image.
        shift: (B, 2) to the right and down, as a fraction of width and height.
        zoom: (B,) above 1 enlarges.

    Returns:
        At each pixel the source at `R(degrees) / zoom (pixel - middle - shift) + middle`, clamped to the
        border. No rotation, shift or zoom gives the same bits.
    """
    height, width = x.shape[2:]
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    angle = np.deg2rad(degrees)
    cos = (np.cos(angle) / zoom).astype(np.float32)[:, None, None]
    sin = (np.sin(angle) / zoom).astype(np.float32)[:, None, None]
    shift_x, shift_y = shift.T.astype(np.float32)[:, :, None, None]
    across = np.arange(width, dtype=np.float32) - middle_x - shift_x * width
    down = np.arange(height, dtype=np.float32)[:, None] - middle_y - shift_y * height
    result = np.empty_like(x)
    # The temporaries of a few images stay in the cache: measured three times as fast as the whole batch at once.
    for start in range(0, len(x), _FEW):
        few = slice(start, start + _FEW)
        column = cos[few] * across[few] - sin[few] * down[few] + middle_x
        row = sin[few] * across[few] + cos[few] * down[few] + middle_y
        result[few] = _bilinear(x[few], column, row)
    return result


def random_erase(x: Images, rng: np.random.Generator, p: float, area: float = _ERASED_AREA) -> Images:
    """With probability `p`, replace a rectangle of up to `area` of the image by the mean grey, 0.

    Random Erasing, Zhong et al. 2017 (arXiv 1708.04896); the sides of the rectangle have a ratio of 0.3..3.3.
    """
    n = len(x)
    height, width = x.shape[2:]
    share = rng.uniform(0.02, area, n)
    ratio = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3), n))
    rows = _random_span(height, np.sqrt(share * ratio), rng)
    columns = _random_span(width, np.sqrt(share / ratio), rng)
    hit = rng.random((n, 1)) < p
    erased = (rows & hit)[:, None, :, None] & columns[:, None, None, :]
    return np.where(erased, np.float32(0), x)


def mixup(
    x: Images, targets: NDArray[np.float32], rng: np.random.Generator, alpha: float
) -> tuple[Images, NDArray[np.float32]]:
    """Blend each image, and its target alike, with another of the batch: `w * one + (1 - w) * other`.

    mixup, Zhang et al. 2018 (arXiv 1710.09412), with a weight w ~ Beta(alpha, alpha) for each image.

    Args:
        x: the images.
        targets: float32 (B, classes), probabilities.
        rng: where the weights and partners are drawn.
        alpha: small values leave most images nearly whole; 1 makes every weight as likely.
    """
    partner = rng.permutation(len(x))
    weight = rng.beta(alpha, alpha, len(x)).astype(np.float32)
    w = weight[:, None, None, None]
    mixed = x * w + x[partner] * (1 - w)
    w = weight[:, None]
    return mixed, targets * w + targets[partner] * (1 - w)


@dataclass(frozen=True)
class Augmentation:
    """Which augmentation to apply, and how much; the default does nothing.

    Attributes:
        crop: shift by up to this many whole pixels, see `random_crop`.
        flip: mirror every other image.
        degrees: rotate by up to this much either way.
        shift: shift by up to this fraction of the size, between pixels.
        zoom: zoom by a factor 1 - zoom..1 + zoom.
        erase: probability to erase a rectangle, see `random_erase`.
        mixup: the alpha of `mixup`; 0 leaves targets as labels.
    """

    crop: int = 0
    flip: bool = False
    degrees: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("crop", self.crop, 0, np.inf),
            ("degrees", self.degrees, 0, 180),
            ("shift", self.shift, 0, 1),
            ("zoom", self.zoom, 0, 0.99),
            ("erase", self.erase, 0, 1),
            ("mixup", self.mixup, 0, np.inf),
        ):
            if not low <= value <= high:
                raise ValueError(f"Augmentation: expected {name} in {low}..{high}, got {value}")

    def apply(
        self, images: Images, labels: NDArray[np.int64], rng: np.random.Generator, classes: int
    ) -> tuple[Images, NDArray[Any]]:
        """Augment a batch.

        Returns:
            The images, and the targets: `labels` themselves, or float32 (B, classes) with mixup.
        """
        if self.flip:
            images = random_flip(images, rng)
        if self.degrees or self.shift or self.zoom:
            images = random_affine(images, rng, self.degrees, self.shift, self.zoom)
        if self.crop:
            images = random_crop(images, rng, self.crop)
        if self.erase:
            images = random_erase(images, rng, self.erase)
        if self.mixup:
            return mixup(images, np.eye(classes, dtype=np.float32)[labels], rng, self.mixup)
        return images, labels


def _gather(x: Images, pixels: NDArray[np.intp]) -> Images:
    """Image b, pixel `pixels[b]` (flat index into H x W) of every channel."""
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1) * (x.shape[2] * x.shape[3])
    # No index can be outside, so "clip" changes none; it is the one mode that does not check them first.
    gathered: Images = x.reshape(-1).take(pixels[:, None] + planes, mode="clip")
    return gathered


def _bilinear(x: Images, column: NDArray[np.float32], row: NDArray[np.float32]) -> Images:
    """The images at real-valued (B, H, W) positions, clamped to the border."""
    height, width = x.shape[2:]
    column = np.clip(column, 0, width - 1)
    row = np.clip(row, 0, height - 1)
    # The cell's corner is at most the last but one pixel, so that its right and lower neighbor exist.
    left = np.minimum(column.astype(np.intp), width - 2)
    top = np.minimum(row.astype(np.intp), height - 2)
    fx = (column - left.astype(np.float32))[:, None]
    fy = (row - top.astype(np.float32))[:, None]
    corner = top * width + left
    # a * (1 - f) + b * f gives exactly a for f = 0 and b for f = 1; a + (b - a) * f would not.
    upper = _gather(x, corner) * (1 - fx) + _gather(x, corner + 1) * fx
    lower = _gather(x, corner + width) * (1 - fx) + _gather(x, corner + width + 1) * fx
    blend: Images = upper * (1 - fy) + lower * fy
    return blend


def _random_span(size: int, share: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """(B, size): true along a stretch of `share` of the size, at a random place inside."""
    length = np.clip(np.rint(share * size), 1, size)
    start = np.floor(rng.random(len(share)) * (size - length + 1))
    position = np.arange(size) - start[:, None]
    inside: NDArray[np.bool_] = (position >= 0) & (position < length[:, None])
    return inside
