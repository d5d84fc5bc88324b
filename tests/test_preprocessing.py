"""The one function that turns grey levels into the network's input."""

import json

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from minicnn.data.preprocessing import Preprocessing
from minicnn.device import module_for, to_numpy
from minicnn.errors import UserError


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(20, 200, (9, 48, 48), dtype=np.uint8)


def test_normalizes_grey_levels_and_adds_the_channel_axis(images: NDArray[np.uint8]) -> None:
    x = Preprocessing(mean=0.5, std=0.25)(images)
    assert x.shape == (9, 1, 48, 48)
    assert x.dtype == np.float32
    expected = (images.astype(np.float64) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(x[:, 0], expected, rtol=0, atol=1e-6)


def test_every_grey_level_is_right_to_float32_rounding() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    x = Preprocessing(mean=0.508, std=0.255)(levels)
    np.testing.assert_allclose(x.ravel(), (np.arange(256) / 255 - 0.508) / 0.255, rtol=0, atol=5e-7)


def test_an_image_gives_the_same_bits_alone_and_in_a_batch(images: NDArray[np.uint8]) -> None:
    preprocess = Preprocessing(0.4, 0.3, equalize=True)
    np.testing.assert_array_equal(preprocess(images)[3:4], preprocess(images[3:4]))


def test_normalizing_on_another_device_gives_the_same_bits(device: str, images: NDArray[np.uint8]) -> None:
    preprocess = Preprocessing(0.4, 0.3, equalize=True)
    levels = preprocess.levels(images)
    assert levels.dtype == np.uint8
    normalized = preprocess.normalized(module_for(device).asarray(levels))
    np.testing.assert_array_equal(to_numpy(normalized), preprocess(images))


def test_levels_are_the_images_themselves_unless_they_are_equalized(images: NDArray[np.uint8]) -> None:
    assert Preprocessing(0.4, 0.3).levels(images) is images


def test_fit_takes_mean_and_std_over_all_pixels(images: NDArray[np.uint8]) -> None:
    fitted = Preprocessing.fit(images)
    assert fitted.mean == pytest.approx((images / 255).mean(), rel=1e-12)
    assert fitted.std == pytest.approx((images / 255).std(), rel=1e-12)
    assert not fitted.equalize


def test_fitted_images_come_out_with_mean_0_and_std_1(images: NDArray[np.uint8]) -> None:
    for equalize in (False, True):
        x = Preprocessing.fit(images, equalize=equalize)(images).astype(np.float64)
        assert x.mean() == pytest.approx(0, abs=1e-6)
        assert x.std() == pytest.approx(1, abs=1e-6)


def test_fit_survives_images_of_one_tone() -> None:
    x = Preprocessing.fit(np.full((2, 48, 48), 77, np.uint8))(np.full((1, 48, 48), 77, np.uint8))
    np.testing.assert_allclose(x, 0, atol=1e-3)


def test_equalizes_each_image_by_itself_as_opencv_does(images: NDArray[np.uint8]) -> None:
    x = Preprocessing(mean=0.0, std=1.0, equalize=True)(images)
    expected = np.stack([cv2.equalizeHist(image) for image in images])
    np.testing.assert_array_equal(np.rint(x[:, 0] * 255), expected)


def test_takes_views_that_are_not_contiguous(images: NDArray[np.uint8]) -> None:
    preprocess = Preprocessing(0.4, 0.3, equalize=True)
    view = images[::2, :, ::-1]
    np.testing.assert_array_equal(preprocess(view), preprocess(view.copy()))


def test_the_images_are_not_changed(images: NDArray[np.uint8]) -> None:
    before = images.copy()
    Preprocessing.fit(images, equalize=True)(images)
    np.testing.assert_array_equal(images, before)


def test_no_images_give_an_empty_batch() -> None:
    empty = np.empty((0, 48, 48), np.uint8)
    assert Preprocessing(0.5, 0.25, equalize=True)(empty).shape == (0, 1, 48, 48)


def test_fit_needs_an_image() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        Preprocessing.fit(np.empty((0, 48, 48), np.uint8))


def test_refuses_images_that_are_floats_or_have_a_channel_axis(images: NDArray[np.uint8]) -> None:
    preprocess = Preprocessing(0.5, 0.25)
    with pytest.raises(TypeError, match=r"uint8 \(N, H, W\), got float32"):
        preprocess(images.astype(np.float32))
    with pytest.raises(TypeError, match=r"got uint8 \(9, 1, 48, 48\)"):
        preprocess(images[:, None])


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_refuses_a_std_that_cannot_be_divided_by(std: float) -> None:
    with pytest.raises(ValueError, match="std > 0"):
        Preprocessing(0.5, std)


def test_survives_json() -> None:
    preprocess = Preprocessing(0.5077, 0.2551, equalize=True)
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": 0.5, "std": 0.2}, "expected the settings"),
        ({"mean": 0.5, "std": 0.2, "equalize": False, "crop": 1}, "'crop'"),
        ({"mean": "0.5", "std": 0.2, "equalize": False}, "expected mean to be float, got '0.5'"),
        ({"mean": 0.5, "std": True, "equalize": False}, "expected std to be float, got True"),
        ({"mean": 0.5, "std": 0.2, "equalize": 1}, "expected equalize to be bool, got 1"),
        ({"mean": 0.5, "std": 0.0, "equalize": False}, "std > 0"),
    ],
    ids=["missing", "unknown", "text", "flag for number", "number for flag", "out of range"],
)
def test_from_dict_refuses_what_to_dict_never_writes(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Preprocessing.from_dict(values)
