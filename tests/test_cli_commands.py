"""The commands of the data and of the gradient checker, and what all commands share."""

import json
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
import pytest

from minicnn.apps import cli, gradcheck
from minicnn.data import fer2013, synthetic
from minicnn.data.dataset import CLASSES
from tests.programs import leave_out_reports, minicnn, write_faces

COUNTS = {"train": dict.fromkeys(CLASSES, 9), "public": dict.fromkeys(CLASSES, 3)}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with no FER2013 imported."""
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def faces(here: Path) -> Path:
    return write_faces(here / "faces.csv", training=63, public=21)


def test_info_without_an_import_says_how_to_get_one() -> None:
    for option in ([], ["--json"]):
        result = minicnn("data", "info", *option)
        assert (result.code, result.out) == (1, "")
        assert result.err.endswith("fer2013: bring it in with `minicnn data import PATH`\n")


def test_import_prints_counts_classes_duplicates_and_hash_and_info_the_same_again(faces: Path) -> None:
    imported = minicnn("data", "import", faces, "--json")
    assert (imported.code, imported.err) == (0, "")
    info = json.loads(imported.out)
    assert info["counts"] == COUNTS
    assert info["classes"] == list(CLASSES)
    assert info["duplicates"]["within"]["train"] == {"copies": 0, "groups": 0, "conflicting": 0}
    assert len(info["sha256"]) == 64
    assert minicnn("data", "info", "--json") == imported


def test_near_copies_are_counted_where_asked_for(faces: Path) -> None:
    minicnn("data", "import", faces)
    near = json.loads(minicnn("data", "info", "--near", "--json").out)["near_copies"]
    assert set(near) == {"train", "public"}
    found = near["train"]
    line = f"{found['photos']} photos are within train in two forms, {found['conflicting']} with different labels"
    assert line in minicnn("data", "info", "--near").out.splitlines()


def test_text_shows_the_same_as_a_table(faces: Path) -> None:
    minicnn("data", "import", faces)
    lines = minicnn("data", "info").out.splitlines()
    assert lines[0].split() == ["train", "public"]
    assert [line.split() for line in lines[1:8]] == [[name, "9", "3"] for name in CLASSES]
    assert lines[8].split() == ["all", "63", "21"]
    assert "no exact copies" in lines
    assert f"sha256 {fer2013.info()['sha256']}" in lines


def test_text_tells_exact_copies(here: Path, faces: Path) -> None:
    lines = faces.read_text().splitlines()
    first = lines[1]
    relabeled = str(6 - int(first[0])) + first[1:]
    assert relabeled != first
    faces.write_text("\n".join([*lines, first, relabeled, first.replace("Training", "PublicTest")]) + "\n")
    out = minicnn("data", "import", faces).out
    assert "2 exact copies within train, 1 of 1 groups with different labels\n" in out
    assert "1 images in both train and public\n" in out


def test_data_that_cannot_be_read_is_one_line(here: Path) -> None:
    (here / "bad.csv").write_text("a,b\n1,2\n")
    result = minicnn("data", "import", "bad.csv")
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert line.startswith("minicnn: bad.csv")


def test_export_writes_images_and_an_index(faces: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fer2013, "PAPER_TRAIN", 50)
    minicnn("data", "import", faces)
    result = minicnn("data", "export", "--layout", "paper", "out")
    assert (result.code, result.out, result.err) == (0, "out: 50 train, 13 val\n", "")
    index = (here / "out" / "val" / "dataset.csv").read_text().splitlines()
    assert len(index) == 13
    name, label = index[0].split(",")
    assert label in "0123456"
    assert cv2.imread(str(here / "out" / "val" / name), cv2.IMREAD_GRAYSCALE).shape == (48, 48)
    result = minicnn("data", "export", "--layout", "paper", "again", "--json")
    assert json.loads(result.out) == {"train": 50, "val": 13}
    result = minicnn("data", "export", "--layout", "paper", "out")
    assert (result.code, "not empty" in result.err) == (1, True)


def test_export_without_an_import_says_how_to_get_one() -> None:
    result = minicnn("data", "export", "--layout", "paper", "out")
    assert (result.code, "bring it in with `minicnn data import PATH`" in result.err) == (1, True)


def test_an_unknown_layout_is_wrong_usage() -> None:
    result = minicnn("data", "export", "--layout", "yolo", "out")
    assert (result.code, "'yolo' is not" in result.err) == (2, True)


# gradcheck


def results(*messages: str) -> Callable[[str], list[gradcheck.Result]]:
    return lambda _: [gradcheck.Result(f"op {i}", not message, 0.0, message) for i, message in enumerate(messages)]


def test_gradcheck_checks_real_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcheck, "CASES", [case for case in gradcheck.CASES if "relu" in case.name.lower()][:3])
    result = minicnn("gradcheck", "--json")
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == {"passed": 3, "failed": {}}


def test_gradcheck_lists_every_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcheck, "run", results("", ""))
    assert minicnn("gradcheck") == (0, "ok   op 0\nok   op 1\n2 of 2 gradients are right\n", "")


def test_gradcheck_fails_where_a_gradient_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcheck, "run", results("", "off by two"))
    result = minicnn("gradcheck")
    assert result.code == 1
    assert "FAIL op 1: off by two\n" in result.out
    assert result.err == "minicnn: 1 of 2 gradients are wrong\n"
    result = minicnn("gradcheck", "--json")
    assert (result.code, json.loads(result.out)) == (1, {"passed": 1, "failed": {"op 1": "off by two"}})


# Every command


def leaves(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, inside in group.commands.items():
        found += leaves(inside, *path, name) if isinstance(inside, click.Group) else [(*path, name)]
    return found


def test_every_command_takes_json() -> None:
    for path in leaves(cli.cli):
        assert "--json" in minicnn(*path, "--help").out, path


def test_drawn_faces_are_trained_on_by_name(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    few = synthetic.load(train=16, val=7, public=7)
    monkeypatch.setattr(synthetic, "load", lambda: few)
    leave_out_reports(monkeypatch)
    result = minicnn("train", "--data", "synthetic", "--layers", 2, "--epochs", 1, "--out", "run", "--json")
    assert result.code == 0
    metrics = json.loads(minicnn("eval", "run", "--json").out)
    assert np.sum(metrics["confusion"]) == 7
