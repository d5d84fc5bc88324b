"""One face as it travels, either as 2,304 numbers in text or as a JPEG or PNG file, turned into grey levels."""

import re
from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from minicnn.data.dataset import IMAGE_SIZE
from minicnn.data.image_size import claimed_size
from minicnn.data.records import shown
from minicnn.errors import DataError
from minicnn.opencv import cv2

PIXELS = IMAGE_SIZE * IMAGE_SIZE

_EXPECTED = f"expected a {IMAGE_SIZE}x{IMAGE_SIZE} image (JPEG or PNG)"

_BLOCK = 16  # rows parsed at once: few enough to stay in the cache, enough to hide NumPy's cost per call
_LARGEST_FILE = 256 * 1024  # bytes; a face takes 2 KB

# The first and last bytes of whole files: half of one still decodes, with grey where the rest should be.
_MARKS = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG", b"IEND"))


def parse_texts(texts: Sequence[str], name: str, rows: Sequence[int]) -> NDArray[np.uint8]:
    """Read rows of 2,304 grey levels written as decimal numbers with spaces between.

    Args:
        texts: one text a face.
        name: the file, for messages.
        rows: the row of each text in the file, for messages.

    Returns:
        uint8, shape (len(texts), 48, 48).

    Raises:
        DataError: a row holds another count of pixels, or one that is not a whole number 0..255.
    """
    images = np.empty((len(texts), PIXELS), np.uint8)
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        values = _parse_block(block)
        if values is None:
            values = _parse_block([" ".join(text.split()) for text in block])
        if values is None:
            raise next(filter(None, map(_fault, block, repeat(name), rows[start:])))
        images[start : start + _BLOCK] = values
    return images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def _parse_block(texts: Sequence[str]) -> NDArray[np.uint8] | None:
    """Parse rows in the form that FER2013 is published in, single spaces between, or give None.

    Array code over the bytes of many rows: more than twice as fast as `np.loadtxt` or `np.fromstring`, with which an
    import takes half as long again. (And `np.fromstring(dtype=uint8)` turns 256 into 0 without a word.)
    """
    codes = np.frombuffer("\n".join(texts).encode(), np.uint8)
    digits = codes - np.uint8(ord("0"))  # wraps: everything but a digit comes out above 9
    ends = np.flatnonzero(digits > 9)
    newlines, spaces = codes[ends[PIXELS - 1 :: PIXELS]] == ord("\n"), np.count_nonzero(codes == ord(" "))
    if len(ends) != len(texts) * PIXELS - 1 or not newlines.all() or spaces != len(texts) * (PIXELS - 1):
        return None
    ends = np.append(ends, len(codes))
    width = ends.copy()
    width[1:] -= ends[:-1] + 1
    if width.min() < 1 or width.max() > 3:
        return None
    # Where a number is short, ends - 2 or ends - 3 points at a neighbor (or wraps round): the factor 0 drops it.
    values = digits[ends - 1].astype(np.int16)
    values += digits[ends - 2] * ((width > 1) * np.uint8(10))
    values += digits[ends - 3] * ((width > 2) * np.int16(100))
    return values.astype(np.uint8).reshape(-1, PIXELS) if values.max() <= 255 else None


def _fault(text: str, name: str, row: int) -> DataError | None:
    """What keeps a row from being read."""
    words = text.split()
    for position, word in enumerate(words, 1):
        if not re.fullmatch("[0-9]{1,3}", word) or int(word) > 255:
            return DataError(f"{name}, row {row}: pixel {position:,} is {shown(word)}, expected a whole number 0..255")
    if len(words) != PIXELS:
        return DataError(f"{name}, row {row}: {len(words):,} pixels, expected {PIXELS:,} ({IMAGE_SIZE}x{IMAGE_SIZE})")
    return None


def check_size(size: int, name: str) -> None:
    """Refuse a file that is far too large to be a face, before it is read or decoded.

    Raises:
        DataError: `size`, in bytes, is not that of a 48x48 image.
    """
    if size > _LARGEST_FILE:
        raise DataError(f"{name}: {size:,} bytes, {_EXPECTED}")


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG file of a face; color is turned into grey.

    Args:
        data: the file's bytes.
        name: what messages call it.

    Returns:
        uint8, shape (48, 48).

    Raises:
        DataError: the file is no whole image, or its size is not 48x48.
    """
    check_size(len(data), name)
    size = claimed_size(data)
    if size not in (None, (IMAGE_SIZE, IMAGE_SIZE)):
        raise DataError(f"{name}: {size[1]}x{size[0]} pixels, {_EXPECTED}")
    whole = size is not None and any(data.startswith(first) and last in data for first, last in _MARKS)
    opencv = cv2()
    try:
        image = opencv.imdecode(np.frombuffer(data, np.uint8), opencv.IMREAD_GRAYSCALE) if whole else None
    except opencv.error:
        image = None
    if image is None:
        raise DataError(f"{name}: unreadable or unfinished image, {_EXPECTED}")
    if image.shape != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(f"{name}: {image.shape[1]}x{image.shape[0]} pixels, {_EXPECTED}")
    pixels: NDArray[np.uint8] = image
    return pixels
