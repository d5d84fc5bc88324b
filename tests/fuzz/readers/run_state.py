"""What a training goes on from, state.safetensors: its arrays fit, and the values in its header may be anything."""

import json
import struct
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from safetensors.numpy import save

from minicnn import checkpoint
from minicnn.apps.run_folder import RunConfig, RunFolder
from minicnn.apps.train import _Run
from minicnn.data.dataset import CLASSES, Dataset, Split
from minicnn.errors import CheckpointError
from minicnn.recipes import preset
from minicnn.training import COLUMNS
from tests.fuzz.harness import Reader

CONFIG = RunConfig(preset("default", layers=2, epochs=2, batch_size=4, restore=False), "drawn")


@cache
def run() -> _Run:
    images = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
    part = Split(images, np.arange(8) % 7)
    dataset = Dataset("drawn", CLASSES, {"train": part, "val": part}, "0" * 64)
    return _Run(RunFolder("."), CONFIG, dataset, "cpu", "", answers=None)


def pack(data: bytes, _random: Random) -> bytes:
    """A file around the values."""
    text = data.decode("utf-8", "replace")
    header = json.dumps({**OUTER, "__metadata__": {"minicnn": f'{{"kind": "state", "values": {text}}}'}}).encode()
    return struct.pack("<Q", len(header)) + header + ARRAYS


def read(data: bytes, folder: Path) -> object:
    (folder / "state.safetensors").write_bytes(data)
    trainer = run().trainer
    arrays, values = checkpoint.load_state(folder / "state.safetensors")
    try:
        trainer.restore(arrays, values)
    except (ValueError, KeyError, TypeError) as error:  # which a resume tells in one line
        raise CheckpointError(f"it does not fit: {error}") from error
    trainer.settle()
    return trainer.finished, trainer.schedule.lr(trainer.step), run()._summary()


FOUND, VALUES = run().trainer.state()
WHOLE = save({name: np.ascontiguousarray(array) for name, array in FOUND.items()}, metadata={"minicnn": ""})
END = 8 + struct.unpack("<Q", WHOLE[:8])[0]
OUTER, ARRAYS = json.loads(WHOLE[8:END]), WHOLE[END:]
ROW = dict.fromkeys(COLUMNS, 1.0)
SEEDS = [
    json.dumps(VALUES).encode(),
    json.dumps({**VALUES, "epoch": 1, "history": [ROW], "best": 0.5, "best_epoch": 1}).encode(),
]
TOKENS = (b"null", b"[]", b"{}", b'"text"', b"true", b"NaN", b"-1", b"[" * 500)
READER = Reader(SEEDS, read, TOKENS, pack)
