"""Temperature scaling: the temperature that was put in comes out, answers stay, and a finished run carries it."""

import numpy as np
import pytest

from minicnn import nn
from minicnn.calibration import divide_logits, temperature
from minicnn.tensor import Tensor


def drawn(count: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `sharpness` times too large for the labels, which are drawn from the softmax of the true ones."""
    random = np.random.default_rng(0)
    true = random.normal(size=(count, 7)) * 2
    powers = np.exp(true)
    cumulated = np.cumsum(powers / powers.sum(axis=1, keepdims=True), axis=1)
    labels = (random.random((count, 1)) > cumulated).sum(axis=1).clip(max=6)
    return true * sharpness, labels


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_logits_that_are_too_large_or_too_small(sharpness: float) -> None:
    assert temperature(*drawn(20_000, sharpness)) == pytest.approx(sharpness, rel=0.03)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    logits, labels = drawn(300, 2.0)

    def loss(t: float) -> float:
        z = logits / t
        return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]).mean())

    found = temperature(logits, labels)
    assert loss(found) < min(loss(found * 1.01), loss(found / 1.01))


def test_a_split_that_is_all_right_gives_the_lowest_temperature_and_no_images_give_one() -> None:
    logits = np.eye(7) * 5
    assert temperature(logits, np.arange(7)) == pytest.approx(0.05)
    assert temperature(logits[:0], np.arange(0)) == 1.0


def test_huge_logits_do_not_overflow() -> None:
    logits, labels = drawn(1_000, 1.0)
    assert temperature((logits * 1e4).astype(np.float32), labels) == pytest.approx(20.0)


def test_divide_logits_changes_the_logits_by_just_that_factor() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    x = Tensor(np.random.default_rng(1).standard_normal((5, 2, 2), np.float32))
    before = model(x).numpy().copy()
    divide_logits(model, 4.0)
    np.testing.assert_array_equal(model(x).numpy() * 4, before)


def test_a_network_that_does_not_end_in_a_linear_layer_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a Sequential that ends in a Linear"):
        divide_logits(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), 2.0)
