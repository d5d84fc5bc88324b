"""What commands put out: results on stdout, progress and failures on stderr."""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import click


def flush() -> None:
    """Write what print has kept: at exit it is Python that finds the disk full or the reader gone, and complains."""
    if sys.stdout is not None:  # as it is where whoever called closed it
        sys.stdout.flush()


def drop_output() -> None:
    """Forget what could not be written: at exit Python would try again."""
    with suppress(AttributeError, OSError):  # there is no stdout, or none of the system's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str) -> NoReturn:
    """End the program with this line on stderr, and exit code 1."""
    try:
        flush()
    except OSError:
        drop_output()
    click.echo(f"minicnn: {message}", err=True)
    sys.exit(1)


def say(line: str) -> None:
    """Progress."""
    click.echo(line, err=True)


def show(document: Any, as_json: bool, text: Callable[[Any], str]) -> None:
    """Print a result as JSON, or as the text that `text` makes of it."""
    click.echo(json.dumps(document, indent=2) if as_json else text(document))
