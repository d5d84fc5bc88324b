"""`minicnn predict`: what it finds, how it says it, and what it says of what it cannot read."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from minicnn import pretrained
from minicnn.apps import predict as prediction
from minicnn.apps.faces import Reader, make_detector
from minicnn.apps.pictures import Picture
from minicnn.data.dataset import CLASSES
from tests.portraits import FACE, Pixels, astronaut, near, write_network
from tests.programs import Result, environment, in_process_of_its_own, minicnn

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "small.safetensors")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one photo."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("astronaut.png", astronaut())
    return tmp_path


@pytest.fixture
def predict(weights: Path) -> Run:
    def run(*arguments: object, terminal: bool = False) -> Result:
        return minicnn("predict", "--weights", weights, "--threads", 1, *arguments, terminal=terminal)

    return run


def write_video(path: Path) -> Path:
    """Two frames with the astronaut, then two without anybody, 10 a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (512, 512))
    for picture in [astronaut()] * 2 + [np.full((512, 512, 3), 80, np.uint8)] * 2:
        writer.write(picture)
    writer.release()
    return path


def test_names_of_files_that_are_no_text_are_shown_in_the_table(predict: Run) -> None:
    Path("astronaut.png").rename(os.fsdecode(b"f\xff.png"))
    assert predict(".", "--csv", "faces.csv").code == 0
    assert Path("faces.csv").read_text(encoding="utf-8").splitlines()[1].startswith("f\\udcff.png,")


# What is printed


def test_a_photo_gives_a_line_for_each_face(predict: Run) -> None:
    result = predict("astronaut.png")
    assert (result.code, result.err) == (0, "")
    (line,) = result.out.splitlines()
    source, found = line.split(": ")
    assert source == "astronaut.png"
    assert found.split()[0] in CLASSES
    assert found.endswith("at 177,66")


def test_json_is_one_document_with_box_emotion_and_probabilities(predict: Run) -> None:
    cv2.imwrite("empty.png", np.zeros((90, 90), np.uint8))
    result = predict("astronaut.png", "empty.png", "--json")
    photo, empty = json.loads(result.out)
    assert photo["source"] == "astronaut.png"
    (face,) = photo["faces"]
    assert near(face["box"], FACE)
    assert list(face["probabilities"]) == list(CLASSES)
    assert face["emotion"] == max(face["probabilities"], key=face["probabilities"].get)
    assert empty == {"source": "empty.png", "faces": []}


def test_text_says_where_there_is_no_face(predict: Run) -> None:
    cv2.imwrite("empty.png", np.zeros((90, 90), np.uint8))
    assert predict("empty.png").out == "empty.png: no face\n"


def test_several_pictures_end_with_how_fast_they_were_read(predict: Run) -> None:
    cv2.imwrite("second.png", astronaut())
    result = predict(".")
    assert result.out.count("at 177,66") == 2
    assert result.err.startswith("2 faces in 2 pictures, ")
    assert result.err.endswith(" faces/s\n")


def test_a_terminal_sees_a_bar_with_faces_a_second(predict: Run) -> None:
    cv2.imwrite("second.png", astronaut())
    assert "faces/s" in predict("astronaut.png", "second.png", terminal=True).err.rsplit("\n", 2)[0]


