"""What all kernels share: choosing a rung, the window geometry and the pieces of a batch."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from minicnn import Tensor, kernels
from minicnn import functional as F
from minicnn.kernels.arrays import CACHE_BYTES, pieces
from minicnn.kernels.windows import Windows


@pytest.fixture(autouse=True)
def _restore_the_choice() -> Iterator[None]:
    before = kernels.chosen()
    yield
    kernels.choose(before)


# Choosing a rung


def test_the_fast_rung_is_the_default_and_the_last_of_the_ladder() -> None:
    assert kernels.chosen() == "fast"
    for operation in kernels.LADDERS:
        assert kernels.get(operation).__name__ == f"minicnn.kernels.{operation}.{kernels.rungs(operation)[-1]}"


def test_a_gpus_arrays_are_served_by_rungs_that_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kernels.LADDERS, "conv2d", ("reference", "im2col", "cpu", "cuda_numba", "cuda"))
    assert kernels.rungs("conv2d") == ["reference", "im2col", "cpu"]
    assert kernels.rungs("conv2d", "gpu") == ["im2col", "cuda_numba", "cuda"]


@pytest.mark.parametrize(
    ("choice", "ladder", "rung"),
    [
        ("fast", ("reference", "im2col", "cpu", "cuda_numba", "cuda"), "cuda"),
        ("fast", ("reference", "im2col", "cpu"), "im2col"),
        ("numba", ("reference", "im2col", "cpu", "cuda_numba", "cuda"), "cuda_numba"),
        ("numba", ("reference", "im2col", "cpu", "cuda"), "im2col"),
        ("reference", ("reference", "im2col", "cpu", "cuda_numba", "cuda"), "im2col"),
    ],
)
def test_on_a_gpu_a_rung_that_is_missing_is_array_code(
    choice: str, ladder: tuple[str, ...], rung: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kernels.LADDERS, "conv2d", ladder)
    with kernels.using(choice):
        assert kernels._rung("conv2d", on_gpu=True) == rung


def test_a_chosen_rung_serves_every_operation() -> None:
    kernels.choose("reference")
    assert kernels.chosen() == "reference"
    for operation in kernels.LADDERS:
        assert kernels.get(operation).__name__ == f"minicnn.kernels.{operation}.reference"


def test_an_operation_without_the_chosen_rung_takes_its_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kernels.LADDERS, "conv2d", ("reference",))
    kernels.choose("im2col")
    assert kernels.get("conv2d").__name__ == "minicnn.kernels.conv2d.reference"


def test_an_operation_runs_on_the_chosen_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr("minicnn.kernels.dropout.reference.forward", lambda x, seed, p: (ran.append(p), x)[1])
    with kernels.using("reference"):
        F.dropout(Tensor([1.0]), 0.25)
    F.dropout(Tensor([1.0]), 0.5)
    assert ran == [0.25]


def test_using_nests_and_restores_also_after_an_exception() -> None:
    with kernels.using("reference"):
        with kernels.using("im2col"):
            assert kernels.chosen() == "im2col"
        assert kernels.chosen() == "reference"
        with pytest.raises(KeyError), kernels.using("im2col"):
            kernels.get("no such operation")
        assert kernels.chosen() == "reference"
    assert kernels.chosen() == "fast"


def test_an_unknown_rung_is_refused_and_nothing_changes() -> None:
    with pytest.raises(ValueError, match="kernels: expected one of reference, im2col, numba, fast, got 'quick'"):
        kernels.choose("quick")
    with pytest.raises(ValueError, match="got 'quick'"), kernels.using("quick"):
        pass
    assert kernels.chosen() == "fast"


# Windows

GEOMETRIES = list(product((1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2)))  # kernel, stride, padding, dilation


def starts(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[int]:
    """Where windows start along one direction, by trying one place after the other."""
    places = range(-padding, size + padding, stride)
    return [start for start in places if start + dilation * (kernel - 1) < size + padding]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_output_size_counts_the_windows_that_fit(kernel: int, stride: int, padding: int, dilation: int) -> None:
    down = Windows((kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
    across = Windows((1, kernel), (1, stride), (0, padding), (1, dilation))
    for size in range(1, 9):
        count = len(starts(size, kernel, stride, padding, dilation))
        assert max(down.output_size(size, 4)[0], 0) == count
        assert down.output_size(size, 4)[1] == 4
        assert max(across.output_size(4, size)[1], 0) == count
        assert across.output_size(4, size)[0] == 4


def test_an_image_smaller_than_a_window_has_no_positive_output_size() -> None:
    assert Windows((5, 5)).output_size(3, 9) == (-1, 5)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_taps_show_the_pixel_under_each_element_of_each_window(
    kernel: int, stride: int, padding: int, dilation: int
) -> None:
    height, width = 8, 7
    windows = Windows((kernel, 2), (stride, 1), (padding, 1), (dilation, 2))
    image = np.arange(1.0, 1 + height * width).reshape(height, width)
    rows, columns = windows.output_size(height, width)
    tops, lefts = starts(height, kernel, stride, padding, dilation), starts(width, 2, 1, 1, 2)
    padded, seen = windows.pad(image), []
    for i, j, tap in windows.taps(rows, columns):
        seen.append((i, j))
        for (r, top), (c, left) in product(enumerate(tops), enumerate(lefts)):
            y, x = top + i * dilation, left + j * 2
            inside = 0 <= y < height and 0 <= x < width
            assert padded[tap][r, c] == (image[y, x] if inside else 0)
    assert seen == list(product(range(kernel), range(2)))


def test_padding_surrounds_the_image_and_cropping_takes_it_away() -> None:
    windows, x = Windows((3, 3), padding=(1, 2)), np.ones((2, 3, 4, 5), "float32")
    padded = windows.pad(x, -np.inf)
    assert (padded.shape, padded.dtype) == ((2, 3, 6, 9), np.float32)
    assert np.isneginf(padded).sum() == padded.size - x.size
    np.testing.assert_array_equal(windows.crop(padded), x)
    assert np.shares_memory(windows.crop(padded), padded)


def test_without_padding_nothing_is_copied() -> None:
    x = np.ones((2, 3, 4, 5))
    assert Windows((3, 3)).pad(x) is x
    np.testing.assert_array_equal(Windows((3, 3)).crop(x), x)


# Pieces


@pytest.mark.parametrize("least", [0, 3 * CACHE_BYTES])
@pytest.mark.parametrize("bytes_each", [0, 1, 1000, CACHE_BYTES // 3, CACHE_BYTES, 5 * CACHE_BYTES])
@pytest.mark.parametrize("length", [1, 2, 7, 3000])
def test_pieces_cover_everything_once_and_fit_the_cache(length: int, bytes_each: int, least: int) -> None:
    slices = list(pieces(length, bytes_each, least))
    assert [i for piece in slices for i in range(length)[piece]] == list(range(length))
    for piece in slices:
        count = piece.stop - piece.start
        assert piece.stop <= length
        assert count == 1 or 0 < count * bytes_each <= max(CACHE_BYTES, least) or bytes_each == 0


@pytest.mark.parametrize("bytes_each", [0, 1000])
def test_an_empty_batch_is_one_empty_piece(bytes_each: int) -> None:
    assert list(pieces(0, bytes_each)) == [slice(0, 0)]


def test_pieces_are_as_few_as_the_cache_allows() -> None:
    assert len(list(pieces(7, CACHE_BYTES // 3))) == 3
    assert len(list(pieces(7, CACHE_BYTES // 3, 2 * CACHE_BYTES))) == 2
