"""What both sides are given: a folder with the network, its weights, one batch, and how to train."""

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from minicnn import nn, rng
from minicnn.apps.bench.network import build, describe_network
from minicnn.apps.bench.race import TOLERANCE, Say, race
from minicnn.apps.bench.workers import GPU_MODES, check_peer, contestants
from minicnn.apps.machine import cpu_name
from minicnn.data.dataset import CLASSES, IMAGE_SIZE
from minicnn.device import Device, module_for
from minicnn.errors import UserError


@dataclass(frozen=True)
class Settings:
    """What a benchmark was asked for.

    Attributes:
        preset, layers: the network, see network.build.
        batch_size: images a step.
        threads: of either side.
        against: "torch" or "onnxruntime".
        rounds, steps: turns each side takes, and timed steps in each.
        peer_python: the Python that has the peer.
        device, precision: where both sides compute, and how exactly; see minicnn.kernels.precision.
    """

    preset: str
    layers: int
    batch_size: int
    threads: int
    against: str
    rounds: int
    steps: int
    peer_python: str = sys.executable
    device: Device = "cpu"
    precision: str = "float32"


def make_network(settings: Settings) -> nn.Module:
    """The network with batch normalization as after some training, so that a mistake in it shows in the logits."""
    rng.manual_seed(0)
    model = build(settings.layers, settings.preset)
    random = rng.generator()
    for _, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            for array, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                array[...] = random.uniform(low, high, array.shape)
    return model


def run_job(
    what: str,
    settings: Settings,
    model: nn.Module,
    say: Say,
    details: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """Race on the job `what` ("train" or "infer"); see race.race for what comes back and what is raised.

    `details` go into job.json for the peer, `files` into the folder beside it. Raises UserError too where there is no
    such peer.
    """
    if settings.device == "gpu" and settings.against not in GPU_MODES:
        raise UserError(f"bench: {settings.against} is a peer on the CPU alone: --against {', '.join(GPU_MODES)}")
    if settings.device == "cpu" and settings.precision != "float32":
        raise UserError(f"bench: expected --precision float32 on the CPU, got {settings.precision}: use --device gpu")
    module_for(settings.device)
    check_peer(settings.against, settings.peer_python)
    job = {"what": what, **asdict(settings), "network": describe_network(model), **(details or {})}
    with TemporaryDirectory(prefix="minicnn-bench-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        np.savez(folder / "weights.npz", **model.state_dict())
        images, labels = _batch(settings.batch_size)
        np.savez(folder / "batch.npz", images=images, labels=labels)
        for file, content in (files or {}).items():
            (folder / file).write_bytes(content)
        entered = contestants(settings.against, settings.peer_python, folder, settings.threads, settings.device)
        tolerance = TOLERANCE[settings.precision]
        result = race(entered, folder, settings.batch_size, settings.rounds, settings.steps, say, tolerance)
    return {"what": what, **asdict(settings), "cpu": cpu_name(), "system": platform.platform(), **result}


def _batch(size: int) -> tuple[Any, Any]:
    """Preprocessed images (N, 1, 48, 48) are about normal; what they show does not change the time."""
    random = np.random.default_rng(0)
    images = random.standard_normal((size, 1, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    return images, random.integers(0, len(CLASSES), size)
