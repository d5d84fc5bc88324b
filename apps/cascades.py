"""A Haar cascade's XML file from outside, checked: OpenCV believes the numbers in it, and dies of wrong ones.

A cascade is a list of stages, a stage a list of trees. A tree has `internalNodes` of four numbers each, left, right,
feature and threshold, where a child above 0 is a node of the tree and another one a leaf with its sign turned; and it
has one leaf more than nodes. A feature is a weighted sum over rectangles in the window, upright or turned by an eighth.

Source: OpenCV 4, modules/objdetect/src/cascadedetect.cpp.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never
from xml.parsers import expat

from minicnn.errors import UserError

LARGEST = 4 << 20
"""Bytes of a file; the largest of OpenCV's own has 2.7 MB."""

MOST_NODES = 20_000
"""Nodes of all trees: what a picture costs goes by them. OpenCV's own have up to 8,468."""

_MOST_ELEMENTS, _DEEPEST = 100_000, 12
_SMALLEST_SIDE, _LARGEST_SIDE = 4, 500
_LONGEST_NUMBER = 40
"""Characters: what is longer is none, and would be matched in quadratic time."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
_LARGEST_NUMBER = 3e38
"""What a number of 32 bits holds."""


class _WrongError(Exception):
    """What there is in place of a cascade, as the message says it."""


@dataclass(slots=True)
class _Element:
    """An element of an XML file: its name and type_id, the elements in it, and the pieces of its text."""

    name: str = ""
    kind: str = ""
    inside: list["_Element"] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


def checked(path: Path) -> str:
    """The cascade in a file, written anew: OpenCV's reader of XML is shown nothing that was not checked.

    Raises:
        UserError: it is no cascade of Haar features, or one that OpenCV would reach out of its memory with.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise _WrongError(f"more than {LARGEST >> 20} MiB")
        return _cascade(_only(_parsed(data), "opencv_storage"))
    except (_WrongError, expat.ExpatError) as error:
        what = error if isinstance(error, _WrongError) else f"what is no XML ({error})"
        raise UserError(
            f"{path}: expected the XML file of a Haar cascade, got {what}; OpenCV has such files, haarcascade_*.xml"
        ) from error


def _parsed(data: bytes) -> _Element:
    """The elements of an XML file: no document types, so that no entity multiplies, and no more than is bearable."""
    opened, left = [_Element()], _MOST_ELEMENTS

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal left
        left -= 1
        if left < 0 or len(opened) > _DEEPEST:
            raise _WrongError("too many elements" if left < 0 else "elements inside elements inside elements")
        element = _Element(name, attributes.get("type_id", ""))
        opened[-1].inside.append(element)
        opened.append(element)

    def refuse(*_: object) -> Never:
        raise _WrongError("a document type, which no cascade has")

    parser = expat.ParserCreate("utf-8")  # whatever the file says of its encoding
    parser.buffer_text = True
    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: opened.pop()
    parser.CharacterDataHandler = lambda text: opened[-1].text.append(text)
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(data, True)
    return opened[0]


def _cascade(storage: _Element) -> str:
    if len(storage.inside) != 1:
        raise _WrongError(f"{len(storage.inside)} things in one file")
    cascade = storage.inside[0]
    if cascade.kind == "opencv-haar-classifier":
        raise _WrongError("one in OpenCV 1's form, which `cv2.CascadeClassifier.convert(OLD, NEW)` turns into today's")
    for name, expected in (("stageType", "BOOST"), ("featureType", "HAAR")):
        if (got := "".join(_only(cascade, name).text).strip()) != expected:
            raise _WrongError(f"{name} {got[:20]!r}, not {expected}")
    width, height = (_within(_only(cascade, name), _SMALLEST_SIDE, _LARGEST_SIDE) for name in ("width", "height"))
    _within(_only(_only(cascade, "featureParams"), "maxCatCount"), 0, 0)  # no categories: nodes compare numbers
    features, stages = _only(cascade, "features").inside, _only(cascade, "stages").inside
    return (
        '<?xml version="1.0"?>\n<opencv_storage>\n<cascade>\n'
        f"<stageType>BOOST</stageType>\n<featureType>HAAR</featureType>\n<height>{height}</height>\n"
        f"<width>{width}</width>\n<featureParams>\n<maxCatCount>0</maxCatCount></featureParams>\n"
        f"<stages>\n{_each('stage', stages, _Stages(len(features)).stage)}</stages>\n"
        f"<features>\n{_each('feature', features, lambda feature: _feature(feature, width, height))}</features>\n"
        "</cascade>\n</opencv_storage>\n"
    )


