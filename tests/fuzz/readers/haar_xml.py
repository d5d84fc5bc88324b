"""A Haar cascade's XML file for --detector-model: what is not refused is run by OpenCV, on a picture of noise."""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from minicnn.apps.detectors import find_cascade, make_detector
from tests.fuzz.harness import Reader

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)


def part(element: Element, path: str) -> Element:
    found = element.find(path)
    assert found is not None
    return found


def cut_down(name: str, stages: int = 2, trees: int = 2) -> bytes:
    """The beginning of one of OpenCV's cascades, with the features that it asks for; every window passes."""
    root = ElementTree.parse(find_cascade().with_name(name)).getroot()
    features = part(root, "*/features")
    wanted: list[Element] = []
    del part(root, "*/stages")[stages:]
    for stage in part(root, "*/stages"):
        part(stage, "stageThreshold").text = "-100.0"
        del part(stage, "weakClassifiers")[trees:]
        for nodes in stage.iter("internalNodes"):
            numbers = str(nodes.text).split()
            for at in range(2, len(numbers), 4):
                wanted.append(features[int(numbers[at])])
                numbers[at] = str(len(wanted) - 1)
            nodes.text = " ".join(numbers)
    features[:] = wanted
    for element in root.iter():  # without indentation
        element.tail = None
        element.text = (element.text or "").strip()
    return ElementTree.tostring(root, xml_declaration=True)


def read(data: bytes, folder: Path) -> object:
    (folder / "cascade.xml").write_bytes(data)
    return make_detector(model=folder / "cascade.xml", scale_step=1.5, smallest=20)(PICTURE)


SEEDS = [cut_down(f"haarcascade_{name}.xml") for name in ("frontalface_default", "lefteye_2splits", "frontalface_alt2")]
TOKENS = (
    b'<!DOCTYPE a [<!ENTITY b "cc">]>',
    b"&b;",
    b"<_>",
    b"</_>",
    b"<rects>",
    b"<tilted>1</tilted>",
    b"<leafValues>1 1</leafValues>",
    b' type_id="opencv-haar-classifier"',
    b' type_id="binary"',
    b" 0 -1 0 0.5 ",
    b"99999",
    b".Nan",
    b"1e39",
)
READER = Reader(SEEDS, read, TOKENS)
