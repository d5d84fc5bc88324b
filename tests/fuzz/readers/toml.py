"""A run's config.toml: the recipe, which sets up an optimizer and a schedule, and the same file as --config."""

from contextlib import suppress
from pathlib import Path

import click

from minicnn import nn, recipes
from minicnn.apps import cli
from minicnn.apps.run_folder import RunFolder
from tests.fuzz.harness import Reader

NETWORK = nn.Linear(2, 2)
OWN = "".join(
    f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n"
    for name, value in {"data": "synthetic", "protocol": "official", "limit": 0, **recipes.Recipe().to_dict()}.items()
)


def read(data: bytes, folder: Path) -> object:
    file = folder / "config.toml"
    file.write_bytes(data)
    with suppress(click.UsageError):
        cli.cli.commands["train"].make_context("train", ["--config", str(file)])
    recipe = RunFolder(folder).config().recipe
    recipes.make_optimizer(recipe, NETWORK)
    return recipes.make_schedule(recipe, 10).lr(3)


SEEDS = [OWN.encode(), OWN.replace('"cosine"', '"plateau"').replace("'cosine'", "'onecycle'").encode(), b"epochs = 3\n"]
TOKENS = (
    b"[a]\n",
    b"[[a]]\n",
    b"{a=1}",
    b'"""',
    b"'''",
    b"1979-05-27T07:32:00Z",
    b"\\ud800",
    b"lr.a = 1\n",
    b"[" * 500,
)
READER = Reader(SEEDS, read, TOKENS)
