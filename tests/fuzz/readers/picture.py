"""A photo for `minicnn predict`: any format that OpenCV reads."""

from pathlib import Path

import cv2
import numpy as np

from minicnn.apps.pictures import decode
from minicnn.opencv import silence
from tests.fuzz.harness import Reader
from tests.fuzz.readers import face_image

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 9, 4), dtype=np.uint8)
LARGER = np.tile(PICTURE, (6, 4, 1))
"""For JPEG 2000, which halves a picture five times."""
KINDS = (".bmp", ".webp", ".tiff", ".ppm", ".jp2", ".gif", ".avif", ".sr", ".hdr", ".pfm")


def encoded() -> list[bytes]:
    """The picture in every format that this OpenCV writes, in color, with transparency and in 16 bits."""
    found = []
    for kind in KINDS:
        whole = LARGER if kind == ".jp2" else PICTURE
        color = whole[:, :, :3]
        for picture in (color, whole, color.astype(np.uint16) * 257, color.astype(np.float32)):
            try:
                done, data = cv2.imencode(kind, picture)
            except cv2.error:
                continue  # not every format knows every kind
            found += [data.tobytes()] if done else []
    return found


def read(data: bytes, _folder: Path) -> object:
    picture = decode(data, "photo")
    assert picture.dtype == np.uint8
    assert picture.shape[2:] == (3,)
    return picture


silence()
SEEDS = [*face_image.SEEDS, face_image.png(100_000, 4, bytes(400_004)), *encoded()]
READER = Reader(
    SEEDS, read, (*face_image.TOKENS, b"Exif\0\0MM\0*", b"VP8X", b"ftypavif", b"P6 99999 99999 255\n"), face_image.pack
)
