"""Augmentation: each function against its formula, all of them against their promises."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from minicnn.data.augment import (
    Augmentation,
    affine,
    mixup,
    random_affine,
    random_crop,
    random_erase,
    random_flip,
)
from minicnn.kernels.augment import im2col, unchanged, words

Images = NDArray[np.float32]

EVERYTHING = Augmentation(crop=4, flip=True, degrees=10, shift=0.1, zoom=0.1, erase=0.5, mixup=0.2)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def x() -> Images:
    return rng(1).standard_normal((20, 1, 48, 48), dtype=np.float32)


def warped(x: Images, degrees: float = 0, shift: tuple[float, float] = (0, 0), zoom: float = 1) -> Images:
    n = len(x)
    return affine(x, np.full(n, degrees), np.tile(shift, (n, 1)), np.full(n, zoom))


# What every function promises

AUGMENT: dict[str, Callable[[Images, np.random.Generator], Images]] = {
    "crop": lambda x, r: random_crop(x, r, 4),
    "flip": lambda x, r: random_flip(x, r),
    "affine": lambda x, r: random_affine(x, r, 10, 0.1, 0.1),
    "erase": lambda x, r: random_erase(x, r, 0.5),
    "mixup": lambda x, r: mixup(x, np.eye(len(x), dtype=np.float32), r, 0.2)[0],
    "everything": lambda x, r: EVERYTHING.apply(x, np.zeros(len(x), np.int64), r, 7)[0],
}
each = pytest.mark.parametrize("augment", AUGMENT.values(), ids=AUGMENT.keys())


@each
def test_shape_and_dtype_stay(augment: Callable[..., Images], x: Images) -> None:
    result = augment(x, rng())
    assert result.shape == x.shape
    assert result.dtype == np.float32


@each
def test_the_input_is_not_changed(augment: Callable[..., Images], x: Images) -> None:
    before = x.copy()
    x.flags.writeable = False
    augment(x, rng())
    np.testing.assert_array_equal(x, before)


@each
def test_the_same_generator_state_gives_the_same_images(augment: Callable[..., Images], x: Images) -> None:
    np.testing.assert_array_equal(augment(x, rng(5)), augment(x, rng(5)))


@each
def test_images_do_change_and_not_all_alike(augment: Callable[..., Images], x: Images) -> None:
    same = np.repeat(x[:1], 20, axis=0) if augment is not AUGMENT["mixup"] else x
    result = augment(same, rng())
    changed = (result != same).any(axis=(1, 2, 3))
    assert changed.any()
    assert len({image.tobytes() for image in result}) > 1


@each
def test_views_that_are_not_contiguous_give_the_same(augment: Callable[..., Images], x: Images) -> None:
    view = x[::2, :, :, ::-1]
    np.testing.assert_array_equal(augment(view, rng()), augment(view.copy(), rng()))


# Crop


def test_crop_moves_each_image_by_whole_pixels_and_mirrors_the_border(x: Images) -> None:
    padded = np.pad(x, ((0, 0), (0, 0), (3, 3), (3, 3)), mode="reflect")
    offsets = [(r, c) for r in range(7) for c in range(7)]
    found = []
    for image, source in zip(random_crop(x, rng(), 3), padded, strict=True):
        [place] = [(r, c) for r, c in offsets if np.array_equal(image, source[:, r : r + 48, c : c + 48])]
        found.append(place)
    assert len(set(found)) > 5


def test_crop_without_padding_gives_the_same_bits(x: Images) -> None:
    np.testing.assert_array_equal(random_crop(x, rng(), 0), x)


@pytest.mark.parametrize("padding", [-1, 48])
def test_crop_refuses_a_padding_that_cannot_be_mirrored(padding: int, x: Images) -> None:
    with pytest.raises(ValueError, match=r"padding in 0\.\.47"):
        random_crop(x, rng(), padding)


# Flip


def test_flip_with_certainty_mirrors_left_and_right(x: Images) -> None:
    np.testing.assert_array_equal(random_flip(x, rng(), p=1.0), x[:, :, :, ::-1])


def test_flip_never_gives_the_same_bits(x: Images) -> None:
    np.testing.assert_array_equal(random_flip(x, rng(), p=0.0), x)


def test_flip_takes_about_half_of_the_images() -> None:
    x = np.zeros((1000, 1, 2, 2), np.float32)
    x[..., 0] = 1
    flipped = random_flip(x, rng())[:, 0, 0, 1].sum()
    assert 430 < flipped < 570


# Affine


def test_affine_identity_gives_the_same_bits(x: Images) -> None:
    np.testing.assert_array_equal(warped(x), x)


def test_random_affine_of_nothing_gives_the_same_bits(x: Images) -> None:
    np.testing.assert_array_equal(random_affine(x, rng(), 0, 0, 0), x)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_affine_by_quarter_turns_is_rot90(quarters: int, x: Images) -> None:
    expected = np.rot90(x, quarters, axes=(2, 3))
    np.testing.assert_allclose(warped(x, degrees=90 * quarters), expected, rtol=0, atol=2e-5)


def test_affine_shift_by_whole_pixels_goes_right_and_down(x: Images) -> None:
    result = warped(x, shift=(5 / 48, 2 / 48))
    np.testing.assert_allclose(result[:, :, 2:, 5:], x[:, :, :-2, :-5], rtol=0, atol=2e-5)


def test_affine_shift_repeats_the_border(x: Images) -> None:
    result = warped(x, shift=(5 / 48, 0))
    np.testing.assert_array_equal(result[:, :, :, :5], np.repeat(x[:, :, :, :1], 5, axis=3))


def test_affine_shift_by_half_a_pixel_is_the_mean_of_two(x: Images) -> None:
    result = warped(x, shift=(0.5 / 48, 0))
    np.testing.assert_allclose(result[..., 1:], (x[..., 1:] + x[..., :-1]) / 2, rtol=0, atol=2e-5)


def test_affine_zoom_above_one_enlarges() -> None:
    x = np.zeros((1, 1, 48, 48), np.float32)
    x[:, :, 20:28, 20:28] = 1
    assert warped(x, zoom=2).sum() == pytest.approx(4 * x.sum(), rel=0.02)


def test_affine_treats_every_channel_and_image_alike(x: Images) -> None:
    stacked = np.concatenate([x, -x], axis=1)
    result = random_affine(stacked, rng(), 20, 0.1, 0.1)
    np.testing.assert_array_equal(result[:, 1], -result[:, 0])
    np.testing.assert_array_equal(result[:, :1], random_affine(x, rng(), 20, 0.1, 0.1))


def test_affine_takes_nothing_from_the_next_image(x: Images) -> None:
    x[1::2] = np.nan
    assert np.isfinite(warped(x, shift=(0.1, 0.1))[::2]).all()
    assert np.isfinite(warped(x, shift=(-0.1, -0.1))[::2]).all()


def test_affine_takes_images_that_are_not_square() -> None:
    ramp = np.tile(np.arange(30, dtype=np.float32), (1, 1, 20, 1))
    np.testing.assert_allclose(warped(ramp, shift=(0.1, 0.3))[0, 0, :, 5], 2, atol=1e-4)


# Erase


def test_erase_sets_one_rectangle_of_an_image_to_the_mean() -> None:
    for image in random_erase(np.ones((200, 1, 48, 48), np.float32), rng(), p=1.0, area=0.2):
        rows, columns = np.nonzero(image[0] == 0)
        box = image[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (box == 0).all()
        assert 0 < box.size == len(rows) < 0.2 * 48 * 48 * 1.1  # a tenth for rounding to whole pixels


def test_erase_leaves_the_rest_alone(x: Images) -> None:
    result = random_erase(x, rng(), p=1.0)
    assert ((result == x) | (result == 0)).all()


def test_erase_never_gives_the_same_bits(x: Images) -> None:
    np.testing.assert_array_equal(random_erase(x, rng(), p=0.0), x)


def test_erase_hits_about_the_share_asked_for() -> None:
    erased = (random_erase(np.ones((1000, 1, 12, 12), np.float32), rng(), p=0.3) == 0).any(axis=(1, 2, 3)).sum()
    assert 240 < erased < 360


def test_erase_reaches_every_pixel() -> None:
    assert (random_erase(np.ones((2000, 1, 12, 12), np.float32), rng(), p=1.0) == 0).any(axis=0).all()


# Mixup


def test_mixup_blends_images_and_targets_with_the_same_weights() -> None:
    targets = np.eye(20, dtype=np.float32)
    x = targets.reshape(20, 1, 4, 5)  # an image that is its own target shows what was blended
    images, mixed = mixup(x, targets, rng(), alpha=1.0)
    np.testing.assert_array_equal(images.reshape(20, 20), mixed)
    assert ((mixed > 0).sum(axis=1) <= 2).all()


def test_mixup_weights_are_drawn_from_beta() -> None:
    n, alpha = 2000, 0.2
    x = np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1)
    _, mixed = mixup(x, np.eye(n, dtype=np.float32), rng(), alpha)
    weights = mixed[np.arange(n), np.arange(n)]
    assert weights.mean() == pytest.approx(0.5, abs=0.03)
    assert weights.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_mixup_targets_sum_to_one(x: Images) -> None:
    _, mixed = mixup(x, np.eye(7, dtype=np.float32)[np.arange(20) % 7], rng(), alpha=0.4)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=0, atol=1e-6)


# Drawing apart from applying


def test_what_is_drawn_is_what_is_applied(x: Images) -> None:
    amounts = EVERYTHING.draw(rng(4), 20, 48, 48)
    expected = np.empty_like(x)
    im2col.forward(x[:, 0], words(amounts), 1.0, 0.0, expected)
    labels = np.arange(20) % 7
    images, targets = EVERYTHING.apply(x, labels, rng(4), 7)
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(targets, EVERYTHING.targets(labels, amounts, 7))


def test_nothing_is_drawn_of_which_nothing_is_asked() -> None:
    generator = rng()
    amounts = Augmentation().draw(generator, 5, 48, 48)
    np.testing.assert_array_equal(amounts, unchanged(5))
    assert generator.random() == rng().random()


def test_each_setting_draws_its_own_amounts() -> None:
    drawn = {
        "crop": {"crop_right", "crop_down"},
        "flip": {"flip"},
        "degrees": {"cos", "sin"},
        "shift": {"warp_right", "warp_down"},
        "zoom": {"cos"},
        "erase": {"top", "bottom", "left", "right"},
        "mixup": {"partner", "weight"},
    }
    for name, expected in drawn.items():
        amounts = Augmentation(**{name: 1 if name in ("crop", "flip") else 0.5}).draw(rng(), 50, 48, 48)
        assert {field for field in amounts.dtype.names if (amounts[field] != unchanged(50)[field]).any()} == expected


def test_drawing_refuses_images_too_small_for_the_crop() -> None:
    with pytest.raises(ValueError, match=r"padding in 0\.\.3, got 4"):
        Augmentation(crop=4).draw(rng(), 2, 4, 48)


# The settings


def test_the_default_does_nothing(x: Images) -> None:
    labels = np.arange(20)
    images, targets = Augmentation().apply(x, labels, rng(), 7)
    np.testing.assert_array_equal(images, x)
    assert targets is labels


def test_labels_stay_labels_without_mixup(x: Images) -> None:
    labels = np.arange(20, dtype=np.int64) % 7
    _, targets = Augmentation(crop=2, flip=True, degrees=5, erase=0.5).apply(x, labels, rng(), 7)
    assert targets.dtype == np.int64
    np.testing.assert_array_equal(targets, np.arange(20) % 7)


def test_labels_become_probabilities_with_mixup(x: Images) -> None:
    labels = np.arange(20, dtype=np.int64) % 7
    _, targets = EVERYTHING.apply(x, labels, rng(), 7)
    assert targets.shape == (20, 7)
    assert targets.dtype == np.float32
    assert (targets[np.arange(20), labels] > 0).all()


@pytest.mark.parametrize(
    "setting", [{"crop": 2}, {"flip": True}, {"degrees": 9.0}, {"shift": 0.1}, {"zoom": 0.1}, {"erase": 1.0}]
)
def test_each_setting_alone_changes_images(setting: dict[str, float], x: Images) -> None:
    images, _ = Augmentation(**setting).apply(x, np.zeros(20, np.int64), rng(), 7)
    assert (images != x).any()


@pytest.mark.parametrize(
    "setting",
    [{"crop": -1}, {"degrees": 181}, {"shift": -0.1}, {"zoom": 1.0}, {"erase": 1.5}, {"mixup": float("nan")}],
)
def test_refuses_settings_out_of_range(setting: dict[str, float]) -> None:
    [name] = setting
    with pytest.raises(ValueError, match=f"expected {name} in"):
        Augmentation(**setting)  # type: ignore[arg-type]
