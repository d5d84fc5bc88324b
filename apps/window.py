"""A window on the desktop, by OpenCV; and whether there is a desktop at all."""

import os
import subprocess
import sys
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from minicnn.errors import UserError
from minicnn.opencv import cv2

TITLE = "minicnn"
KEYS = {"q": "quit", "space": "pause", "m": "mirror", "w": "why"}
"""What the keys do, as it stands under the picture. Escape quits too."""

ELSEWHERE = "--web shows faces on a page in the browser, --no-window prints them, a line a frame"
_STRIP = 26
_NARROW = 420


class Window:
    """A window that shows pictures and gives the keys that were pressed.

    Raises:
        UserError: no window can be opened here.
    """

    def __init__(self) -> None:
        check_display()
        cv2().namedWindow(TITLE, cv2().WINDOW_AUTOSIZE | cv2().WINDOW_GUI_NORMAL)  # without buttons of OpenCV's own

    def __enter__(self) -> Self:
        return self

    def show(self, image: NDArray[np.uint8], note: str) -> None:
        """Show a picture, uint8 (H, W, 3) BGR, over a strip that says what the keys do, and the note."""
        cv2().imshow(TITLE, with_strip(image, note))

    def key(self, seconds: float) -> str:
        """The key that is pressed within so many seconds: one of KEYS, or empty; a window that is closed is "q"."""
        code = cv2().waitKey(max(1, round(1000 * seconds)))
        if code < 0:
            return "q" if cv2().getWindowProperty(TITLE, cv2().WND_PROP_VISIBLE) < 1 else ""
        letter = chr(code & 0xFF).lower()
        return {" ": "space", "\x1b": "q"}.get(letter, letter if letter in KEYS else "")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cv2().destroyAllWindows()


def with_strip(image: NDArray[np.uint8], note: str) -> NDArray[np.uint8]:
    """The picture, and below it what the keys do on the left and the note on the right."""
    opencv, width = cv2(), image.shape[1]
    strip = np.full((_STRIP, width, 3), 32, np.uint8)
    size = 0.45 if width >= _NARROW else 0.45 * width / _NARROW
    texts = ("   ".join(f"{key}: {does}" for key, does in KEYS.items()), note)
    for text, right in zip(texts, (False, True), strict=True):
        length = opencv.getTextSize(text, opencv.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
        place = (width - length - 8 if right else 8, 17)
        opencv.putText(strip, text, place, opencv.FONT_HERSHEY_SIMPLEX, size, (225, 225, 225), 1, opencv.LINE_AA)
    return np.vstack([image, strip])


def has_display() -> bool:
    """Whether there is a desktop that windows may be opened on."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def check_display() -> None:
    """Raise UserError where no window can be opened.

    OpenCV ends the whole process where there is no display, or one that refuses it: another process tries first.
    """
    if not has_display():
        raise UserError(f"there is no display here (DISPLAY is not set): {ELSEWHERE}")
    attempt = [sys.executable, "-c", "import cv2; cv2.namedWindow('minicnn', cv2.WINDOW_AUTOSIZE)"]
    try:
        done = subprocess.run(attempt, capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        done = False
    if not done:
        where = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "the desktop"
        raise UserError(
            f"no window can be opened on {where}: is it yours, and is opencv-python installed, not -headless? "
            f"{ELSEWHERE}"
        )
