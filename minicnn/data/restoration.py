"""Blurred training images: found, and brought to one sharpness with images that are not blurred.

Some copies of FER2013 travel with Training images that were blurred and test images that were not. A network trained on
the one fails on the other. The blur took no detail that is larger than its radius, it only made it faint; so it can be
brought back, until the noise of rounding and JPEG is brought back with it. That is Wiener's filter, one factor for
each frequency. An image that is sharp is blurred likewise first, and a soft one by what it lacks, so that all images
leave here alike.

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
_COARSE, _MIDDLE = (1 / 24, 1 / 12), (1 / 8, 1 / 6)
"""Frequencies whose powers say together how soft an image is."""
_FINEST = (1 / 3, 1)
"""Frequencies at which a soft image has nothing but noise."""

_FACES = (30.0, 2.5)
"""a, b: a sharp face has about a / f^b squared grey levels at frequency f.

Fitted to the images of FER2013's PublicTest, not to their labels.
"""
_MEASURED_NOISE = 0.67
"""Squared grey levels of noise in the blurred images."""
_NOISE = 2.0
"""What the filter counts on: three times as much, so that it stays unseen."""
_CLEARLY = 0.8
"""Part of the training images' blur below which an image is soft, and not one of them.

Of FER2013's Training 0.1 % are estimated below 0.82, and of PublicTest blurred by 2 pixels, 0.59, 1 % above 0.72.
"""
_ABOVE_NOISE = 3.0
"""How many times the noise an image needs for its blur to be told."""
_STEPS = 50
"""Blurs that are looked up."""

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

    Found from how much faster their power falls with the frequency than that of sharp faces does. Images that are too
    small for that, or none, have 0.
    """
    frequency = _frequency(*images.shape[1:])
    strong = (frequency >= _STRONG[0]) & (frequency < _STRONG[1])
    if len(images) == 0 or strong.sum() < 2:
        return 0.0
    powers = np.square(_frequencies(images[:: max(1, len(images) // _ENOUGH)]))
    soft = ~_sharp(powers)
    if soft.mean() < 0.5:
        return 0.0
    power = powers[soft].mean(axis=0)
    # log(power) = log(face) - (2 pi s f)^2 + a constant for the contrast: a straight line in f^2
    missing = np.log(np.maximum(power[strong], _NOTHING)) - np.log(_face_power(frequency[strong]))
    slope = np.polyfit(np.square(frequency[strong]), missing, 1)[0]
    blur = float(np.sqrt(max(-slope, 0.0)) / (2 * np.pi))
    return round(blur, 2) if blur <= _MOST else 0.0


def restore(images: Images, blur: float) -> Images:
    """The images (N, H, W) as if they had been blurred by `blur` pixels and restored from that; new uint8 (N, H, W)."""
    frequency = _frequency(*images.shape[1:])
    restored, exponent = _wiener(*images.shape[1:], blur), -2 * np.square(np.pi * frequency)
    result = np.empty_like(images)
    for start in range(0, len(images), _FEW):
        few = slice(start, start + _FEW)
        frequencies = _frequencies(images[few])
        lacking = np.square(blur) - np.square(_own_blur(np.square(frequencies), blur))
        frequencies *= np.exp(exponent * lacking[:, None, None]).astype(np.float32) * restored
        result[few] = np.clip(np.rint(_transform(frequencies, back=True)), 0, 255)
    return result


@cache
def _wiener(height: int, width: int, blur: float) -> NDArray[np.float32]:
    """Wiener's filter, which brings back what a blur left of each frequency."""
    frequency = _frequency(height, width)
    kept = np.exp(-2 * np.square(np.pi * blur * frequency))
    with np.errstate(divide="ignore"):
        noise_share = _NOISE / _face_power(frequency)
    factor: NDArray[np.float32] = (kept / (np.square(kept) + noise_share)).astype(np.float32)
    return factor


def _own_blur(power: NDArray[np.float32], blur: float) -> NDArray[np.float64]:
    """The blur that each image has already: 0 for sharp ones, `blur` for those that are no sharper than that.

    From power at each frequency (N, H, W). Where there is too little of it to tell, an image is no sharper.
    """
    coarse, middle = _mean_in(power, _COARSE), _mean_in(power, _MIDDLE)
    noise = np.maximum(_mean_in(power, _FINEST), _MEASURED_NOISE)
    share = np.maximum(middle - noise, _NOTHING) / np.maximum(coarse, _NOTHING)
    # the more blur, the smaller the share; what is looked up has to rise
    own: NDArray[np.float64] = np.interp(-share, -_middle_shares(*power.shape[1:], blur), np.linspace(0, blur, _STEPS))
    told = (np.minimum(coarse, middle) > _ABOVE_NOISE * noise) & (own < _CLEARLY * blur)
    own[~told] = blur
    own[_sharp(power)] = 0
    return own


@cache
def _middle_shares(height: int, width: int, blur: float) -> NDArray[np.float64]:
    """How much power a face has left at _MIDDLE for what it has at _COARSE, after each blur from 0 to `blur`."""
    frequency, blurs = _frequency(height, width), np.linspace(0, blur, _STEPS)[:, None, None]
    with np.errstate(divide="ignore"):
        faces = _face_power(frequency) * np.exp(-np.square(2 * np.pi * blurs * frequency))
    shares: NDArray[np.float64] = _mean_in(faces, _MIDDLE) / np.maximum(_mean_in(faces, _COARSE), _NOTHING)
    return shares


def _sharp(power: NDArray[np.float32]) -> NDArray[np.bool_]:
    sharp: NDArray[np.bool_] = _mean_in(power, _FINE) > _SHARP
    return sharp


def _face_power(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a sharp face has at each frequency; endless at 0."""
    amplitude, exponent = _FACES
    power: NDArray[np.float64] = amplitude * frequency**-exponent
    return power


def _mean_in(power: NDArray[Any], band: tuple[float, float]) -> NDArray[Any]:
    """The mean of (N, H, W) over the frequencies of a band: (N,); 0 where tiny images have none of them."""
    frequency = _frequency(*power.shape[1:])
    # row by row in memory, whatever N is: an image gives the same bits alone and among others
    inside = np.ascontiguousarray(power[:, (frequency >= band[0]) & (frequency < band[1])])
    mean: NDArray[Any] = inside.sum(axis=1) / max(inside.shape[1], 1)
    return mean


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
