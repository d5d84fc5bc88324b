"""From grey levels to what the network sees: one function for training, evaluation, files and the camera."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from minicnn.data.restoration import find_blur, restore
from minicnn.errors import UserError
from minicnn.kernels.arrays import Array, array_module
from minicnn.opencv import cv2

_SMALLEST_STD = 1e-3  # a quarter of a grey level: images of one single tone must not be divided by zero
_LARGEST_BLUR = 8  # of which nothing could be restored any more

CONTRASTS = ("keep", "equalize", "standardize")
"""What may be done to the contrast of each image."""

_MIDDLE, _SPREAD = 128, 50
"""Mean and standard deviation of a standardized image, in grey levels: 2.5 deviations fit on either side."""


@dataclass(frozen=True)
class Preprocessing:
    """Normalize grey images: `(x / 255 - mean) / std`, after restoration and one contrast for all, if asked for.

    It is fitted to the training images once and stored with the weights, so that a network meets every image
    as it met the ones it was trained on.

    Attributes:
        mean: mean of the training images, in grey levels 0..1.
        std: their standard deviation over all pixels, in grey levels 0..1.
        contrast: of each image, first: "keep" it; "equalize" its histogram (OpenCV's `equalizeHist`); or "standardize"
            it, so that its grey levels have mean 128 and standard deviation 50, cut off at 0 and 255.
        blur: standard deviation, in pixels, of the blur that the training images went through; all images are restored
            from it before anything else, see minicnn.data.restoration. 0 where there was none.
    """

    mean: float
    std: float
    contrast: str = "keep"
    blur: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and np.isfinite(self.std) and self.std > 0):
            raise ValueError(f"Preprocessing: expected a finite mean and std > 0, got mean={self.mean}, std={self.std}")
        if self.contrast not in CONTRASTS:
            raise ValueError(f"contrast: expected one of {', '.join(CONTRASTS)}, got {self.contrast!r}")
        if not 0 <= self.blur < _LARGEST_BLUR:
            raise ValueError(f"Preprocessing: expected blur in 0..{_LARGEST_BLUR} pixels, got {self.blur}")

    @classmethod
    def fit(cls, images: NDArray[np.uint8], *, contrast: str = "keep", restored: bool = False) -> Self:
        """Take mean and standard deviation from `images`, uint8 (N, H, W), after what else is asked for.

        With `restored` the blur is found first, which is 0 for images that are sharp.

        Raises:
            ValueError: there are no images.
            TypeError: they are not uint8 (N, H, W).
        """
        _check(images)
        if images.size == 0:
            raise ValueError(f"Preprocessing.fit: expected at least one image, got shape {images.shape}")
        # Exact and without a float copy of the images: 256 levels, weighted by how often each occurs.
        blur = find_blur(images) if restored else 0.0
        prepared = cls(0.0, 1.0, contrast, blur).levels(images)
        counts = sum(np.bincount(image.ravel(), minlength=256) for image in prepared)
        levels = np.arange(256) / 255
        mean = float(counts @ levels / images.size)
        variance = float(counts @ np.square(levels - mean) / images.size)
        return cls(mean, max(variance**0.5, _SMALLEST_STD), contrast, blur)

    @property
    def scale(self) -> float:
        """What a grey level is multiplied by, before `shift` is subtracted."""
        return 1 / (255 * self.std)

    @property
    def shift(self) -> float:
        """What is subtracted after `scale`."""
        return self.mean / self.std

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn uint8 (N, H, W) into a new float32 (N, 1, H, W).

        Raises:
            TypeError: the images are not uint8 (N, H, W).
        """
        normalized: NDArray[np.float32] = self.normalized(self.levels(images))
        return normalized

    def levels(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The half of the work that runs on the CPU: the images, or copies, restored and of one contrast, if asked for.

        Raises:
            TypeError: the images are not uint8 (N, H, W).
        """
        _check(images)
        if self.blur:
            images = restore(images, self.blur)
        return images if self.contrast == "keep" else _WITH_CONTRAST[self.contrast](images)

    def normalized(self, levels: Array) -> Array:
        """The other half, on any device: uint8 (N, H, W) from `levels` to a new float32 (N, 1, H, W)."""
        # One multiplication and one subtraction a pixel: measured twice as fast as a table of 256 results.
        x = array_module(levels).multiply(levels, np.float32(self.scale), dtype=np.float32)
        x -= np.float32(self.shift)
        return x[:, None]

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; it trusts no value, since they come from files.

        Raises:
            UserError: a setting is unknown, missing, of the wrong type or out of range.
        """
        kinds: dict[str, Any] = {field.name: field.type for field in fields(cls)}
        values = {"blur": 0.0, **renamed(values)}  # which files did not always say
        if values.keys() != kinds.keys():
            raise UserError(f"{cls.__name__}: expected the settings {sorted(kinds)}, got {sorted(values)}")
        for name, kind in kinds.items():
            # Some writers of JSON give 1 for 1.0. A bool is an int to Python, but never meant as a number here.
            if type(values[name]) not in ((float, int) if kind is float else (kind,)):
                raise UserError(f"{cls.__name__}: expected {name} to be {kind.__name__}, got {values[name]!r}")
        try:
            return cls(**values)
        except ValueError as error:
            raise UserError(str(error)) from error


def renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings from before there were three contrasts, which said `equalize`, by today's names; others as they are."""
    if "contrast" in settings or not isinstance(settings.get("equalize"), bool):
        return settings
    others = {name: value for name, value in settings.items() if name != "equalize"}
    return {**others, "contrast": "equalize" if settings["equalize"] else "keep"}


def _check(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8 or images.ndim != 3:
        raise TypeError(f"Preprocessing: expected images uint8 (N, H, W), got {images.dtype} {images.shape}")


def _equalized(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    equalize = cv2().equalizeHist
    result = np.empty(images.shape, np.uint8)
    for image, out in zip(images, result, strict=True):
        equalize(np.ascontiguousarray(image), dst=out)
    return result


def _standardized(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    levels, result = np.arange(256), np.empty(images.shape, np.uint8)
    for image, out in zip(images, result, strict=True):
        if not image.size:
            continue
        # whole numbers: an image gives the same bits alone, in a batch and as a view
        mean = image.sum(dtype=np.int64) / image.size
        variance = np.square(image, dtype=np.int64).sum() / image.size - mean**2
        spread = _SPREAD / max(variance, 1.0) ** 0.5  # an image of one tone stays so
        table = np.clip(np.rint((levels - mean) * spread + _MIDDLE), 0, 255).astype(np.uint8)
        np.take(table, image, out=out)
    return result


_WITH_CONTRAST = {"equalize": _equalized, "standardize": _standardized}
