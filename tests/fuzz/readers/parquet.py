"""FER2013 in a .parquet file: pyarrow reads the file, and what is in its columns is ours to judge."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from minicnn.data import readers
from minicnn.data.dataset import CLASSES
from tests.fuzz.harness import Reader
from tests.fuzz.readers.csv_file import PIXELS
from tests.fuzz.readers.face_image import SEEDS as IMAGES

FEATURES = {"info": {"features": {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}}}


def table(columns: dict[str, object], about: object = None) -> bytes:
    content = io.BytesIO()
    metadata = None if about is None else {"huggingface": json.dumps(about)}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), content)
    return content.getvalue()


def read(data: bytes, folder: Path) -> object:
    (folder / "a.parquet").write_bytes(b"PAR1" + data[4:])
    return readers.read(folder / "a.parquet")


FACES = [{"bytes": IMAGES[0], "path": "PublicTest_1.png"}, {"bytes": IMAGES[1], "path": None}]
SEEDS = [
    table({"image": FACES, "label": [0, 3]}, FEATURES),
    table({"emotion": [0, 3], "pixels": [PIXELS] * 2, "Usage": ["Training", "PublicTest"]}),
    table({"img": IMAGES[:2], "labels": ["happy", "sad"]}),
    table({"image": FACES, "label": [0, 3]}, {"info": {"features": {"label": {"names": 5}}}}),
    table({"emotion": [0], "pixels": [PIXELS], "Usage": [["Training"]]}),
    table({"image": [{"bytes": "text", "path": 7}], "label": [[1]]}),
]
READER = Reader(SEEDS, read, (b"PAR1", b"names", b"\xff\xff\xff\x7f", b"\x15\xfe\xff\xff\xff\x0f"))
