"""From a picture to faces: the one way to cut a face out, and the reader that files and camera share."""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from minicnn import checkpoint, inference, pretrained
from minicnn.apps.faces import MARGINS, Box, Reader, crop, crops_of, grey_levels, window
from minicnn.apps.live import Watcher
from minicnn.apps.pictures import decode
from minicnn.data.dataset import CLASSES, Split
from minicnn.data.loader import Loader
from minicnn.data.synthetic import draw_faces
from minicnn.errors import CheckpointError
from tests.portraits import FACE, Pixels, astronaut, near, write_network
from tests.programs import minicnn

PLACE = Box(21, 31, 46, 46)
"""A detector's box whose window, with the margin, is 48 pixels wide: one that is cut out as it is."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "small.safetensors")


@pytest.fixture(scope="module")
def reader(weights: Path) -> Reader:
    return Reader(weights)


@pytest.fixture
def face() -> Pixels:
    images, _ = draw_faces(7, 0)
    return images[3]


@pytest.fixture
def picture(face: Pixels, random: np.random.Generator) -> Pixels:
    """Noise, with a face of 48x48 pixels where PLACE says."""
    sheet: Pixels = random.integers(0, 256, (120, 130), dtype=np.uint8)
    x, y, side, _ = window(PLACE)
    sheet[y : y + side, x : x + side] = face
    return sheet


# Cutting out


def test_a_face_of_48_pixels_is_cut_out_to_the_bit(picture: Pixels, face: Pixels) -> None:
    np.testing.assert_array_equal(crop(picture, PLACE), face)


def test_the_margin_is_added_on_every_side() -> None:
    assert window(Box(100, 200, 50, 50), margin=0.1) == Box(95, 195, 60, 60)
    assert window(Box(100, 200, 50, 50), margin=0.0) == Box(100, 200, 50, 50)


def test_a_box_that_is_no_square_is_cut_out_as_the_square_around_it() -> None:
    assert window(Box(100, 200, 40, 60), margin=0.0) == Box(90, 200, 60, 60)


def test_a_large_face_shrinks_by_the_mean_over_areas() -> None:
    stripes = np.zeros((96, 96), np.uint8)
    stripes[:, ::2] = 200  # a method that picks pixels would give 0 or 200
    np.testing.assert_array_equal(crop(stripes, Box(0, 0, 96, 96), margin=0), np.full((48, 48), 100))


def test_a_small_face_grows_smoothly() -> None:
    slope = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None], 24, axis=0)
    steps = np.diff(crop(slope, Box(0, 0, 24, 24), margin=0)[:, 4:-4].astype(int), axis=1)
    assert set(np.unique(steps)) <= {4, 5, 6}  # pixels repeated would give steps of 0 and 10


def test_beyond_the_picture_its_edge_goes_on() -> None:
    sheet = np.full((60, 60), 50, np.uint8)
    sheet[0] = 200
    cut = crop(sheet, Box(-10, -24, 48, 48), margin=0)
    assert set(np.unique(cut[:25])) == {200}
    assert set(np.unique(cut[25:])) == {50}


def test_a_box_outside_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a box that touches the picture of 60x50 pixels"):
        crop(np.zeros((50, 60), np.uint8), Box(100, 0, 20, 20))


def test_a_face_is_cut_out_with_each_margin_the_usual_one_first() -> None:
    picture = grey_levels(astronaut())
    (crops,) = crops_of(picture, [FACE])
    assert len({crop.tobytes() for crop in crops}) == len(MARGINS) > 1
    np.testing.assert_array_equal(crops, [crop(picture, FACE, margin) for margin in MARGINS])
    np.testing.assert_array_equal(crops[0], crop(picture, FACE))


def test_a_box_of_a_pixel_in_a_corner_has_all_its_crops() -> None:
    crops = crops_of(np.full((9, 9), 7, np.uint8), [Box(8, 0, 1, 1)])
    np.testing.assert_array_equal(crops, np.full((1, len(MARGINS), 48, 48), 7, np.uint8))


def test_colors_become_the_grey_levels_of_opencv() -> None:
    picture = astronaut()
    np.testing.assert_array_equal(grey_levels(picture), cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4)), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)]
)
def test_what_is_no_picture_is_refused(reader: Reader, image: Pixels) -> None:
    with pytest.raises(ValueError, match=r"picture: expected uint8 \(H, W\) or \(H, W, 3\) in BGR order, got"):
        reader.read(image)


# Reading


def test_the_astronauts_face_is_read_with_seven_probabilities(reader: Reader) -> None:
    (face,) = reader.read(astronaut())
    assert near(face.box, FACE)
    assert tuple(face.probabilities) == CLASSES
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert face.probabilities[face.emotion] == max(face.probabilities.values())


def test_a_picture_without_a_face_has_none(reader: Reader) -> None:
    assert reader.read(np.zeros((200, 200, 3), np.uint8)) == []
    assert reader.read_crops(crops_of(np.zeros((9, 9), np.uint8), [])).shape == (0, 7)


def test_reading_many_faces_gives_what_reading_one_gives(reader: Reader) -> None:
    crops = draw_faces(36, 0)[0].reshape(9, 4, 48, 48)
    together = reader.read_crops(crops)
    apart = np.concatenate([reader.read_crops(crops[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_a_face_is_read_as_the_mean_over_its_crops(reader: Reader) -> None:
    crops = draw_faces(12, 0)[0].reshape(3, 4, 48, 48)
    each = reader.read_crops(crops.reshape(12, 1, 48, 48)).reshape(3, 4, 7)
    np.testing.assert_allclose(reader.read_crops(crops), each.mean(axis=1), atol=1e-6)
    assert np.ptp(each, axis=1).max() > 1e-3


def test_a_network_of_other_classes_says_its_own(tmp_path: Path) -> None:
    own = Reader(write_network(tmp_path / "own.safetensors", classes=("awake", "asleep")))
    assert own.classes == ("awake", "asleep")
    assert set(own.read(astronaut())[0].probabilities) == {"awake", "asleep"}


def test_the_heat_of_a_face_lies_between_0_and_1(reader: Reader) -> None:
    crops, _ = draw_faces(3, 0)
    heat = reader.heat(crops, ["happy", "sad", "angry"])
    assert heat.shape == (3, 48, 48)
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert reader.heat(crops[:0], []).shape == (0, 48, 48)


# One preprocessing: training, evaluation, a file and a camera show a network the same bits


def seen_by_network(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.float32]]:
    """What goes through networks from now on."""
    batches: list[NDArray[np.float32]] = []
    forward = inference._forward

    def recorded(model: object, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        batches.append(np.array(batch))
        return forward(model, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(inference, "_forward", recorded)
    return batches


def test_training_evaluation_file_and_camera_show_the_network_the_same_bits(
    weights: Path, picture: Pixels, face: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = crops_of(picture, [PLACE])[0]
    np.testing.assert_array_equal(crops[0], face)
    model, preprocessing, _ = checkpoint.load_model(weights)
    reader = Reader(weights, detector=lambda grey: [PLACE])
    seen = seen_by_network(monkeypatch)
    inference.probabilities(model, crops, preprocessing)
    reader.read(picture)
    reader.read(decode(cv2.imencode(".png", picture)[1].tobytes(), "a file"))
    Watcher(reader, reader.detector).look(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), 0.0)
    training = Loader(Split(crops, np.zeros(len(crops), np.int64)), preprocessing, batch_size=len(crops))
    seen += [batch.images for batch in training.epoch(0)]
    assert len(seen) == 5
    for other in seen[1:]:
        np.testing.assert_array_equal(other, seen[0])


# What is refused


def test_without_a_pretrained_network_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "files", lambda package: tmp_path)
    with pytest.raises(CheckpointError) as raised:
        Reader()
    assert str(raised.value).startswith("no pretrained network in this package yet: --weights FILE, or train one")


def test_the_network_in_the_package_is_taken_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    write_network(tmp_path / "weights" / "default.safetensors", classes=("a", "b"))
    monkeypatch.setattr(pretrained, "files", lambda package: tmp_path)
    assert Reader().classes == ("a", "b")


def test_a_network_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    arrays, header = checkpoint.load_weights(write_network(tmp_path / "good.safetensors"))
    name = next(name for name in arrays if name.endswith("weight"))
    arrays[name] = np.full_like(arrays[name], np.nan)
    checkpoint.save_weights(tmp_path / "bad.safetensors", arrays, header)
    with pytest.raises(CheckpointError, match=r"bad.safetensors: its weights overflow"):
        Reader(tmp_path / "bad.safetensors").read_crops(np.zeros((1, 1, 48, 48), np.uint8))


def test_a_reader_takes_any_detector(weights: Path) -> None:
    everywhere = Reader(weights, detector=lambda grey: [Box(0, 0, grey.shape[1], grey.shape[0])])
    (face,) = everywhere.read(astronaut())
    assert face.box == Box(0, 0, 512, 512)


def test_a_gpu_reads_and_explains_as_the_cpu_does(gpu: Any, weights: Path, reader: Reader) -> None:
    crops = crops_of(draw_faces(1, 0)[0][0], [Box(4, 4, 40, 40), Box(0, 0, 48, 48)])
    on_gpu = Reader(weights, device="gpu")
    assert next(on_gpu._model.parameters()).device == "gpu"
    np.testing.assert_allclose(on_gpu.read_crops(crops), reader.read_crops(crops), rtol=1e-4)
    shown, emotions = crops[:, 0], ["happy", "sad"]
    np.testing.assert_allclose(on_gpu.heat(shown, emotions), reader.heat(shown, emotions), atol=1e-3)


@pytest.mark.parametrize("command", ["predict", "camera"])
def test_a_missing_gpu_is_one_line(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    cv2.imwrite(str(tmp_path / "face.png"), astronaut())
    source = [tmp_path / "face.png"] if command == "predict" else ["--no-window", "--source", tmp_path / "face.png"]
    result = minicnn(command, *source, "--device", "gpu")
    assert result.code == 1
    assert result.err.startswith("minicnn: device gpu: CuPy is not installed: pip install")
    assert result.err.count("\n") == 1
