"""`minicnn camera` but for the page: sources, the loop with its keys, lines of JSON, recordings, and how it fails."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from minicnn.apps import views, window
from minicnn.apps.camera import Camera
from minicnn.apps.faces import Box, Reader, crop, grey_levels, make_detector
from minicnn.apps.live import ROWS, Rate, Shrinking, Watcher
from tests.browser import scene
from tests.films import Stills, read_video, write_video
from tests.portraits import write_network
from tests.programs import Result, command, environment, in_process_of_its_own, minicnn


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "small.safetensors")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames with a face and ten without."""
    path = tmp_path_factory.mktemp("video") / "face.avi"
    return write_video(path, [scene()] * 5 + [scene(face=False)] * 10)


@pytest.fixture
def watcher(network: Path) -> Watcher:
    return Watcher(Reader(network), make_detector(scale_step=1.2, smallest=60))


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


class Screen:
    """Presses the keys that it is given, one a frame; keeps what it was shown."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.pictures: list[np.ndarray] = []
        self.notes: list[str] = []

    def show(self, image: np.ndarray, note: str) -> None:
        self.pictures.append(image)
        self.notes.append(note)

    def key(self, seconds: float) -> str:
        return self.keys.pop(0) if self.keys else ""


# Lines of JSON


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def test_without_a_window_every_frame_is_a_line_of_json(video: Path, network: Path) -> None:
    frames = lines(minicnn("camera", "--no-window", "--source", video, "--weights", network))
    assert [frame["frame"] for frame in frames] == list(range(15))
    assert [frame["time"] for frame in frames[:3]] == [0.0, 0.04, 0.08]
    assert [len(frame["faces"]) for frame in frames] == [1] * 5 + [0] * 10


def test_a_face_has_number_box_emotion_and_probabilities(video: Path, network: Path) -> None:
    (face,) = lines(minicnn("camera", "--no-window", "--source", video, "--weights", network))[0]["faces"]
    assert face.keys() == {"number", "box", "emotion", "probabilities"}
    assert face["number"] == 1
    assert len(face["box"]) == 4
    assert face["emotion"] == max(face["probabilities"], key=face["probabilities"].get)
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_the_first_frame_is_read_as_a_photo_is(network: Path) -> None:
    detector = make_detector(scale_step=1.2, smallest=60)
    (sighting,) = Watcher(Reader(network), detector).look(scene(), 0.0)
    assert [sighting.face] == Reader(network, detector).read(scene())


def test_the_crop_that_is_followed_and_explained_is_the_first(watcher: Watcher) -> None:
    (sighting,) = watcher.look(scene(), 0.0)
    grey = grey_levels(scene())
    np.testing.assert_array_equal(sighting.crop, crop(grey, sighting.face.box))


def test_it_says_how_fast_it_was(video: Path, network: Path) -> None:
    result = minicnn("camera", "--no-window", "--source", video, "--weights", network)
    assert result.err.startswith(f"{video}: 15 frames in ")
    assert result.err.endswith(" frames/s\n")


def test_every_line_comes_at_once_and_ctrl_c_is_a_clean_end(tmp_path: Path, network: Path) -> None:
    long = write_video(tmp_path / "long.avi", [cv2.resize(scene(), (320, 240))] * 400)
    arguments = command("camera", "--no-window", "--source", long, "--weights", network, "--record", "seen.avi")
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["frame"] for _ in range(2)] == [0, 1]
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()  # or the block would wait for it
            raise
    assert process.returncode == 0
    assert errors.endswith(b"recorded: seen.avi\n")
    assert 1 <= len(read_video(tmp_path / "seen.avi")[0]) < 400
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.avi", "seen.avi"]


# Window


def test_where_there_is_a_display_the_window_is_the_usual_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    assert views.choose([]) == "window"


def test_each_frame_is_shown_with_its_faces_and_the_rate(watcher: Watcher) -> None:
    screen = Screen()
    count = Camera(Stills(3), watcher, screen=screen).run()
    assert (count.frames, len(screen.pictures)) == (3, 3)
    assert screen.notes[-1].endswith(" frames/s")
    assert (screen.pictures[0] != scene()).any()


def test_q_quits(watcher: Watcher) -> None:
    assert Camera(Stills(9), watcher, screen=Screen("", "q")).run().frames == 2


def test_space_keeps_the_picture_until_space(watcher: Watcher) -> None:
    screen = Screen("space", "", "", "space")
    assert Camera(Stills(2), watcher, screen=screen).run().frames == 2
    assert screen.notes[1] == "paused"


def test_q_quits_a_pause_too(watcher: Watcher) -> None:
    assert Camera(Stills(9), watcher, screen=Screen("space", "", "q")).run().frames == 1


def test_m_mirrors_the_picture_and_the_boxes_but_not_the_text(watcher: Watcher) -> None:
    screen = Screen("m")
    Camera(Stills(2), watcher, screen=screen).run()
    plain, mirrored = screen.pictures
    (face,) = [sighting.face for sighting in watcher.look(scene(), 0.1)]
    box = Box(640 - face.box.x - face.box.width, *face.box[1:])
    changed = (mirrored != scene()[:, ::-1]).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert columns.min() <= box.x <= columns.max()
    assert rows.min() <= box.y <= rows.max()
    assert (mirrored[:, ::-1] != plain).any()


def test_w_lays_a_heat_map_over_each_face(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def heat(crops: np.ndarray, emotions: list[str]) -> np.ndarray:
        asked.append(crops.shape)
        return np.ones((len(emotions), 48, 48), np.float32)

    monkeypatch.setattr(watcher.reader, "heat", heat)
    screen = Screen("w", "w")
    Camera(Stills(3), watcher, screen=screen).run()
    assert asked == [(1, 48, 48)]
    assert (screen.pictures[1] != screen.pictures[0]).any()


def test_what_the_keys_do_stands_under_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    put = cv2.putText
    monkeypatch.setattr(cv2, "putText", lambda image, text, *rest: texts.append(text) or put(image, text, *rest))
    shown = window.with_strip(scene(), "12 frames/s")
    assert texts == ["q: quit   space: pause   m: mirror   w: why", "12 frames/s"]
    np.testing.assert_array_equal(shown[:480], scene())
    assert (shown[480:] > 200).any()


def test_a_window_opens_where_there_is_a_display(video: Path, network: Path) -> None:
    """On a display in memory (Debian's xvfb), until the video ends."""
    with subprocess.Popen(["Xvfb", "-displayfd", "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as display:
        assert display.stdout is not None
        try:
            name = f":{display.stdout.readline().decode().strip()}"
            result = in_process_of_its_own("camera", "--source", video, "--weights", network, DISPLAY=name)
        finally:
            display.terminate()
    assert result.code == 0, result.err
    assert f"{video}: 15 frames in " in result.err


# How it fails: one line, and a clean end


def failure(*arguments: object, **changes: str) -> str:
    """The line of a failing `minicnn camera`, in a process of its own: OpenCV ends the process, or logs by itself."""
    result = in_process_of_its_own("camera", *arguments, **changes)
    assert (result.code, result.out) == (1, ""), result
    assert result.err.count("\n") == 1, result.err
    return result.err.removeprefix("minicnn: ")


def test_with_neither_display_nor_flag_it_says_which_to_choose() -> None:
    line = failure()
    assert "--web" in line
    assert "--no-window" in line


def test_a_window_without_a_display_is_one_line() -> None:
    assert failure("--window").startswith("there is no display here")


def test_a_display_that_does_not_answer_is_one_line() -> None:
    assert failure("--window", DISPLAY=":4711").startswith("no window can be opened on :4711: ")


def test_a_camera_that_is_not_there_is_one_line(network: Path) -> None:
    line = failure("--no-window", "--source", 4711, "--weights", network)
    assert line.startswith("camera 4711: not found (")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("nowhere.mp4", "nowhere.mp4: no such file; --source takes a camera's number, a video file or a stream's URL"),
        ("text.mp4", "text.mp4: not a video that OpenCV can read"),
        (
            "http://127.0.0.1:9/x",
            "http://127.0.0.1:9/x: no stream that can be read: is the address right, and is it on?",
        ),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(
    source: str, what: str, tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    monkeypatch.chdir(tmp_path)
    assert failure("--no-window", "--source", source, "--weights", network) == f"{what}\n"


@pytest.mark.parametrize(
    ("name", "what"),
    [("seen.gif", "expected a file that ends in .mp4, .avi, .mkv"), ("nowhere/seen.mp4", "a folder that is there")],
)
def test_a_recording_that_cannot_be_written_is_refused_before_anything_starts(
    name: str, what: str, video: Path, tmp_path: Path
) -> None:
    result = minicnn("camera", "--no-window", "--source", video, "--record", tmp_path / name)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"minicnn: --record {tmp_path / name}: ")
    assert what in result.err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--web", "--window"], "--window and --web are two views: choose one"),
        (["--web", "--source", "0"], "--source is not for --web"),
        (["--web", "--record", "x.mp4"], "--record is not for --web"),
        (["--web", "--json"], "--json is not for --web"),
        (["--no-window", "--explain"], "--explain shows heat maps, and --no-window shows nothing"),
        (["--source", "a.mp4", "--record", "./a.mp4", "--no-window"], "--record a.mp4 is the source itself"),
        (["--source", "a.mp4", "--record", "no/../a.mp4", "--no-window"], "--record no/../a.mp4 is the source itself"),
        (["--port", "70000"], "Invalid value for '--port'"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(arguments: list[str], what: str) -> None:
    result = minicnn("camera", *arguments)
    assert result.code == 2
    assert what in result.err


def test_the_help_says_what_labels_mean_and_where_the_law_forbids_it() -> None:
    text = " ".join(minicnn("camera", "--help").out.split())
    assert "not what somebody feels" in text
    assert "AI Act" in text


# Large frames, and the rate


def test_large_frames_are_searched_smaller_and_boxes_are_in_their_own_pixels() -> None:
    seen: list[tuple[int, ...]] = []

    def detector(grey: np.ndarray) -> list[Box]:
        seen.append(grey.shape)
        return [Box(10, 20, 30, 40)]

    assert Shrinking(detector)(np.zeros((3 * ROWS, 4 * ROWS), np.uint8)) == [Box(30, 60, 90, 120)]
    assert Shrinking(detector)(np.zeros((ROWS, 640), np.uint8)) == [Box(10, 20, 30, 40)]
    assert seen == [(ROWS, ROWS * 4 // 3), (ROWS, 640)]


def test_the_rate_is_that_of_the_last_second() -> None:
    rate = Rate()
    assert rate.tick(0.0) == 0
    assert rate.tick(0.1) == pytest.approx(10)
    for moment in range(40):
        last = rate.tick(5 + moment / 20)
    assert last == pytest.approx(20)
