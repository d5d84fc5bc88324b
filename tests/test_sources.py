"""Where frames come from: cameras, streams and videos, and how they end."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from minicnn.apps import sources
from minicnn.apps.sources import Live, open_source
from minicnn.errors import UserError
from tests.browser import scene
from tests.films import RATE, read_video, write_video
from tests.portraits import write_network
from tests.programs import in_process_of_its_own


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "small.safetensors")


class Device:
    """OpenCV's capture of a camera, of which `unplugged` is the end."""

    def __init__(self, frames: int, end: Callable[[], tuple[bool, None]]) -> None:
        self.frames = frames
        self.end = end
        self.released = False

    def get(self, _: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, Any]:
        if self.frames == 0:
            return self.end()
        self.frames -= 1
        time.sleep(0.01)
        return True, np.full((2, 2, 3), self.frames, np.uint8)

    def release(self) -> None:
        self.released = True


def unplugged() -> tuple[bool, None]:
    return False, None


def hanging() -> tuple[bool, None]:
    threading.Event().wait()
    raise AssertionError


def raising() -> tuple[bool, None]:
    raise cv2.error("the driver is gone")


def test_a_camera_whose_driver_fails_ends_with_one_line() -> None:
    with pytest.raises(UserError, match=r"camera 0: no more pictures after [123] frames: was it unplugged"):
        list(Live(Device(3, raising), "camera 0"))


def test_a_film_that_was_cut_off_is_one_line_and_no_other_librarys(tmp_path: Path, network: Path) -> None:
    video = write_video(tmp_path / "face.avi", [scene()] * 5)
    video.write_bytes(video.read_bytes()[:3000])
    result = in_process_of_its_own("camera", "--no-window", "--source", video, "--weights", network)
    assert result == (1, "", f"minicnn: {video}: not a video that OpenCV can read\n")


def test_a_camera_that_is_unplugged_in_mid_run_ends_with_one_line() -> None:
    device = Device(3, unplugged)
    source = Live(device, "camera 0")
    with pytest.raises(UserError, match=r"camera 0: no more pictures after [123] frames: was it unplugged"):
        list(source)
    source.close()
    assert device.released


def test_a_camera_that_hangs_does_not_hang_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SILENCE", 0.1)
    source = Live(Device(1, hanging), "camera 0")
    with pytest.raises(UserError, match="no more pictures after 1 frames"):
        list(source)
    source.close()


def test_a_camera_without_a_picture_is_one_line() -> None:
    with pytest.raises(UserError, match="it is there, but gives no picture"):
        list(Live(Device(0, unplugged), "camera 0"))


def test_of_a_live_source_the_newest_frame_is_taken() -> None:
    source = Live(Device(20, hanging), "camera 0")
    frames = iter(source)
    next(frames)
    while source._capture.frames:
        time.sleep(0.01)
    time.sleep(0.05)
    assert next(frames).image[0, 0, 0] == 0
    source.close()


class Streaming(BaseHTTPRequestHandler):
    """A camera in the network: Motion JPEG over HTTP, which breaks off after 20 pictures."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        for _ in range(20):
            picture = cv2.imencode(".jpg", scene())[1].tobytes()
            head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")
            time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        pass


def test_a_stream_that_breaks_off_ends_with_one_line_and_keeps_the_recording(tmp_path: Path, network: Path) -> None:
    target = tmp_path / "seen.avi"
    with ThreadingHTTPServer(("127.0.0.1", 0), Streaming) as camera:
        threading.Thread(target=camera.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{camera.server_port}/"
        result = in_process_of_its_own(
            "camera", "--no-window", "--source", address, "--weights", network, "--record", target
        )
        camera.shutdown()
    frames = [json.loads(line) for line in result.out.splitlines()]
    assert [len(frame["faces"]) for frame in frames] == [1] * len(frames)
    assert result.code == 1
    lost = f"minicnn: {address}: no more pictures after {len(frames)} frames: was it unplugged or switched off?\n"
    assert result.err.endswith(lost)
    assert len(read_video(target)[0]) >= len(frames) > 0


def test_of_a_video_every_frame_is_taken(tmp_path: Path) -> None:
    video = write_video(tmp_path / "face.avi", [scene()] * 15)
    source = open_source(str(video))
    assert (source.live, source.rate) == (False, RATE)
    assert len(list(source)) == 15
    source.close()
