"""A whole network's float32 gradients on the CPU's fast kernels against float64, with the same pixels let through.

Free to choose, float32 and float64 pick different maxima and signs in a few near-ties, and every network's gradients
then differ by 1e-3 (PyTorch's own modes do). So the reference pools and cuts where the fast kernels did.
"""

from collections.abc import Callable

import numpy as np

from minicnn import Tensor, models
from minicnn import functional as F
from minicnn.function import op_hook
from minicnn.kernels._cpu import first_layer
from minicnn.kernels._cpu.passes import OFF
from minicnn.kernels.batch_norm import im2col as batch_norm
from minicnn.kernels.conv2d import im2col as conv2d
from minicnn.kernels.windows import Windows

Array = np.ndarray
Backward = Callable[[Array], tuple[Array, Array, Array, Array]]
SAME = Windows((3, 3), padding=(1, 1))
BOUND = 5e-5


def routed_block(
    x: Array, weight: Array, gamma: Array, beta: Array, mask: Array, pooled: bool
) -> tuple[Array, Backward]:
    """The block in float64, with ReLU and pooling as `mask` (N, C, H, W) says; and its backward."""
    convolved = conv2d.forward(x, weight, None, SAME, 1)
    flat = convolved.reshape(*convolved.shape[:2], -1)
    statistics = batch_norm.statistics(flat)
    normalized = batch_norm.normalize(flat, gamma, beta, *statistics, 1e-5).reshape(convolved.shape)
    through = through_of(mask, pooled)
    y = windows_of(normalized * through).sum(axis=-1) if pooled else normalized * through

    def backward(grad: Array) -> tuple[Array, Array, Array, Array]:
        spread = (np.repeat(np.repeat(grad, 2, axis=2), 2, axis=3) if pooled else grad) * through
        before, d_gamma, d_beta = batch_norm.backward(spread.reshape(flat.shape), flat, gamma, *statistics, 1e-5, True)
        dx, dw, _ = conv2d.backward(before.reshape(convolved.shape), x, weight, SAME, 1)
        return dx, dw, d_gamma, d_beta

    return y, backward


def windows_of(x: Array) -> Array:
    """(N, C, H, W) as (N, C, H/2, W/2, 4)."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).swapaxes(3, 4).reshape(n, c, h // 2, w // 2, 4)


def through_of(mask: Array, pooled: bool) -> Array:
    """1 for each pixel whose value goes through ReLU and pooling, else 0."""
    if not pooled:
        return (mask > 0).astype(float)
    assert mask.max() == OFF
    one = (mask[..., None] == np.arange(4)).astype(float)  # (N, C, H/2, W/2, 4)
    n, c, h, w, _ = one.shape
    return one.reshape(n, c, h, w, 2, 2).swapaxes(3, 4).reshape(n, c, 2 * h, 2 * w)


def test_gradients_of_a_whole_network_agree_with_float64_where_the_same_pixels_go_through() -> None:
    model = models.build(6)  # with and without pooling, 32 to 256 channels
    model[len(model) - 2].p = 0.0  # dropout would draw
    random = np.random.default_rng(0)
    images, labels = random.standard_normal((16, 1, 48, 48), np.float32), np.arange(16) % 7
    masks: list[tuple[Array, bool]] = []

    def keep_mask(function, phase, seconds, array):  # type: ignore[no-untyped-def]
        if function.name == "ConvBlock" and phase == "forward":
            saved = function.saved.kernel
            first = isinstance(saved, first_layer.Saved)
            masks.append((saved.choice, True) if first else (saved.mask.copy(), saved.pooled))

    with op_hook(keep_mask):
        scores = model.train()(Tensor(images))
    F.cross_entropy(scores, labels).backward()

    blocks = [layer for layer in model if hasattr(layer, "conv")]
    assert len(masks) == len(blocks) == 6
    x, backwards = images.astype(float), []
    for block, (mask, pooled) in zip(blocks, masks, strict=True):
        arrays = (t.data.astype(float) for t in (block.conv.weight, block.bn.weight, block.bn.bias))
        x, backward = routed_block(x, *arrays, mask.transpose(0, 3, 1, 2), pooled)
        backwards.append(backward)
    dense = model[len(model) - 1]
    head = Tensor(x.reshape(16, -1), requires_grad=True)
    weight, bias = (Tensor(t.data.astype(float), requires_grad=True) for t in (dense.weight, dense.bias))
    expected_scores = F.linear(head, weight, bias)
    F.cross_entropy(expected_scores, labels).backward()
    assert error(scores.data, expected_scores.data) < BOUND
    assert error(dense.weight.grad, weight.grad) < BOUND
    grad = head.grad.reshape(x.shape)
    for block, backward in zip(reversed(blocks), reversed(backwards), strict=True):
        grad, *expected = backward(grad)
        found = (block.conv.weight.grad, block.bn.weight.grad, block.bn.bias.grad)
        for got, want in zip(found, expected, strict=True):
            assert error(got, want) < BOUND


def error(got: Array, want: Array) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))
