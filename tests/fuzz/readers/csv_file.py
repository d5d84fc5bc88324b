"""FER2013 as text, a face a line."""

from pathlib import Path

import numpy as np

from minicnn.data import readers
from tests.fuzz.harness import Reader

PIXELS = " ".join(str(level) for level in np.random.default_rng(0).integers(0, 256, 2304))
ROWS = [f"{label},{PIXELS},{usage}" for label, usage in ((3, "Training"), (0, "PublicTest"))]

SEEDS = [
    "\n".join(["emotion,pixels,Usage", *ROWS, ""]).encode(),
    f'emotion, Usage, pixels\r\n3,Training,"{PIXELS}"\r\n'.encode(),
    f"emotion,pixels\n6,{PIXELS}\n\n\n".encode(),
]


def read(data: bytes, folder: Path) -> object:
    (folder / "fer2013.csv").write_bytes(data)
    return readers.read(folder / "fer2013.csv")


READER = Reader(SEEDS, read, (b",", b'"', b"\n", b"\r", b"emotion", b"Usage,", b"\xef\xbb\xbf", b"\xff\xfe", b",,,,\n"))
