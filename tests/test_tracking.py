"""Faces followed from frame to frame: smoothed each by itself, and never mixed."""

from collections.abc import Sequence

import numpy as np
import pytest
from skimage import data

from minicnn.apps.faces import Box
from minicnn.apps.tracking import BOX_SECONDS, PATIENCE, PROBABILITY_SECONDS, Sighting, Tracker, likeness, overlap

STEP = 1 / 30
HERE, NEAR, THERE = Box(100, 100, 80, 80), Box(106, 100, 80, 80), Box(300, 100, 80, 80)
HAPPY, SAD = (1.0, 0.0), (0.0, 1.0)


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """Crops of different people, uint8 (N, 48, 48), from scikit-image's lfw_subset."""
    return np.kron((data.lfw_subset()[:100, :24, :24] * 255).astype(np.uint8), np.ones((1, 2, 2), np.uint8))


class Scene:
    """Frames of two people, `a` and `b`, a 30th of a second apart."""

    def __init__(self, people: np.ndarray) -> None:
        self.tracker = Tracker(("happy", "sad"))
        self.crops = {"a": people[0], "b": people[1]}
        self.time = 0.0

    def frame(self, *faces: tuple[str, Box, Sequence[float]], after: float = STEP) -> list[Sighting]:
        """The next frame: who is where, and what the network says."""
        self.time += after
        boxes = [box for _, box, _ in faces]
        crops = np.array([self.crops[who] for who, _, _ in faces], np.uint8).reshape(-1, 48, 48)
        said = np.array([probabilities for _, _, probabilities in faces], np.float32).reshape(-1, 2)
        return self.tracker.update(boxes, crops, said, self.time)


@pytest.fixture
def scene(people: np.ndarray) -> Scene:
    return Scene(people)


def numbers(sightings: list[Sighting]) -> list[int]:
    return [sighting.number for sighting in sightings]


# Smoothing


def test_a_new_face_is_as_it_was_read(scene: Scene) -> None:
    (sighting,) = scene.frame(("a", HERE, HAPPY))
    assert sighting.face == (HERE, "happy", {"happy": 1.0, "sad": 0.0})
    assert sighting.found


def test_a_change_comes_through_to_63_percent_after_its_time_constant(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY))
    (sighting,) = scene.frame(("a", HERE, SAD), after=PROBABILITY_SECONDS)
    assert sighting.face.probabilities["sad"] == pytest.approx(1 - np.exp(-1))
    assert sighting.face.emotion == "sad"


def test_smoothing_depends_on_time_and_not_on_the_frame_rate(people: np.ndarray) -> None:
    shares = []
    for frames in (2, 8):
        scene = Scene(people)
        scene.frame(("a", HERE, HAPPY))
        for _ in range(frames):
            (sighting,) = scene.frame(("a", HERE, SAD), after=0.2 / frames)
        shares.append(sighting.face.probabilities["sad"])
    assert shares[0] == pytest.approx(shares[1])


def test_probabilities_still_add_up_to_one(scene: Scene, random: np.random.Generator) -> None:
    for _ in range(20):
        share = random.random()
        (sighting,) = scene.frame(("a", HERE, (share, 1 - share)))
        assert sum(sighting.face.probabilities.values()) == pytest.approx(1)


def test_a_box_glides_to_its_new_place(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY))
    (sighting,) = scene.frame(("a", Box(110, 100, 80, 80), HAPPY), after=BOX_SECONDS)
    assert sighting.face.box == Box(106, 100, 80, 80)


def test_one_wrong_frame_does_not_change_the_label(scene: Scene) -> None:
    labels = [scene.frame(("a", HERE, SAD if step == 5 else HAPPY))[0].face.emotion for step in range(10)]
    assert labels == ["happy"] * 10


# Following


def test_a_face_that_moves_keeps_its_number(scene: Scene) -> None:
    for step in range(30):
        assert numbers(scene.frame(("a", Box(100 + 8 * step, 100, 80, 80), HAPPY))) == [1]


