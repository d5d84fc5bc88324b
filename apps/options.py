"""The command line's shared options, and what is made of them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from minicnn import models, recipes
from minicnn.apps.bench.network import PRESETS as BENCH_PRESETS
from minicnn.apps.run_folder import RunConfig, RunFolder, read_toml
from minicnn.data import PROTOCOLS
from minicnn.data.preprocessing import CONTRASTS, renamed
from minicnn.device import Device, resolve
from minicnn.kernels import CHOICES, choose, precision

if TYPE_CHECKING:
    from minicnn.apps.bench.job import Settings

__all__ = ["PROTOCOLS", "SPLITS"]

_USUAL_TILE = 6
SPLITS = ("train", "val", "public", "private")

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")

_RECIPE: tuple[tuple[str, Any, str], ...] = (
    ("preset", click.Choice(models.PRESETS), "Network and recipe."),
    ("epochs", int, "How often to see all images."),
    ("batch_size", int, "Images a step."),
    ("lr", float, "Learning rate."),
    ("seed", int, "Of weights, order, dropout and augmentation."),
    ("optimizer", click.Choice(recipes.OPTIMIZERS), "How to step."),
    ("momentum", float, "Of SGD; Nesterov's where above 0."),
    ("weight_decay", float, "On weights, not on biases and normalization."),
    ("schedule", click.Choice(recipes.SCHEDULES), "How the learning rate moves."),
    ("warmup", float, "Epochs over which the learning rate rises."),
    ("shuffle", bool, "A new order every epoch."),
    ("label_smoothing", float, "Share of the label given to all classes."),
    ("class_weights", bool, "Weigh rare classes up."),
    ("clip", float, "Largest norm of the gradients; 0 for any."),
    ("ema", float, "Decay of the averaged weights; 0 for none."),
    ("patience", int, "Stop after so many epochs without a better one; 0 for never."),
    ("precision", click.Choice(precision.CHOICES), "How exactly a GPU multiplies; the CPU knows float32 alone."),
    ("contrast", click.Choice(CONTRASTS), "What to do to each image's contrast first."),
    ("restore", bool, "Restore training images that were blurred, before all else."),
    ("crop", int, "Shift by up to so many pixels."),
    ("flip", bool, "Mirror every other image."),
    ("degrees", float, "Rotate by up to so much."),
    ("shift", float, "Shift by up to this part of the size."),
    ("zoom", float, "Zoom by up to this factor."),
    ("erase", float, "Probability to erase a rectangle."),
    ("mixup", float, "Strength of mixing images; 0 for none."),
    ("distill", float, "Share of each label that --teachers give."),
)
"""Recipe values by option: None, the default of each, means what the preset says."""


def run_options(command: Command) -> Command:
    """Options that say what to train on what: a RunConfig, and --config for all of it."""
    for name, kind, text in reversed(_RECIPE):
        usual = (
            "train: best; default where --layers is given; study: default"
            if name == "preset"
            else str(getattr(recipes.Recipe(), name)).lower()
        )
        option = click.option(
            f"--{name.replace('_', '-')}", name, type=kind, default=None, show_default=usual, help=text
        )
        command = option(command)
    for decorate in (
        click.option(
            "--teachers",
            metavar="RUN[,RUN...]",
            default="",
            help="Trained networks, whose answers to the training images are learned too; no commas in their paths.",
        ),
        click.option(
            "--limit", type=click.IntRange(min=0), default=0, help="At most so many images of train and val; 0 for all."
        ),
        click.option(
            "--protocol",
            type=click.Choice(PROTOCOLS),
            default="official",
            show_default=True,
            help="How to split FER2013.",
        ),
        click.option(
            "--data",
            metavar="fer2013|synthetic|PATH",
            help="FER2013 where it was imported, else drawn faces, unless given.",
        ),
        click.option(
            "--layers",
            show_default="the preset's: 4, best 6; study: 3-6",
            help="Convolutional layers, 2 to 8; study: a range or a list.",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            help="Take options from this TOML file.",
        ),
    ):
        command = decorate(command)
    return command


def machine_options(command: Command) -> Command:
    """Options that say where to compute; they change no result."""
    for decorate in (
        click.option("--threads", type=click.IntRange(min=1), help="Threads; all cores unless given."),
        click.option(
            "--kernels",
            type=click.Choice(CHOICES),
            default="fast",
            show_default=True,
            help="Rung of every ladder of kernels.",
        ),
        click.option(
            "--tile",
            type=click.Choice(["2", "3", "6"]),
            default=str(_USUAL_TILE),
            show_default=True,
            help="Largest tile of Winograd's convolution; 2 is the most exact and the slowest.",
        ),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "gpu"]),
            default="auto",
            show_default=True,
            help="Where to compute.",
        ),
    ):
        command = decorate(command)
    return command


def bench_options(*peers: str) -> Callable[[Command], Command]:
    """Options of a benchmark against others; the first of `peers` is the usual one."""
    several, depth = click.IntRange(min=1), click.IntRange(models.DEPTHS[0], models.DEPTHS[-1])
    given = (
        click.option(
            "--preset",
            type=click.Choice(BENCH_PRESETS),
            default="bench",
            show_default=True,
            help="Network and optimizer.",
        ),
        click.option("--layers", type=depth, default=4, show_default=True, help="Convolutional layers."),
        click.option("--batch-size", type=several, default=128, show_default=True, help="Images a step."),
        click.option("--threads", type=several, show_default="all cores", help="Threads of either side."),
        click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Where."),
        click.option(
            "--precision",
            type=click.Choice(precision.CHOICES),
            default="float32",
            show_default=True,
            help="Of either side's products on a GPU.",
        ),
        click.option("--against", type=click.Choice(peers), default=peers[0], show_default=True, help="The peer."),
        click.option("--rounds", type=several, default=7, show_default=True, help="Turns that each side takes."),
        click.option("--steps", type=several, show_default="by the batch size", help="Timed steps a turn."),
        click.option(
            "--peer-python",
            metavar="PATH",
            default=sys.executable,
            show_default="this one",
            help="The Python that has the peer.",
        ),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(given):
            command = option(command)
        return command

    return decorate


def bench_settings(given: dict[str, Any], default_steps: int) -> "Settings":
    """What a benchmark was asked for, with what was left out."""
    from minicnn.apps.bench.job import Settings
    from minicnn.apps.machine import cores

    return Settings(**{**given, "threads": given["threads"] or cores(), "steps": given["steps"] or default_steps})


def use_machine(given: dict[str, Any]) -> Device:
    """Take the machine options out of `given` and put them in force; returns the device."""
    from minicnn.kernels import parallel

    device = resolve(given.pop("device"))
    choose(given.pop("kernels"))
    if (tile := int(given.pop("tile"))) != _USUAL_TILE:
        from minicnn.kernels._cpu.plan import set_largest_tile  # which takes a while: it needs Numba's compiler

        set_largest_tile(tile)
    parallel.set_threads(given.pop("threads"))
    return device


def run_config(given: dict[str, Any]) -> RunConfig:
    """The configuration of a new run; a value out of range is wrong usage.

    Where neither preset nor depth is asked for, the preset is the one that makes the most of some forty minutes.
    """
    from minicnn.data import fer2013

    changes = {name: given[name] for name, _, _ in _RECIPE if given.get(name) is not None}
    if given.get("layers") is not None:
        changes["layers"] = _depth(str(given["layers"]))
    data = given["data"] or ("fer2013" if fer2013.imported() else "synthetic")
    if data not in ("fer2013", "synthetic"):
        data = str(Path(data).absolute())
    try:
        usual = "default" if "layers" in changes else "best"
        recipe = recipes.preset(changes.pop("preset", usual), **changes)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return RunConfig(recipe, data, given["protocol"], given["limit"], _absolute(given["teachers"]))


def check_agreement(context: click.Context, folder: Path, given: dict[str, Any]) -> None:
    """Options given beside --resume must say what the run's own configuration says."""
    own = RunFolder(folder).config().to_dict()
    for name, value in given.items():
        if value is None or context.get_parameter_source(name) == ParameterSource.DEFAULT:
            continue
        wanted = _depth(value) if name == "layers" else value
        if name == "data" and value not in ("fer2013", "synthetic"):
            wanted = str(Path(value).absolute())
        if name == "teachers":
            wanted = _absolute(value)
        if wanted != own[name]:
            option = name.replace("_", "-")
            raise click.UsageError(
                f"--{option} {value} does not agree with the run in {folder}, which has {own[name]}: "
                "leave it out, or start a new run"
            )


