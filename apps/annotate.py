"""Faces drawn into a picture: a box, a label, a bar for every probability, and what the network looked at.

All of it is light on dark with an outline, so that it can be read on a light picture and on a dark one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.apps.faces import Box, Face, window
from minicnn.opencv import cv2

Pixels = NDArray[np.uint8]

_INK, _SOFT, _GROUND, _TRACK, _ACCENT = "#ffffff", "#b9bec6", "#15171b", "#3a3f47", "#ffb84d"
_OPAQUE = 0.86
"""How much of a panel hides the picture."""

_TEXT_SHARE, _LEAST_TEXT = 1 / 48, 12
"""Height of the text as a share of the picture's longer side, and the least in pixels."""

_LEGIBLE = 480
"""Pixels of a picture's longer side from which a panel fits beside a face."""


def annotate(image: Pixels, faces: Sequence[Face], heat: Iterable[NDArray[np.float32]] | None = None) -> Pixels:
    """A copy of a picture with each face's box, its label, and a bar for every probability where there is room.

    Args:
        image: uint8 (H, W, 3), in OpenCV's order BGR.
        faces: in the order of their importance, which is that of getting room.
        heat: for each face what `Reader.heat` gives, to be laid over it; None for none.
    """
    result = image.copy()
    for face, one in zip(faces, heat if heat is not None else (), strict=False):
        _lay_over(result, window(face.box), one)
    size = _text_size(image)
    taken = [face.box for face in faces]
    for face in faces:
        _outline(result, face.box, size)
    for face in faces:
        tag = _tag(face, size)
        taken.append(_paste(result, tag, _tag_place(face.box, tag, result)))
    for face in faces:
        if (bars := _placed_bars(face, size, result, taken, alone=len(faces) == 1)) is not None:
            taken.append(_paste(result, *bars))
    return result


