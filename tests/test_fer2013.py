"""FER2013: what an import keeps, the two protocols, and the paper's layout."""

import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from minicnn import files
from minicnn.data import fer2013, store
from minicnn.data.dataset import CLASSES, Dataset, Split
from minicnn.data.synthetic import draw_faces
from minicnn.errors import DataError

Face = tuple[str, int, np.ndarray]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MINICNN_DATA", str(folder))
    return folder


def image(seed: int) -> np.ndarray:
    """A picture of its own for each seed, smooth so that JPEG keeps it, and the same with every NumPy."""
    y, x = np.mgrid[:48, :48]
    return ((seed * 7 + y * (seed % 5) + x * (seed % 3)) % 199 + seed % 50).astype(np.uint8)


def faces(usage: str, labels: Sequence[int], first: int = 0) -> list[Face]:
    return [(usage, label, image(first + i)) for i, label in enumerate(labels)]


def write_csv(path: Path, rows: Sequence[Face]) -> Path:
    lines = [f"{label},{' '.join(map(str, picture.ravel().tolist()))},{usage}" for usage, label, picture in rows]
    path.write_text("\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    return path


def import_faces(tmp_path: Path, rows: Sequence[Face]) -> dict:
    return fer2013.import_path(write_csv(tmp_path / "fer2013.csv", rows))


def as_bytes(split: Split) -> list[bytes]:
    return [picture.tobytes() for picture in split.images]


# Forty different images of Training a class but disgust, which has four.
TRAINING = faces("Training", [label for label in range(7) for _ in range(4 if label == 1 else 40)])
TESTS = faces("PublicTest", [0, 1, 2], 1000) + faces("PrivateTest", [3, 3], 2000)


# --- importing ------------------------------------------------------------------------------------------------------


def test_data_home_is_minicnn_data_then_xdg_then_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINICNN_DATA", "/a")
    monkeypatch.setenv("XDG_DATA_HOME", "/b")
    monkeypatch.setenv("HOME", "/c")
    assert fer2013.data_home() == Path("/a")
    monkeypatch.setenv("MINICNN_DATA", "")
    assert fer2013.data_home() == Path("/b/minicnn")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert fer2013.data_home() == Path("/c/.local/share/minicnn")


def test_nothing_imported_is_an_error_that_names_the_command() -> None:
    assert not fer2013.imported()
    for ask in (fer2013.info, fer2013.load):
        with pytest.raises(DataError, match=r"minicnn data import PATH"):
            ask()


def test_the_description_is_what_import_returned_and_is_plain_json(tmp_path: Path) -> None:
    info = import_faces(tmp_path, TRAINING + TESTS)
    assert fer2013.imported()
    assert fer2013.info() == info == json.loads(json.dumps(info))


def test_counts_are_by_split_and_class_with_copies(tmp_path: Path) -> None:
    info = import_faces(tmp_path, [*TRAINING, *TRAINING[:2], *TESTS])
    assert info["classes"] == list(CLASSES)
    assert info["counts"] == {
        "train": dict(zip(CLASSES, [42, 4, 40, 40, 40, 40, 40], strict=True)),
        "public": dict(zip(CLASSES, [1, 1, 1, 0, 0, 0, 0], strict=True)),
        "private": dict(zip(CLASSES, [0, 0, 0, 2, 0, 0, 0], strict=True)),
    }


def test_copies_are_counted_within_and_across_splits(tmp_path: Path) -> None:
    a, b, c = image(1), image(2), image(3)
    rows = [("Training", 0, a), ("Training", 0, a), ("Training", 5, a), ("Training", 1, b), ("Training", 1, b)]
    rows += [("PublicTest", 1, b), ("PublicTest", 1, b), ("PublicTest", 2, c), ("PrivateTest", 2, c)]
    assert import_faces(tmp_path, rows)["duplicates"] == {
        "within": {
            "train": {"copies": 3, "groups": 2, "conflicting": 1},
            "public": {"copies": 1, "groups": 1, "conflicting": 0},
            "private": {"copies": 0, "groups": 0, "conflicting": 0},
        },
        "shared": {"train+public": 1, "train+private": 0, "public+private": 1},
    }


def test_near_copies_are_photos_in_two_forms(tmp_path: Path) -> None:
    def other_form(photo: np.ndarray, quality: int) -> np.ndarray:
        return cv2.imdecode(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)

    photos, _ = draw_faces(5, 3)
    flat = [np.full((48, 48), level, np.uint8) for level in (10, 20)]
    shown = [*enumerate(photos), (0, other_form(photos[0], 95)), (6, other_form(photos[1], 95))]
    shown += [(5, photos[0]), (5, photos[0])]  # exact copies count once, with the first's label
    shown += [(5, photos[3]), *enumerate(flat)]  # in one form alone; and what shows nothing
    shown += [(5, other_form(photos[4], 95)), (6, other_form(photos[4], 80))]  # in three forms
    rows = [("Training", label, photo.ravel()) for label, photo in shown]
    import_faces(tmp_path, [*rows, ("PublicTest", 0, photos[0].ravel())])
    assert fer2013.info(near=True)["near_copies"] == {
        "train": {"photos": 2, "conflicting": 1},
        "public": {"photos": 0, "conflicting": 0},
    }
    assert "near_copies" not in fer2013.info()


def test_the_hash_follows_its_documented_recipe(tmp_path: Path) -> None:
    rows = faces("Training", [3, 0]) + faces("PublicTest", [6], 5)
    expected = b"public\0" + (1).to_bytes(8, "little") + bytes([6]) + image(5).tobytes()
    expected += b"train\0" + (2).to_bytes(8, "little") + bytes([3, 0]) + image(0).tobytes() + image(1).tobytes()
    assert import_faces(tmp_path, rows)["sha256"] == hashlib.sha256(expected).hexdigest()


def test_importing_again_replaces_the_import(tmp_path: Path, home: Path) -> None:
    first = import_faces(tmp_path, TRAINING)
    second = import_faces(tmp_path, TRAINING + TESTS)
    assert fer2013.info() == second != first
    assert [path.name for path in home.iterdir()] == ["fer2013"]


def test_a_bad_file_leaves_the_earlier_import(tmp_path: Path, home: Path) -> None:
    first = import_faces(tmp_path, TRAINING)
    with pytest.raises(DataError, match="row 3"):
        import_faces(tmp_path, [*TRAINING[:1], ("Training", 7, image(0))])
    assert fer2013.info() == first
    assert [path.name for path in home.iterdir()] == ["fer2013"]


def interrupt_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the second array is being written."""
    save = np.save
    written = []

    def interrupted(stream: io.BytesIO, array: np.ndarray) -> None:
        if written:
            stream.write(b"half")
            raise KeyboardInterrupt
        written.append(array)
        save(stream, array)

    monkeypatch.setattr(store.np, "save", interrupted)


def interrupt_swapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once the old folder has been moved away, as systems without an exchange of folders do."""
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if Path(source).suffix == ".tmp" and Path(target).name == "fer2013":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    monkeypatch.setattr(files, "_exchange", lambda *_: False)


@pytest.mark.parametrize("interrupt", [interrupt_saving, interrupt_swapping])
def test_an_interrupted_import_leaves_the_earlier_one_and_nothing_else(
    interrupt, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = import_faces(tmp_path, TRAINING)
    with monkeypatch.context() as patch:
        interrupt(patch)
        with pytest.raises(KeyboardInterrupt):
            import_faces(tmp_path, TRAINING + TESTS)
    assert fer2013.info() == first
    assert set(fer2013.load().splits) == {"train", "val"}
    assert [path.name for path in home.iterdir()] == ["fer2013"]


@pytest.mark.parametrize("interrupt", [interrupt_saving, interrupt_swapping])
def test_an_interrupted_first_import_leaves_nothing(
    interrupt, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch)
        with pytest.raises(KeyboardInterrupt):
            import_faces(tmp_path, TRAINING)
    assert not fer2013.imported()
    assert list(home.iterdir()) == []


def test_what_a_killed_import_left_is_removed_but_not_what_a_running_one_builds(tmp_path: Path, home: Path) -> None:
    killed, running = home / ".fer2013.1.tmp", home / ".fer2013.2.tmp"
    killed.mkdir(parents=True)
    running.mkdir()
    os.utime(killed, (time.time() - 7200,) * 2)
    import_faces(tmp_path, TRAINING)
    assert sorted(path.name for path in home.iterdir()) == [".fer2013.2.tmp", "fer2013"]


@pytest.mark.parametrize("name", ["info.json", "images.npy", "labels.npy"])
def test_a_damaged_import_says_to_import_again(name: str, tmp_path: Path) -> None:
    import_faces(tmp_path, TRAINING)
    damaged = store.folder() / name
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(DataError, match=r"damaged .*import again"):
        fer2013.load()


def test_arrays_of_different_imports_are_damage(tmp_path: Path) -> None:
    import_faces(tmp_path, TRAINING)
    np.save(store.folder() / "labels.npy", np.zeros(3, np.int64))
    with pytest.raises(DataError, match=r"do not fit .*import again"):
        fer2013.load()


def test_a_data_home_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "file" / "home"))
    with pytest.raises(DataError, match=r"cannot be written.*MINICNN_DATA"):
        import_faces(tmp_path, TRAINING)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fer2013.import_path(write_csv(tmp_path / "fer2013.csv", TRAINING), progress=True)
    assert "reading" in terminal.getvalue()