@dataclass
class _Stages:
    """Checks stages whose trees ask for so many features, and writes them."""

    features: int
    nodes_left: int = MOST_NODES

    def stage(self, element: _Element) -> str:
        threshold = _numbers(_only(element, "stageThreshold"), 1)
        trees = _each("tree", _only(element, "weakClassifiers").inside, self.tree)
        return f"<stageThreshold>{_text(threshold)}</stageThreshold>\n<weakClassifiers>\n{trees}</weakClassifiers>"

    def tree(self, element: _Element) -> str:
        numbers, leaves = _numbers(_only(element, "internalNodes")), _numbers(_only(element, "leafValues"))
        nodes = [numbers[at : at + 4] for at in range(0, len(numbers), 4)]
        if len(numbers) % 4 or not nodes or len(leaves) != len(nodes) + 1:
            raise _WrongError(f"{len(numbers)} numbers of nodes and {len(leaves)} leaves")
        self.nodes_left -= len(nodes)
        if self.nodes_left < 0:
            raise _WrongError(f"more than {MOST_NODES:,} nodes")
        for at, node in enumerate(nodes):
            self._check(node, at, len(nodes))
        written = "\n".join(map(_text, nodes))
        return f"<internalNodes>\n{written}</internalNodes>\n<leafValues>\n{_text(leaves)}</leafValues>"

    def _check(self, node: list[float], at: int, count: int) -> None:
        *children, feature, _ = node
        for child in children:
            if not (-count <= child <= 0 or at < child < count) or child % 1:  # an earlier node would lead in circles
                raise _WrongError(f"node {at}, whose child is {_short(child)} in a tree of {count} nodes")
        if not 0 <= feature < self.features or feature % 1:
            raise _WrongError(f"node {at}, which asks for feature {_short(feature)} of {self.features}")


def _feature(element: _Element, width: int, height: int) -> str:
    tilted = _within(_only(element, "tilted"), 0, 1) if any(one.name == "tilted" for one in element.inside) else 0
    rects = _only(element, "rects").inside
    if not 1 <= len(rects) <= 3:
        raise _WrongError(f"{len(rects)} rectangles")

    def rect(one: _Element) -> str:
        x, y, w, h, weight = _numbers(one, 5)
        left, right, bottom = (x - h, x + w, y + w + h) if tilted else (x, x + w, y + h)
        inside = left >= 0 <= y and right <= width and bottom <= height and w >= 1 <= h
        if not inside or any(value % 1 for value in (x, y, w, h)):
            raise _WrongError(f"{_text([x, y, w, h])} in a window of {width}x{height}")
        return _text([x, y, w, h, weight])

    return f"<rects>\n{_each('rectangle', rects, rect)}</rects>\n<tilted>{tilted}</tilted>"


# What is in an element


def _only(element: _Element, name: str) -> _Element:
    """The one element of this name in another one."""
    found = [one for one in element.inside if one.name == name]
    if len(found) != 1:
        raise _WrongError(f"{len(found) or 'no'} <{name}>" + (f" in <{element.name[:30]}>" if element.name else ""))
    return found[0]


def _each(what: str, elements: list[_Element], write: Callable[[_Element], str]) -> str:
    """The elements of a list, at least one; a mistake in one says where it is."""
    if not elements:
        raise _WrongError(f"no {what}")
    written = []
    for number, element in enumerate(elements):
        try:
            written.append(f"<_>\n{write(element)}</_>\n")
        except _WrongError as error:
            raise _WrongError(f"{what} {number}: {error}") from None
    return "".join(written)


def _numbers(element: _Element, count: int | None = None) -> list[float]:
    """The numbers in an element's text."""
    words = "".join(element.text).split()
    for word in words:
        if len(word) > _LONGEST_NUMBER or not _NUMBER.fullmatch(word) or not abs(float(word)) <= _LARGEST_NUMBER:
            raise _WrongError(f"{word[:20]!r} for a number")
    if count is not None and len(words) != count:
        raise _WrongError(f"{len(words)} numbers in <{element.name[:30]}>, not {count}")
    return [float(word) for word in words]


def _within(element: _Element, least: int, most: int) -> int:
    (value,) = _numbers(element, 1)
    if not least <= value <= most or value % 1:
        raise _WrongError(f"{element.name} {_short(value)}, which is to be {f'{least} to {most}' if most else 0}")
    return int(value)


def _short(value: float) -> str:
    """A number for a message."""
    return f"{value:.10g}"


def _text(numbers: list[float]) -> str:
    """Numbers that are read as the same again, whole ones without a point: OpenCV makes a difference."""
    return " ".join(repr(int(value) if value % 1 == 0 and abs(value) < 1 << 30 else value) for value in numbers)
