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
from minicnn import functional as F
from minicnn import inference, models, recipes
from minicnn.apps.bench.peer_worker import CHECKED, Work, read_batch, serve
from minicnn.kernels import parallel
from minicnn.tensor import Tensor


class Network:
    """The network of the job, with its weights."""

    def __init__(self, job: dict[str, Any], folder: Path) -> None:
        self.model = models.build(job["layers"], job["preset"])
        with np.load(folder / "weights.npz", allow_pickle=False) as weights:
            self.model.load_state_dict(dict(weights))
        self.images, self.labels = read_batch(folder)

    def about(self) -> dict[str, str]:
        """The version of minicnn, and its own words for the network."""
        return {"framework": f"minicnn {minicnn.__version__}", "network": repr(self.model)}

    def logits(self) -> Any:
        """Logits of the first images in evaluation mode."""
        with inference.frozen(self.model):
            return self.predict(self.images[:CHECKED]).tolist()

    def predict(self, images: Any) -> Any:
        """Logits of preprocessed images."""
        return self.model(Tensor(images)).numpy()


class Training(Network):
    """A training step as minicnn.training makes it."""

    def __init__(self, job: dict[str, Any], folder: Path) -> None:
        super().__init__(job, folder)
        recipe = recipes.preset(job["preset"], layers=job["layers"])
        self.label_smoothing = recipe.label_smoothing
        self.optimizer = recipes.make_optimizer(recipe, self.model)

    def step(self) -> None:
        """Forward, loss, the loss as a number, backward, update."""
        scores = self.model.train()(Tensor(self.images))
        loss = F.cross_entropy(scores, self.labels, None, self.label_smoothing)
        loss.item()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


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
    return Training(job, folder) if job["what"] == "train" else Inference(job, folder)


if __name__ == "__main__":
    serve(_start)
