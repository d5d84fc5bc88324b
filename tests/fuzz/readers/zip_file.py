"""FER2013 in a .zip: tables, images, and what is neither."""

import io
import zipfile
from pathlib import Path

from minicnn.data import readers
from tests.fuzz.harness import Reader
from tests.fuzz.readers.csv_file import SEEDS as TABLES
from tests.fuzz.readers.face_image import SEEDS as IMAGES

MEMBERS: list[dict[str, bytes]] = [
    {"fer2013/fer2013.csv": TABLES[0], "README.md": b"pixels"},
    {"train/happy/Training_1.png": IMAGES[0], "test/sad/PublicTest_1.jpg": IMAGES[1], "__MACOSX/._x": b"\0"},
    {"train/happy/1": IMAGES[0], "train/": b"", "a\\b": b"1"},
    {},
]


def archive(members: dict[str, bytes], method: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data, method)
    return content.getvalue()


def read(data: bytes, folder: Path) -> object:
    (folder / "a.zip").write_bytes(b"PK\x03\x04"[: 4 * (not data.startswith(b"PK"))] + data)
    return readers.read(folder / "a.zip")


SEEDS = [archive(members, method) for members in MEMBERS for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
TOKENS = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"../", b"/etc/passwd", b"C:\\")
READER = Reader(SEEDS, read, TOKENS)