def test_a_picture_comes_from_standard_input(predict: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(Path("astronaut.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    (entry,) = json.loads(predict("-", "--json", "--out", "copies").out)
    assert entry["source"] == "-"
    assert len(entry["faces"]) == 1
    assert [path.name for path in Path("copies").iterdir()] == ["stdin-faces.png"]


def test_a_video_gives_an_entry_for_each_frame(predict: Run, here: Path) -> None:
    write_video(here / "clip.avi")
    entries = json.loads(predict("clip.avi", "--json").out)
    assert [(entry["frame"], entry["time"], len(entry["faces"])) for entry in entries] == [
        (0, 0.0, 1),
        (1, 0.1, 1),
        (2, 0.2, 0),
        (3, 0.3, 0),
    ]


def test_the_same_photo_gives_the_same_probabilities_among_others(predict: Run) -> None:
    names = []
    for number in range(5):
        names.append(f"{number}.png")
        cv2.imwrite(names[-1], np.roll(astronaut(), 9 * number, axis=1))
    together = json.loads(predict(*names, "--json").out)
    alone = json.loads(predict("3.png", "--json").out)[0]
    assert together[3]["faces"][0]["probabilities"] == pytest.approx(alone["faces"][0]["probabilities"], abs=2e-6)


# Files that are written


def test_csv_has_a_row_for_each_face(predict: Run, here: Path) -> None:
    write_video(here / "clip.avi")
    predict("astronaut.png", "clip.avi", "--csv", "faces.csv")
    with Path("faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["frame"]) for row in rows] == [
        ("astronaut.png", ""),
        ("clip.avi", "0"),
        ("clip.avi", "1"),
    ]
    assert list(rows[0]) == ["source", "frame", "x", "y", "width", "height", "emotion", *CLASSES]
    assert sum(float(rows[0][name]) for name in CLASSES) == pytest.approx(1, abs=1e-5)


def test_out_gets_annotated_copies_and_the_originals_stay(predict: Run) -> None:
    predict("astronaut.png", "--out", ".")
    np.testing.assert_array_equal(cv2.imread("astronaut.png"), astronaut())
    copy = cv2.imread("astronaut-faces.png")
    assert copy.shape == astronaut().shape
    assert (copy != astronaut()).any()


def test_a_copy_takes_the_name_of_no_other_original(predict: Run) -> None:
    own = astronaut()[::-1]
    cv2.imwrite("astronaut-faces.png", own)
    predict(".", "--out", ".")
    np.testing.assert_array_equal(cv2.imread("astronaut-faces.png"), own)
    assert Path("astronaut-faces-2.png").exists()


def test_copies_of_the_same_name_are_numbered(predict: Run, here: Path) -> None:
    (here / "other").mkdir()
    cv2.imwrite("other/astronaut.png", astronaut())
    predict("astronaut.png", "other", "--out", "copies")
    assert sorted(path.name for path in Path("copies").iterdir()) == ["astronaut-faces-2.png", "astronaut-faces.png"]


def test_the_copy_of_a_video_is_a_video_of_its_length_and_rate(predict: Run, here: Path) -> None:
    write_video(here / "clip.avi")
    predict("clip.avi", "--out", "copies")
    capture = cv2.VideoCapture("copies/clip-faces.mp4")
    assert capture.get(cv2.CAP_PROP_FPS) == 10
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    _, first = capture.read()
    assert np.abs(first.astype(int) - astronaut()).max() > 100


def test_explain_shows_heat_over_the_face(predict: Run) -> None:
    def inside(folder: str) -> Pixels:
        copy: Pixels = cv2.imread(f"{folder}/astronaut-faces.png")
        return copy[80:150, 190:260]

    predict("astronaut.png", "--out", "plain")
    predict("astronaut.png", "--out", "hot", "--explain")
    assert (inside("plain") != inside("hot")).any()


# What is refused


def test_bad_files_are_said_and_the_others_go_on(predict: Run, here: Path) -> None:
    (here / "text.jpg").write_text("hello")
    (here / "clip.mp4").write_text("hello")
    result = predict("gone.png", "text.jpg", "clip.mp4", "astronaut.png", "--json")
    assert [entry["source"] for entry in json.loads(result.out)] == ["astronaut.png"]
    assert result.code == 1
    gone, text, clip = result.err.splitlines()
    assert gone == "minicnn: gone.png: no such file or folder"
    assert text == "minicnn: text.jpg: expected a picture (JPEG, PNG, ...), got something else, or a damaged one"
    assert clip.startswith("minicnn: clip.mp4: ")


def test_with_nothing_to_read_json_is_still_a_document(predict: Run) -> None:
    result = predict("gone.png", "--json")
    assert (result.code, json.loads(result.out)) == (1, [])


def test_what_was_read_until_ctrl_c_is_a_whole_document(predict: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: str) -> Iterator[Picture]:
        if source == "second.png":
            raise KeyboardInterrupt
        yield Picture(source, astronaut())

    cv2.imwrite("second.png", astronaut())
    monkeypatch.setattr(prediction, "pictures_in", interrupted)
    monkeypatch.setattr(prediction, "_SECONDS", 0.0)
    result = predict("astronaut.png", "second.png", "--json")
    assert [entry["source"] for entry in json.loads(result.out)] == ["astronaut.png"]
    assert (result.code, result.err.strip()) == (1, "minicnn: interrupted")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "no/such/folder/t.csv"], "--csv no/such/folder/t.csv: expected the name of a file in a folder"),
        (["--csv", "/dev/null"], "--csv /dev/null: expected the name of a file in a folder that is there"),
        (["--csv", "./astronaut.png"], "--csv astronaut.png: is one of the pictures themselves: name another file"),
        (["--out", "astronaut.png"], "--out astronaut.png: expected a folder: "),
        (["--detector", "yunet"], "detector yunet: expected its ONNX file (--detector-model FILE)"),
        (["--weights", "gone.safetensors"], "gone.safetensors: expected a .safetensors file, there is none"),
    ],
)
def test_what_cannot_work_is_one_line(predict: Run, arguments: list[str], message: str) -> None:
    result = predict("astronaut.png", *arguments)
    assert result.code == 1
    assert result.err.startswith(f"minicnn: {message}")
    assert result.err.count("\n") == 1


