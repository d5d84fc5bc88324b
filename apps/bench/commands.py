"""The commands `minicnn bench`: what is timed beside what."""

from pathlib import Path
from typing import Any

import click

from minicnn.apps import options
from minicnn.apps.options import json_option
from minicnn.apps.output import say, show


@click.group("bench")
def bench_commands() -> None:
    """Time minicnn beside others, and its kernels beside each other."""


@bench_commands.command("train", short_help="Training, beside PyTorch.")
@options.bench_options("torch")
@json_option
def bench_train(as_json: bool, **given: Any) -> None:
    """Time training steps beside PyTorch's in its best mode, taking turns, each in a process of its own."""
    from minicnn.apps.bench import race, train

    document = train.bench_train(options.bench_settings(given, train.STEPS), say)
    show(document, as_json, race.format_result)


@bench_commands.command("infer", short_help="Inference, beside ONNX Runtime or PyTorch.")
@options.bench_options("onnxruntime", "torch")
@json_option
def bench_infer(as_json: bool, **given: Any) -> None:
    """Time batches from preprocessed images to logits beside a peer, taking turns, each in a process of its own."""
    from minicnn.apps.bench import infer, race

    steps = infer.default_steps(given["batch_size"])
    document = infer.bench_infer(options.bench_settings(given, steps), say)
    show(document, as_json, race.format_result)


@bench_commands.command("kernels", short_help="Every rung of each ladder of kernels.")
@click.argument("operations", metavar="[OP]...", nargs=-1)
@click.option("--threads", type=click.IntRange(min=1), help="Threads; all cores unless given.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How often each rung runs.")
@json_option
def bench_kernels(operations: tuple[str, ...], threads: int | None, rounds: int, as_json: bool) -> None:
    """Time every rung of the named operations, or of all, and its share of the machine's measured peak."""
    from minicnn.apps.bench import kernels
    from minicnn.apps.machine import cores

    document = kernels.bench_kernels(operations, threads or cores(), rounds, say)
    show(document, as_json, kernels.format_ladders)


@bench_commands.command("gpu", short_help="Check and time everything on an NVIDIA GPU.")
@click.option(
    "--report",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default="gpu-report.json",
    show_default=True,
    help="Where the report goes.",
)
@click.option("--minutes", type=click.FloatRange(min=0.5), default=9.0, show_default=True, help="How long at most.")
@json_option
def bench_gpu(file: Path, minutes: float, as_json: bool) -> None:
    """Check every kernel on this GPU against float64, run the tests on it, and time it beside PyTorch."""
    from minicnn.apps.bench.gpu import report

    show(report.bench_gpu(file, minutes, say), as_json, report.format_report)
