"""Blurred training images: found, and brought to one sharpness with images that are not blurred.

Some copies of FER2013 travel with Training images that were blurred and test images that were not. A network trained on
the one fails on the other. The blur took no detail that is larger than its radius, it only made it faint; so it can be
brought back, until the noise of rounding and JPEG is brought back with it. That is Wiener's filter, one factor for
each frequency. An image that is sharp is blurred likewise first, so that all images leave here alike.

Frequencies are those of the cosine transform: number k of n pixels is k / (2 n) cycles a pixel. A Gaussian blur of
standard deviation s multiplies it by exp(-2 (pi s k / (2 n))^2). Source: N. Wiener, "Extrapolation, interpolation, and
smoothing of stationary time series", 1949; R. Gonzalez, R. Woods, "Digital image processing", section 5.8.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]

_SHARP = 10.0
"""Squared grey levels that a sharp image has at least at each frequency of _FINE.

Measured on FER2013: blurred ones have at most 1.1, sharp ones 72 to 5,700 (their 0.1 and 99.9 per cent).
"""
_FINE = (1 / 6, 1 / 3)
"""Frequencies that a blur of two pixels or more leaves nothing of, and that a sharp face has."""
_STRONG = (1 / 24, 1 / 8)
"""Frequencies at which even a blurred face stands out from the noise."""

_FACES = (30.0, 2.5)
"""a, b: a sharp face has about a / f^b squared grey levels at frequency f.

Fitted to the images of FER2013's PublicTest, not to their labels.
"""
_NOISE = 2.0
"""Squared grey levels of noise that the filter counts on: three times what was measured, so that it stays unseen."""

_MOST = 5.0
"""Pixels of blur at most: smoother images are no blurred faces, and hold nothing to bring back."""
_NOTHING = 1e-6
"""Squared grey levels that stand for none, where a logarithm is taken."""

_ENOUGH = 2000
"""Images that are looked at to find the blur: more say the same."""
_FEW = 256
"""Images that are filtered at a time, so that their frequencies stay in the cache."""


def find_blur(images: Images) -> float:
    """The standard deviation, in pixels, of the Gaussian blur that most of `images` (N, H, W) went through; 0 for none.

    Found from how much faster their power falls with the frequency than that of sharp faces does.
    """
    spectra = _frequencies(images[:: max(1, len(images) // _ENOUGH)])
    soft = ~_sharp(spectra)
    if soft.mean() < 0.5:
        return 0.0
    frequency = _frequency(*images.shape[1:])
    power = np.square(spectra[soft]).mean(axis=0)
    strong = (frequency >= _STRONG[0]) & (frequency < _STRONG[1])
    amplitude, exponent = _FACES
    # log(power) = log(face) - (2 pi s f)^2 + a constant for the contrast: a straight line in f^2
    missing = np.log(np.maximum(power[strong], _NOTHING)) - np.log(amplitude * frequency[strong] ** -exponent)
    slope = np.polyfit(np.square(frequency[strong]), missing, 1)[0]
    blur = float(np.sqrt(max(-slope, 0.0)) / (2 * np.pi))
    return round(blur, 2) if blur <= _MOST else 0.0


def restore(images: Images, blur: float) -> Images:
    """The images (N, H, W) as if they had been blurred by `blur` pixels and restored from that; new uint8 (N, H, W)."""
    blurred, restored = _filters(_frequency(*images.shape[1:]), blur)
    result = np.empty_like(images)
    for start in range(0, len(images), _FEW):
        few = slice(start, start + _FEW)
        frequencies = _frequencies(images[few])
        frequencies *= np.where(_sharp(frequencies)[:, None, None], blurred * restored, restored)
        result[few] = np.clip(np.rint(_transform(frequencies, back=True)), 0, 255)
    return result


def _filters(frequency: NDArray[np.float64], blur: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a blur does to each frequency, and Wiener's filter that brings it back."""
    kept = np.exp(-2 * np.square(np.pi * blur * frequency))
    amplitude, exponent = _FACES
    with np.errstate(divide="ignore"):
        noise_share = _NOISE / (amplitude * frequency**-exponent)
    return kept.astype(np.float32), (kept / (np.square(kept) + noise_share)).astype(np.float32)


def _sharp(frequencies: NDArray[np.float32]) -> NDArray[np.bool_]:
    frequency = _frequency(*frequencies.shape[1:])
    fine = (frequency >= _FINE[0]) & (frequency < _FINE[1])
    sharp: NDArray[np.bool_] = np.square(frequencies[:, fine]).mean(axis=1) > _SHARP
    return sharp


def _frequencies(images: NDArray[Any]) -> NDArray[np.float32]:
    return _transform(np.asarray(images, np.float32), back=False)


def _transform(values: NDArray[np.float32], back: bool) -> NDArray[np.float32]:
    """The two-dimensional cosine transform of each image (DCT-II, orthonormal), as two matrix products; or back."""
    down, across = _cosines(values.shape[1]), _cosines(values.shape[2])
    result: NDArray[Any] = down.T @ values @ across if back else down @ values @ across.T
    return result


@cache
def _cosines(size: int) -> NDArray[np.float32]:
    number, place = np.arange(size)[:, None], np.arange(size)
    matrix: NDArray[np.float64] = np.cos(np.pi * number * (place + 0.5) / size) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


@cache
def _frequency(height: int, width: int) -> NDArray[np.float64]:
    """Cycles a pixel of each place of the transform."""
    down, across = np.arange(height) / (2 * height), np.arange(width) / (2 * width)
    frequency: NDArray[np.float64] = np.hypot(down[:, None], across)
    return frequency
