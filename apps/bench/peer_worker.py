"""The peer's side of a benchmark: PyTorch or ONNX Runtime doing the work that a folder describes.

A script of its own, for the Python that has the peer: it needs NumPy and the peer, nothing of minicnn.

    python peer_worker.py FOLDER MODE THREADS

The folder holds job.json, weights.npz and batch.npz (network.onnx for ONNX Runtime). The first line on stdout says that
all is ready; then each line on stdin (`logits` or `run STEPS`) is answered by one line of JSON. Between lines
the process blocks, so that the others have the machine to themselves.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

CHECKED = 16
"""Images whose logits are compared before anything is timed."""


class Work(Protocol):
    """What a side of the benchmark does."""

    def about(self) -> dict[str, str]:
        """The framework with its version, and the network in its own words."""

    def logits(self) -> Any:
        """Logits of the first CHECKED images in evaluation mode."""

    def step(self) -> None:
        """What is timed: one training step, or one batch of inference."""


class TorchNetwork:
    """The network in PyTorch, with our weights; MODE names what is switched on: eager, channels_last, compile."""

    def __init__(self, job: dict[str, Any], folder: Path, mode: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch, self.job = torch, job
        images, labels = read_batch(folder)
        with np.load(folder / "weights.npz", allow_pickle=False) as weights:
            model = torch.nn.Sequential(*(self._layer(layer, weights) for layer in job["network"]))
        layout = torch.channels_last if "channels_last" in mode else torch.contiguous_format
        self.model = model.to(memory_format=layout)
        self.images = torch.from_numpy(images).to(memory_format=layout)
        self.labels = torch.from_numpy(labels)
        self.network = torch.compile(self.model) if "compile" in mode else self.model

    def _layer(self, layer: dict[str, Any], weights: Any) -> Any:
        """A layer of torch.nn by its name, options and arrays."""
        module = getattr(self.torch.nn, layer["layer"])(**layer["options"])
        # not strict: BatchNorm counts its batches as well, which changes nothing
        module.load_state_dict(
            {name: self.torch.from_numpy(weights[key]) for name, key in layer["arrays"].items()}, strict=False
        )
        return module

    def about(self) -> dict[str, str]:
        """PyTorch's version, and its own words for the network."""
        return {"framework": f"PyTorch {self.torch.__version__}", "network": str(self.model)}


class TorchTraining(TorchNetwork):
    """A training step as everybody writes it."""

    def __init__(self, job: dict[str, Any], folder: Path, mode: str, threads: int) -> None:
        super().__init__(job, folder, mode, threads)
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": job["weight_decay"]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = getattr(self.torch.optim, job["optimizer"])(groups, **job["optimizer_options"])
        self.loss = self.torch.nn.CrossEntropyLoss(label_smoothing=job["label_smoothing"])

    def logits(self) -> Any:
        """By the module that is not compiled, so that nothing is compiled for this alone."""
        self.model.eval()
        with self.torch.inference_mode():
            logits = self.model(self.images[:CHECKED]).tolist()
        self.model.train()
        return logits

    def step(self) -> None:
        """Forward, loss, backward, update, and the loss as a number."""
        self.optimizer.zero_grad()
        loss = self.loss(self.network(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        loss.item()


class TorchInference(TorchNetwork):
    """A batch in evaluation mode."""

    def logits(self) -> Any:
        """By what is timed."""
        return self._forward()[:CHECKED].tolist()

    def step(self) -> None:
        """One batch."""
        self._forward()

    def _forward(self) -> Any:
        self.model.eval()
        with self.torch.inference_mode():
            return self.network(self.images)


class OnnxInference:
    """A batch through ONNX Runtime, from the file that `minicnn export` writes."""

    def __init__(self, job: dict[str, Any], folder: Path, mode: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.version = onnxruntime.__version__
        self.session = onnxruntime.InferenceSession(
            str(folder / "network.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.feed = {self.session.get_inputs()[0].name: read_batch(folder)[0]}

    def about(self) -> dict[str, str]:
        """ONNX Runtime's version, and what it reads."""
        return {"framework": f"ONNX Runtime {self.version}", "network": "the file of minicnn export"}

    def logits(self) -> Any:
        """By what is timed."""
        return self.session.run(None, self.feed)[0][:CHECKED].tolist()

    def step(self) -> None:
        """One batch."""
        self.session.run(None, self.feed)


def read_batch(folder: Path) -> tuple[Any, Any]:
    """The images, float32 (N, 1, 48, 48), and labels, int64 (N,), that both sides see."""
    with np.load(folder / "batch.npz", allow_pickle=False) as batch:
        return batch["images"], batch["labels"]


def peak_mb() -> float | None:
    """The most memory that this process has held so far, in MB (10^6 bytes); None where the system does not tell."""
    try:  # on Linux getrusage would count the program that started this one too
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(round(int(line.split()[1]) * 1024 / 1e6, 1) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)  # macOS counts in bytes


def serve(start: Callable[[], Work]) -> None:
    """Make the work, then answer the lines on stdin until there are no more; a mistake is an answer too."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        work = start()
        answer(work.about())
        for line in sys.stdin:
            answer(_answer(work, *line.split()))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        answer({"error": f"{type(error).__name__}: {lines[0] if lines else ''}"})
        sys.exit(1)


def _answer(work: Work, question: str, steps: str = "") -> dict[str, Any]:
    if question == "logits":
        return {"logits": work.logits()}
    seconds = []
    for _ in range(int(steps)):
        started = time.perf_counter()
        work.step()
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "peak_mb": peak_mb()}


def _start() -> Work:
    folder, mode, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    kinds: dict[str, Any] = {"torch train": TorchTraining, "torch infer": TorchInference}
    work: Work = kinds.get(f"{job['against']} {job['what']}", OnnxInference)(job, folder, mode, threads)
    return work


if __name__ == "__main__":
    serve(_start)
