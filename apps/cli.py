"""The command line: it parses, calls and prints. What the commands do is in the modules that they call.

Heavy modules are imported inside the commands, so that `minicnn --help` answers at once.
"""

import io
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import click

import minicnn
from minicnn.apps import face_options, options
from minicnn.apps.bench.commands import bench_commands
from minicnn.apps.data_commands import data_commands
from minicnn.apps.describe import describe_export, describe_run
from minicnn.apps.output import drop_output, fail, flush, say, show
from minicnn.errors import UserError


@click.group(context_settings={"auto_envvar_prefix": "MINICNN", "help_option_names": ["-h", "--help"]})
@click.version_option(minicnn.__version__, prog_name="minicnn")
def cli() -> None:
    """Train a convolutional network on faces, from scratch, and see how well it reads them.

    Options also come from variables such as MINICNN_TRAIN_EPOCHS, and those of a training from --config FILE (TOML).
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
@options.json_option
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
    show(summary, as_json, describe_run)
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
@options.json_option
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
    show(result, as_json, lambda _: text)


@cli.command(short_help="Train each depth, beside the paper's tables.")
@options.run_options
@options.machine_options
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Train each depth so often.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/study"), show_default=True)
@options.json_option
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
    show({"rows": rows}, as_json, lambda _: f"{paper_tables.format_tables(rows)}\n\n{out}: csv, txt, json, png")


@cli.command(short_help="Read the faces in photos, folders and videos.", epilog=face_options.HONEST)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@face_options.reader_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder for annotated copies: box, label, probabilities.")
@click.option("--csv", "csv_file", metavar="FILE", type=click.Path(path_type=Path), help="Write a table, a row a face.")
@click.option("--explain", is_flag=True, help="In the copies, show what spoke for each label (Grad-CAM).")
@options.json_option
@click.pass_context
def predict(context: click.Context, /, sources: tuple[str, ...], **given: Any) -> None:
    """Find the faces in pictures and videos, and read their expressions.

    SOURCE is a file, a folder, a quoted pattern for many files, or - for a picture on standard input.
    """
    if given["explain"] and given["out"] is None:
        raise click.UsageError("--explain shows heat maps in annotated copies: give --out DIR too")
    from minicnn.apps import predict as prediction

    reader = face_options.make_reader(given)
    count = prediction.predict(sources, reader, on_error=lambda error: say(f"minicnn: {error}"), **given)
    if count.pictures > 1:
        say(prediction.format_count(count))
    if count.failed:
        context.exit(1)


@cli.command("export", short_help="Write a run's network as an ONNX file.")
@click.argument("source", metavar="RUN|WEIGHTS", type=click.Path(path_type=Path))
@click.option("--onnx", "target", metavar="FILE", type=click.Path(path_type=Path), required=True, help="What to write.")
@options.json_option
def export(source: Path, target: Path, as_json: bool) -> None:
    """Write a run's best weights as ONNX, with labels and preprocessing, to run without minicnn."""
    from minicnn.apps.export import export_onnx

    show(export_onnx(source, target), as_json, describe_export)


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
    views.start(view, settings, given, say)


@cli.command(short_help="Check every gradient against finite differences.")
@options.machine_options
@options.json_option
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
    show(
        document, as_json, lambda _: "\n".join([*lines, f"{document['passed']} of {len(results)} gradients are right"])
    )
    if failed:
        fail(f"{len(failed)} of {len(results)} gradients are wrong")


@cli.command(short_help="What is on this machine, and what is wrong.")
@options.json_option
def doctor(as_json: bool) -> None:
    """Show versions, processor, kernels, cache, data and GPU, and a line with the fix for every problem."""
    from minicnn.apps.doctor import examine, format_findings

    show(examine(), as_json, format_findings)


cli.add_command(data_commands)
cli.add_command(bench_commands)


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line on stderr, exit code 1 (2 for wrong usage)."""
    # numbers that overflow end in a loss that is none, which training reports in a line of its own
    warnings.simplefilter("ignore", RuntimeWarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals and names of files that are not UTF-8
    try:
        code = cli(prog_name="minicnn", standalone_mode=False)
        flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted")
    except BrokenPipeError:
        drop_output()  # the reader of a pipe has gone: nothing to say
        sys.exit(1)
    except UserError as error:
        fail(str(error))
    except OSError as error:
        if error.filename is None:
            drop_output()
        fail(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except MemoryError as error:
        fail(f"out of memory: try a smaller --batch-size ({error})")
    sys.exit(code)


def _command() -> str:
    """What was typed, for the report."""
    return shlex.join(["minicnn", *sys.argv[1:]])


if __name__ == "__main__":  # python -m minicnn.apps.cli, where it is not installed
    main()
