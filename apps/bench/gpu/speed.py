"""How fast is it? Every kernel beside the card's peak, whole trainings, and training steps beside PyTorch's."""

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from minicnn import kernels, recipes, training
from minicnn.apps.bench.gpu.machine import seconds
from minicnn.apps.bench.job import Settings
from minicnn.apps.bench.kernel_cases import CASES, Case, Shape
from minicnn.apps.bench.race import Say
from minicnn.apps.bench.train import bench_train
from minicnn.data import synthetic
from minicnn.kernels import precision
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.recording import Recording

if TYPE_CHECKING:
    from minicnn.apps.bench.gpu.parts import Sizes

SHAPE = Shape(512, 64, 128, 24, "gpu")
"""The second layer of the paper's network."""

_PRODUCTS = ("conv2d", "conv_block", "linear")
"""Operations whose time depends on the precision."""


def time_kernels(batch: int, say: Say) -> dict[str, Any]:
    """Milliseconds of forward and backward of every GPU rung, on SHAPE with `batch` images.

    The products of the rung `cuda` are timed in every precision. `rate` is in the case's unit: GFLOP/s or GB/s.
    """
    shape, found = SHAPE._replace(batch=batch), {}
    for operation, make in CASES.items():
        say(operation)
        case = make(shape)
        for rung in kernels.rungs(operation, "gpu"):
            several = rung == "cuda" and operation in _PRODUCTS
            for kind in precision.CHOICES if several else ("float32",):
                try:
                    with precision.using(kind):
                        row = {"unit": case.unit, **_passes(case, operation, rung)}
                except Exception as error:  # one rung that does not run must not cost the others their times
                    row = {"failed": f"{type(error).__name__}: {error}"}
                found[f"{operation} {rung} {kind}"] = row
    return found


def train_whole(images: int, epochs: int, batch: int) -> dict[str, Any]:
    """Seconds of a whole training of the 4-layer network on as many drawn faces as FER2013's Training has images."""
    recipe = recipes.preset("default", layers=4, epochs=epochs, batch_size=batch, lr=4e-3, precision="bfloat16")
    dataset = synthetic.load(train=images)
    trainer = training.Trainer(recipe, dataset, "gpu")
    started = time.perf_counter()
    trainer.fit(lambda: None, lambda row: None)
    driver().synchronize()
    steps = trainer.gpu_steps
    return {
        "refused": None if steps is None else steps.refused,  # why steps were not recorded, if they were not
        "replayed": 0 if steps is None else steps.replayed,
        "images": images,
        "epochs": epochs,
        "precision": recipe.precision,
        "seconds": round(time.perf_counter() - started, 2),
        "val_accuracy": trainer.best,
    }


def beside_torch(preset: str, layers: int, sizes: "Sizes", say: Say) -> dict[str, Any]:
    """Training steps in bfloat16 beside PyTorch's, see `minicnn bench train`."""
    settings = Settings(
        preset, layers, sizes.batch, 1, "torch", sizes.rounds, sizes.steps, sys.executable, "gpu", "bfloat16"
    )
    return bench_train(settings, say)


def _passes(case: Case, operation: str, rung: str) -> dict[str, Any]:
    """Both directions; only the rung `cuda` is replayed as a recorded step would be, the others run as Python."""
    module = import_module(f"minicnn.kernels.{operation}.{rung}")
    saved = case.forward(module)
    works: dict[str, Callable[[], object]] = {"forward": lambda: case.forward(module)}
    if case.backward is not None:
        backward = case.backward
        works["backward"] = lambda: backward(module, saved)
    result = {}
    for (name, work), amount in zip(works.items(), case.work, strict=False):
        work()  # makes what is made when first needed, as Recording wants it
        taken = seconds(Recording(work).replay if rung == "cuda" else work)
        result[name] = {"ms": round(taken * 1e3, 4), "rate": round(amount / taken / 1e9, 1)}
    return result
