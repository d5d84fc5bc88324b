"""The summary of a run, result.json, which may have been brought from elsewhere."""

import json
from pathlib import Path

from minicnn.apps.run_folder import SUMMARY, RunFolder
from tests.fuzz.harness import Reader


def read(data: bytes, folder: Path) -> object:
    (folder / "result.json").write_bytes(data)
    return RunFolder(folder).result()


SEEDS = [
    json.dumps({**dict.fromkeys(SUMMARY, 1), "run": "runs/train-1", "ended": "finished"}, indent=2).encode(),
    b"[]",
]
READER = Reader(SEEDS, read, (b"[" * 500, b'{"run":' * 500, b"\\ud800", b"\xff\xfe"))
