"""Finding faces: where they are, none twice, and what is said where the detector's files are missing."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from minicnn.apps import cascades, detectors
from minicnn.apps.detectors import Box, Detector, find_cascade, make_detector
from minicnn.apps.export import export_onnx
from minicnn.errors import UserError
from tests.portraits import FACE, Pixels, astronaut, framed, near, write_blob_finder, write_network


@pytest.fixture(scope="module")
def haar() -> Detector:
    return make_detector()


@pytest.fixture(scope="module")
def grey() -> Pixels:
    picture: Pixels = cv2.cvtColor(astronaut(), cv2.COLOR_BGR2GRAY)
    return picture


# What is found


def test_exactly_the_one_face_of_the_astronaut_is_found(haar: Detector, grey: Pixels) -> None:
    (box,) = haar(grey)
    assert near(box, FACE)


@pytest.mark.parametrize("factor", [0.5, 2, 6])
def test_the_same_face_is_found_in_a_small_and_in_a_huge_picture(haar: Detector, grey: Pixels, factor: float) -> None:
    (box,) = haar(cv2.resize(grey, None, fx=factor, fy=factor))
    assert near(Box(*(round(value / factor) for value in box)), FACE, pixels=12)


def test_nine_of_ten_small_faces_are_found_and_none_where_there_is_none(haar: Detector) -> None:
    pictures = data.lfw_subset()
    faces = [haar(framed(picture)) for picture in pictures[:40]]
    others = [haar(framed(picture)) for picture in pictures[100:140]]
    assert sum(len(boxes) == 1 for boxes in faces) >= 36
    assert others == [[]] * 40


def test_two_faces_come_the_larger_one_first(haar: Detector, grey: Pixels) -> None:
    small = cv2.resize(grey, (256, 256), interpolation=cv2.INTER_AREA)
    sheet = np.hstack([cv2.copyMakeBorder(small, 128, 128, 0, 0, cv2.BORDER_REPLICATE), grey])
    large, little = haar(sheet)
    assert near(large, FACE._replace(x=FACE.x + 256))
    assert near(little, Box(FACE.x // 2, FACE.y // 2 + 128, FACE.width // 2, FACE.height // 2))


def test_smaller_faces_than_asked_for_are_passed_over(grey: Pixels) -> None:
    assert make_detector(smallest=150)(grey) == []


def test_boxes_that_cover_each_other_are_merged(grey: Pixels) -> None:
    boxes = make_detector(neighbors=0)(grey)  # every find by itself: the cascade alone gives dozens a face
    pairs = [(a, b) for a in boxes for b in boxes if a is not b]
    assert all(a.shared(b) <= 0.5 * min(a.width * a.height, b.width * b.height) for a, b in pairs)
    assert any(near(box, FACE, 40) for box in boxes)


def test_finds_become_faces_as_opencv_takes_them_together(haar: Detector, grey: Pixels) -> None:
    cascade = cv2.CascadeClassifier(str(find_cascade()))
    whole = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(30, 30))
    assert [tuple(box) for box in haar(grey)] == [tuple(box) for box in whole.tolist()]


def test_the_same_picture_gives_the_same_boxes_again(haar: Detector, grey: Pixels) -> None:
    assert haar(grey) == haar(grey)


def test_a_picture_may_be_smaller_than_any_face(haar: Detector) -> None:
    assert haar(np.zeros((1, 1), np.uint8)) == []
    assert haar(np.zeros((3, 2000), np.uint8)) == []


@pytest.mark.parametrize(
    "picture", [np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.float32), np.zeros((0, 9), np.uint8)]
)
def test_what_is_not_grey_levels_is_refused(haar: Detector, picture: Pixels) -> None:
    with pytest.raises(ValueError, match=r"expected grey levels uint8 \(H, W\), got"):
        haar(picture)


# YuNet


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_finder(tmp_path_factory.mktemp("yunet") / "blobs.onnx")


def test_yunet_finds_what_its_network_takes_for_a_face(blobs: Path) -> None:
    detector = make_detector("yunet", blobs, smallest=16)
    picture = np.zeros((200, 330), np.uint8)
    picture[64:96, 32:64] = picture[128:160, 256:288] = 255
    assert detector(picture) == [Box(40, 72, 16, 16), Box(264, 136, 16, 16)]
    assert detector(np.zeros((50, 80), np.uint8)) == []


def test_yunet_passes_over_smaller_faces_than_asked_for(blobs: Path) -> None:
    picture = np.zeros((96, 96), np.uint8)
    picture[:32, :32] = 255
    assert make_detector("yunet", blobs, smallest=16)(picture) == [Box(8, 8, 16, 16)]
    assert make_detector("yunet", blobs, smallest=17)(picture) == []


def test_another_network_than_yunet_is_refused(tmp_path: Path) -> None:
    export_onnx(write_network(tmp_path / "own.safetensors"), tmp_path / "own.onnx")
    with pytest.raises(UserError, match="not YuNet's"):
        make_detector("yunet", tmp_path / "own.onnx")(np.zeros((96, 96), np.uint8))


def test_yunet_without_its_file_says_where_there_is_one() -> None:
    with pytest.raises(UserError, match=r"--detector-model FILE\): OpenCV's model zoo has it as face_detection_yunet"):
        make_detector("yunet")


def test_a_file_that_is_not_yunets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.onnx: expected YuNet's ONNX file, there is none"):
        make_detector("yunet", tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(UserError, match=r"text.onnx: OpenCV cannot read it as YuNet's ONNX file"):
        make_detector("yunet", tmp_path / "text.onnx")


# What is refused, and what to install


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dlib"}, "detector: expected one of haar, yunet, got 'dlib'"),
        ({"scale_step": 1.0}, "scale step of the Haar detector: expected above 1, up to 2, got 1.0"),
        ({"neighbors": -1}, "neighbors of the Haar detector: expected 0 or more, got -1"),
        ({"smallest": 0}, "smallest face: expected at least 1 pixel, got 0"),
        ({"model": "gone.xml"}, "gone.xml: expected the XML file of a Haar cascade, there is none"),
    ],
)
def test_arguments_out_of_range_are_one_clear_line(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as raised:
        make_detector(**arguments)  # type: ignore[arg-type]
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("hello", r"what is no XML \(syntax error: line 1, column 0\)"),
        ("", r"what is no XML \(no element found"),
        ("<a>\xff</a>", r"what is no XML \(not well-formed"),
        ('<?xml version="1.0"?><opencv_storage><a></a></opencv_storage>', "no <stageType> in <a>"),
    ],
)
def test_a_damaged_cascade_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "damaged.xml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=rf"damaged.xml: expected the XML file of a Haar cascade, got {what}.*; OpenCV"):
        make_detector(model=tmp_path / "damaged.xml")


def test_opencvs_own_cascade_is_refused_where_it_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.xml").write_text("hello")
    monkeypatch.setattr(detectors, "find_cascade", lambda: tmp_path / "own.xml")
    with pytest.raises(UserError, match=r"own.xml: expected the XML file of a Haar cascade, got something else"):
        make_detector()


def load(text: str) -> cv2.CascadeClassifier:
    cascade = cv2.CascadeClassifier()
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    assert cascade.read(storage.getFirstTopLevelNode())
    return cascade


@pytest.mark.parametrize(
    "path", sorted(find_cascade().parent.glob("haarcascade_*.xml")), ids=lambda path: path.stem[12:]
)
def test_a_cascade_that_was_checked_and_written_anew_finds_the_same(path: Path, grey: Pixels) -> None:
    text = path.read_text()
    if 'type_id="opencv-haar-classifier"' in text:
        with pytest.raises(UserError, match=r"got one in OpenCV 1's form, which `cv2.CascadeClassifier.convert"):
            cascades.checked(path)
        return
    before, after = (load(text).detectMultiScale(grey, 1.3, 0) for text in (text, cascades.checked(path)))
    assert sorted(np.asarray(before).tolist()) == sorted(np.asarray(after).tolist())


def test_another_cascade_may_be_given_by_any_name(tmp_path: Path, grey: Pixels) -> None:
    own = shutil.copy(find_cascade(), tmp_path / "gesichter-ÄÖ.xml")
    assert near(make_detector(model=own)(grey)[0], FACE)


def test_where_opencv_has_no_cascades_the_systems_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = shutil.copy(find_cascade(), tmp_path)
    monkeypatch.delattr(cv2, "data")
    monkeypatch.setattr(detectors, "_FOLDERS", ("/no/such/folder", str(tmp_path)))
    assert find_cascade() == Path(there)


def test_where_nobody_has_a_cascade_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "data")
    monkeypatch.setattr(detectors, "_FOLDERS", ())
    with pytest.raises(UserError, match=r"comes without haarcascade_frontalface_default.xml: `pip install"):
        make_detector()


def test_an_opencv_without_cascades_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(UserError, match=r"has no Haar cascades: .* or take --detector yunet"):
        make_detector()
