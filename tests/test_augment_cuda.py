"""The rungs of augmentation against the definition: each amount alone, all together, and the edges of the kernel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minicnn.device import to_numpy
from minicnn.kernels import fallbacks
from minicnn.kernels.augment import cuda, im2col, reference, unchanged, words

TOLERANCE = 1e-5
"""Pixels are -2..2 here, and a place between them is known to some 1e-6 of the distance to the next."""

N, HEIGHT, WIDTH = 7, 11, 14
SCALE, SHIFT = 1 / 64, 2.0


def drawn(*names: str) -> NDArray[np.void]:
    """Rows of 40 images, of which the named amounts are drawn."""
    rng = np.random.default_rng(0)
    rows = unchanged(N)
    rows["image"] = rng.permutation(40)[:N]
    angle = rng.uniform(-0.3, 0.3, N)
    values: dict[str, Any] = {
        "flip": rng.integers(0, 2, N),
        "cos": np.cos(angle) / 1.1,
        "sin": np.sin(angle) / 1.1,
        "warp_right": rng.uniform(-2, 2, N),
        "warp_down": rng.uniform(-2, 2, N),
        "crop_right": [-WIDTH + 1, WIDTH - 1, -1, 0, 1, 2, 3],
        "crop_down": [HEIGHT - 1, 0, -HEIGHT + 1, 2, 1, 0, 4],
        "top": [0, 3, 0, 2, 0, 10, 4],
        "bottom": [0, 5, 11, 3, 1, 11, 9],
        "left": [0, 3, 0, 2, 13, 0, 4],
        "right": [0, 4, 14, 5, 14, 14, 9],
        "partner": [3, 2, 1, 0, 4, 6, 5],
        "weight": [0.5, 1, 0, 0.9, 0.2, 0.7, 1],
    }
    for name in names:
        rows[name] = values[name]
    return rows


ASKED = {
    "nothing": drawn(),
    "flip": drawn("flip"),
    "rotation": drawn("cos", "sin"),
    "shift": drawn("warp_right", "warp_down"),
    "crop": drawn("crop_right", "crop_down"),
    "erase": drawn("top", "bottom", "left", "right"),
    "mixup": drawn("partner", "weight"),
    "everything": drawn(*[name for name in unchanged(0).dtype.names or () if name != "image"]),
}


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (40, HEIGHT, WIDTH), dtype=np.uint8)


def by_definition(images: NDArray[Any], rows: NDArray[np.void]) -> NDArray[np.float64]:
    out = np.full((len(rows), 1, *images.shape[1:]), np.nan)
    reference.forward(images, words(rows), SCALE, SHIFT, out)
    return out


Run = Callable[[NDArray[Any], NDArray[np.void]], NDArray[np.float32]]


@pytest.fixture(params=["im2col", "im2col on the GPU", "cuda"])
def run(request: pytest.FixtureRequest) -> Run:
    """A rung, told on which device it is."""
    rung = cuda if request.param == "cuda" else im2col
    on_gpu = request.param != "im2col"
    xp = request.getfixturevalue("gpu") if on_gpu else np

    def call(images: NDArray[Any], rows: NDArray[np.void]) -> NDArray[np.float32]:
        out = xp.full((len(rows), 1, *images.shape[1:]), np.nan, np.float32)
        rung.forward(xp.asarray(images), xp.asarray(words(rows)), SCALE, SHIFT, out)
        return to_numpy(out)  # type: ignore[no-any-return]

    return call


@pytest.mark.parametrize("name", ASKED)
def test_every_rung_agrees_with_the_definition(name: str, run: Run, images: NDArray[np.uint8]) -> None:
    np.testing.assert_allclose(run(images, ASKED[name]), by_definition(images, ASKED[name]), rtol=0, atol=TOLERANCE)


def test_each_amount_changes_the_images(images: NDArray[np.uint8]) -> None:
    results = {name: by_definition(images, rows).tobytes() for name, rows in ASKED.items()}
    assert len(set(results.values())) == len(ASKED)


def test_an_image_of_which_nothing_is_asked_is_exact_beside_others(run: Run, images: NDArray[np.uint8]) -> None:
    rows = ASKED["everything"].copy()
    rows[2] = unchanged(3)[2]
    normalized = images[2] * np.float32(SCALE) - np.float32(SHIFT)
    np.testing.assert_array_equal(run(images, rows)[2, 0], normalized)


@pytest.mark.parametrize("size", [(2, 2), (3, 40), (17, 16)])
def test_images_of_any_size(size: tuple[int, int], run: Run) -> None:
    images = np.random.default_rng(2).integers(0, 256, (40, *size), dtype=np.uint8)
    rows = drawn("flip", "cos", "sin", "warp_right", "partner", "weight")
    np.testing.assert_allclose(run(images, rows), by_definition(images, rows), rtol=0, atol=TOLERANCE)


def test_a_batch_of_more_rows_than_images(run: Run, images: NDArray[np.uint8]) -> None:
    rows = np.tile(ASKED["everything"], 9)
    np.testing.assert_array_equal(run(images[:40], rows), np.tile(run(images, ASKED["everything"]), (9, 1, 1, 1)))


def test_an_empty_batch(run: Run, images: NDArray[np.uint8]) -> None:
    assert run(images, unchanged(0)).shape == (0, 1, HEIGHT, WIDTH)


def test_nothing_is_read_after_the_last_pixel(run: Run) -> None:
    images = np.random.default_rng(3).integers(0, 256, (1, 16, 16), dtype=np.uint8)  # they end where a page does
    rows = unchanged(1)
    rows["warp_right"] = rows["warp_down"] = -16
    expected = np.full((16, 16), images[0, -1, -1] * np.float32(SCALE) - np.float32(SHIFT))
    np.testing.assert_array_equal(run(images, rows)[0, 0], expected)


# What is special to the kernel


def test_the_kernel_takes_uint8_and_leaves_everything_else_to_array_code(gpu: Any, images: NDArray[np.uint8]) -> None:
    rows, before = ASKED["everything"], fallbacks().get("augment", 0)
    out = gpu.empty((N, 1, HEIGHT, WIDTH), np.float32)
    given = gpu.asarray(words(rows))
    cuda.forward(gpu.asarray(images), given, SCALE, SHIFT, out)
    assert fallbacks().get("augment", 0) == before
    for others in (gpu.asarray(images.astype(np.float32)), gpu.asarray(images)[:, :, ::-1]):
        cuda.forward(others, given, SCALE, SHIFT, out)
        np.testing.assert_allclose(to_numpy(out), by_definition(to_numpy(others), rows), rtol=0, atol=TOLERANCE)
    assert fallbacks()["augment"] == before + 2