@pytest.mark.parametrize("progress", [True, False])
def test_no_progress_is_drawn_elsewhere(
    progress: bool, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not progress:
        monkeypatch.setattr(sys, "stderr", _Terminal())
    fer2013.import_path(write_csv(tmp_path / "fer2013.csv", TRAINING), progress=progress)
    shown = capsys.readouterr()
    assert shown.out + shown.err == ""
    assert progress or sys.stderr.getvalue() == ""


# --- the official protocol ------------------------------------------------------------------------------------------


def test_official_sets_a_tenth_of_each_class_aside_and_leaves_the_tests_alone(tmp_path: Path) -> None:
    import_faces(tmp_path, TRAINING + TESTS)
    dataset = fer2013.load("official")
    assert list(dataset.splits) == ["train", "val", "public", "private"]
    assert np.bincount(dataset.splits["val"].labels).tolist() == [4, 1, 4, 4, 4, 4, 4]
    assert np.bincount(dataset.splits["train"].labels).tolist() == [36, 3, 36, 36, 36, 36, 36]
    assert as_bytes(dataset.splits["public"]) == [picture.tobytes() for _, _, picture in TESTS[:3]]
    assert dataset.splits["private"].labels.tolist() == [3, 3]
    assert dataset.classes == CLASSES


def test_official_is_the_same_split_for_ever(tmp_path: Path) -> None:
    import_faces(tmp_path, TRAINING + TESTS)
    assert fer2013.load().sha256 == "06ffa1db9225c48a053861c3d5b3b2a396827890618266410e7916d43e6e5ca5"


def test_official_does_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    one = fer2013.load(path=write_csv(tmp_path / "one.csv", TRAINING))
    other = fer2013.load(path=write_csv(tmp_path / "other.csv", TRAINING[::-1]))
    assert sorted(as_bytes(one.splits["val"])) == sorted(as_bytes(other.splits["val"]))


def test_official_drops_copies_inside_training_and_keeps_the_first(tmp_path: Path) -> None:
    copies = [(usage, (label + 1) % 7, picture) for usage, label, picture in TRAINING[::3]]
    without = fer2013.load(path=write_csv(tmp_path / "without.csv", TRAINING))
    dataset = fer2013.load(path=write_csv(tmp_path / "with.csv", TRAINING + copies))
    assert dataset.sha256 == without.sha256
    assert any(f"{len(copies)} exact copies inside Training dropped" in note for note in dataset.notes)


def test_official_keeps_copies_on_one_side_where_they_are_not_dropped(tmp_path: Path) -> None:
    copies = [(usage, (label + 1) % 7, picture) for usage, label, picture in TRAINING[::3]]
    dataset = fer2013.load(path=write_csv(tmp_path / "f.csv", TRAINING + copies), drop_duplicates=False)
    dropped = fer2013.load(path=tmp_path / "f.csv")
    train, val = (as_bytes(dataset.splits[name]) for name in ("train", "val"))
    assert len(train) + len(val) == len(TRAINING) + len(copies)
    assert len(val) > len(set(val)), "no copy was in val: the test shows nothing"
    assert set(train) & set(val) == set()
    assert set(val) == set(as_bytes(dropped.splits["val"]))


def test_official_reports_images_that_splits_share(tmp_path: Path) -> None:
    import_faces(tmp_path, [*TRAINING, ("PublicTest", 3, TRAINING[0][2])])
    assert "images in both train and public: 1" in fer2013.load().notes


def test_official_of_too_few_images_is_refused(tmp_path: Path) -> None:
    import_faces(tmp_path, faces("Training", [0, 1, 2]))
    with pytest.raises(DataError, match=r"official.*two different images"):
        fer2013.load()


def test_a_source_without_training_has_its_tests_only(tmp_path: Path) -> None:
    assert list(fer2013.load(path=write_csv(tmp_path / "f.csv", TESTS)).splits) == ["public", "private"]


def test_loading_from_a_path_keeps_nothing(tmp_path: Path, home: Path) -> None:
    fer2013.load(path=write_csv(tmp_path / "f.csv", TRAINING))
    assert not home.exists()


def test_loading_from_a_path_is_loading_the_import(tmp_path: Path) -> None:
    import_faces(tmp_path, TRAINING + TESTS)
    imported, read = fer2013.load(), fer2013.load(path=tmp_path / "fer2013.csv")
    assert (imported.sha256, imported.notes, imported.name) == (read.sha256, read.notes, read.name)
    assert isinstance(imported, Dataset)


def test_notes_of_the_source_reach_the_data_set(tmp_path: Path) -> None:
    rows = [f"{label},{' '.join(map(str, picture.ravel().tolist()))}" for _, label, picture in TRAINING]
    (tmp_path / "train.csv").write_text("\n".join(["emotion,pixels", *rows]))
    fer2013.import_path(tmp_path / "train.csv")
    assert any("taken as Training" in note for note in fer2013.load().notes)


def test_an_unknown_protocol_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"'official' or 'paper', got 'kfold'"):
        fer2013.load("kfold")


