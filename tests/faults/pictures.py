"""What is given to the programs that read faces: a small network, pictures and films with a drawn face in each."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from minicnn import checkpoint, kernels, models
from minicnn.data.dataset import CLASSES
from minicnn.data.preprocessing import Preprocessing
from minicnn.data.synthetic import draw_faces

RATE = 25


def plain() -> None:
    """Have this process read faces by array code: the compiled kernels take seconds to load."""
    kernels.choose("im2col")


def network(folder: Path) -> Path:
    """A network with random weights."""
    path = folder / "network.safetensors"
    header = checkpoint.Header(
        architecture={"layers": 2, "preset": "default", "classes": len(CLASSES)},
        labels=list(CLASSES),
        preprocessing=Preprocessing(0.5, 0.25).to_dict(),
    )
    checkpoint.save_weights(path, models.build(2).state_dict(), header)
    return path


def stills(folder: Path, count: int) -> Path:
    """A folder of pictures."""
    target = folder / f"pictures-{count}"
    target.mkdir()
    for number in range(count):
        cv2.imwrite(str(target / f"{number:03}.png"), picture(number))
    return target


def film(path: Path, frames: int = 10) -> Path:
    """A film in the format that its ending names."""
    cv2.setNumThreads(1)  # OpenCV's threads would be missing in a fork
    codec = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, RATE, (128, 96))
    for number in range(frames):
        writer.write(picture(number))
    writer.release()
    return path


def frames_of(film: Path) -> tuple[int, int]:
    """How many frames can be read of a film, and how many its header promises."""
    capture = cv2.VideoCapture(str(film))
    frames = 0
    while capture.read()[0]:
        frames += 1
    return frames, round(capture.get(cv2.CAP_PROP_FRAME_COUNT))


def picture(number: int) -> NDArray[np.uint8]:
    """A drawn face in front of grey, uint8 (96, 128, 3)."""
    (face,), _ = draw_faces(1, (number, 0))
    frame = np.full((96, 128, 3), 128, np.uint8)
    frame[:, 16:112] = cv2.resize(face, (96, 96), interpolation=cv2.INTER_LINEAR)[:, :, None]
    return frame
