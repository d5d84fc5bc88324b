"""Finding faces in a picture: OpenCV's Haar cascade, or its YuNet network, behind one interface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from minicnn.apps import cascades
from minicnn.errors import UserError
from minicnn.opencv import cv2

DETECTORS = ("haar", "yunet")
"""What `make_detector` offers."""

CASCADE = "haarcascade_frontalface_default.xml"

YUNET_SOURCE = "OpenCV's model zoo has it as face_detection_yunet, a file of 230 KB"

_FOLDERS = (
    "/usr/share/opencv4/haarcascades",
    "/usr/local/share/opencv4/haarcascades",
    "/usr/share/opencv/haarcascades",
)
"""Where systems put the cascades that some builds of OpenCV for Python come without."""


_SMALLEST = 30
"""Side in pixels below which a face tells the network too little."""

_MOST_FINDS = 20_000
"""Finds in a picture, before overlapping ones become one face, which takes time by their square: faces have dozens."""

_SAME_FACE = 0.2
"""How far apart, as a share of their size, finds are taken together: what OpenCV itself does."""

_SHARPNESS = 32
"""Pixels that the smallest face keeps when a picture is shrunk; with 24, the cascade's window, it misses more.

Of the 100 faces of scikit-image's lfw_subset the cascade finds 98 in the picture itself, 96 with 32, 92 with 24.
"""


class Box(NamedTuple):
    """A face's place in a picture: its upper left corner and size, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def shared(self, other: "Box") -> int:
        """The area that two boxes have in common, in pixels."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(0, width) * max(0, height)


class Detector(Protocol):
    """Finds the faces in a picture."""

    def __call__(self, grey: NDArray[np.uint8]) -> list[Box]:
        """The faces in grey levels, uint8 (H, W): no two for one face, the largest first."""


def make_detector(
    name: str = "haar",
    model: str | Path | None = None,
    scale_step: float = 1.1,
    neighbors: int = 5,
    smallest: int | None = None,
) -> Detector:
    """A detector, which one thread may use at a time.

    Args:
        name: one of DETECTORS.
        model: YuNet's ONNX file; for a Haar cascade an XML file to take in place of OpenCV's own.
        scale_step: factor from each size of face that the cascade looks for to the next.
        neighbors: overlapping finds that make a face; fewer find more faces and more that are none.
        smallest: side of the smallest face in pixels; 1/20 of the picture's shorter side, at least 30, unless given.

    Raises:
        UserError: the model, or this OpenCV's cascade, is missing or damaged; an argument is out of range.
    """
    if smallest is not None and smallest < 1:
        raise UserError(f"smallest face: expected at least 1 pixel, got {smallest}")
    if name == "haar":
        return HaarDetector(model, scale_step, neighbors, smallest)
    if name == "yunet":
        if model is None:
            raise UserError(f"detector yunet: expected its ONNX file (--detector-model FILE): {YUNET_SOURCE}")
        return YunetDetector(model, smallest)
    raise UserError(f"detector: expected one of {', '.join(DETECTORS)}, got {name!r}")


class HaarDetector:
    """OpenCV's cascade of Haar features for faces seen from the front; arguments: see `make_detector`.

    Source: P. Viola and M. Jones, "Rapid object detection using a boosted cascade of simple features", 2001.
    """

    def __init__(self, model: str | Path | None, scale_step: float, neighbors: int, smallest: int | None) -> None:
        if not 1 < scale_step <= 2:
            raise UserError(f"scale step of the Haar detector: expected above 1, up to 2, got {scale_step}")
        if neighbors < 0:
            raise UserError(f"neighbors of the Haar detector: expected 0 or more, got {neighbors}")
        self.scale_step, self.neighbors, self.smallest = scale_step, neighbors, smallest
        self._cascade = _load_cascade(None if model is None else Path(model))

    def __call__(self, grey: NDArray[np.uint8]) -> list[Box]:
        """The faces in grey levels, uint8 (H, W): no two for one face, the largest first."""
        smallest = _smallest(grey, self.smallest)
        picture, scale = _shrunk(grey, smallest)
        side = round(smallest * scale)
        found, support = self._cascade.detectMultiScale2(
            picture, scaleFactor=self.scale_step, minNeighbors=0, minSize=(side, side)
        )
        if len(found) > _MOST_FINDS:
            raise UserError(f"the Haar cascade finds {len(found):,} faces in one picture: it is no detector of faces")
        if self.neighbors and len(found):
            found, support = cv2().groupRectangles(found.tolist(), self.neighbors, _SAME_FACE)
        return _largest_first(_scaled_back(found, scale, grey), np.ravel(support).tolist())


class YunetDetector:
    """OpenCV's runner of YuNet, a small network that finds faces seen from many sides; arguments: see `make_detector`.

    Source: W. Wu, H. Peng and S. Yu, "YuNet: a tiny millisecond-level face detector", 2023.
    """

    def __init__(self, model: str | Path, smallest: int | None) -> None:
        self.smallest = smallest
        if not Path(model).is_file():
            raise UserError(f"{model}: expected YuNet's ONNX file, there is none: {YUNET_SOURCE}")
        try:
            self._network = cv2().FaceDetectorYN.create(str(model), "", (0, 0))
        except cv2().error as error:
            raise UserError(f"{model}: OpenCV cannot read it as YuNet's ONNX file: {YUNET_SOURCE}") from error

    def __call__(self, grey: NDArray[np.uint8]) -> list[Box]:
        """The faces in grey levels, uint8 (H, W): no two for one face, the largest first."""
        smallest = _smallest(grey, self.smallest)
        picture, scale = _shrunk(grey, smallest)
        self._network.setInputSize(picture.shape[::-1])
        try:
            _, found = self._network.detect(cv2().cvtColor(picture, cv2().COLOR_GRAY2BGR))
        except cv2().error as error:
            raise UserError("the detector's model is an ONNX file, but not YuNet's: " + YUNET_SOURCE) from error
        if found is None:
            return []
        boxes = _scaled_back(found[:, :4], scale, grey)
        large = [number for number, box in enumerate(boxes) if max(box.width, box.height) >= smallest]
        return _largest_first([boxes[i] for i in large], [float(found[i, -1]) for i in large])


def find_cascade() -> Path:
    """OpenCV's Haar cascade for faces seen from the front.

    Raises:
        UserError: this build of OpenCV has none, and neither has the system.
    """
    data = getattr(cv2(), "data", None)
    own = [data.haarcascades] if data is not None else []
    for folder in (*own, *_FOLDERS):
        if (path := Path(folder, CASCADE)).is_file():
            return path
    raise UserError(
        f"OpenCV {cv2().__version__} comes without {CASCADE}: `pip install 'opencv-python>=4.10,<5'`, on Debian or "
        "Ubuntu `apt-get install opencv-data`, or name an XML file with --detector-model FILE"
    )


def _load_cascade(given: Path | None) -> Any:
    """A cascade from a file that was given, which may have been made to do harm, or else OpenCV's own."""
    path = given or find_cascade()
    if not hasattr(cv2(), "CascadeClassifier"):
        raise UserError(
            f"OpenCV {cv2().__version__} has no Haar cascades: `pip install 'opencv-python>=4.10,<5'`, "
            "or take --detector yunet"
        )
    if not path.is_file():
        raise UserError(f"{path}: expected the XML file of a Haar cascade, there is none")
    cascade = cv2().CascadeClassifier()
    try:
        # given as text: OpenCV itself cannot open names that its system's character set has not, and logs what fails
        text = path.read_text(encoding="utf-8") if given is None else cascades.checked(given)
        storage = cv2().FileStorage(text, cv2().FILE_STORAGE_READ | cv2().FILE_STORAGE_MEMORY)
        whole = cascade.read(storage.getFirstTopLevelNode())
    except (cv2().error, UnicodeDecodeError, SystemError):
        whole = False
    if not whole or cascade.empty():
        raise UserError(f"{path}: expected the XML file of a Haar cascade, got something else or a damaged one")
    return cascade