# --- the paper's protocol and layout --------------------------------------------------------------------------------


@pytest.fixture
def small_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fer2013, "PAPER_TRAIN", 6)


def test_the_paper_trains_on_24000_images_and_needs_more(tmp_path: Path) -> None:
    import_faces(tmp_path, TRAINING)
    with pytest.raises(DataError, match=r"paper.*24,000.*there are 244.*official"):
        fer2013.load("paper")


@pytest.mark.usefixtures("small_paper")
def test_paper_takes_the_first_to_train_and_the_rest_to_validate_copies_and_all(tmp_path: Path) -> None:
    rows = [*TRAINING[:9], *TRAINING[:1]]
    import_faces(tmp_path, [*rows[:4], *TESTS, *rows[4:]])
    splits = fer2013.load("paper").splits
    assert list(splits) == ["train", "val", "public", "private"]
    assert as_bytes(splits["train"]) == [picture.tobytes() for _, _, picture in rows[:6]]
    assert as_bytes(splits["val"]) == [picture.tobytes() for _, _, picture in rows[6:]]
    assert splits["val"].labels.tolist() == [label for _, label, _ in rows[6:]]


@pytest.mark.usefixtures("small_paper")
@pytest.mark.parametrize("n", [0, 6])
def test_paper_without_a_rest_is_refused(n: int, tmp_path: Path) -> None:
    import_faces(tmp_path, TRAINING[:n] + TESTS)
    with pytest.raises(DataError, match=rf"there are {n}"):
        fer2013.load("paper")


