"""Augmentation: what is drawn for each image of a batch, and how much; minicnn.kernels.augment applies it.

Drawing and applying are apart, so that the random numbers, and with them the batches, are the same on every device.
The functions here do both at once: they take float32 (B, C, H, W), already normalized, so that 0 is the mean grey,
and the random generator that they draw from, draw for each image of the batch separately, leave the input as it is
and return float32.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn import kernels
from minicnn.kernels.augment import unchanged, words

Images = NDArray[np.float32]

Amounts = NDArray[np.void]
"""What happens to each image of a batch: (B,) of kernels.augment.AMOUNTS."""

_ERASED_AREA = 0.2  # of the image, at most: enough to hide an eye or the mouth, not the face


def random_crop(x: Images, rng: np.random.Generator, padding: int) -> Images:
    """Shift by up to `padding` whole pixels each way; what comes in at the border is the image mirrored.

    The mirror image (without repeating the edge pixel) keeps texture and tone at the border, where black bars
    would be edges that no test image has.

    Raises:
        ValueError: `padding` is negative or not smaller than the image.
    """
    amounts = unchanged(len(x))
    _draw_crop(amounts, rng, x.shape[2:], padding)
    return _applied(x, amounts)


def random_flip(x: Images, rng: np.random.Generator, p: float = 0.5) -> Images:
    """Mirror left and right with probability `p`."""
    amounts = unchanged(len(x))
    _draw_flip(amounts, rng, p)
    return _applied(x, amounts)


def random_affine(x: Images, rng: np.random.Generator, degrees: float, shift: float, zoom: float) -> Images:
    """Rotate, shift and zoom by random amounts, see `affine`.

    Args:
        x: the images.
        rng: where the amounts are drawn, each evenly from its range.
        degrees: the angle is in -degrees..degrees.
        shift: the shift is in -shift..shift, as a fraction of the size, in each direction.
        zoom: the factor is in 1 - zoom..1 + zoom.
    """
    amounts = unchanged(len(x))
    _draw_warp(amounts, rng, x.shape[2:], degrees, shift, zoom)
    return _applied(x, amounts)


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
    amounts = unchanged(len(x))
    _set_warp(amounts, x.shape[2:], degrees, shift, zoom)
    return _applied(x, amounts)


def random_erase(x: Images, rng: np.random.Generator, p: float, area: float = _ERASED_AREA) -> Images:
    """With probability `p`, replace a rectangle of up to `area` of the image by the mean grey, 0.

    Random Erasing, Zhong et al. 2017 (arXiv 1708.04896); the sides of the rectangle have a ratio of 0.3..3.3.
    """
    amounts = unchanged(len(x))
    _draw_erase(amounts, rng, x.shape[2:], p, area)
    return _applied(x, amounts)


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
    amounts = unchanged(len(x))
    _draw_mixup(amounts, rng, alpha)
    return _applied(x, amounts), _mixed(targets, amounts)


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

    def draw(self, rng: np.random.Generator, n: int, height: int, width: int) -> Amounts:
        """Draw what happens to each of `n` images of `height` x `width`, in this order.

        Raises:
            ValueError: the images are too small for `crop`.
        """
        amounts, size = unchanged(n), (height, width)
        if self.flip:
            _draw_flip(amounts, rng, 0.5)
        if self.degrees or self.shift or self.zoom:
            _draw_warp(amounts, rng, size, self.degrees, self.shift, self.zoom)
        if self.crop:
            _draw_crop(amounts, rng, size, self.crop)
        if self.erase:
            _draw_erase(amounts, rng, size, self.erase, _ERASED_AREA)
        if self.mixup:
            _draw_mixup(amounts, rng, self.mixup)
        return amounts

    def targets(self, labels: NDArray[Any], amounts: Amounts, classes: int) -> NDArray[Any]:
        """Labels (B,) or probabilities (B, classes) as they are, or, with mixup, probabilities mixed as the images."""
        if not self.mixup:
            return labels
        return _mixed(np.eye(classes, dtype=np.float32)[labels] if labels.ndim == 1 else labels, amounts)

    def apply(
        self, images: Images, labels: NDArray[np.int64], rng: np.random.Generator, classes: int
    ) -> tuple[Images, NDArray[Any]]:
        """Augment a batch: draw, change the images, and give them with their `targets`."""
        amounts = self.draw(rng, len(images), *images.shape[2:])
        return _applied(images, amounts), self.targets(labels, amounts, classes)


def _applied(x: Images, amounts: Amounts) -> Images:
    """Change every channel of an image alike."""
    result = np.empty(x.shape, np.float32)
    for channel in range(x.shape[1]):
        one = slice(channel, channel + 1)
        kernels.get("augment", x).forward(x[:, channel], words(amounts), 1.0, 0.0, result[:, one])
    return result


def _mixed(targets: NDArray[np.float32], amounts: Amounts) -> NDArray[np.float32]:
    weight = amounts["weight"][:, None]
    mixed: NDArray[np.float32] = targets * weight + targets[amounts["partner"]] * (1 - weight)
    return mixed


def _draw_flip(amounts: Amounts, rng: np.random.Generator, p: float) -> None:
    amounts["flip"] = rng.random(len(amounts)) < p


def _draw_warp(
    amounts: Amounts, rng: np.random.Generator, size: tuple[int, ...], degrees: float, shift: float, zoom: float
) -> None:
    n = len(amounts)
    angles = rng.uniform(-degrees, degrees, n)
    shifts = rng.uniform(-shift, shift, (n, 2))
    _set_warp(amounts, size, angles, shifts, rng.uniform(1 - zoom, 1 + zoom, n))


def _set_warp(
    amounts: Amounts, size: tuple[int, ...], degrees: NDArray[Any], shift: NDArray[Any], zoom: NDArray[Any]
) -> None:
    angle = np.deg2rad(degrees)
    amounts["cos"] = np.cos(angle) / zoom
    amounts["sin"] = np.sin(angle) / zoom
    shift = shift.astype(np.float32)
    amounts["warp_right"], amounts["warp_down"] = shift[:, 0] * size[1], shift[:, 1] * size[0]


def _draw_crop(amounts: Amounts, rng: np.random.Generator, size: tuple[int, ...], padding: int) -> None:
    if not 0 <= padding < min(size):
        raise ValueError(f"random_crop: expected padding in 0..{min(size) - 1}, got {padding}")
    amounts["crop_down"], amounts["crop_right"] = rng.integers(0, 2 * padding + 1, (2, len(amounts))) - padding


def _draw_erase(amounts: Amounts, rng: np.random.Generator, size: tuple[int, ...], p: float, area: float) -> None:
    n = len(amounts)
    share = rng.uniform(0.02, area, n)
    ratio = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3), n))
    top, bottom = _random_span(size[0], np.sqrt(share * ratio), rng)
    amounts["left"], amounts["right"] = _random_span(size[1], np.sqrt(share / ratio), rng)
    hit = rng.random(n) < p
    amounts["top"], amounts["bottom"] = top * hit, bottom * hit


def _draw_mixup(amounts: Amounts, rng: np.random.Generator, alpha: float) -> None:
    amounts["partner"] = rng.permutation(len(amounts))
    amounts["weight"] = rng.beta(alpha, alpha, len(amounts))


def _random_span(
    size: int, share: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where stretches of `share` of the size begin, at a random place inside, and where they have ended."""
    length = np.clip(np.rint(share * size), 1, size)
    start = np.floor(rng.random(len(share)) * (size - length + 1))
    return start, start + length
