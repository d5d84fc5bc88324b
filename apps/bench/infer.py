"""`minicnn bench infer`: images a second in evaluation mode, beside ONNX Runtime or PyTorch."""

from typing import Any

from minicnn.apps.bench.job import Settings, make_network, run_job
from minicnn.apps.bench.race import Say
from minicnn.apps.export import to_onnx
from minicnn.data.dataset import CLASSES


def default_steps(batch_size: int) -> int:
    """Timed steps a turn: more of them where each is short."""
    return max(8, 400 // batch_size)


def bench_infer(settings: Settings, say: Say) -> dict[str, Any]:
    """Time batches from preprocessed images to logits; ONNX Runtime reads the file that our exporter writes.

    See race.race for what comes back and what is raised; UserError too where the exporter needs a package.
    """
    model = make_network(settings)
    files = {"network.onnx": to_onnx(model, {"labels": list(CLASSES)})} if settings.against == "onnxruntime" else {}
    return run_job("infer", settings, model, say, files=files)
