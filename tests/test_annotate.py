"""Faces drawn into pictures: box, label, bars, and heat; readable on light and dark, and over no other face."""

import numpy as np
import pytest

from minicnn.apps import annotate as drawing
from minicnn.apps.annotate import annotate, legible
from minicnn.apps.faces import Box, Face, window
from minicnn.data.dataset import CLASSES
from tests.portraits import Pixels


def face(box: Box, emotion: str = "happy", probability: float = 0.7) -> Face:
    rest = (1 - probability) / 6
    return Face(box, emotion, {name: probability if name == emotion else rest for name in CLASSES})


def ground(level: int, height: int = 500, width: int = 600) -> Pixels:
    return np.full((height, width, 3), level, np.uint8)


def changed(before: Pixels, after: Pixels) -> Box:
    """The smallest box around what differs."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return Box(int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)


def panel(picture: Pixels, one: Face) -> Box:
    """Where the bars are: what is drawn to the right of the face."""
    right = one.box.x + one.box.width + 5
    found = changed(picture[:, right:], annotate(picture, [one])[:, right:])
    return found._replace(x=found.x + right)


ONE = face(Box(100, 100, 120, 120))


def test_the_picture_itself_stays_as_it_is() -> None:
    picture = ground(90)
    annotate(picture, [ONE], [np.ones((48, 48), np.float32)])
    np.testing.assert_array_equal(picture, ground(90))


def test_without_a_face_nothing_is_drawn() -> None:
    np.testing.assert_array_equal(annotate(ground(90), []), ground(90))


def test_the_box_is_drawn_around_the_face_and_not_over_it() -> None:
    drawn = annotate(ground(90), [ONE])
    x, y, width, height = ONE.box
    assert (drawn[y : y + height, x] != 90).any(axis=1).all()
    assert (drawn[y, x : x + width] != 90).any(axis=1).all()
    assert (drawn[y + 8 : y + height - 8, x + 8 : x + width - 8] == 90).all()


def test_each_class_has_a_bar_as_long_as_its_probability() -> None:
    shares = (0.0, 0.05, 0.1, 0.15, 0.2, 0.5, 0.0)
    one = ONE._replace(probabilities=dict(zip(CLASSES, shares, strict=True)))
    none = ONE._replace(probabilities=dict.fromkeys(CLASSES, 0.0))
    picture = ground(90)
    x, y, width, height = panel(picture, one)
    figures = 45  # pixels at the right, which differ too
    drawn, empty = (annotate(picture, [it])[y : y + height, x : x + width - figures] for it in (one, none))
    centers = [round(height * (row + 0.5) / 7) for row in range(7)]
    lengths = [longest_run((drawn[center] != empty[center]).any(axis=1)) for center in centers]
    np.testing.assert_allclose(lengths, [2 * share * lengths[5] for share in shares], atol=2)
    assert lengths[5] > 20


def longest_run(flags: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


@pytest.mark.parametrize("level", [0, 60, 128, 200, 255])
def test_text_can_be_read_on_any_ground(level: int) -> None:
    """A contrast of 4.5 to 1 or more, the level AA of the Web Content Accessibility Guidelines, section 1.4.3."""
    picture = ground(level)
    x, y, width, height = panel(picture, ONE)
    inside = annotate(picture, [ONE])[y + 2 : y + height - 2, x + 2 : x + width - 2]
    behind = np.median(inside.reshape(-1, 3), axis=0)
    assert contrast(inside.reshape(-1, 3).max(axis=0), behind) >= 4.5
    assert contrast(np.array(drawing._bgr(drawing._SOFT)), behind) >= 4.5


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    def luminance(color: np.ndarray) -> float:
        share = color / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.0722, 0.7152, 0.2126])

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    "box", [Box(0, 0, 100, 100), Box(500, 0, 100, 100), Box(0, 400, 100, 100), Box(500, 400, 100, 100)]
)
def test_a_face_in_a_corner_has_its_bars_inside_the_picture_and_beside_it(box: Box) -> None:
    picture = ground(90)
    drawn = annotate(picture, [face(box)])
    inner = drawn[box.y + 40 : box.y + box.height - 8, box.x + 8 : box.x + box.width - 8]
    assert (inner == 90).all()
    assert changed(picture, drawn).width > 200


def test_bars_cover_no_other_face() -> None:
    boxes = [Box(20 + 150 * column, 60 + 240 * row, 110, 110) for row in range(2) for column in range(4)]
    drawn = annotate(ground(90, 500, 640), [face(box) for box in boxes])
    for x, y, width, height in boxes:
        assert (drawn[y + 8 : y + height - 8, x + 8 : x + width - 8] == 90).all()


def test_a_face_that_fills_the_picture_has_its_bars_in_a_corner() -> None:
    picture = ground(90)
    drawn = annotate(picture, [face(Box(5, 5, 590, 490))])
    corner = drawn[-100:, -150:]
    assert (corner != 90).any(axis=2).mean() > 0.9


def test_a_picture_too_small_for_bars_has_at_least_the_box() -> None:
    drawn = annotate(ground(90, 40, 40), [face(Box(5, 5, 30, 30))])
    assert (drawn[34, 5:35] != 90).any(axis=1).all()


def test_a_small_picture_is_enlarged_with_its_faces() -> None:
    picture, faces = legible(ground(90, 100, 150), [face(Box(10, 20, 50, 60))])
    assert picture.shape == (400, 600, 3)
    assert [one.box for one in faces] == [Box(40, 80, 200, 240)]
    large = ground(90)
    assert legible(large, [ONE]) == (large, [ONE])


def test_heat_is_laid_over_the_square_that_was_read_and_nowhere_else() -> None:
    picture = ground(90)
    heat = np.zeros((48, 48), np.float32)
    heat[:24] = 1
    plain, hot = annotate(picture, [ONE]), annotate(picture, [ONE], [heat])
    square = window(ONE.box)
    area = changed(plain, hot)
    assert area.shared(square) == area.width * area.height
    assert (plain[190:210, 110:210] == hot[190:210, 110:210]).all()  # the lower half, which is cold
    assert (hot[130:150, 110:210] != 90).any(axis=2).all()


def test_heat_at_the_edge_of_the_picture_is_cut_off_there() -> None:
    drawn = annotate(ground(90), [face(Box(0, 0, 100, 100))], [np.ones((48, 48), np.float32)])
    assert drawn.shape == (500, 600, 3)
