"""The size that a picture file claims, read before it is decoded: a few bytes can claim gigabytes of pixels."""

import re
from collections.abc import Iterator

_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame, of any kind of JPEG
_END, _SCAN = 0xD9, 0xDA

_MOST_SCANS = 100
"""Passes over a JPEG's pixels; cameras and programs make 1 to 12. A scan of 14 bytes keeps a decoder busy for long."""

_MOST_SEGMENTS = 10_000

# A marker that a length follows. What is none, fill bytes too, is passed over, as decoders do.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the header of a PNG or JPEG file.

    None where there is no such header, or where a JPEG file has no end (some decoders would fill the rest with grey) or
    wants an absurd number of passes.
    Sources: PNG (Third Edition), 11.2.1; ITU-T T.81, B.1.1.4 and B.2.2.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        whole = data[12:16] == b"IHDR" and len(data) >= 24
        return (int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")) if whole else None
    if not data.startswith(b"\xff\xd8"):
        return None
    size, scans = None, 0
    for number, (marker, at) in enumerate(_segments(data)):
        if marker in _FRAME_HEADERS and at + 7 <= len(data):
            size = size or (int.from_bytes(data[at + 3 : at + 5], "big"), int.from_bytes(data[at + 5 : at + 7], "big"))
        scans += marker == _SCAN
        if marker == _END:
            return size
        if scans > _MOST_SCANS or number > _MOST_SEGMENTS:
            break
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG file, and where the length of what follows each is written."""
    at = 2
    while found := _MARKER.search(data, at):
        at = found.end()
        yield found[1][0], at
        at += max(2, int.from_bytes(data[at : at + 2], "big"))
