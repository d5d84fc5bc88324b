"""Asking a network: ten views by hand, batches that change nothing, and a network that is left as it was."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from minicnn import Tensor, inference, manual_seed, models, nn
from minicnn.data.preprocessing import Preprocessing

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 48, 48), dtype=np.uint8)
PREPROCESSING = Preprocessing(mean=0.5, std=0.25)


@pytest.fixture
def model() -> nn.Sequential:
    """A small network, in training, with statistics that differ from those of any batch, and with dropout.

    It has a dense layer over all pixels, so that it sees shifts and mirrors.
    """
    manual_seed(1)
    net = nn.Sequential(
        nn.ConvBlock(1, 4, pool=4), nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(576), nn.Linear(576, 3)
    )
    net[0].bn.running_mean[:] = [0.1, -0.2, 0.3, 0]
    net[0].bn.running_var[:] = [2, 1, 0.5, 1.5]
    return net


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def test_logits_are_what_the_network_in_evaluation_gives(model: nn.Sequential) -> None:
    got = inference.logits(model, IMAGES, PREPROCESSING)
    expected = model.eval()(Tensor((IMAGES[:, None] / np.float32(255) - np.float32(0.5)) / np.float32(0.25)))
    np.testing.assert_allclose(got, expected.data, rtol=1e-4, atol=1e-5)
    assert got.dtype == np.float32
    assert got.shape == (7, 3)


def test_probabilities_are_the_softmax_of_the_logits(model: nn.Sequential) -> None:
    got = inference.probabilities(model, IMAGES, PREPROCESSING)
    np.testing.assert_allclose(got, softmax(inference.logits(model, IMAGES, PREPROCESSING)), rtol=1e-5)
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-6)
    assert got.dtype == np.float32


def test_large_logits_do_not_overflow(model: nn.Sequential) -> None:
    model[4].weight.data *= 1e4
    got = inference.probabilities(model, IMAGES, PREPROCESSING)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got.max(axis=1), 1)


def test_tta_is_the_mean_over_ten_views(model: nn.Sequential) -> None:
    rows = np.arange(48)
    views = []
    for down, right in [(0, 0), *product((-3, 3), (-3, 3))]:
        # what comes in at a border repeats the edge
        moved = IMAGES[:, np.clip(rows - down, 0, 47)][:, :, np.clip(rows - right, 0, 47)]
        views += [moved, moved[:, :, ::-1]]
    each = [inference.probabilities(model, view, PREPROCESSING) for view in views]
    got = inference.probabilities(model, IMAGES, PREPROCESSING, tta=True)
    assert len(views) == 10
    np.testing.assert_allclose(got, np.mean(each, axis=0), rtol=1e-5, atol=1e-7)
    assert got.dtype == np.float32
    assert min(np.abs(each[0] - other).max() for other in each[1:]) > 1e-3  # the views do differ


def test_tta_gives_a_face_and_its_mirror_image_the_same_answer(model: nn.Sequential) -> None:
    got = inference.probabilities(model, IMAGES, PREPROCESSING, tta=True)
    mirrored = inference.probabilities(model, IMAGES[:, :, ::-1], PREPROCESSING, tta=True)
    np.testing.assert_allclose(got, mirrored, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_batches_do_not_change_the_answers(
    model: nn.Sequential, size: int, tta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = inference.probabilities(model, IMAGES, PREPROCESSING, tta)
    monkeypatch.setattr(inference, "BATCH", size)
    np.testing.assert_allclose(
        inference.probabilities(model, IMAGES, PREPROCESSING, tta), expected, rtol=1e-5, atol=1e-7
    )


def test_an_answer_depends_on_no_other_image(model: nn.Sequential) -> None:
    alone = inference.logits(model, IMAGES[2:3], PREPROCESSING)
    np.testing.assert_allclose(alone, inference.logits(model, IMAGES, PREPROCESSING)[2:3], rtol=1e-5, atol=1e-6)


def test_it_leaves_every_module_in_its_mode(model: nn.Sequential) -> None:
    model[0].eval()
    before = [module.training for _, module in model.named_modules()]
    inference.probabilities(model, IMAGES, PREPROCESSING)
    assert [module.training for _, module in model.named_modules()] == before


def test_it_leaves_the_mode_after_an_exception_too(model: nn.Sequential) -> None:
    with pytest.raises(ValueError, match="Linear"):
        inference.logits(nn.Sequential(model, nn.Linear(5, 5)), IMAGES, PREPROCESSING)
    assert all(module.training for _, module in model.named_modules())


def test_it_leaves_weights_statistics_and_gradients(model: nn.Sequential) -> None:
    before = {name: array.copy() for name, array in model.state_dict().items()}
    inference.probabilities(model, IMAGES, PREPROCESSING, tta=True)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("tta", [False, True])
def test_a_network_on_the_gpu_gives_the_same_answers(model: nn.Sequential, tta: bool) -> None:
    expected = inference.probabilities(model, IMAGES, PREPROCESSING, tta)
    got = inference.probabilities(model.to("gpu"), IMAGES, PREPROCESSING, tta)
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_images_go_to_the_gpu_as_bytes(gpu: Any, model: nn.Sequential, monkeypatch: pytest.MonkeyPatch) -> None:
    model.to("gpu")
    sent, asarray = [], gpu.asarray
    monkeypatch.setattr(gpu, "asarray", lambda array: (sent.append(array), asarray(array))[1])
    inference.logits(model, IMAGES, PREPROCESSING)
    assert [array.dtype for array in sent if array.size >= IMAGES.size] == [np.uint8]


@pytest.mark.parametrize("preset", models.PRESETS)
def test_no_images_have_no_scores(preset: str) -> None:
    model, none = models.build(2, preset, classes=5), np.zeros((0, 48, 48), np.uint8)
    assert inference.logits(model, none, Preprocessing(0.5, 0.2)).shape == (0, 5)
    assert inference.probabilities(model, none, Preprocessing(0.5, 0.2), tta=True).shape == (0, 5)
