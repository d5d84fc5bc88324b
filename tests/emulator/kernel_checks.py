"""A short check of the CUDA kernels of each operation, on the device "gpu": what the planted mistakes have to fail.

Each compares results and gradients with float64 on the CPU, on sizes that leave tiles, vectors and blocks half empty.
They are no substitute for the operations' own tests; these say much more, and take longer.
"""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
from ml_dtypes import bfloat16

import minicnn
from minicnn import Tensor, optim
from minicnn import functional as F
from minicnn.device import module_for, to_numpy
from minicnn.kernels import precision
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels.augment import AMOUNTS, WORDS, cuda, reference

Compute = Callable[..., Tensor]


def conv2d() -> None:
    """Windows of any kind, then 3x3 with padding 1: these have kernels of their own where there are enough pixels."""
    one = driver().gpu._replace(multiprocessors=1)
    strided, same = _normal((2, 5, 9, 8), (12, 5, 3, 2), (12,)), _normal((2, 64, 7, 6), (64, 64, 3, 3))
    for chosen, tolerance in (("float32", 1e-5), ("tf32", 2e-3), ("bfloat16", 2e-2)):
        with precision.using(chosen):
            _agree(lambda *tensors: F.conv2d(*tensors, stride=2, padding=1), strided, tolerance)
            with patch.object(driver(), "gpu", one):
                _agree(lambda *tensors: F.conv2d(*tensors, padding=1), same, tolerance)


def conv_block() -> None:
    """A first block of one channel, and later ones, pooled and not."""
    for images, outputs, pool in (((2, 1, 7, 6), 12, 2), ((2, 3, 7, 9), 7, 2), ((2, 8, 5, 4), 8, None)):
        inputs = _normal(images, (outputs, images[1], 3, 3), (outputs,), (outputs,))

        def block(x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, pool: Any = pool) -> Tensor:
            channels = len(weight.data)
            mean, var = (module_for(x.device).zeros(channels, x.dtype) for _ in range(2))
            return F.conv_block(x, weight, mean, var, gamma, beta, training=True, padding=1, pool=pool)

        _agree(block, inputs, 1e-5)


def batch_norm() -> None:
    """More rows than a block has."""

    def normalize(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        mean, var = (module_for(x.device).zeros(x.shape[1], x.dtype) for _ in range(2))
        return F.batch_norm(x, mean, var, gamma, beta, training=True)

    for channels in (8, 3):
        _agree(normalize, _normal((3, channels, 19, 11), (channels,), (channels,)), 1e-5)


def max_pool2d() -> None:
    """Windows that overlap and hang over the edge, of channels in fours and one by one."""
    for channels in (4, 3):
        _agree(lambda x: F.max_pool2d(x, 3, stride=2, padding=1), _normal((2, channels, 8, 7)), 1e-6, _channels_last)


def cross_entropy() -> None:
    """More classes than a warp has lanes."""
    targets = np.array([3, 39, 0, 7, 12, 33, 5, 2, 9])
    _agree(
        lambda x: F.cross_entropy(x, module_for(x.device).asarray(targets), reduction="none"), _normal((9, 40)), 1e-5
    )


def dropout() -> None:
    """The same elements as on the CPU; the last ones are no whole vector."""
    _agree(lambda x: F.dropout(x, 0.4), _normal((7, 333)), 1e-6)
    _agree(lambda x: F.dropout(x, 0.4), _normal((7, 333)), 1e-2, lambda x: module_for("gpu").asarray(x, bfloat16))


def rrelu() -> None:
    """The same slopes as on the CPU, also of images that lie channels last; the last ones are no whole vector."""
    _agree(lambda x: F.rrelu(x, training=True), _normal((7, 333)), 1e-6)
    _agree(lambda x: F.rrelu(x.transpose(0, 3, 1, 2), training=True), _normal((2, 5, 3, 3)), 1e-6)


def reduce() -> None:
    """A last vector that is cut."""
    _agree(lambda x: x.sum(), _normal((3, 2222)), 1e-5)


def sgd() -> None:
    """Parameters of different sizes in one launch."""
    _agree_after_steps(lambda params: optim.SGD(params, 0.1, 0.9, nesterov=True, weight_decay=0.01))


def adam() -> None:
    """The same."""
    _agree_after_steps(lambda params: optim.Adam(params, 0.1, weight_decay=0.01))
    _agree_after_steps(lambda params: optim.AdamW(params, 0.1, weight_decay=0.1))


def augment() -> None:
    """Every step of it, at random."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, 9, 12), dtype=np.uint8)
    amounts = np.zeros(6, AMOUNTS)
    for name, low, high in (
        ("image", 0, 5), ("flip", 0, 2), ("crop_right", -4, 5), ("crop_down", -4, 5), ("top", 0, 4), ("bottom", 4, 9),
        ("left", 0, 4), ("right", 4, 9), ("partner", 0, 6),
    ):  # fmt: skip
        amounts[name] = random.integers(low, high, 6)
    for name in ("cos", "sin", "warp_right", "warp_down", "weight"):
        amounts[name] = random.uniform(0, 1, 6)
    words = amounts.view(np.int32).reshape(6, WORDS)
    want = np.zeros((6, 1, 9, 12), np.float32)
    reference.forward(images, words, 1 / 255, 0.5, want)
    gpu = module_for("gpu")
    got = gpu.zeros(want.shape, np.float32)
    cuda.forward(gpu.asarray(images), gpu.asarray(words), 1 / 255, 0.5, got)
    np.testing.assert_allclose(to_numpy(got), want, rtol=0, atol=1e-6)


CHECKS = {
    check.__name__: check
    for check in (
        conv2d, conv_block, batch_norm, max_pool2d, cross_entropy, dropout, rrelu, reduce, sgd, adam, augment,
    )
}  # fmt: skip
"""By operation."""


def _normal(*shapes: tuple[int, ...]) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def _on_gpu(x: Any) -> Any:
    return module_for("gpu").asarray(x)


def _channels_last(x: Any) -> Any:
    return _on_gpu(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)


def _agree(compute: Compute, inputs: list[Any], tolerance: float, to_gpu: Callable[[Any], Any] = _on_gpu) -> None:
    """The result and all gradients are what the CPU has in float64, up to `tolerance` of the largest number."""
    expected = _both_ways(compute, [x.astype(np.float64) for x in inputs])
    for got, want in zip(_both_ways(compute, [to_gpu(x) for x in inputs]), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())


def _both_ways(compute: Compute, inputs: list[Any]) -> list[Any]:
    minicnn.manual_seed(0)
    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    y = compute(*tensors)
    upstream = np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)
    y.backward(module_for(y.device).asarray(upstream))
    with np.errstate(invalid="ignore"):  # of a wrong kernel's NaN
        return [to_numpy(array).astype(np.float64) for array in (y.data, *(x.grad for x in tensors))]


def _agree_after_steps(make: Callable[[list[Tensor]], Any]) -> None:
    sizes = (5, 1030, 64, 7)
    results = []
    for device, dtype in (("cpu", "float64"), ("gpu", "float32")):
        xp = module_for(device)
        params = [Tensor(xp.asarray(x, dtype=dtype), requires_grad=True) for x in _normal(*((size,) for size in sizes))]
        optimizer = make(params)
        for step in range(2):
            for param, grad in zip(params, _normal(*((size + step,) for size in sizes)), strict=True):
                param.grad = xp.asarray(grad[step:], dtype=dtype)
            optimizer.step()
        results.append([to_numpy(param.data) for param in params])
    for want, got in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
