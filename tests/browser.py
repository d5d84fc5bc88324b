"""The live page in a real browser: the program that serves it, and Chromium with a camera that plays a video.

`python -m tests.browser WEIGHTS` prints the page's frames a second at 640x480.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.portraits import astronaut
from tests.programs import command, environment

SECONDS = 1.5
"""How long the face of `face_and_no_face` stays, and how long it is gone."""

_RATE = 30  # frames a second, at which Chromium plays Motion JPEG
expect.set_options(timeout=20_000)  # milliseconds: Playwright's own 5 seconds are few on a busy machine

_QUIET = ("quic", "background-networking", "component-update", "sync", "gpu", "extensions", "default-apps")


def scene(face: bool = True) -> np.ndarray:
    """A picture of 640x480, uint8 BGR, with the face of scikit-image's astronaut in it or without."""
    picture = np.full((480, 640, 3), 90, np.uint8)
    if face:
        picture[:, 80:560] = cv2.resize(astronaut(), (480, 480))
    return picture


def face_and_no_face(path: Path) -> Path:
    """A video, Motion JPEG, in which a face appears and goes: Chromium repeats it without an end."""
    pictures = [cv2.imencode(".jpg", scene(face))[1].tobytes() for face in (True, False)]
    path.write_bytes(b"".join(picture * round(SECONDS * _RATE) for picture in pictures))
    return path


@contextmanager
def served(weights: Path) -> Iterator[str]:
    """`minicnn camera --web` in a process of its own; gives the page's address, and ends it by Ctrl-C."""
    arguments = command("camera", "--web", "--port", 0, "--weights", weights)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:  # the first may say that kernels are compiled
                lines.append(line)
                if found := re.match(r"http://127\.0\.0\.1:\d+", line):
                    break
            else:
                raise AssertionError("".join(lines))
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                left = process.communicate(timeout=20)[1]
            except subprocess.TimeoutExpired:
                process.kill()  # or the block would wait for it
                raise
    assert (process.returncode, left) == (0, "")


@contextmanager
def chromium(video: Path | None = None) -> Iterator[Browser]:
    """Debian's Chromium without a window; its camera plays `video`, or there is none."""
    program = shutil.which("chromium")
    assert program, "Chromium is not installed: on Debian, apt-get install chromium"
    camera = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={video}"] if video else []
    switches = ["--no-first-run", "--no-proxy-server", *(f"--disable-{what}" for what in _QUIET), *camera]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=switches, chromium_sandbox=hasattr(os, "geteuid") and os.geteuid() != 0
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, address: str, **settings: Any) -> Iterator[Page]:
    """The page, that may use the camera, in a context of its own."""
    with browser.new_context(permissions=["camera"], **settings) as context:
        page = context.new_page()
        page.goto(address)
        yield page


def _measure(weights: Path, seconds: float = 10) -> None:
    with TemporaryDirectory() as folder:
        video = Path(folder, "face.mjpeg")
        video.write_bytes(cv2.imencode(".jpg", scene())[1].tobytes() * _RATE)
        with served(weights) as address, chromium(video) as browser, opened(browser, address) as page:
            page.click("#start")
            page.wait_for_selector(".face")
            shown = []
            begun = time.monotonic()
            while time.monotonic() - begun < seconds:
                page.wait_for_timeout(1000)
                shown.append(page.inner_text("#rate"))
            print(f"640x480, one face, the browser on the same machine: {', '.join(shown)}")


if __name__ == "__main__":
    _measure(Path(sys.argv[1]))
