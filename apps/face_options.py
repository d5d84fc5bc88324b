"""The command line's options of what reads faces, and what is made of them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from minicnn.apps.faces import Reader

Command = TypeVar("Command", bound=Callable[..., Any])

HONEST = (
    "A label says how people would name such a face, not what somebody feels. The EU's AI Act, article 5, prohibits "
    "inferring emotions of people at work and in education."
)
"""For the end of a command's help."""

DETECTORS = ("haar", "yunet")
"""Those of minicnn.apps.detectors, which takes a while to import."""


def reader_options(command: Command) -> Command:
    """Options that say which network reads, and how faces are found."""
    path = click.Path(path_type=Path)
    for decorate in (
        click.option("--threads", type=click.IntRange(min=1), help="Threads; all cores unless given."),
        click.option(
            "--device",
            type=click.Choice(["cpu", "gpu"]),
            default="cpu",
            show_default=True,
            help="Where the network computes; faces are found on the CPU.",
        ),
        click.option(
            "--smallest",
            type=click.IntRange(min=1),
            help="Side of the smallest face in pixels. Unless given, of photos: 1/20 of the shorter side, at least 30.",
        ),
        click.option(
            "--neighbors",
            type=click.IntRange(min=0),
            default=5,
            show_default=True,
            help="Overlapping finds that make a face; fewer find more faces, and more that are none. Haar only.",
        ),
        click.option(
            "--scale-step",
            type=click.FloatRange(1, 2, min_open=True),
            default=1.1,
            show_default=True,
            help="From one size of face to the next; smaller finds more, slower. Haar only.",
        ),
        click.option("--detector-model", type=path, help="YuNet's ONNX file, or another Haar cascade's XML."),
        click.option(
            "--detector", type=click.Choice(DETECTORS), default="haar", show_default=True, help="What finds faces."
        ),
        click.option("--weights", type=path, help="Weights file or run folder; the package's own unless given."),
    ):
        command = decorate(command)
    return command


def make_reader(given: dict[str, Any]) -> "Reader":
    """Take these options out of `given`; the threads are put in force, and the network and detector made ready."""
    from minicnn.apps.faces import Reader, make_detector
    from minicnn.kernels import parallel
    from minicnn.opencv import cv2

    cv2().setNumThreads(parallel.set_threads(given.pop("threads")))
    detector = make_detector(
        given.pop("detector"),
        given.pop("detector_model"),
        given.pop("scale_step"),
        given.pop("neighbors"),
        given.pop("smallest"),
    )
    return Reader(given.pop("weights"), detector, given.pop("device"))
