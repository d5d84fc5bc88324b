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
    """What a side of the benchmark does; `on_gpu` says that a step may return before it is done."""

    on_gpu: bool

    def about(self) -> dict[str, str]:
        """The framework with its version, and the network in its own words."""

    def logits(self) -> Any:
        """Logits of the first CHECKED images in evaluation mode."""

    def step(self) -> None:
        """What is timed: one training step, or one batch of inference."""

    def wait(self) -> None:
        """Return when all steps are done; a CPU has done them by then."""

    def peak_mb(self) -> float | None:
        """The most memory held so far, in MB (10^6 bytes): of the GPU where the work is there, else of the process."""


class OnCpu:
    """What work on the CPU has in common: a step is done when it returns."""

    on_gpu = False

    def wait(self) -> None:
        """Nothing to wait for."""

    def peak_mb(self) -> float | None:
        """The process's."""
        return peak_mb()


class TorchNetwork:
    """The network in PyTorch, with our weights.

    MODE names what is switched on, joined by "+": eager, channels_last, compile, max-autotune (compile with that mode,
    which captures CUDA graphs). On a GPU the job's precision is PyTorch's own: autocast for bfloat16, TF32 allowed or
    not.
    """

    def __init__(self, job: dict[str, Any], folder: Path, mode: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch, self.job = torch, job
        self.on_gpu = job["device"] == "gpu"
        self.device = "cuda" if self.on_gpu else "cpu"
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("highest" if job["precision"] == "float32" else "high")
        torch.backends.cudnn.allow_tf32 = job["precision"] != "float32"
        images, labels = read_batch(folder)
        with np.load(folder / "weights.npz", allow_pickle=False) as weights:
            model = torch.nn.Sequential(*(self._layer(layer, weights) for layer in job["network"]))
        layout = torch.channels_last if "channels_last" in mode else torch.contiguous_format
        self.model = model.to(device=self.device, memory_format=layout)
        self.images = torch.from_numpy(images).to(device=self.device, memory_format=layout)
        self.labels = torch.from_numpy(labels).to(self.device)
        self.network = self.model
        if "compile" in mode:
            self.network = torch.compile(self.model)
        if "max-autotune" in mode:
            self.network = torch.compile(self.model, mode="max-autotune")

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

    def wait(self) -> None:
        """Until the GPU is idle."""
        if self.on_gpu:
            self.torch.cuda.synchronize()

    def peak_mb(self) -> float | None:
        """What PyTorch's allocator held at most, or the process."""
        return round(self.torch.cuda.max_memory_reserved() / 1e6, 1) if self.on_gpu else peak_mb()

    def mixed(self) -> Any:
        """The context in which the network runs forward."""
        return self.torch.autocast(self.device, self.torch.bfloat16, enabled=self.job["precision"] == "bfloat16")


class TorchTraining(TorchNetwork):
    """A training step as everybody writes it."""

    def __init__(self, job: dict[str, Any], folder: Path, mode: str, threads: int) -> None:
        super().__init__(job, folder, mode, threads)
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": job["weight_decay"]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        # on a GPU PyTorch's fused optimizer is its fastest; on the CPU it is run as it comes
        fused = {"fused": True} if self.on_gpu else {}
        self.optimizer = getattr(self.torch.optim, job["optimizer"])(groups, **job["optimizer_options"], **fused)
        self.loss = self.torch.nn.CrossEntropyLoss(label_smoothing=job["label_smoothing"])

    def logits(self) -> Any:
        """By the module that is not compiled, so that nothing is compiled for this alone."""
        self.model.eval()
        with self.torch.inference_mode(), self.mixed():
            logits = self.model(self.images[:CHECKED]).float().tolist()
        self.model.train()
        return logits

    def step(self) -> None:
        """Forward, loss, backward, update, and on the CPU the loss as a number: on a GPU nobody waits for each one."""
        self.optimizer.zero_grad()
        with self.mixed():
            loss = self.loss(self.network(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        if not self.on_gpu:
            loss.item()


class TorchInference(TorchNetwork):
    """A batch in evaluation mode."""

    def logits(self) -> Any:
        """By what is timed."""
        return self._forward()[:CHECKED].float().tolist()

    def step(self) -> None:
        """One batch."""
        self._forward()

    def _forward(self) -> Any:
        self.model.eval()
        with self.torch.inference_mode(), self.mixed():
            return self.network(self.images)


class OnnxInference(OnCpu):
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
    return {"seconds": _timed(work, int(steps)), "peak_mb": work.peak_mb()}


def _timed(work: Work, steps: int) -> list[float]:
    """Seconds of each step; on a GPU, which works on while the host asks for more, the first and the others' mean."""
    seconds = []
    for count in (1, steps - 1) if work.on_gpu and steps > 1 else [1] * steps:
        started = time.perf_counter()
        for _ in range(count):
            work.step()
        work.wait()
        seconds.append((time.perf_counter() - started) / count)
    return seconds


def _start() -> Work:
    folder, mode, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    kinds: dict[str, Any] = {"torch train": TorchTraining, "torch infer": TorchInference}
    work: Work = kinds.get(f"{job['against']} {job['what']}", OnnxInference)(job, folder, mode, threads)
    return work


if __name__ == "__main__":
    serve(_start)