def test_what_is_explained_is_the_first_crop_of_a_face(weights: Path) -> None:
    reader = Reader(weights)
    (result,) = prediction.read_all(reader, [Picture("photo", astronaut())], explain=True)
    _, crops = reader.find(astronaut())
    assert result.heat is not None
    np.testing.assert_array_equal(result.heat, reader.heat(crops[:, 0], [result.faces[0].emotion]))


def test_explain_without_a_folder_is_wrong_usage(predict: Run) -> None:
    result = predict("astronaut.png", "--explain")
    assert result.code == 2
    assert "give --out DIR too" in result.err


def test_without_weights_the_packages_own_are_taken(here: Path, monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    monkeypatch.setattr(pretrained, "files", lambda package: here)
    assert minicnn("predict", "astronaut.png").err.startswith("minicnn: no pretrained network in this package yet")
    (here / "weights").mkdir()
    (here / "weights" / "default.safetensors").write_bytes(weights.read_bytes())
    assert minicnn("predict", "astronaut.png").code == 0


# What makes it quick


def test_one_photo_needs_no_compiler(weights: Path) -> None:
    """Numba takes a second to start; matplotlib and pandas half a second each."""
    code = (
        "import sys\nfrom minicnn.apps.cli import cli\n"
        f"cli(['predict', 'astronaut.png', '--weights', {str(weights)!r}], standalone_mode=False)\n"
        "sys.exit(str({'numba', 'matplotlib', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.stderr == "set()\n"
    assert done.stdout.startswith("astronaut.png: ")


def test_help_says_what_a_label_means_and_where_the_law_forbids_this() -> None:
    text = " ".join(in_process_of_its_own("predict", "--help").out.split())
    assert "how people would name such a face, not what somebody feels" in text
    assert "AI Act, article 5, prohibits inferring emotions of people at work and in education" in text


def test_faces_of_many_pictures_go_through_the_network_together(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(weights, make_detector(smallest=60))
    batches = []
    read_crops = reader.read_crops

    def counted(crops: Pixels) -> NDArray[np.float32]:
        batches.append(len(crops))
        return read_crops(crops)

    monkeypatch.setattr(reader, "read_crops", counted)
    monkeypatch.setattr(prediction, "_FACES", 3)
    monkeypatch.setattr(prediction, "_SECONDS", float("inf"))
    pictures = [Picture(str(number), astronaut()) for number in range(7)]
    results = list(prediction.read_all(reader, pictures))
    assert [result.picture.source for result in results] == [picture.source for picture in pictures]
    assert batches == [3, 3, 1]
