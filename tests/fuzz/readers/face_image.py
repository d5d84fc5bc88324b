"""One image of a data set: 48x48 pixels, as JPEG or PNG."""

import struct
import zlib
from pathlib import Path
from random import Random

import cv2
import numpy as np

from minicnn.data.pixels import decode_image
from tests.fuzz.harness import Reader

FACE = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
COLOR = cv2.cvtColor(FACE, cv2.COLOR_GRAY2BGR)


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG file of grey levels that claims a size."""
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)))
    body = b"".join(struct.pack(">I", len(data)) + kind + data + bytes(4) for kind, data in (*parts, (b"IEND", b"")))
    return mended(b"\x89PNG\r\n\x1a\n" + body)


def mended(data: bytes) -> bytes:
    """With every chunk's sum made right: a decoder stops at a wrong one."""
    whole, at = bytearray(data), 8
    while at + 12 <= len(whole):
        length = int.from_bytes(whole[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(whole):
            break
        whole[end : end + 4] = struct.pack(">I", zlib.crc32(whole[at + 4 : end]))
        at = end + 4
    return bytes(whole)


def pack(data: bytes, random: Random) -> bytes:
    return mended(data) if data.startswith(b"\x89PNG") and random.random() < 0.7 else data


def read(data: bytes, _folder: Path) -> object:
    image = decode_image(data, "face.png")
    assert image.shape == (48, 48)
    return image


SEEDS = [
    cv2.imencode(".png", FACE)[1].tobytes(),
    cv2.imencode(".jpg", FACE)[1].tobytes(),
    cv2.imencode(".jpg", COLOR, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
    cv2.imencode(".png", np.dstack([COLOR, FACE]))[1].tobytes(),
    png(48, 48, bytes(49 * 48)),
    png(100_000, 100_000, bytes(100_000)),
    png(48, 48, bytes(5_000_000)),
]
TOKENS = (
    b"IHDR",
    b"IDAT",
    b"IEND",
    b"acTL",
    b"fcTL",
    b"PLTE",
    b"tRNS",
    b"\xff\xd8\xff",
    b"\xff\xd9",
    b"\xff\xda",
    b"\xff\xc2\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0",
    b"\xff\xd0\xff\x01",
    b"\0\0\xff\xff",
)
READER = Reader(SEEDS, read, TOKENS, pack)
