"""What an import keeps in the data folder: arrays as .npy, and info.json."""

import io
import json
import os
from pathlib import Path
from random import Random

import numpy as np

from minicnn.data import store
from tests.fuzz.harness import Reader


def array(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


KEPT = {
    "images.npy": array(np.zeros((2, 48, 48), np.uint8)),
    "labels.npy": array(np.array([0, 6])),
    "usage.npy": array(np.array([0, 1], np.uint8)),
    "info.json": json.dumps({"format": 1, "form": "CSV", "notes": ["one"], "counts": {}}).encode(),
}


def pack(data: bytes, random: Random) -> bytes:
    """Its first byte says which file it stands for."""
    return bytes([random.randrange(4)]) + data


def read(data: bytes, folder: Path) -> object:
    home = folder / "fer2013"
    home.mkdir(exist_ok=True)
    changed = ("images.npy", "labels.npy", "usage.npy", "info.json")[data[0] % 4]
    for name, content in KEPT.items():
        (home / name).write_bytes(data[1:] if name == changed else content)
    os.environ["MINICNN_DATA"] = str(folder)
    records, _ = store.load()
    return records.splits()


TOKENS = (b"'|O'", b"'<U9'", b"'<f8'", b"(10000000000, 48, 48)", b"(-1,)", b"True", b"PK\x03\x04", b"\x93NUMPY\x02\x00")
READER = Reader([*KEPT.values(), array(np.array([0, 7])), array(np.array([0.5, 1])), b"[]"], read, TOKENS, pack)
