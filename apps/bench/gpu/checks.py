"""Is it right? The kernels beside float64, a recorded step beside one that was not, training beside the CPU's."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import minicnn
from minicnn import functional as F
from minicnn import models, optim
from minicnn.apps.bench.race import Say
from minicnn.device import module_for, to_numpy
from minicnn.kernels import precision
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.recording import Recording
from minicnn.tensor import Tensor

TOLERANCE = {
    "product": {"float32": 1e-5, "tf32": 5e-3, "bfloat16": 2e-2},
    "gradient of a block": {"float32": 1e-2, "tf32": 0.15, "bfloat16": 0.4},
}
"""How far the GPU may be from float64, as a share of the norm of the right answer, by kind and precision.

Where rounding moves a pixel of a block over the zero of its ReLU, or past another in its window, its output hardly
changes, but a gradient comes or goes: 5 % of the norm in bfloat16, and up to 20 % in 40 drawings of these small arrays;
in TF32 up to 6 % in 16. So gradients of blocks have a wide tolerance, and their output that of a product.
"""

_RUNS = 3
"""Times that each probe is repeated: a race between threads shows as an error that moves."""

Probe = tuple[str, str, Callable[..., Tensor], list[tuple[int, ...]]]
"""A name, "product" or "block", an operation of Tensors, and the shapes of its inputs."""


def probes() -> Iterator[Probe]:
    """Small shapes that no tile fits exactly, so that every edge of a kernel is met; the plainest first."""
    yield "linear", "product", lambda x, w, b: F.linear(x, w, b), [(37, 72), (19, 72), (19,)]
    for size, padding in ((1, 0), (3, 1), (5, 2)):
        shapes = [(3, 32, 9, 7), (64, 32, size, size), (64,)]
        yield f"conv2d {size}x{size}", "product", lambda x, w, b, p=padding: F.conv2d(x, w, b, padding=p), shapes
    # the input's gradient is of as many channels: wider than the narrow tile both ways
    wide = [(3, 96, 9, 7), (160, 96, 3, 3), (160,)]
    yield "conv2d 3x3, wide", "product", lambda x, w, b: F.conv2d(x, w, b, padding=1), wide
    for channels in (1, 32):
        for pool in (None, 2):
            name = f"conv_block {channels} channels, {'no pooling' if pool is None else 'pooling'}"
            yield name, "block", _block(pool), [(3, channels, 10, 12), (64, channels, 3, 3), (64,), (64,)]


def compare_with_float64(say: Say) -> list[dict[str, Any]]:
    """Output and gradients of every probe in every precision; `error` is the largest ‖got - want‖ / ‖want‖.

    `right` says whether that is within TOLERANCE; `moved` whether it was another in a second or third run. Each runs
    twice: as it is, and as if the card had one multiprocessor, which is what the kernels for large images ask for. A
    probe that raises has `failed` in place of figures.
    """
    findings = []
    whole = driver().gpu
    for name, what, function, shapes in probes():
        say(name)  # should one of them hang
        random = np.random.default_rng()  # other numbers in every run: a fast kernel must be right on any
        inputs = [random.standard_normal(shape) for shape in shapes]
        expected = _both_ways(function, inputs, np, "float64")
        for large, gpu in ((False, whole), (True, whole._replace(multiprocessors=1))):
            for kind in precision.CHOICES:
                row = {"probe": name + (", as if large" if large else ""), "precision": kind}
                driver().gpu = gpu
                try:
                    found = _compared(function, what, inputs, expected, kind)
                except Exception as error:  # the others may still say what is wrong with it
                    found = {"failed": f"{type(error).__name__}: {error}"}
                finally:
                    driver().gpu = whole
                findings.append({**row, **found})
    return findings


def _compared(
    function: Callable[..., Tensor], what: str, inputs: list[Any], expected: list[Any], kind: str
) -> dict[str, Any]:
    with precision.using(kind):
        runs = [_both_ways(function, inputs, module_for("gpu"), "float32") for _ in range(_RUNS)]
    errors = [_error(got, want) for got, want in zip(runs[0], expected, strict=True)]
    moved = any(not np.array_equal(a, b) for other in runs[1:] for a, b in zip(runs[0], other, strict=True))
    backward = "product" if what == "product" else "gradient of a block"
    right = errors[0] <= TOLERANCE["product"][kind] and max(errors[1:]) <= TOLERANCE[backward][kind]
    return {"error": max(errors), "right": right, "moved": moved}


def recorded_beside_eager(layers: int = 4, batch: int = 32, steps: int = 5) -> dict[str, Any]:
    """Whether replays of a recorded training step give the bits of the same steps run as Python, in each precision."""
    same = {}
    for kind in precision.CHOICES:
        with precision.using(kind):
            same[kind] = _same_bits(layers, batch, steps)
    return {"steps": steps, "by_precision": same, "same_bits": all(same.values())}


def small_step() -> None:
    """Two steps of a small training, for a program that watches memory: every array has a block of its own."""
    module_for("gpu").cuda.set_allocator(None)  # in the pool an overrun ends in another array of the same block
    driver().gpu = driver().gpu._replace(multiprocessors=1)  # the kernels for large images, too
    _losses(2, 4, 2, "gpu", "bfloat16")


def _same_bits(layers: int, batch: int, steps: int) -> bool:
    weights = []
    for recorded in (False, True):
        step, model = _training(layers, batch, "gpu")
        step()
        again = Recording(step).replay if recorded else step
        for _ in range(steps):
            again()
        driver().synchronize()
        weights.append([to_numpy(p.data) for p in model.parameters()])
    return all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def loss_curve(layers: int = 4, batch: int = 32, steps: int = 50) -> dict[str, Any]:
    """The losses of the same training on the CPU and on the GPU, in float32 and in bfloat16."""
    curves = {"cpu": _losses(layers, batch, steps, "cpu", "float32")}
    for kind in ("float32", "bfloat16"):
        curves[kind] = _losses(layers, batch, steps, "gpu", kind)
    return {
        "curves": curves,
        "first_differences": {
            kind: float(np.abs(np.subtract(curves[kind][:10], curves["cpu"][:10])).max())
            for kind in ("float32", "bfloat16")
        },
    }


def _losses(layers: int, batch: int, steps: int, device: str, kind: str) -> list[float]:
    with precision.using(kind):
        step, _ = _training(layers, batch, device)
        return [float(to_numpy(step())) for _ in range(steps)]


def _training(layers: int, batch: int, device: Any) -> tuple[Callable[[], Any], Any]:
    """A step of training on one batch of noise, which gives its loss; the same for every device."""
    minicnn.manual_seed(0)
    model = models.build(layers).to(device)
    optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True)
    random, xp = np.random.default_rng(0), module_for(device)
    images = xp.asarray(random.standard_normal((batch, 1, 48, 48), dtype=np.float32))
    labels = xp.asarray(random.integers(0, 7, batch))

    def step() -> Any:
        loss = F.cross_entropy(model(Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.data

    return step, model


def _block(pool: int | None) -> Callable[..., Tensor]:
    def block(x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        xp, channels = module_for(x.device), len(weight.data)
        running = xp.zeros(channels, dtype=weight.dtype), xp.ones(channels, dtype=weight.dtype)
        return F.conv_block(x, weight, *running, gamma, beta, training=True, padding=1, pool=pool)

    return block


def _both_ways(function: Callable[..., Tensor], inputs: list[Any], xp: Any, dtype: str) -> list[Any]:
    """Output and gradients as float64 NumPy arrays, for an upstream gradient that depends on its shape alone."""
    tensors = [Tensor(xp.asarray(x, dtype=dtype), requires_grad=True) for x in inputs]
    y = function(*tensors)
    upstream = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(xp.asarray(upstream).astype(y.dtype))
    return [to_numpy(array).astype(np.float64) for array in (y.data, *(x.grad for x in tensors))]


def _error(got: Any, want: Any) -> float:
    """NaN is infinitely far."""
    error = float(np.linalg.norm(got - want) / np.linalg.norm(want))
    return error if np.isfinite(error) else float("inf")
