"""A video file for `minicnn predict` or `minicnn camera`: FFmpeg reads it, and its frames are pictures."""

from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from minicnn.apps.sources import open_source
from tests.fuzz.harness import Reader


def video(name: str, codec: str) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (32, 24))
        for level in (0, 200):
            writer.write(np.full((24, 32, 3), level, np.uint8))
        writer.release()
        return path.read_bytes()


def read(data: bytes, folder: Path) -> object:
    (folder / "clip.avi").write_bytes(data)
    with closing(open_source(str(folder / "clip.avi"))) as source:
        return [frame.image.shape for frame in islice(source, 20)]


SEEDS = [video("a.avi", "MJPG"), video("a.mp4", "mp4v")]
READER = Reader(SEEDS, read, (b"RIFF", b"LIST", b"moov", b"mdat", b"stsz", b"idx1", b"\xff\xff\xff\x7f"))
