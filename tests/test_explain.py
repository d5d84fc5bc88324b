"""Grad-CAM: which parts of an image spoke for a class."""

from collections.abc import Iterator

import numpy as np
import pytest

from minicnn import Tensor, explain, kernels, models, nn
from minicnn import functional as F
from minicnn.apps.faces import Box, crop
from minicnn.data.preprocessing import Preprocessing
from tests.portraits import Pixels

SIDE = 48


@pytest.fixture(autouse=True)
def array_code() -> Iterator[None]:
    """As Grad-CAM does itself; to compile kernels for these networks would take longer than all tests."""
    with kernels.using("im2col"):
        yield


@pytest.fixture
def images(random: np.random.Generator) -> np.ndarray:
    return random.normal(size=(3, 1, SIDE, SIDE)).astype(np.float32)


def bright_finder() -> nn.Sequential:
    """Two maps, the image and its negative; class 0 is their brightness, class 1 their darkness."""
    convolution = nn.Conv2d(1, 2, 1, bias=False)
    convolution.weight.data[:] = np.array([1, -1], np.float32).reshape(2, 1, 1, 1)
    linear = nn.Linear(2 * SIDE * SIDE, 2)
    linear.weight.data[:] = 0
    linear.weight.data[0, : SIDE * SIDE] = linear.weight.data[1, SIDE * SIDE :] = 1
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), linear)


def test_the_heat_is_where_the_evidence_is() -> None:
    image = np.zeros((1, 1, SIDE, SIDE), np.float32)
    image[0, 0, 5:9, 30:40] = 2
    image[0, 0, 20:24, 2:8] = -3
    for chosen, part in ((0, np.s_[5:9, 30:40]), (1, np.s_[20:24, 2:8])):
        (heat,) = explain.grad_cam(bright_finder(), image, [chosen])
        expected = np.zeros((SIDE, SIDE))
        expected[part] = 1
        np.testing.assert_allclose(heat, expected, atol=1e-6)


def test_it_is_the_formula_of_the_paper(images: np.ndarray) -> None:
    """relu(sum over k of a_k A_k), with a_k the mean gradient of map A_k; here of a network with 48x48 maps."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(4 * SIDE * SIDE, 7))
    network.eval()
    maps = Tensor(F.sigmoid(network[0](Tensor(images[:1]))).data, requires_grad=True)
    network[3](network[2](maps))[0, 5].backward()
    assert maps.grad is not None
    weighted = (maps.grad.mean(axis=(2, 3), keepdims=True) * maps.data).sum(axis=1)[0]
    expected = np.maximum(weighted, 0) / max(weighted.max(), 1e-30)
    np.testing.assert_allclose(explain.grad_cam(network, images[:1], [5])[0], expected, atol=1e-5)


@pytest.mark.parametrize("preset", models.PRESETS)
@pytest.mark.parametrize("layers", [3, 5, 8])
def test_every_preset_gets_a_heat_map_of_its_images_size(images: np.ndarray, preset: str, layers: int) -> None:
    heat = explain.grad_cam(models.build(layers, preset), np.repeat(images[:1], 7, axis=0), range(7))
    assert heat.shape == (7, SIDE, SIDE)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert 0.9 < heat.max() <= 1


def test_the_maps_are_those_that_the_last_layer_sees_before_it_pools(images: np.ndarray) -> None:
    """Four layers end with 3x3 maps after pooling, which cannot tell an eye from a mouth; before it they are 6x6."""
    steps = list(explain._steps(models.build(4).eval()))
    maps, after = explain._last_maps(steps, Tensor(images))
    assert maps.shape == (3, 256, 6, 6)
    np.testing.assert_allclose(
        explain._run(after, maps).data, explain._run(steps, Tensor(images)).data, rtol=1e-5, atol=1e-5
    )


def test_each_image_has_a_heat_of_its_own_whatever_comes_with_it(images: np.ndarray) -> None:
    network = models.build(3)
    together = {c: explain.grad_cam(network, images, [c] * 3) for c in range(7)}
    chosen = next(c for c, heat in together.items() if heat.max(axis=(1, 2)).min() > 0.9)
    apart = [explain.grad_cam(network, images[i : i + 1], [chosen])[0] for i in range(3)]
    np.testing.assert_allclose(together[chosen], apart, atol=1e-4)
    assert not np.allclose(apart[0], apart[1], atol=0.05)


def test_networks_in_networks_are_gone_through(images: np.ndarray) -> None:
    network = models.build(2)
    nested = nn.Sequential(nn.Sequential(*list(network)[:1]), nn.Sequential(*list(network)[1:]))
    np.testing.assert_array_equal(
        explain.grad_cam(nested, images, [0, 1, 2]), explain.grad_cam(network, images, [0, 1, 2])
    )


def test_a_network_in_training_is_left_as_it_was(images: np.ndarray) -> None:
    network = models.build(2).train()
    F.cross_entropy(network(Tensor(images)), np.zeros(3, np.int64)).backward()
    before = {name: (p.data.copy(), p.grad.copy()) for name, p in network.named_parameters() if p.grad is not None}
    running = {name: array.copy() for name, array in network.named_buffers()}
    explain.grad_cam(network, images, [0, 1, 2])
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    for name, parameter in network.named_parameters():
        np.testing.assert_array_equal(parameter.data, before[name][0])
        np.testing.assert_array_equal(parameter.grad, before[name][1])
    for name, array in network.named_buffers():
        np.testing.assert_array_equal(array, running[name])


def test_where_nothing_spoke_for_a_class_all_is_zero() -> None:
    dark = -np.ones((1, 1, SIDE, SIDE), np.float32)
    np.testing.assert_array_equal(explain.grad_cam(bright_finder(), dark, [0]), np.zeros((1, SIDE, SIDE)))


def test_no_images_have_no_heat(images: np.ndarray) -> None:
    assert explain.grad_cam(models.build(2), images[:0], []).shape == (0, SIDE, SIDE)


def test_what_cannot_be_explained_is_refused(images: np.ndarray) -> None:
    with pytest.raises(TypeError, match="grad_cam: expected a Sequential, got a Linear"):
        explain.grad_cam(nn.Linear(3, 3), images, [0, 0, 0])
    with pytest.raises(ValueError, match="expected a class for each of 3 images, got 1"):
        explain.grad_cam(models.build(2), images, [0])
    with pytest.raises(ValueError, match="expected a network with maps of at least 6x6, it has none"):
        explain.grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 7)), images, [0, 0, 0])


def test_the_heat_lies_over_the_square_that_was_cut_out() -> None:
    """A face in a larger picture: what is bright in the crop is hot in the crop's own place."""
    picture: Pixels = np.zeros((200, 200), np.uint8)
    picture[100:110, 120:130] = 255
    cut = crop(picture, Box(60, 60, 96, 96), margin=0)
    (heat,) = explain.grad_cam(bright_finder(), Preprocessing(0.0, 1.0)(cut[None]), [0])
    rows, columns = np.nonzero(heat > 0.5)
    assert (rows.min() * 2 + 60, rows.max() * 2 + 62) == (100, 110)
    assert (columns.min() * 2 + 60, columns.max() * 2 + 62) == (120, 130)
