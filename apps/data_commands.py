"""The commands `minicnn data`: FER2013 in, and out again."""

from pathlib import Path

import click

from minicnn.apps.describe import describe_data
from minicnn.apps.options import json_option
from minicnn.apps.output import show


@click.group("data")
def data_commands() -> None:
    """Bring FER2013 in, and see what is there."""


@data_commands.command("import", short_help="Read FER2013 in any of its forms.")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def data_import(path: Path, as_json: bool) -> None:
    """Read FER2013 from PATH: a CSV, zip, tar.gz, parquet file or folder of images."""
    from minicnn.data import fer2013

    show(fer2013.import_path(path, progress=not as_json), as_json, describe_data)


@data_commands.command("info")
@click.option("--near", is_flag=True, help="Count photos that are there in two forms, too.")
@json_option
def data_info(near: bool, as_json: bool) -> None:
    """What was imported: counts, classes, duplicates, hash."""
    from minicnn.data import fer2013

    show(fer2013.info(near), as_json, describe_data)


@data_commands.command("export", short_help="Write what the paper's pipeline reads.")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--layout", type=click.Choice(["paper"]), required=True, help="Whose layout to write.")
@json_option
def data_export(directory: Path, layout: str, as_json: bool) -> None:
    """Write what the paper's pipeline reads: images, and a CSV index of image names and labels."""
    from minicnn.data import fer2013

    counts = fer2013.export_paper_layout(directory)
    show(counts, as_json, lambda _: f"{directory}: " + ", ".join(f"{n:,} {name}" for name, n in counts.items()))
