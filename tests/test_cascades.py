"""Haar cascades from outside: one that OpenCV would die of is refused in one line, before OpenCV sees it."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from minicnn.apps.detectors import make_detector
from tests.refusals import MB, refusal

TREE = """<_>
<internalNodes>1 0 0 0.5 -1 -2 1 0.5</internalNodes><leafValues>1. -1. 1.</leafValues>
</_>"""
CIRCLE = """<_>
<internalNodes>1 0 0 0.5 2 0 0 0.5 1 1 0 0.5</internalNodes><leafValues>1. 1. 1. 1.</leafValues>
</_>"""
CASCADE = f"""<?xml version="1.0"?>
<opencv_storage><cascade type_id="opencv-cascade-classifier">
<stageType>BOOST</stageType><featureType>HAAR</featureType><height>24</height><width>20</width>
<featureParams><maxCatCount>0</maxCatCount></featureParams>
<stages><_><stageThreshold>-9.</stageThreshold><weakClassifiers>{TREE}</weakClassifiers></_></stages>
<features>
<_><rects><_>6 4 12 9 -1.</_><_>6 7 12 3 3.</_></rects><tilted>0</tilted></_>
<_><rects><_>8 0 6 8 -1.</_><_>8 0 3 4 2.</_></rects><tilted>1</tilted></_>
</features></cascade></opencv_storage>"""

REFUSED = {
    "a feature that is not there": (
        "-2 1 0.5",
        "-2 1073741824 0.5",
        "tree 0: node 1, which asks for feature 1073741824",
    ),
    "a feature before the first": ("-2 1 0.5", "-2 -100000000 0.5", "which asks for feature -100000000 of 2"),
    "a number without an end": ("-2 1 0.5", "-2 1 " + "1" * 1_000_000 + "x", "'11111111111111111111' for a number"),
    "half a feature": ("-2 1 0.5", "-2 0.5 0.5", "which asks for feature 0.5 of 2"),
    "a node that is not there": ("1 0 0 0.5", "100000000 0 0 0.5", "node 0, whose child is 100000000 in a tree of 2"),
    "a leaf that is not there": ("-1 -2 1", "-1 -100000000 1", "node 1, whose child is -100000000"),
    "a node that is its own child": ("-1 -2 1", "1 1 1", "node 1, whose child is 1"),
    "nodes in a circle": (TREE, CIRCLE, "node 2, whose child is 1 in a tree of 3 nodes"),
    "half a child": ("1 0 0 0.5 -1", "1 0 0 0.5 0.5", "node 1, whose child is 0.5"),
    "a node too little": ("-1 -2 1 0.5<", "<", "4 numbers of nodes and 3 leaves"),
    "half a node": ("-1 -2 1 0.5<", "-1<", "5 numbers of nodes and 3 leaves"),
    "a leaf too little": ("1. -1. 1.", "1. -1.", "8 numbers of nodes and 2 leaves"),
    "no trees": (TREE, "", "stage 0: no tree"),
    "nodes that compare categories": ("Count>0<", "Count>256<", "maxCatCount 256, which is to be 0"),
    "a rectangle below the window": ("6 4 12 9", "6 16 12 9", "feature 0: rectangle 0: 6 16 12 9 in a window of 20x24"),
    "a rectangle left of the window": ("6 4 12 9", "-1 4 12 9", "-1 4 12 9 in a window"),
    "a rectangle that overflows": ("6 4 12 9", "2147483647 4 2147483647 9", "in a window of 20x24"),
    "a turned rectangle that leaves the window": ("8 0 6 8", "7 0 6 8", "feature 1: rectangle 0: 7 0 6 8 in a window"),
    "four rectangles": ("<rects>", "<rects><_>0 0 1 1 1</_><_>0 0 1 1 1</_>", "feature 0: 4 rectangles"),
    "a window of billions": (">20<", ">2000000000<", "width 2000000000, which is to be 4 to 500"),
    "a window without an inside": (">20<", ">1<", "width 1, which is to be 4 to 500"),
    "not a number": ("-9.", ".Nan", "stage 0: '.Nan' for a number"),
    "a number too large": ("-9.", "-1e39", "stage 0: '-1e39' for a number"),
    "another kind of features": ("HAAR", "LBP", "featureType 'LBP', not HAAR"),
    "two windows": ("<width>", "<width>20</width><width>", "2 <width> in <cascade>"),
    "entities": ("<opencv_storage>", '<!DOCTYPE a [<!ENTITY b "c">]><opencv_storage>', "a document type"),
    "an entity": ("HAAR", "&haar;", "what is no XML (undefined entity"),
    "elements without an end": ("<stages>", "<_>" * 100_000, "elements inside elements inside elements"),
    "too many elements": ("<stages>", "<_/>" * 200_000, "too many elements"),
    "too many nodes": ("1 0 0 0.5", "1 0 0 0.5 " * 20_000, "nodes"),
    "too many bytes": ("<stages>", " " * (4 * MB), "more than 4 MiB"),
}


def cascade(path: Path, old: str = "", new: str = "") -> Path:
    assert old in CASCADE
    path.write_text(CASCADE.replace(old, new, 1))
    return path


def test_a_cascade_made_by_hand_is_run(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    assert len(make_detector(model=cascade(tmp_path / "a.xml"), neighbors=0)(picture)) > 0


def test_a_cascade_that_finds_faces_everywhere_is_told_before_they_are_compared(tmp_path: Path) -> None:
    detect = make_detector(model=cascade(tmp_path / "a.xml"), smallest=24, scale_step=1.01)
    picture = np.random.default_rng(0).integers(0, 256, (320, 320), dtype=np.uint8)
    line = refusal(lambda: detect(picture), peak=100 * MB)
    assert re.fullmatch(r"the Haar cascade finds [\d,]+ faces in one picture: it is no detector of faces", line)


@pytest.mark.parametrize("fault", REFUSED)
def test_a_cascade_that_opencv_would_die_of_is_refused_before_it_is_loaded(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, "FileStorage")
    old, new, message = REFUSED[fault]
    path = cascade(tmp_path / "a.xml", old, new)
    line = refusal(lambda: make_detector(model=path), peak=40 * MB)
    assert line.startswith(f"{path}: expected the XML file of a Haar cascade, got ")
    assert message in line


RAW = """
import sys, cv2, numpy
cascade = cv2.CascadeClassifier()
storage = cv2.FileStorage(sys.argv[1], cv2.FILE_STORAGE_READ)
cascade.read(storage.getFirstTopLevelNode())
cascade.detectMultiScale(numpy.random.default_rng(0).integers(0, 256, (60, 60), dtype=numpy.uint8))
"""


@pytest.mark.parametrize("fault", ["a feature that is not there", "a node that is not there"])
def test_opencv_itself_dies_of_such_a_cascade(fault: str, tmp_path: Path) -> None:
    """Where it does so no longer, the check may be spared."""
    path = cascade(tmp_path / "a.xml", *REFUSED[fault][:2])
    whole, broken = (
        subprocess.run(
            [sys.executable, "-c", RAW, str(file)], cwd=tmp_path, capture_output=True, check=False
        ).returncode
        for file in (cascade(tmp_path / "whole.xml"), path)
    )
    assert whole == 0
    assert broken < 0  # a signal: mostly of a fault in its memory
