"""JPEG files from strangers: their size is read, and judged, before anything is decoded."""

import numpy as np
from numpy.typing import NDArray

from minicnn.apps import pictures
from minicnn.errors import UserError

_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame, of any kind of JPEG


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
    """Height and width that the header of a JPEG file claims (ITU-T T.81, B.1.1.4 and B.2.2).

    Raises:
        UserError: it is no JPEG file, or ends before it says.
    """
    if not content.startswith(b"\xff\xd8"):
        raise UserError("frame: expected a JPEG file")
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in _FRAME_HEADERS:
            return int.from_bytes(content[at + 5 : at + 7], "big"), int.from_bytes(content[at + 7 : at + 9], "big")
        at += 2 + length
    raise UserError("frame: a JPEG file without a size")