def legible(image: Pixels, faces: Sequence[Face]) -> tuple[Pixels, list[Face]]:
    """A small picture and its faces enlarged by a whole factor, so that annotations can be read; others as they are."""
    factor = -(-_LEGIBLE // max(image.shape[:2]))
    if factor == 1:
        return image, list(faces)
    larger = cv2().resize(image, None, fx=factor, fy=factor, interpolation=cv2().INTER_CUBIC)
    return larger, [face._replace(box=Box(*(factor * value for value in face.box))) for face in faces]


def _text_size(image: Pixels) -> int:
    longer: int = max(image.shape[:2])
    return max(_LEAST_TEXT, round(longer * _TEXT_SHARE))


def _lay_over(image: Pixels, box: Box, heat: NDArray[np.float32]) -> None:
    """Warm colors where the heat is, and the picture itself where there is none."""
    height, width = image.shape[:2]
    left, top = max(0, box.x), max(0, box.y)
    right, bottom = min(width, box.x + box.width), min(height, box.y + box.height)
    whole = cv2().resize(heat, (box.width, box.height), interpolation=cv2().INTER_LINEAR)
    part = whole[top - box.y : bottom - box.y, left - box.x : right - box.x]
    colors = cv2().applyColorMap((part * 255).astype(np.uint8), cv2().COLORMAP_INFERNO)
    _blend(image[top:bottom, left:right], colors, 0.7 * part[:, :, None])


def _blend(under: Pixels, over: Pixels, share: Any) -> None:
    under[:] = (under + (over.astype(np.float32) - under) * share).round().astype(np.uint8)


def _outline(image: Pixels, box: Box, size: int) -> None:
    thick = max(2, size // 8)
    corners = (box.x, box.y), (box.x + box.width - 1, box.y + box.height - 1)
    cv2().rectangle(image, *corners, _bgr(_GROUND), thick + max(2, thick), cv2().LINE_AA)
    cv2().rectangle(image, *corners, _bgr(_ACCENT), thick, cv2().LINE_AA)


def _tag(face: Face, size: int) -> Pixels:
    """The emotion's name and probability."""
    text = f"{face.emotion} {face.probabilities[face.emotion]:.0%}"
    font, pad = _font(round(size * 1.15)), max(3, size // 3)
    canvas, pen = _canvas(font.getlength(text) + 2 * pad, size + 2 * pad)
    pen.text((pad, canvas.height / 2), text, font=font, fill=_INK, anchor="lm")
    return np.asarray(canvas)[:, :, ::-1]


def _bars(face: Face, size: int) -> Pixels:
    """A row for every class: name, bar, per cent; the most probable one in color."""
    font, pad, row = _font(size), max(5, size // 2), round(size * 1.45)
    names = round(max(font.getlength(name) for name in face.probabilities))
    figures, track = round(font.getlength("100%")), round(size * 4.5)
    canvas, pen = _canvas(names + track + figures + 4 * pad, row * len(face.probabilities) + pad)
    start = 2 * pad + names
    for number, (name, probability) in enumerate(face.probabilities.items()):
        color, ink = (_ACCENT, _INK) if name == face.emotion else (_SOFT, _SOFT)
        middle, half = pad / 2 + row * (number + 0.5), max(2, size // 4)
        pen.text((pad, middle), name, font=font, fill=ink, anchor="lm")
        pen.rectangle((start, middle - half, start + track, middle + half), fill=_TRACK)
        if (length := round(track * probability)) > 0:
            pen.rectangle((start, middle - half, start + length, middle + half), fill=color)
        pen.text((canvas.width - pad, middle), f"{probability:.0%}", font=font, fill=ink, anchor="rm")
    return np.asarray(canvas)[:, :, ::-1]


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (round(width), round(height)), _GROUND)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, 0, canvas.width - 1, canvas.height - 1), outline=_TRACK)
    return canvas, pen


def _font(size: int) -> Any:
    from PIL import ImageFont  # OpenCV's own letters are made of lines, and hard to read when small

    return ImageFont.load_default(size)


def _bgr(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color[1:])
    return blue, green, red


def _box_of(patch: Pixels, place: tuple[int, int]) -> Box:
    return Box(*place, patch.shape[1], patch.shape[0])


def _paste(image: Pixels, patch: Pixels, place: tuple[int, int]) -> Box:
    """Draw what of `patch` is inside the picture, with its upper left corner at `place` (x, y); returns where it is."""
    x, y = place
    part = image[y : y + patch.shape[0], x : x + patch.shape[1]]
    _blend(part, patch[: part.shape[0], : part.shape[1]], _OPAQUE)
    return _box_of(patch, place)


def _placed_bars(
    face: Face, size: int, image: Pixels, taken: Sequence[Box], *, alone: bool
) -> tuple[Pixels, tuple[int, int]] | None:
    """A face's bars and where there is room for them, in smaller text if need be; a lone face's hide the least."""
    for text in dict.fromkeys((size, max(_LEAST_TEXT, size // 2))):
        bars = _bars(face, text)
        if (place := _free_place(face.box, bars, image, taken, size // 2)) is not None:
            return bars, place
    corner = _corner(bars, image, taken) if alone else None
    return None if corner is None else (bars, corner)


def _tag_place(box: Box, tag: Pixels, image: Pixels) -> tuple[int, int]:
    """On top of the box, or inside it where the picture ends."""
    above = box.y - tag.shape[0]
    return max(0, min(box.x, image.shape[1] - tag.shape[1])), above if above >= 0 else box.y


def _free_place(box: Box, patch: Pixels, image: Pixels, taken: Sequence[Box], gap: int) -> tuple[int, int] | None:
    """Beside, below or above a box, in the picture and over nothing that is taken; None where there is no room."""
    height, width = patch.shape[:2]
    level = max(0, min(box.y, image.shape[0] - height))
    column = max(0, min(box.x, image.shape[1] - width))
    places = [
        (box.x + box.width + gap, level),
        (box.x - gap - width, level),
        (column, box.y + box.height + gap),
        (column, box.y - 3 * gap - height),
    ]
    for x, y in places:
        inside = x >= 0 and y >= 0 and x + width <= image.shape[1] and y + height <= image.shape[0]
        if inside and not any(Box(x, y, width, height).shared(other) for other in taken):
            return x, y
    return None


def _corner(patch: Pixels, image: Pixels, taken: Sequence[Box]) -> tuple[int, int] | None:
    """The picture's corner where a patch hides least; None where the picture is smaller."""
    height, width = patch.shape[:2]
    down, right = image.shape[0] - height, image.shape[1] - width
    if down < 0 or right < 0:
        return None
    corners = [(right, down), (0, down), (right, 0), (0, 0)]
    return min(corners, key=lambda place: sum(_box_of(patch, place).shared(other) for other in taken))
