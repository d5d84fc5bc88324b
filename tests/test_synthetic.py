"""The drawn faces."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from minicnn.data import audit
from minicnn.data.dataset import CLASSES
from minicnn.data.synthetic import draw_faces, load


def test_images_and_labels_have_the_shapes_and_types_of_a_split() -> None:
    images, labels = draw_faces(30, seed=0)
    assert images.shape == (30, 48, 48)
    assert images.dtype == np.uint8
    assert labels.shape == (30,)
    assert labels.dtype == np.int64


def test_the_same_seed_draws_the_same_faces() -> None:
    one, two = draw_faces(50, seed=3), draw_faces(50, seed=3)
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_another_seed_draws_other_faces() -> None:
    assert not np.array_equal(draw_faces(50, seed=3)[0], draw_faces(50, seed=4)[0])


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17])
def test_any_number_of_faces_can_be_drawn(n: int) -> None:
    images, labels = draw_faces(n, seed=0)
    assert len(images) == len(labels) == n


def test_every_expression_is_drawn_equally_often() -> None:
    _, labels = draw_faces(70, seed=0)
    assert np.bincount(labels).tolist() == [10] * len(CLASSES)


def test_no_two_faces_are_alike() -> None:
    images, _ = draw_faces(200, seed=0)
    assert len({image.tobytes() for image in images}) == 200


def test_every_picture_has_contrast() -> None:
    images, _ = draw_faces(500, seed=0)
    assert images.std(axis=(1, 2)).min() > 5


def test_the_splits_have_the_sizes_asked_for_and_share_no_face() -> None:
    dataset = load(train=60, val=30, public=30)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 60, "val": 30, "public": 30}
    faces = {image.tobytes() for split in dataset.splits.values() for image in split.images}
    assert len(faces) == 120


def test_a_split_does_not_depend_on_the_size_of_the_others() -> None:
    one, two = load(train=20, val=10, public=5), load(train=50, val=10, public=0)
    np.testing.assert_array_equal(one.splits["val"].images, two.splits["val"].images)


def test_the_data_set_says_what_it_is() -> None:
    dataset = load(train=7, val=7, public=7)
    assert dataset.name == "synthetic"
    assert dataset.classes == CLASSES


def test_the_hash_is_that_of_every_data_set() -> None:
    dataset = load(train=9, val=8, public=7)
    assert dataset.sha256 == audit.sha256(dataset.splits)


def test_a_linear_model_fails_on_the_faces() -> None:
    # Fewer images than the 8,000 of `load` keep the test quick; with all of them it gets 0.38.
    dataset = load(train=2000, val=500, public=0)
    train, val = dataset.splits["train"], dataset.splits["val"]
    model = LogisticRegression(C=0.01, max_iter=60, tol=1e-2)
    model.fit(train.images.reshape(2000, -1) / np.float32(255), train.labels)
    accuracy = model.score(val.images.reshape(500, -1) / np.float32(255), val.labels)
    assert 1 / 7 < accuracy < 0.5


def test_the_mean_faces_show_the_expressions() -> None:
    images, labels = draw_faces(2100, seed=0)
    mean = {name: images[labels == i].mean(axis=0) for i, name in enumerate(CLASSES)}
    mouth, forehead = np.s_[32:38, 20:28], np.s_[12:16, 12:36]
    assert mean["surprise"][mouth].mean() < mean["neutral"][mouth].mean() - 5  # open, hence dark
    assert mean["surprise"][forehead].mean() < mean["angry"][forehead].mean() - 3  # the brows are there, not below