@pytest.mark.usefixtures("small_paper")
@pytest.mark.parametrize("exists", [True, False])
def test_the_papers_layout_is_images_by_row_and_an_index_each(exists: bool, tmp_path: Path) -> None:
    import_faces(tmp_path, TRAINING[::20] + TESTS)  # 13 images of Training
    target = tmp_path / "deep" / "paper"
    if exists:
        target.mkdir(parents=True)
    assert fer2013.export_paper_layout(target) == {"train": 6, "val": 7}
    assert sorted(path.name for path in target.iterdir()) == ["train", "val"]
    for name, rows in (("train", range(6)), ("val", range(6, 13))):
        assert {path.name for path in (target / name).iterdir()} == {"dataset.csv", *(f"{i}.jpg" for i in rows)}
        index = [f"{i}.jpg,{TRAINING[i * 20][1]}" for i in rows]
        assert (target / name / "dataset.csv").read_text().split() == index
        for i in rows:
            written = cv2.imread(str(target / name / f"{i}.jpg"), cv2.IMREAD_UNCHANGED)
            assert written.shape == (48, 48)
            assert np.abs(written.astype(int) - TRAINING[i * 20][2]).mean() < 6


@pytest.mark.usefixtures("small_paper")
def test_the_papers_layout_is_written_straight_from_a_path(tmp_path: Path, home: Path) -> None:
    source = write_csv(tmp_path / "f.csv", TRAINING[:10])
    assert fer2013.export_paper_layout(tmp_path / "paper", path=source) == {"train": 6, "val": 4}
    assert not home.exists()


@pytest.mark.usefixtures("small_paper")
def test_the_papers_layout_is_not_written_over_anything(tmp_path: Path) -> None:
    import_faces(tmp_path, TRAINING[:10])
    for target in (tmp_path, tmp_path / "fer2013.csv"):
        with pytest.raises(DataError, match=r"not empty, expected"):
            fer2013.export_paper_layout(target)
    assert (tmp_path / "fer2013.csv").is_file()


@pytest.mark.usefixtures("small_paper")
def test_an_interrupted_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_faces(tmp_path, TRAINING[:10])
    before = sorted(path.name for path in tmp_path.iterdir())
    write = cv2.imwrite

    def interrupted(name: str, picture: np.ndarray) -> bool:
        if name.endswith("7.jpg"):
            raise KeyboardInterrupt
        return write(name, picture)

    monkeypatch.setattr(cv2, "imwrite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fer2013.export_paper_layout(tmp_path / "paper")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.usefixtures("small_paper")
def test_an_image_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_faces(tmp_path, TRAINING[:10])
    monkeypatch.setattr(cv2, "imwrite", lambda name, picture: False)
    with pytest.raises(DataError, match=r"paper: cannot be written .*0\.jpg"):
        fer2013.export_paper_layout(tmp_path / "paper")
    assert not (tmp_path / "paper").exists()