def test_two_faces_keep_their_numbers_whatever_order_they_are_found_in(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY), ("b", THERE, SAD))
    for _ in range(5):
        left, right = scene.frame(("b", THERE, SAD), ("a", HERE, HAPPY))
        assert (left.number, left.face.emotion, right.number, right.face.emotion) == (1, "happy", 2, "sad")


def test_a_face_that_a_frame_misses_stays_and_goes_on(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY))
    (missed,) = scene.frame()
    assert (missed.number, missed.found, missed.face.box) == (1, False, HERE)
    assert numbers(scene.frame(("a", NEAR, HAPPY))) == [1]


def test_a_face_that_has_gone_goes(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY))
    assert scene.frame(after=PATIENCE + STEP) == []


def test_a_face_that_comes_back_late_starts_anew(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY))
    (sighting,) = scene.frame(("a", HERE, SAD), after=PATIENCE + STEP)
    assert (sighting.number, sighting.face.probabilities["sad"]) == (2, 1)


# Two people are never mixed: a face that is not beyond doubt the same starts with what was read of it alone


def unmixed(sighting: Sighting, probabilities: Sequence[float]) -> bool:
    return list(sighting.face.probabilities.values()) == list(probabilities)


def test_another_person_in_the_same_place_starts_anew(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY))
    (sighting,) = scene.frame(("b", HERE, SAD))
    assert (sighting.number, unmixed(sighting, SAD)) == (2, True)


def test_another_person_in_another_place_starts_anew(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY))
    first, second = scene.frame(("b", THERE, SAD))
    assert (first.number, first.found) == (1, False)
    assert (second.number, unmixed(second, SAD)) == (2, True)


def test_people_who_change_places_between_two_frames_start_anew(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY), ("b", THERE, SAD))
    left, right = scene.frame(("b", HERE, SAD), ("a", THERE, HAPPY))
    assert numbers([left, right]) == [3, 4]
    assert unmixed(left, SAD)
    assert unmixed(right, HAPPY)


def test_twins_who_walk_past_each_other_are_never_mixed(scene: Scene) -> None:
    """Both look the same to the tracker, so that places alone have to keep them apart."""
    scene.crops["b"] = scene.crops["a"]
    for step in range(60):
        walker, stander = Box(4 * step, 100, 80, 80), Box(120, 100, 80, 80)
        faces = [("a", walker, HAPPY), ("b", stander, SAD)]
        if overlap(walker, stander) > 0.5:  # one hides the other
            faces.pop()
        for sighting in scene.frame(*faces):
            assert set(sighting.face.probabilities.values()) == {0.0, 1.0}


def test_one_face_found_where_two_were_is_neither(scene: Scene) -> None:
    scene.frame(("a", HERE, HAPPY), ("b", Box(140, 100, 80, 80), HAPPY))
    (sighting,) = scene.frame(("a", Box(120, 100, 80, 80), SAD))
    assert (sighting.number, unmixed(sighting, SAD)) == (3, True)


# What it goes by


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(Box(0, 0, 10, 10), Box(5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert overlap(Box(0, 0, 10, 10), Box(0, 0, 10, 10)) == 1
    assert overlap(Box(0, 0, 10, 10), Box(10, 0, 10, 10)) == 0


def test_likeness_does_not_depend_on_the_light(people: np.ndarray) -> None:
    dim = (people[0] / 2 + 20).astype(np.uint8)
    assert likeness(people[0], dim) > 0.99


def test_a_single_tone_is_like_nothing() -> None:
    flat = np.full((48, 48), 7, np.uint8)
    assert likeness(flat, flat) == 0


def test_different_people_are_rarely_alike(people: np.ndarray) -> None:
    pairs = [likeness(people[i], people[j]) for i in range(100) for j in range(i)]
    assert np.mean(np.array(pairs) >= 0.75) < 0.01
