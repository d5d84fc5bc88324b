"""A message from the live page: a byte of flags and a JPEG file."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from minicnn.apps.faces import make_detector
from minicnn.apps.live import Watcher
from minicnn.apps.web.server import MAX_SIDE, Service
from tests.fuzz.harness import Reader
from tests.fuzz.readers import face_image

CLASSES = ("happy", "sad")
NETWORK: Any = SimpleNamespace(
    classes=CLASSES,
    read_crops=lambda crops: np.full((len(crops), 2), 0.5, np.float32),
    heat=lambda crops, _: np.zeros((len(crops), 48, 48), np.float32),
)


@cache
def service() -> tuple[Service, Watcher]:
    found = Service(NETWORK, make_detector(scale_step=1.5, smallest=30), make_detector(scale_step=1.5))
    return found, Watcher(NETWORK, found.quick)


def read(data: bytes, _folder: Path) -> object:
    own, watcher = service()
    answer = own._answer(watcher, data, 0.0)
    assert answer.keys() in ({"faces"}, {"error"})
    return answer


PICTURE = cv2.resize(face_image.COLOR, (160, 120))
JPEGS = [
    cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_QUALITY, 50, cv2.IMWRITE_JPEG_PROGRESSIVE, way])[1].tobytes()
    for way in (0, 1)
]
LARGE = cv2.imencode(".jpg", np.zeros((MAX_SIDE, 8), np.uint8))[1].tobytes()
SEEDS = [*(bytes([flags]) + jpeg for flags in range(4) for jpeg in JPEGS), b"\0" + LARGE, b"\0" + face_image.SEEDS[0]]
READER = Reader(SEEDS, read, face_image.TOKENS)
