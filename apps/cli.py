"""The command line: it parses, calls and prints. What the commands do is in the modules that they call.

Heavy modules are imported inside the commands, so that `minicnn --help` answers at once.
"""

import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

import minicnn
from minicnn.apps import face_options, options
from minicnn.errors import UserError

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


@click.group(context_settings={"auto_envvar_prefix": "MINICNN", "help_option_names": ["-h", "--help"]})
@click.version_option(minicnn.__version__, prog_name="minicnn")
def cli() -> None:
    """Train a convolutional network on faces, from scratch, and see how well it reads them.

    Options also come from --config FILE (TOML) and from variables such as MINICNN_TRAIN_EPOCHS.
    """


@cli.command(short_help="Train a network.")
@options.run_options
@options.machine_options
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; a new one under runs/ unless given.")
@click.option("--resume", "resume_from", type=click.Path(path_type=Path), help="Go on with the run in this folder.")
@click.option(
    "--time-limit", type=click.FloatRange(min=0), default=0.0, help="Stop after so many minutes; 0 for never."
)
@click.option("--profile", is_flag=True, help="At the end, say where the time and memory of a step went.")
@json_option
@click.pass_context
def train(
    context: click.Context,
    /,
    out: Path | None,
    resume_from: Path | None,
    time_limit: float,
    profile: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a network; the run folder keeps its weights, curves and report.

    With neither --layers nor --preset it is --preset best, which makes the most of some forty minutes. Defaults in
    parentheses are those of --preset default.
    """
    from minicnn.apps import train as training

    device = options.use_machine(given)
    if resume_from is not None:
        if out is not None:
            raise click.UsageError("--out and --resume name two folders: --resume DIR goes on in DIR")
        options.check_agreement(context, resume_from, given)
        command = shlex.join(["minicnn", "train", "--config", str(resume_from / "config.toml")])
        summary = training.resume(resume_from, device=device, time_limit=time_limit, command=command, profile=profile)
    else:
        config = options.run_config(given)
        folder = out or options.next_run_folder()
        click.echo(f"training {config.recipe.layers} layers on {config.data}: {folder}", err=True)
        summary = training.start(
            config, folder, device=device, time_limit=time_limit, command=_command(), profile=profile
        )
    _print(summary, as_json, _describe_run)
    if summary["ended"] != "finished":
        click.echo(f"minicnn: {summary['ended']}: minicnn train --resume {summary['run']} goes on", err=True)
    if summary["ended"] == "interrupted":
        context.exit(1)


@cli.command("eval", short_help="Measure a run's best weights on a split.")
@click.argument("source", metavar="[RUN|WEIGHTS]", type=click.Path(path_type=Path), required=False)
@click.option("--data", "data_name", metavar="fer2013|synthetic|PATH", help="Data; that of the training unless given.")
@click.option("--protocol", type=click.Choice(options.PROTOCOLS), help="How FER2013 is split.")
@click.option("--split", type=click.Choice(options.SPLITS), help="public where there is one, else val.")
@click.option("--tta", is_flag=True, help="Average over ten views: mirrored and shifted.")
@click.option("--robustness", "changed", is_flag=True, help="Also of images made darker, blurred, moved, noisy, ...")
@options.machine_options
@json_option
def evaluate(
    source: Path | None,
    data_name: str | None,
    protocol: str | None,
    split: str | None,
    tta: bool,
    changed: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Accuracy, precision, recall, F1 and confusion matrix of a run's best weights, with 95 % intervals.

    Without a run or a weights file: of the network that ships in the package.
    """
    from minicnn.apps import metrics, robustness
    from minicnn.apps.evaluate import load_subject
    from minicnn.pretrained import default_weights

    device = options.use_machine(given)
    subject = load_subject(
        source or default_weights(), data_name=data_name, protocol=protocol, split=split, device=device
    )
    measured = subject.metrics(tta)
    result = measured.to_json()
    text = f"{subject.what}, {measured.n:,} images\n\n{metrics.format_table(measured)}"
    if changed:
        rows = list(robustness.robustness(subject, tta))
        result["robustness"] = robustness.to_json(rows)
        text += f"\n\n{robustness.format_table(rows)}"
    _print(result, as_json, lambda _: text)


@cli.command(short_help="Train each depth, beside the paper's tables.")
@options.run_options
@options.machine_options
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Train each depth so often.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/study"), show_default=True)
@json_option
def study(out: Path, seeds: int, as_json: bool, **given: Any) -> None:
    """Train each depth under one budget; print the paper's tables beside ours. Given again, it goes on.

    Defaults in parentheses are those of --preset default.
    """
    from minicnn.apps import paper_tables
    from minicnn.apps import study as studies

    device = options.use_machine(given)
    layers = options.depths(given.pop("layers", None) or "3-6")
    config = options.run_config({**given, "layers": layers[0]})
    first = config.recipe.seed
    seeds_used = range(first, first + seeds)
    rows = studies.study(
        config, layers, seeds_used, out, device=device, on_run=lambda path: click.echo(f"training: {path}", err=True)
    )
    _print({"rows": rows}, as_json, lambda _: f"{paper_tables.format_tables(rows)}\n\n{out}: csv, txt, json, png")


@cli.command(short_help="Read the faces in photos, folders and videos.", epilog=face_options.HONEST)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@face_options.reader_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder for annotated copies: box, label, probabilities.")
@click.option("--csv", "csv_file", metavar="FILE", type=click.Path(path_type=Path), help="Write a table, a row a face.")
@click.option("--explain", is_flag=True, help="In the copies, show what spoke for each label (Grad-CAM).")
@json_option
@click.pass_context
def predict(context: click.Context, /, sources: tuple[str, ...], **given: Any) -> None:
    """Find the faces in pictures and videos, and read their expressions.

    SOURCE is a file, a folder, a quoted pattern for many files, or - for a picture on standard input.
    """
    if given["explain"] and given["out"] is None:
        raise click.UsageError("--explain shows heat maps in annotated copies: give --out DIR too")
    from minicnn.apps import predict as prediction

    reader = face_options.make_reader(given)
    count = prediction.predict(sources, reader, on_error=lambda error: _say(f"minicnn: {error}"), **given)
    if count.pictures > 1:
        _say(prediction.format_count(count))
    if count.failed:
        context.exit(1)


@cli.command("export", short_help="Write a run's network as an ONNX file.")
@click.argument("source", metavar="RUN|WEIGHTS", type=click.Path(path_type=Path))
@click.option("--onnx", "target", metavar="FILE", type=click.Path(path_type=Path), required=True, help="What to write.")
@json_option
def export(source: Path, target: Path, as_json: bool) -> None:
    """Write a run's best weights as ONNX, with labels and preprocessing, to run without minicnn."""
    from minicnn.apps.export import export_onnx

    _print(export_onnx(source, target), as_json, _describe_export)


@cli.command(
    short_help="Read faces live, from a camera or video.",
    epilog=face_options.HONEST,
    context_settings={"default_map": {"scale_step": 1.2, "smallest": 60}},
)
@face_options.reader_options
@click.option("--source", metavar="N|FILE|URL", show_default="0", help="Camera number, video file or stream's address.")
@click.option("--window", is_flag=True, help="Show faces in a window; usual where there is a display.")
@click.option("--web", is_flag=True, help="Show the browser's camera on a page of this machine alone.")
@click.option("--no-window", is_flag=True, help="Print one JSON object a frame.")
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="Of --web; 0: a free one.")
@click.option("--record", metavar="FILE", type=click.Path(path_type=Path), help="Keep what was seen: .mp4, .avi, .mkv.")
@click.option("--explain", is_flag=True, help="Show what spoke for each label (Grad-CAM); on the page by a switch.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a frame, beside the window too.")
def camera(window: bool, web: bool, no_window: bool, **given: Any) -> None:
    """Read faces live, from a camera, a video file or a stream. Ctrl-C ends it.

    Keys of the window: q quits, space pauses, m mirrors, w shows why.

    Faces are looked for in frames shrunk to 480 rows; the smallest face is 60 of those pixels unless given.
    """
    from minicnn.apps import views

    asked = [view for view, wanted in zip(views.VIEWS, (window, web, no_window), strict=True) if wanted]
    settings = views.Settings.of(given)
    try:
        view = views.choose(asked)
        views.check(view, settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    views.start(view, settings, given, _say)


@cli.group("data")
def data_commands() -> None:
    """Bring FER2013 in, and see what is there."""


@data_commands.command("import", short_help="Read FER2013 in any of its forms.")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def data_import(path: Path, as_json: bool) -> None:
    """Read FER2013 from PATH: a CSV, zip, tar.gz, parquet file or folder of images."""
    from minicnn.data import fer2013

    _print(fer2013.import_path(path, progress=not as_json), as_json, _describe_data)


@data_commands.command("info")
@click.option("--near", is_flag=True, help="Count photos that are there in two forms, too.")
@json_option
def data_info(near: bool, as_json: bool) -> None:
    """What was imported: counts, classes, duplicates, hash."""
    from minicnn.data import fer2013

    _print(fer2013.info(near), as_json, _describe_data)


@data_commands.command("export", short_help="Write what the paper's pipeline reads.")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--layout", type=click.Choice(["paper"]), required=True, help="Whose layout to write.")
@json_option
def data_export(directory: Path, layout: str, as_json: bool) -> None:
    """Write what the paper's pipeline reads: images, and a CSV index of image names and labels."""
    from minicnn.data import fer2013

    counts = fer2013.export_paper_layout(directory)
    _print(counts, as_json, lambda _: f"{directory}: " + ", ".join(f"{n:,} {name}" for name, n in counts.items()))


@cli.command(short_help="Check every gradient against finite differences.")
@options.machine_options
@json_option
def gradcheck(as_json: bool, **given: Any) -> None:
    """Check the gradient of every operation and layer against finite differences."""
    from minicnn.apps import gradcheck as checks

    results = checks.run(options.use_machine(given))
    failed = [result for result in results if not result.passed]
    lines = [f"{'ok  ' if r.passed else 'FAIL'} {r.name}" + (f": {r.message}" if r.message else "") for r in results]
    document = {
        "passed": len(results) - len(failed),
        "failed": {result.name: result.message for result in failed},
    }
    _print(
        document, as_json, lambda _: "\n".join([*lines, f"{document['passed']} of {len(results)} gradients are right"])
    )
    if failed:
        _fail(f"{len(failed)} of {len(results)} gradients are wrong")


@cli.command(short_help="What is on this machine, and what is wrong.")
@json_option
def doctor(as_json: bool) -> None:
    """Show versions, processor, kernels, cache, data and GPU, and a line with the fix for every problem."""
    from minicnn.apps.doctor import examine, format_findings

    _print(examine(), as_json, format_findings)


@cli.group("bench")
def bench_commands() -> None:
    """Time minicnn beside others, and its kernels beside each other."""


@bench_commands.command("train", short_help="Training, beside PyTorch.")
@options.bench_options("torch")
@json_option
def bench_train(as_json: bool, **given: Any) -> None:
    """Time training steps beside PyTorch's in its best mode, taking turns, each in a process of its own."""
    from minicnn.apps.bench import race, train

    document = train.bench_train(options.bench_settings(given, train.STEPS), _say)
    _print(document, as_json, race.format_result)


@bench_commands.command("infer", short_help="Inference, beside ONNX Runtime or PyTorch.")
@options.bench_options("onnxruntime", "torch")
@json_option
def bench_infer(as_json: bool, **given: Any) -> None:
    """Time batches from preprocessed images to logits beside a peer, taking turns, each in a process of its own."""
    from minicnn.apps.bench import infer, race

    steps = infer.default_steps(given["batch_size"])
    document = infer.bench_infer(options.bench_settings(given, steps), _say)
    _print(document, as_json, race.format_result)


@bench_commands.command("kernels", short_help="Every rung of each ladder of kernels.")
@click.argument("operations", metavar="[OP]...", nargs=-1)
@click.option("--threads", type=click.IntRange(min=1), help="Threads; all cores unless given.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How often each rung runs.")
@json_option
def bench_kernels(operations: tuple[str, ...], threads: int | None, rounds: int, as_json: bool) -> None:
    """Time every rung of the named operations, or of all, and its share of the machine's measured peak."""
    from minicnn.apps.bench import kernels
    from minicnn.apps.machine import cores

    document = kernels.bench_kernels(operations, threads or cores(), rounds, _say)
    _print(document, as_json, kernels.format_ladders)


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

    _print(report.bench_gpu(file, minutes, _say), as_json, report.format_report)


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line on stderr, exit code 1 (2 for wrong usage)."""
    # numbers that overflow end in a loss that is none, which training reports in a line of its own
    warnings.simplefilter("ignore", RuntimeWarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals and names of files that are not UTF-8
    try:
        code = cli(prog_name="minicnn", standalone_mode=False)
        _flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted")
    except BrokenPipeError:
        _drop_output()  # the reader of a pipe has gone: nothing to say
        sys.exit(1)
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            _drop_output()
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except MemoryError as error:
        _fail(f"out of memory: try a smaller --batch-size ({error})")
    sys.exit(code)


def _flush() -> None:
    """Write what print has kept: at exit it is Python that finds the disk full or the reader gone, and complains."""
    if sys.stdout is not None:  # as it is where whoever called closed it
        sys.stdout.flush()


def _drop_output() -> None:
    """Forget what could not be written: at exit Python would try again."""
    with suppress(AttributeError, OSError):  # there is no stdout, or none of the system's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> NoReturn:
    try:
        _flush()
    except OSError:
        _drop_output()
    click.echo(f"minicnn: {message}", err=True)
    sys.exit(1)


def _say(line: str) -> None:
    """Progress."""
    click.echo(line, err=True)


def _print(document: Any, as_json: bool, text: Callable[[Any], str]) -> None:
    click.echo(json.dumps(document, indent=2) if as_json else text(document))


def _command() -> str:
    """What was typed, for the report."""
    return shlex.join(["minicnn", *sys.argv[1:]])


def _describe_run(summary: dict[str, Any]) -> str:
    folder = Path(summary["run"])
    if summary["val_accuracy"] is None:
        return f"{folder}: no epoch was finished"
    epochs = "1 epoch" if summary["epochs"] == 1 else f"{summary['epochs']} epochs"
    return (
        f"{epochs} in {summary['seconds']:.0f} s, {summary['images_per_second']:.0f} images/s; "
        f"best validation accuracy {summary['val_accuracy']:.4f} (epoch {summary['best_epoch']})\n"
        f"report: {folder / 'report.html'}"
    )


def _describe_export(written: dict[str, Any]) -> str:
    size = f"{written['bytes'] / 1e6:.1f} MB"
    return f"{written['onnx']}: {written['weights']} as ONNX (opset {written['opset']}), {size}"


def _describe_data(info: dict[str, Any]) -> str:
    from minicnn.data import fer2013

    width = max(map(len, info["classes"]))
    splits = list(info["counts"])
    lines = [" " * width + "".join(f"{split:>10}" for split in splits)]
    for name in info["classes"]:
        lines.append(name.ljust(width) + "".join(f"{info['counts'][split][name]:>10,}" for split in splits))
    notes = [*fer2013.notes_on_blur(info.get("blur", {})), *info["notes"]]
    lines.append("all".ljust(width) + "".join(f"{sum(info['counts'][split].values()):>10,}" for split in splits))
    near = [
        f"{found['photos']:,} photos are within {split} in two forms, {found['conflicting']:,} with different labels"
        for split, found in info.get("near_copies", {}).items()
    ]
    return "\n".join([*lines, *_describe_copies(info["duplicates"]), *near, f"sha256 {info['sha256']}", *notes])


def _describe_copies(duplicates: dict[str, Any]) -> list[str]:
    """A line for each split with exact copies in it, and for each two that share images."""
    within = [
        f"{found['copies']:,} exact copies within {split}, {found['conflicting']:,} of {found['groups']:,} groups with "
        "different labels"
        for split, found in duplicates["within"].items()
        if found["copies"]
    ]
    shared = [f"{n:,} images in both {pair.replace('+', ' and ')}" for pair, n in duplicates["shared"].items() if n]
    return within + shared or ["no exact copies"]
