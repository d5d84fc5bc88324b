"""The run folder: what a training leaves behind, and what it goes on from.

config.toml             what was asked for; --config takes it again
metrics.csv             a line an epoch
last.safetensors        the present weights        best.safetensors   those of the best epoch
state.safetensors       what --resume goes on from
result.json             the summary, when training has ended
curves.png  confusion.png  report.html
"""

import csv
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicnn.data import PROTOCOLS
from minicnn.errors import UserError
from minicnn.files import atomic_write, locked, remove_leftovers
from minicnn.recipes import Recipe, check_types

SUMMARY = (
    "run",
    "layers",
    "epochs",
    "best_epoch",
    "val_accuracy",
    "val_loss",
    "images_per_second",
    "seconds",
    "ended",
)
"""The keys of a run's summary, which result.json holds."""

_LONGEST = 1 << 13  # characters of a configuration, which takes 600; tomllib's time goes by their square

_TEXT: Any = {"encoding": "utf-8", "errors": "surrogateescape"}  # a path may hold bytes that are no UTF-8


@dataclass(frozen=True)
class RunConfig:
    """What a run was asked for: the recipe, and the data it is cooked with.

    Attributes:
        recipe: how to train.
        data: "fer2013", "synthetic" or a path.
        protocol: how FER2013 is split.
        limit: at most so many images of train and of val; 0 for all.
        teachers: weights files or run folders, separated by commas, whose answers are learned too; none in "".
    """

    recipe: Recipe
    data: str
    protocol: str = "official"
    limit: int = 0
    teachers: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {self.protocol!r}")
        if self.limit < 0:
            raise ValueError(f"limit: expected at least 0, got {self.limit}")

    def to_dict(self) -> dict[str, Any]:
        """All values, flat."""
        own = {name: getattr(self, name) for name in ("data", "protocol", "limit", "teachers")}
        return {**own, **self.recipe.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """What `to_dict` gave; raises ValueError or TypeError for other keys."""
        own = {name: values[name] for name in ("data", "protocol", "limit")}
        own["teachers"] = values.get("teachers", "")  # younger than the first runs
        return cls(Recipe.from_dict({name: value for name, value in values.items() if name not in own}), **own)


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __getitem__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be, and let no other process train in it for the block.

        Raises UserError where one does, or where the folder cannot be made.
        """
        made = not self.path.exists()
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.path))
            except BlockingIOError as error:
                raise UserError(f"{self.path} is being trained by another process: wait for it, or stop it") from error
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                yield
            except BaseException:
                with suppress(OSError):  # it is not empty
                    if made:
                        self.path.rmdir()
                raise

    def check_free(self) -> None:
        """Raise UserError where the folder holds a run."""
        if self["config.toml"].exists():
            raise UserError(f"{self.path}: holds a run already: go on with --resume {self.path}, or give another --out")

    def create(self, config: RunConfig) -> None:
        """Write what a new run was asked for; raises UserError where that is too long, or cannot be written."""
        text = "".join(f"{key} = {_toml(value)}\n" for key, value in config.to_dict().items())
        if len(text) > _LONGEST:
            raise UserError(
                f"{self.path}: its configuration takes more than {_LONGEST:,} characters: give shorter paths"
            )
        try:
            remove_leftovers(self.path)
            with atomic_write(self["config.toml"]) as file:
                file.write_text(text, **_TEXT)
        except OSError as error:
            raise self._unwritable(error) from error

    def config(self) -> RunConfig:
        """What the run was asked for; raises UserError where the folder is none of ours."""
        file = self["config.toml"]
        if not file.is_file():
            raise UserError(f"{self.path}: expected a run folder, with a config.toml in it")
        try:
            return RunConfig.from_dict(read_toml(file))
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise UserError(f"{file}: the run's configuration is damaged: {error}") from error

    def result(self) -> dict[str, Any] | None:
        """The summary of a run that has ended, None of one that has not."""
        file = self["result.json"]
        if not file.is_file():
            return None
        try:
            result = json.loads(file.read_text(**_TEXT))
            summary = {key: result[key] for key in SUMMARY}
            if not all(isinstance(summary[key], int | float | None) for key in set(SUMMARY) - {"run", "ended"}):
                raise TypeError("a summary holds numbers")
            if result.get("sha256", _checksum(summary)) != _checksum(summary):
                raise ValueError("it is not what its checksum was made of")
            return {**summary, "run": str(self.path)}  # a folder may have been moved since
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(f"{file}: damaged: remove it and --resume the run") from error

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the summary, and its checksum."""
        with atomic_write(self["result.json"]) as file:
            file.write_text(json.dumps({**result, "sha256": _checksum(result)}, indent=2) + "\n", **_TEXT)

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write metrics.csv anew: after a resume it holds no line that the checkpoint does not know of."""
        if not history:
            self["metrics.csv"].unlink(missing_ok=True)
            return
        with atomic_write(self["metrics.csv"]) as file, file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(history[0]))
            writer.writeheader()
            writer.writerows(history)

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: the run folder cannot be written: {error.strerror}")


def read_toml(file: Path) -> dict[str, Any]:
    """The values in a TOML file; raises OSError, and ValueError for text that is not TOML or far too long."""
    with file.open(**_TEXT) as stream:
        text = stream.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise ValueError(f"expected at most {_LONGEST:,} characters, it is longer")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("values inside values, too deep to be read") from error


def _checksum(summary: Mapping[str, Any]) -> str:
    """Of a summary but for the folder's name, which may change."""
    return hashlib.sha256(json.dumps([summary[key] for key in SUMMARY if key != "run"]).encode()).hexdigest()


def _toml(value: str | float) -> str:
    """A value in TOML: JSON's numbers, truth values and strings, but no pairs of surrogates and no bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
