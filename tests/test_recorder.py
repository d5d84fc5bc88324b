"""Recordings of what was seen: whole, in time, and kept however it ends."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minicnn.apps.camera import Camera
from minicnn.apps.faces import Reader, make_detector
from minicnn.apps.live import Watcher
from minicnn.apps.recorder import Recorder
from minicnn.apps.sources import Frame
from minicnn.errors import UserError
from tests.browser import scene
from tests.films import RATE, Stills, read_video, write_video
from tests.portraits import write_network
from tests.programs import minicnn


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "small.safetensors")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Five frames with a face and ten without."""
    return write_video(tmp_path / "face.avi", [scene()] * 5 + [scene(face=False)] * 10)


def test_a_recording_has_every_frame_with_its_faces_drawn(video: Path, network: Path, tmp_path: Path) -> None:
    target = tmp_path / "seen.mp4"
    result = minicnn("camera", "--no-window", "--source", video, "--weights", network, "--record", target)
    assert result.code == 0, result.err
    frames, rate = read_video(target)
    assert (len(frames), rate) == (15, RATE)
    assert np.abs(frames[0].astype(int) - scene()).max() > 100
    assert np.abs(frames[-1].astype(int) - scene(face=False)).max() < 50


def test_a_recording_runs_as_the_frames_came(tmp_path: Path) -> None:
    with Recorder(tmp_path / "seen.avi", rate=10) as recorder:
        for moment in (0.0, 0.04, 0.5, 0.52):
            recorder.write(scene(), moment)
    assert len(read_video(tmp_path / "seen.avi")[0]) == 6


def test_of_a_pause_a_second_is_recorded(tmp_path: Path) -> None:
    with Recorder(tmp_path / "seen.avi", rate=10) as recorder:
        for moment in (0.0, 60.0, 60.1):
            recorder.write(scene(), moment)
    assert len(read_video(tmp_path / "seen.avi")[0]) == 12


@pytest.mark.parametrize("name", ["seen.avi", "seen.mp4", "seen.mkv"])
def test_a_recording_ends_before_its_disk_is_full_and_can_be_played(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = iter([1 << 40] * 4 + [scene().nbytes + (1 << 20)])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=next(room)))
    with Recorder(tmp_path / name, 10) as recorder:
        for frame in range(4):
            recorder.write(scene(), frame / 10)
        with pytest.raises(UserError, match=rf"{name}: no room left on its disk"):
            recorder.write(scene(), 0.4)
    assert len(read_video(tmp_path / name)[0]) == 4
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_recording_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    with Recorder(tmp_path / "seen.avi", rate=10):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_an_error_ends_is_kept(tmp_path: Path, network: Path) -> None:
    class Unplugged(Stills):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            raise UserError("unplugged")

    watcher = Watcher(Reader(network), make_detector(smallest=60))
    with pytest.raises(UserError, match="unplugged"):
        Camera(Unplugged(2), watcher, record=tmp_path / "seen.avi").run()
    assert [path.name for path in tmp_path.iterdir()] == ["seen.avi"]
