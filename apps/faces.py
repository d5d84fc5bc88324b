"""From a picture to faces with emotions: a detector, the one way to cut a face out, and a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn import checkpoint, explain, inference
from minicnn.apps.detectors import DETECTORS, Box, Detector, make_detector
from minicnn.apps.evaluate import checked, weights_of
from minicnn.data.dataset import IMAGE_SIZE
from minicnn.opencv import cv2
from minicnn.planned import planned
from minicnn.pretrained import default_weights

__all__ = [
    "DETECTORS",
    "MARGIN",
    "MARGINS",
    "Box",
    "Detector",
    "Face",
    "Reader",
    "crop",
    "crops_of",
    "grey_levels",
    "make_detector",
    "window",
]

MARGIN = 0.02
"""What `crop` adds on every side of a detector's box, as a share of the box.

Where OpenCV's cascade finds a face in an image of FER2013's Training, its box is 0.96 of the image (median of 282), and
in the middle: in PublicTest's the median box is 0.000 of the image too far right and 0.003 too high (2,470).
"""

MARGINS = (MARGIN, -0.025, 0.0, 0.05)
"""The margins of the crops by which a face is read, their probabilities averaged; the first is the one that is shown.

A detector's box is one framing of a face among many. On pasted faces (`python -m tests.pasted`: two networks, three
grounds) the ratio is 0.003 to 0.015 higher than with the first alone. The margins were chosen with all of these images
in sight, so part of that may be chance. Crops shifted or mirrored, more of them, or means of logits gain no more.
"""


class Face(NamedTuple):
    """A face that was found, and what the network makes of it.

    Attributes:
        box: where it is.
        emotion: the most probable class.
        probabilities: of every class, in the network's order.
    """

    box: Box
    emotion: str
    probabilities: dict[str, float]


class Reader:
    """A network and a detector, ready to use by one thread at a time. The network's weights must not change meanwhile.

    Args:
        weights: a weights file or run folder; the network that ships in the package unless given.
        detector: what finds the faces; `make_detector()` unless given.
        device: where the network computes.

    Attributes:
        classes: the network's classes, in order.
        detector: what finds the faces.

    Raises UserError where there are no weights, or they cannot be used.
    """

    def __init__(
        self, weights: str | Path | None = None, detector: Detector | None = None, device: str = "cpu"
    ) -> None:
        self._path = default_weights() if weights is None else weights_of(weights)
        model, self._preprocessing, header = checkpoint.load_model(self._path)
        self._model = model.to(device)
        self._plan = planned(self._model)  # one plan for all calls: making one takes longer than a face
        self._plan.__enter__()
        self.classes = tuple(header.labels)
        self.detector = make_detector() if detector is None else detector

    def read(self, image: NDArray[np.uint8]) -> list[Face]:
        """The faces in a picture, the largest first.

        Args:
            image: uint8 (H, W), or (H, W, 3) in OpenCV's order BGR.

        Raises:
            ValueError: it is not such an array.
        """
        boxes, crops = self.find(image)
        return self.faces(boxes, self.read_crops(crops))

    def find(self, image: NDArray[np.uint8]) -> tuple[list[Box], NDArray[np.uint8]]:
        """The half of `read` before the network: boxes, and the crops of the faces in them, as `crops_of` gives."""
        grey = grey_levels(image)
        boxes = self.detector(grey)
        return boxes, crops_of(grey, boxes)

    def read_crops(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, classes) of N faces: the mean over the crops of each, uint8 (N, crops, 48, 48).

        Raises:
            CheckpointError: the network gives no numbers.
        """
        if not len(crops):
            return np.empty((0, len(self.classes)), np.float32)
        single = inference.probabilities(self._model, crops.reshape(-1, *crops.shape[2:]), self._preprocessing)
        probabilities: NDArray[np.float32] = single.reshape(*crops.shape[:2], -1).mean(axis=1)
        return checked(probabilities, self._path)

    def faces(self, boxes: Sequence[Box], probabilities: NDArray[np.float32]) -> list[Face]:
        """The half of `read` after the network: a Face for each box, from its row of probabilities (N, classes)."""
        return [
            Face(box, self.classes[row.argmax()], dict(zip(self.classes, row.tolist(), strict=True)))
            for box, row in zip(boxes, probabilities, strict=True)
        ]

    def heat(self, crops: NDArray[np.uint8], emotions: Sequence[str]) -> NDArray[np.float32]:
        """Which parts of each face spoke for an emotion: float32 (N, 48, 48) in 0..1, by Grad-CAM.

        Args:
            crops: the faces, uint8 (N, 48, 48): of the crops of each the first.
            emotions: a class for each, usually the one that was read.
        """
        classes = [self.classes.index(emotion) for emotion in emotions]
        return explain.grad_cam(self._model, self._preprocessing(crops), classes)


def grey_levels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels (H, W) of a picture, uint8 (H, W) or (H, W, 3) in OpenCV's order BGR.

    Raises:
        ValueError: it is not such an array, or empty.
    """
    color = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (color or image.ndim == 2) or 0 in image.shape:
        raise ValueError(f"picture: expected uint8 (H, W) or (H, W, 3) in BGR order, got {image.dtype} {image.shape}")
    grey: NDArray[np.uint8] = cv2().cvtColor(image, cv2().COLOR_BGR2GRAY) if color else image
    return grey


def window(box: Box, margin: float = MARGIN) -> Box:
    """The square that `crop` cuts out for a detector's box; it may reach beyond the picture."""
    side = max(1, round(max(box.width, box.height) * (1 + 2 * margin)))
    return Box(box.x + (box.width - side) // 2, box.y + (box.height - side) // 2, side, side)


def crops_of(grey: NDArray[np.uint8], boxes: Sequence[Box], margins: Sequence[float] = MARGINS) -> NDArray[np.uint8]:
    """The crops by which each face is read: uint8 (N, len(margins), 48, 48), from grey levels (H, W).

    The middle of every box must be in the picture, as it is for a detector's.
    """
    crops = np.empty((len(boxes), len(margins), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for own, box in zip(crops, boxes, strict=True):
        for place, margin in enumerate(margins):
            own[place] = crop(grey, box, margin)
    return crops


def crop(grey: NDArray[np.uint8], box: Box, margin: float = MARGIN) -> NDArray[np.uint8]:
    """Cut a face out of grey levels (H, W), as the preprocessing takes it: uint8 (48, 48).

    It is the square around the box, with a margin; beyond the picture its edge goes on. A square of 48x48 pixels stays
    as it is, to the bit. Larger ones shrink by the mean over areas (INTER_AREA), so that no pixel is passed over;
    smaller ones grow by cubic interpolation.

    Args:
        grey: uint8 (H, W).
        box: a detector's; it must touch the picture.
        margin: what to add on every side, as a share of the box; below 0 to take away.
    """
    left, top, side, _ = window(box, margin)
    height, width = grey.shape
    inside = grey[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    if inside.size == 0:
        raise ValueError(f"crop: expected a box that touches the picture of {width}x{height} pixels, got {box}")
    beyond = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(beyond):
        inside = cv2().copyMakeBorder(inside, *beyond, cv2().BORDER_REPLICATE)
    how = cv2().INTER_AREA if side > IMAGE_SIZE else cv2().INTER_CUBIC
    face: NDArray[np.uint8] = cv2().resize(inside, (IMAGE_SIZE, IMAGE_SIZE), interpolation=how)
    return face