def depths(text: str) -> list[int]:
    """The depths that a text such as 3-6, 4 or 3,5 names."""
    chosen: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        chosen += range(_depth(first), _depth(last if dash else first) + 1)
    if not chosen:
        raise click.UsageError(f"--layers {text}: expected a range from small to large, such as 3-6")
    return list(dict.fromkeys(chosen))


def next_run_folder() -> Path:
    """runs/train-1, or the next number that is free."""
    number = 1
    while (path := Path("runs") / f"train-{number}").exists():
        number += 1
    return path


def _absolute(paths: str) -> str:
    """The same list, separated by commas, of paths that hold from any folder."""
    return ",".join(str(Path(path.strip()).absolute()) for path in paths.split(",") if path.strip())


def _depth(text: str) -> int:
    try:
        depth = int(text)
    except ValueError:
        depth = 0
    if depth not in models.DEPTHS:
        raise click.UsageError(
            f"--layers: expected {models.DEPTHS[0]} to {models.DEPTHS[-1]} convolutional layers, got {text!r}"
        )
    return depth


def _read_config(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    """Make a TOML file's values the defaults, and check them as if they had been typed; an unknown key is an error."""
    if path is None:
        return
    try:
        values = renamed({key.replace("-", "_"): value for key, value in read_toml(path).items()})
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise click.UsageError(f"--config {path}: {reason}") from error
    known = {_key(option): str(option.name) for option in context.command.params if option.expose_value}
    if unknown := sorted(values.keys() - known.keys()):
        raise click.UsageError(f"--config {path}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    for key, value in values.items():
        if not isinstance(value, str | int | float):
            raise click.UsageError(f"--config {path}: {key}: expected a number, a text, true or false, got {value}")
    typed = {known[key]: str(value) for key, value in values.items()}
    context.default_map = {**(context.default_map or {}), **typed}


def _key(option: click.Parameter) -> str:
    """An option's name as a key in TOML: batch_size of --batch-size."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")
