"""Blurred images: the blur is found, what it made faint comes back, and sharp images come out alike."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from minicnn.data import fer2013, restoration
from minicnn.data.preprocessing import Preprocessing
from minicnn.data.restoration import find_blur, restore
from minicnn.data.synthetic import draw_faces

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def faces() -> Images:
    return draw_faces(64, 0)[0]


def natural(n: int = 64, size: tuple[int, int] = (48, 48)) -> Images:
    """Noise whose power falls with the frequency as that of photographed faces does."""
    random, (height, width) = np.random.default_rng(0), size
    frequency = np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width) / (2 * width))
    frequency[0, 0] = np.inf
    spectrum = random.normal(size=(n, height, width)) * np.sqrt(30 * frequency**-2.5)
    pictures = np.stack([cv2.idct(image) for image in spectrum])
    return np.clip(np.rint(pictures + 128), 0, 255).astype(np.uint8)


def blurred(images: Images, sigma: float) -> Images:
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for image in images])


@pytest.mark.parametrize("sigma", [2.5, 3.0, 3.5])
def test_the_blur_of_images_like_faces_is_found(sigma: float) -> None:
    assert find_blur(blurred(natural(), sigma)) == pytest.approx(sigma, rel=0.08)


def test_sharp_images_were_not_blurred(faces: Images) -> None:
    assert find_blur(faces) == 0
    assert find_blur(natural()) == 0


def test_images_without_any_detail_were_not_blurred() -> None:
    assert find_blur(np.full((5, 48, 48), 90, np.uint8)) == 0
    assert find_blur(np.broadcast_to(np.arange(48, dtype=np.uint8), (5, 48, 48))) == 0


def test_most_of_the_images_decide() -> None:
    images = natural()
    assert find_blur(np.concatenate([images, blurred(images[:20], 3)])) == 0
    assert find_blur(np.concatenate([images[:20], blurred(images, 3)])) > 2


def distance(one: Images, other: Images) -> float:
    """The root of the mean squared difference, in grey levels."""
    return float(np.sqrt(np.square(one.astype(float) - other).mean()))


def test_a_blurred_image_comes_out_nearly_as_the_sharp_one_does(faces: Images) -> None:
    soft = blurred(faces, 3)
    assert distance(restore(soft, 3), restore(faces, 3)) < 0.4 * distance(soft, faces)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 2.5])
def test_an_image_that_is_blurred_less_comes_out_nearly_as_the_sharp_one_does(sigma: float) -> None:
    images = natural()
    soft = blurred(images, sigma)
    apart = [
        distance(restore(one[None], 3.4), restore(other[None], 3.4)) for one, other in zip(soft, images, strict=True)
    ]
    assert np.median(apart) < 0.35 * distance(restore(images, 3.4), images)


def test_an_image_that_is_blurred_more_is_taken_for_a_training_image() -> None:
    soft = blurred(natural(), 4.0)
    np.testing.assert_array_equal(own_blur(soft, 3.4), np.full(len(soft), 3.4))


def own_blur(images: Images, blur: float) -> NDArray[np.float64]:
    return restoration._own_blur(np.square(restoration._frequencies(images)), blur)


def test_the_blur_that_an_image_has_already_is_estimated() -> None:
    images = natural()
    assert not own_blur(images, 3.4).any()
    for sigma in (1.8, 2.2):
        estimated = own_blur(blurred(images, sigma), 3.4)
        assert np.median(estimated) == pytest.approx(sigma, rel=0.08)
        assert np.abs(estimated - sigma).max() < 0.7
    assert (own_blur(blurred(images, 3.4), 3.4) == 3.4).all()


def test_detail_that_is_larger_than_the_blur_comes_back(faces: Images) -> None:
    waves = np.rint(128 + 50 * np.cos(np.pi * 8 * (np.arange(48) + 0.5) / 48)).astype(np.uint8)  # 4 in all
    images = np.broadcast_to(waves, (1, 48, 48)).copy()
    soft = blurred(images, 3)
    assert np.ptp(soft) < 0.5 * np.ptp(images)
    assert np.ptp(restore(soft, 3)) > 0.9 * np.ptp(images)


def test_noise_is_not_brought_back(faces: Images) -> None:
    flat = np.random.default_rng(0).integers(127, 130, (4, 48, 48)).astype(np.uint8)
    assert restore(flat, 3).std() < 8


def test_an_image_gives_the_same_alone_and_among_others(faces: Images) -> None:
    for images in (faces, blurred(natural(), 1.8), blurred(natural(), 3)):
        alone = np.concatenate([restore(one[None], 3.4) for one in images])
        np.testing.assert_array_equal(restore(images, 3.4), alone)


@pytest.mark.parametrize("noise", [1.0, 2.0])
@pytest.mark.parametrize("contrast", [1.0, 0.5, 0.25, 0.1])
def test_noise_is_not_taken_for_detail(noise: float, contrast: float) -> None:
    dim = contrast * (blurred(natural(), 3.4) - 128.0) + 128 + np.random.default_rng(0).normal(0, noise, (64, 48, 48))
    assert (own_blur(np.clip(np.rint(dim), 0, 255).astype(np.uint8), 3.4) == 3.4).mean() > 0.95


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8])
def test_tiny_images_go_through(size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, size, size), dtype=np.uint8)
    assert restore(images, 3.4).shape == images.shape
    assert find_blur(images) == 0


@pytest.mark.filterwarnings("error")
def test_no_images_were_not_blurred() -> None:
    assert find_blur(np.zeros((0, 48, 48), np.uint8)) == 0


def test_any_size_and_no_images() -> None:
    images = blurred(natural(8, (40, 56)), 3)
    assert restore(images, 3).shape == images.shape
    assert restore(images[:0], 3).shape == (0, 40, 56)


def test_images_are_left_as_they_are(faces: Images) -> None:
    before = faces.copy()
    restore(faces, 3)
    np.testing.assert_array_equal(faces, before)


# In preprocessing


def test_preprocessing_fits_the_blur_where_it_is_asked_to() -> None:
    images = blurred(natural(), 3)
    assert Preprocessing.fit(images).blur == 0
    fitted = Preprocessing.fit(images, contrast="equalize", restored=True)
    assert fitted.blur == find_blur(images) > 0
    x = fitted(images)
    assert x.mean() == pytest.approx(0, abs=1e-4)
    assert x.std() == pytest.approx(1, abs=1e-4)


def test_without_a_blur_nothing_is_restored(faces: Images) -> None:
    fitted = Preprocessing.fit(faces, restored=True)
    assert fitted.blur == 0
    assert fitted.levels(faces) is faces


def test_settings_of_older_files_have_no_blur() -> None:
    assert Preprocessing.from_dict({"mean": 0.5, "std": 0.25, "equalize": True}) == Preprocessing(
        0.5, 0.25, "equalize", 0.0
    )


@pytest.mark.parametrize("blur", [-1.0, 8.0, float("nan")])
def test_a_blur_out_of_range_is_refused(blur: float) -> None:
    with pytest.raises(ValueError, match=r"Preprocessing: expected blur in 0\.\.8 pixels, got"):
        Preprocessing(0.5, 0.25, blur=blur)


# On import


def test_an_import_says_which_splits_were_blurred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "data"))
    lines = ["emotion,pixels,Usage"]
    for usage, images in (("Training", blurred(natural(), 3)), ("PublicTest", natural(7))):
        lines += [f"{i % 7},{' '.join(map(str, image.ravel()))},{usage}" for i, image in enumerate(images)]
    (tmp_path / "fer2013.csv").write_text("\n".join(lines))
    blur = fer2013.import_path(tmp_path / "fer2013.csv")["blur"]
    assert blur["train"] == pytest.approx(3, rel=0.1)
    assert blur["public"] == 0
    (note,) = (note for note in fer2013.load().notes if note.startswith("blurred images"))
    assert note.startswith(f"blurred images: train by {blur['train']} pixels, public not; training restores them")


def test_sharp_images_need_no_note() -> None:
    assert fer2013.notes_on_blur({"train": 0.0, "public": 0.0}) == []
