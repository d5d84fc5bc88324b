"""The measurement of what a network loses when its images change."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minicnn.apps import robustness
from minicnn.apps.evaluate import Subject, load_subject
from minicnn.apps.robustness import CHANGES, blur, brightness, contrast, jpeg, noise, rotate, shift
from minicnn.data.synthetic import draw_faces
from minicnn.pretrained import default_weights
from tests.programs import minicnn, write_faces


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return draw_faces(4, seed=0)[0]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("data") / "faces.csv")


@pytest.fixture
def subject(faces: Path) -> Subject:
    return load_subject(default_weights(), data_name=str(faces))


# What each change does


@pytest.mark.parametrize(("change", "amount"), [(brightness, 1), (contrast, 1), (noise, 0), (shift, 0), (rotate, 0)])
def test_nothing_of_a_change_leaves_the_images(
    change: Callable[[np.ndarray, float], np.ndarray], amount: float, images: np.ndarray
) -> None:
    np.testing.assert_array_equal(change(images, amount), images)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_gives_new_images_of_the_same_kind_and_leaves_its_input(
    change: Callable[[np.ndarray, float], np.ndarray], images: np.ndarray
) -> None:
    before = images.copy()
    for amount in CHANGES[change]:
        changed = change(images, amount)
        assert (changed.shape, changed.dtype) == (images.shape, np.uint8)
        assert not np.array_equal(changed, images)
    np.testing.assert_array_equal(images, before)


def test_brightness_multiplies_and_stops_at_white() -> None:
    image = np.array([[[0, 10, 200]]], np.uint8)
    assert brightness(image, 1.5).tolist() == [[[0, 15, 255]]]


def test_contrast_multiplies_the_distance_to_the_mean() -> None:
    image = np.array([[[90, 100, 110]]], np.uint8)
    assert contrast(image, 0.5).tolist() == [[[95, 100, 105]]]


def test_noise_has_the_deviation_asked_for_and_is_the_same_each_time() -> None:
    grey = np.full((4, 48, 48), 128, np.uint8)
    assert noise(grey, 10).std() == pytest.approx(10, rel=0.05)
    np.testing.assert_array_equal(noise(grey, 10), noise(grey, 10))


def test_a_blurred_line_has_the_variance_of_the_blur() -> None:
    line = np.zeros((1, 49, 49), np.uint8)
    line[0, :, 24] = 255
    row = blur(line, 2.0)[0].sum(axis=0, dtype=np.float64)
    assert (row * np.square(np.arange(49) - 24)).sum() / row.sum() == pytest.approx(4, rel=0.1)


def test_a_shift_moves_right_and_down_and_repeats_the_border() -> None:
    image = np.array([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]], np.uint8)
    assert shift(image, 1).tolist() == [[[1, 1, 2], [1, 1, 2], [4, 4, 5]]]


def test_a_quarter_turn_is_numpys(images: np.ndarray) -> None:
    np.testing.assert_array_equal(rotate(images, 90), np.rot90(images, axes=(1, 2)))


def test_a_lower_jpeg_quality_changes_more(images: np.ndarray) -> None:
    error = [np.abs(jpeg(images, quality) - images.astype(float)).mean() for quality in (90, 50, 10)]
    assert error == sorted(error)
    assert error[0] > 0


# What is measured


def test_ten_views_are_asked_of_the_changed_images_too(subject: Subject) -> None:
    *_, last = robustness.robustness(subject, tta=True)
    views = subject.probabilities(jpeg(subject.split.images, 10), tta=True).argmax(axis=1)
    assert (last.change, last.amount) == ("jpeg", 10)
    assert last.accuracy == (views == subject.split.labels).mean()


def test_each_row_is_the_accuracy_on_the_changed_images(subject: Subject) -> None:
    rows = list(robustness.robustness(subject))
    assert [row.change for row in rows] == ["none"] + [c.__name__ for c, amounts in CHANGES.items() for _ in amounts]
    darker = subject.probabilities(brightness(subject.split.images, 0.25)).argmax(axis=1)
    row = next(row for row in rows if (row.change, row.amount) == ("brightness", 0.25))
    assert row.accuracy == (darker == subject.split.labels).mean()
    assert row.interval[0] <= row.accuracy <= row.interval[1]


@pytest.mark.parametrize("more", [(), ("--tta",)])
def test_eval_prints_it_beside_the_metrics(faces: Path, more: tuple[str, ...]) -> None:
    plain = json.loads(minicnn("eval", "--data", faces, *more, "--json").out)
    measured = json.loads(minicnn("eval", "--data", faces, *more, "--robustness", "--json").out)
    rows = measured.pop("robustness")
    assert measured == plain
    assert rows[0] | {"interval": None} == {
        "change": "none",
        "amount": 0.0,
        "accuracy": plain["accuracy"],
        "interval": None,
    }


def test_the_table_says_what_each_change_costs(faces: Path) -> None:
    lines = minicnn("eval", "--data", faces, "--robustness").out.splitlines()
    start = lines.index("change      amount  accuracy  95 %         loses")
    assert len(lines[start + 2 :]) == sum(map(len, CHANGES.values()))
    none, first = lines[start + 1].split(), lines[start + 2].split()
    assert (none[0], first[0], first[1]) == ("none", "brightness", "0.25")
    assert float(first[-1]) == pytest.approx(float(none[2]) - float(first[2]), abs=0.0011)
