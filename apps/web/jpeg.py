"""JPEG files from strangers: their size is read, and judged, before anything is decoded."""

import numpy as np
from numpy.typing import NDArray

from minicnn.apps import pictures
from minicnn.data.image_size import claimed_size
from minicnn.errors import UserError


def decode(content: bytes, largest: int) -> NDArray[np.uint8]:
    """The picture, uint8 (H, W, 3) BGR, of a JPEG file whose sides are `largest` pixels at most.

    A few bytes can claim gigabytes of pixels, which a decoder would reserve before it sees that they are not there.

    Raises:
        UserError: it is no JPEG file, is larger, or is damaged.
    """
    height, width = size(content)
    if not (1 <= height <= largest and 1 <= width <= largest):
        raise UserError(f"frame: expected sides of 1 to {largest} pixels, got {width}x{height}")
    return pictures.decode(content, "frame")


def size(content: bytes) -> tuple[int, int]:
    """Height and width that the header of a JPEG file claims.

    Raises:
        UserError: it is no JPEG file, or none that says.
    """
    if not content.startswith(b"\xff\xd8"):
        raise UserError("frame: expected a JPEG file")
    found = claimed_size(content)
    if found is None:
        raise UserError("frame: a JPEG file without a size, or without an end")
    return found
