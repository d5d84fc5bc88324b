"""Our side of a benchmark, as a process of its own: `python -m minicnn.apps.bench.own_worker FOLDER MODE THREADS`.

It does what minicnn's training and inference do, and answers as the peer's worker does.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import minicnn
from minicnn import inference, recipes
from minicnn.apps.bench import network
from minicnn.apps.bench.peer_worker import CHECKED, Work, peak_mb, read_batch, serve
from minicnn.data.loader import Batch
from minicnn.device import module_for
from minicnn.kernels import parallel, precision
from minicnn.kernels._gpu.driver import driver
from minicnn.steps import GpuSteps, Step
from minicnn.tensor import Tensor


class Network:
    """The network of the job, with its weights, where the job says."""

    def __init__(self, job: dict[str, Any], folder: Path) -> None:
        model = network.build(job["layers"], job["preset"])
        with np.load(folder / "weights.npz", allow_pickle=False) as weights:
            model.load_state_dict(dict(weights))
        self.on_gpu = job["device"] == "gpu"
        self.model, xp = model.to(job["device"]), module_for(job["device"])
        self.images, self.labels = (xp.asarray(array) for array in read_batch(folder))

    def about(self) -> dict[str, str]:
        """The version of minicnn, and its own words for the network."""
        return {"framework": f"minicnn {minicnn.__version__}", "network": repr(self.model)}

    def logits(self) -> Any:
        """Logits of the first images in evaluation mode."""
        with inference.frozen(self.model):
            return self.predict(self.images[:CHECKED]).tolist()

    def predict(self, images: Any) -> Any:
        """Logits of preprocessed images, in the computer's memory."""
        return self.model(Tensor(images)).numpy()

    def wait(self) -> None:
        """Until the GPU is idle."""
        if self.on_gpu:
            driver().synchronize()

    def peak_mb(self) -> float | None:
        """Of the GPU for arrays, or of the computer for the process."""
        return round(driver().most_bytes() / 1e6, 1) if self.on_gpu else peak_mb()


class Training(Network):
    """A training step as minicnn.training makes it."""

    def __init__(self, job: dict[str, Any], folder: Path) -> None:
        super().__init__(job, folder)
        recipe = network.recipe(job["layers"], job["preset"])
        self.training = Step(self.model, recipes.make_optimizer(recipe, self.model), None, recipe, None)
        self.batch = Batch(self.images, self.labels)
        self.many = GpuSteps(self.training) if self.on_gpu else None

    def step(self) -> None:
        """Forward, loss, backward, update, and on the CPU the loss as a number."""
        if self.many is not None:
            self.many(self.batch)
            if self.many.refused is not None:  # what is timed would not be what is claimed
                raise RuntimeError(f"training steps cannot be recorded here: {self.many.refused}")
            return
        _, loss = self.training.forward(*self.batch)
        loss.item()
        self.training.backward(loss)


class Inference(Network):
    """A batch as minicnn.inference asks for it, of a network whose weights stay as they are."""

    def __init__(self, job: dict[str, Any], folder: Path) -> None:
        super().__init__(job, folder)
        self.open = ExitStack()  # until the process ends, as in a program that does nothing else
        self.open.enter_context(inference.frozen(self.model))

    def step(self) -> None:
        """One batch."""
        self.predict(self.images)


def _start() -> Work:
    folder, threads = Path(sys.argv[1]), int(sys.argv[3])
    parallel.set_threads(threads)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    ExitStack().enter_context(precision.using(job["precision"]))  # until the process ends
    return Training(job, folder) if job["what"] == "train" else Inference(job, folder)


if __name__ == "__main__":
    serve(_start)
