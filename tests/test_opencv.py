"""The lazy import of OpenCV."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from minicnn.errors import UserError
from minicnn.opencv import cv2, silence


def test_gives_the_cv2_module() -> None:
    assert cv2().__name__ == "cv2"
    assert callable(cv2().equalizeHist)


def test_a_failing_import_names_the_library_and_debians_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(UserError) as caught:
        cv2()
    message = str(caught.value)
    for part in ("libGL.so.1", "opencv-python", "libgl1", "libglib2.0-0"):
        assert part in message
    assert "\n" not in message


def test_importing_the_module_does_not_import_opencv() -> None:
    code = "import sys, minicnn.opencv; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("place", ["cv2", "cv2.utils.logging"])
def test_it_is_silenced_wherever_a_version_has_the_switch(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []
    module, switch = SimpleNamespace(utils=SimpleNamespace()), SimpleNamespace(setLogLevel=levels.append)
    if place == "cv2":
        module.setLogLevel = switch.setLogLevel
    else:
        module.utils.logging = switch
    monkeypatch.setattr("importlib.import_module", lambda name: module)
    silence()
    assert levels == [0]
