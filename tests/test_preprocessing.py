"""The one function that turns grey levels into the network's input."""

import json

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from minicnn.data.preprocessing import CONTRASTS, Preprocessing
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


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_an_image_gives_the_same_bits_alone_and_in_a_batch(images: NDArray[np.uint8], contrast: str) -> None:
    preprocess = Preprocessing(0.4, 0.3, contrast)
    np.testing.assert_array_equal(preprocess(images)[3:4], preprocess(images[3:4]))


def test_normalizing_on_another_device_gives_the_same_bits(device: str, images: NDArray[np.uint8]) -> None:
    preprocess = Preprocessing(0.4, 0.3, contrast="equalize")
    levels = preprocess.levels(images)
    assert levels.dtype == np.uint8
    normalized = preprocess.normalized(module_for(device).asarray(levels))
    np.testing.assert_array_equal(to_numpy(normalized), preprocess(images))


def test_levels_are_the_images_themselves_where_the_contrast_is_kept(images: NDArray[np.uint8]) -> None:
    assert Preprocessing(0.4, 0.3).levels(images) is images


def test_fit_takes_mean_and_std_over_all_pixels(images: NDArray[np.uint8]) -> None:
    fitted = Preprocessing.fit(images)
    assert fitted.mean == pytest.approx((images / 255).mean(), rel=1e-12)
    assert fitted.std == pytest.approx((images / 255).std(), rel=1e-12)
    assert fitted.contrast == "keep"


def test_fitted_images_come_out_with_mean_0_and_std_1(images: NDArray[np.uint8]) -> None:
    for contrast in CONTRASTS:
        x = Preprocessing.fit(images, contrast=contrast)(images).astype(np.float64)
        assert x.mean() == pytest.approx(0, abs=1e-6)
        assert x.std() == pytest.approx(1, abs=1e-6)


def test_fit_survives_images_of_one_tone() -> None:
    x = Preprocessing.fit(np.full((2, 48, 48), 77, np.uint8))(np.full((1, 48, 48), 77, np.uint8))
    np.testing.assert_allclose(x, 0, atol=1e-3)


def test_equalizes_each_image_by_itself_as_opencv_does(images: NDArray[np.uint8]) -> None:
    x = Preprocessing(mean=0.0, std=1.0, contrast="equalize")(images)
    expected = np.stack([cv2.equalizeHist(image) for image in images])
    np.testing.assert_array_equal(np.rint(x[:, 0] * 255), expected)


def test_standardizes_each_image_to_one_mean_and_deviation(images: NDArray[np.uint8]) -> None:
    images[0] = images[0] // 8 + 100  # of little contrast
    levels = Preprocessing(0.0, 1.0, contrast="standardize").levels(images)
    np.testing.assert_allclose(levels.mean(axis=(1, 2)), 128, atol=0.3)
    np.testing.assert_allclose(levels.std(axis=(1, 2)), 50, atol=0.3)


def test_standardized_levels_do_not_depend_on_brightness_and_contrast(images: NDArray[np.uint8]) -> None:
    standardize = Preprocessing(0.0, 1.0, contrast="standardize")
    darker = images // 2 * 2  # even levels, so that half of them are whole
    np.testing.assert_array_equal(standardize.levels(darker // 2 + 7), standardize.levels(darker))


def test_what_is_far_off_the_mean_is_cut_off_and_one_tone_stays_one() -> None:
    image = np.full((1, 48, 48), 90, np.uint8)
    standardize = Preprocessing(0.0, 1.0, contrast="standardize")
    assert (standardize.levels(image) == 128).all()
    image[0, 0, :2] = 0, 255
    assert standardize.levels(image)[0, 0, :2].tolist() == [0, 255]


def test_settings_of_older_files_say_equalize() -> None:
    for equalize, contrast in ((True, "equalize"), (False, "keep")):
        older = {"mean": 0.5, "std": 0.25, "equalize": equalize, "blur": 3.0}
        assert Preprocessing.from_dict(older) == Preprocessing(0.5, 0.25, contrast, 3.0)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_takes_views_that_are_not_contiguous(images: NDArray[np.uint8], contrast: str) -> None:
    preprocess = Preprocessing(0.4, 0.3, contrast)
    view = images[::2, :, ::-1]
    np.testing.assert_array_equal(preprocess(view), preprocess(view.copy()))


def test_the_images_are_not_changed(images: NDArray[np.uint8]) -> None:
    before = images.copy()
    Preprocessing.fit(images, contrast="equalize")(images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_no_images_give_an_empty_batch(contrast: str) -> None:
    empty = np.empty((0, 48, 48), np.uint8)
    assert Preprocessing(0.5, 0.25, contrast)(empty).shape == (0, 1, 48, 48)


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
    preprocess = Preprocessing(0.5077, 0.2551, contrast="equalize")
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": 0.5, "std": 0.2}, "expected the settings"),
        ({"mean": 0.5, "std": 0.2, "contrast": "keep", "crop": 1}, "'crop'"),
        ({"mean": "0.5", "std": 0.2, "contrast": "keep"}, "expected mean to be float, got '0.5'"),
        ({"mean": 0.5, "std": True, "contrast": "keep"}, "expected std to be float, got True"),
        ({"mean": 0.5, "std": 0.2, "equalize": 1}, "expected the settings"),
        ({"mean": 0.5, "std": 0.2, "equalize": True, "contrast": "keep"}, "expected the settings"),
        ({"mean": 0.5, "std": 0.2, "contrast": 1}, "expected contrast to be str, got 1"),
        ({"mean": 0.5, "std": 0.2, "contrast": "more"}, "expected one of keep, equalize, standardize, got 'more'"),
        ({"mean": 0.5, "std": 0.0, "contrast": "keep"}, "std > 0"),
    ],
    ids=[
        "missing",
        "unknown",
        "text",
        "flag for number",
        "number for flag",
        "both",
        "number for text",
        "unknown contrast",
        "out of range",
    ],
)
def test_from_dict_refuses_what_to_dict_never_writes(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Preprocessing.from_dict(values)