def _smallest(grey: NDArray[np.uint8], given: int | None) -> int:
    if grey.dtype != np.uint8 or grey.ndim != 2 or 0 in grey.shape:
        raise ValueError(f"detector: expected grey levels uint8 (H, W), got {grey.dtype} {grey.shape}")
    return given or max(_SMALLEST, min(grey.shape) // 20)


def _shrunk(grey: NDArray[np.uint8], smallest: int) -> tuple[NDArray[np.uint8], float]:
    """The picture, no larger than finding the smallest face takes, and its scale: most of the time goes by pixels."""
    scale = min(1.0, _SHARPNESS / smallest)
    if scale == 1:
        return np.ascontiguousarray(grey), scale
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    return cv2().resize(grey, (width, height), interpolation=cv2().INTER_AREA), scale


def _scaled_back(found: Any, scale: float, grey: NDArray[np.uint8]) -> list[Box]:
    """Boxes in pixels of the picture itself, and inside it."""
    height, width = grey.shape
    boxes = []
    for x, y, w, h in np.asarray(found, np.float64).reshape(-1, 4) / scale:
        left, top = max(0, round(x)), max(0, round(y))
        boxes.append(Box(left, top, min(width, round(x + w)) - left, min(height, round(y + h)) - top))
    return boxes


def _largest_first(boxes: Sequence[Box], support: Sequence[float]) -> list[Box]:
    """Of boxes that cover each other by half the best supported one, sorted by size and then by place."""
    kept: list[Box] = []
    for _, box in sorted(zip(support, boxes, strict=True), reverse=True):
        if box.width > 0 and box.height > 0 and not any(_cover(box, other) > 0.5 for other in kept):
            kept.append(box)
    return sorted(kept, key=lambda box: (-box.width * box.height, box))


def _cover(a: Box, b: Box) -> float:
    """The shared area, as a share of the smaller box: 1 for a box inside another."""
    return a.shared(b) / min(a.width * a.height, b.width * b.height)
