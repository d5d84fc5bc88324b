"""A weights file: safetensors, whose header holds JSON of ours."""

import json
import struct
from dataclasses import asdict
from pathlib import Path
from random import Random

from safetensors.numpy import save

from minicnn import checkpoint, models
from minicnn.checkpoint import Header
from minicnn.data.dataset import CLASSES
from tests.fuzz.harness import Reader

HEADER = Header(
    architecture={"layers": 2, "preset": "default", "classes": 7},
    labels=list(CLASSES),
    preprocessing={"mean": 0.5, "std": 0.25, "contrast": "keep", "blur": 0.0},
    metrics={"epoch": 3, "val_accuracy": 0.5},
    data={"name": "synthetic", "protocol": "official", "sha256": "0" * 64},
)
WHOLE = save(models.build(2).state_dict(), metadata={"minicnn": ""})
END = 8 + struct.unpack("<Q", WHOLE[:8])[0]
OUTER, ARRAYS = json.loads(WHOLE[8:END]), WHOLE[END:]


def outer(inner: str) -> bytes:
    """The header of a file that holds our JSON."""
    return json.dumps({**OUTER, "__metadata__": {"minicnn": inner}}).encode()


def pack(data: bytes, random: Random) -> bytes:
    """A file around our JSON, or around a whole header, with arrays and, mostly, the right length."""
    header = data if b"__metadata__" in data else outer(data.decode("utf-8", "replace"))
    length = len(header) if random.random() < 0.9 else random.choice((0, 1, 2**31, 2**60, 2**64 - 1, 99_999_999))
    return struct.pack("<Q", length) + header + ARRAYS[: random.choice((None, None, None, None, -1, 0, 1000))]


def read(data: bytes, folder: Path) -> object:
    (folder / "weights.safetensors").write_bytes(data)
    return checkpoint.load_model(folder / "weights.safetensors")


INNER = json.dumps({"kind": "weights", **asdict(HEADER)})
SEEDS = [INNER.encode(), INNER.replace("}", "} ").encode(), outer(INNER), outer(INNER.replace("weights", "state"))]
TOKENS = (b'"classes": true', b"NaN", b"Infinity", b"[" * 500, b'{"a":' * 500, b'"F99"', b'"BF16"', b'"U8"', b"\\u0000")
READER = Reader(SEEDS, read, TOKENS, pack)
