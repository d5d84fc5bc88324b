"""The profile of a training: what its table says, and that training is the same with it."""

import json
import re
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from minicnn import kernels, models, nn
from minicnn.apps import profile
from minicnn.apps.profile import Profile, Row, format_profile
from minicnn.data.dataset import CLASSES, Dataset, Split
from minicnn.data.loader import Batch, Loader
from minicnn.data.synthetic import draw_faces
from minicnn.recipes import Recipe
from minicnn.training import Trainer
from tests.programs import TINY, arrays, minicnn, write_faces


@pytest.fixture
def trainer() -> Trainer:
    """Three steps an epoch, two epochs; the last batch is smaller."""
    images, labels = draw_faces(27, (0, 0))
    splits = {"train": Split(images[:20], labels[:20]), "val": Split(images[20:], labels[20:])}
    dataset = Dataset("drawn", CLASSES, splits, sha256="")
    return Trainer(Recipe(layers=2, batch_size=8, epochs=2, warmup=0.0), dataset)


@pytest.fixture(autouse=True)
def array_code() -> Iterator[None]:
    """Nothing here is to be compiled."""
    with kernels.using("im2col"):
        yield


def watched(trainer: Trainer) -> Profile:
    """The profile of the whole training."""
    watch = Profile(trainer)
    with watch.watching():
        trainer.fit(watch.step, lambda _: None)
    return watch


@pytest.fixture
def gpu_trainer(gpu: Any, array_code: None) -> Iterator[Trainer]:
    """The same, on a GPU and by its own kernels."""
    images, labels = draw_faces(15, (0, 0))
    small = np.ascontiguousarray(images[:, ::4, ::4])
    splits = {"train": Split(small[:10], labels[:10]), "val": Split(small[10:], labels[10:])}
    network = nn.Sequential(nn.ConvBlock(1, 8, pool=2), nn.Flatten(), nn.Linear(288, 7))
    with kernels.using("fast"), patch.object(models, "build", lambda *_: network):
        yield Trainer(
            Recipe(layers=2, batch_size=4, epochs=2, warmup=0.0), Dataset("drawn", CLASSES, splits, sha256=""), "gpu"
        )


def table(text: str) -> dict[str, list[str]]:
    """The lines of the table by their first column."""
    lines = [re.split(r"\s{2,}", line) for line in text.splitlines()[2:] if "  " in line]
    return {name: cells for name, *cells in lines}


# What is measured


def test_a_gpus_steps_run_as_python_so_that_each_operation_shows(gpu_trainer: Trainer) -> None:
    watch = watched(gpu_trainer)
    assert {row.calls for row in watch.rows.values()} == {5}
    assert watch.rows["ConvBlock", (8, 6, 6)].rung == "cuda"
    steps = gpu_trainer.gpu_steps
    assert steps is not None
    assert (steps.replayed, steps.replay) == (0, True)
    assert format_profile(watch).endswith("without --profile, steps are recorded and replayed as one")


def test_a_step_that_cannot_be_recorded_is_told_with_its_reason(gpu_trainer: Trainer) -> None:
    with kernels.using("im2col"):
        text = format_profile(watched(gpu_trainer))
    assert "also without --profile, steps run as Python: they cannot be recorded (" in text.splitlines()[-1]


def test_the_first_step_and_the_validation_do_not_count(trainer: Trainer) -> None:
    watch = watched(trainer)
    assert (watch.steps, watch.first is not None) == (5, True)
    assert {row.calls for row in watch.rows.values()} == {5}


def test_layers_of_one_kind_are_told_apart_by_their_output(trainer: Trainer) -> None:
    watch = watched(trainer)
    assert [key for key in watch.rows if key[0] == "ConvBlock"] == [
        ("ConvBlock", (32, 24, 24)),
        ("ConvBlock", (64, 12, 12)),
    ]


def test_every_operation_has_its_rung_times_and_largest_output(trainer: Trainer) -> None:
    watch = watched(trainer)
    block = watch.rows["ConvBlock", (32, 24, 24)]
    assert (block.rung, block.output) == ("im2col", 8 * 32 * 24 * 24 * 4)
    assert block.forward > 0
    assert block.backward > 0
    assert watch.rows["Linear", (7,)].rung == "im2col"
    assert watch.rows["Reshape", (9216,)].rung == ""
    assert (watch.optimizer.rung, watch.optimizer.calls) == ("im2col", 5)


def test_the_parts_add_up_to_the_step(trainer: Trainer) -> None:
    watch = watched(trainer)
    parts = sum(row.forward + row.backward for row in [*watch.rows.values(), watch.optimizer]) + watch.waiting
    assert 0 < parts < watch.seconds


def test_the_wait_for_data_is_told_apart(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Loader._batches

    def slow(loader: Loader, number: int, start: int) -> Generator[Batch, None, None]:
        for batch in prepared(loader, number, start):
            time.sleep(0.02)
            yield batch

    monkeypatch.setattr(Loader, "_batches", slow)
    watch = watched(trainer)
    assert watch.steps * 0.02 <= watch.waiting < watch.seconds


def test_what_was_watched_is_left_as_it_was(trainer: Trainer) -> None:
    watched(trainer)
    assert "epoch" not in vars(trainer.loader)
    assert "step" not in vars(trainer.optimizer)


def test_a_kernel_that_falls_to_array_code_is_marked(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    from minicnn.kernels.dropout import im2col

    forward = im2col.forward

    def falls(*arguments: object) -> object:
        kernels.fall_back("dropout")
        return forward(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(im2col, "forward", falls)
    watch = watched(trainer)
    assert {name: row.fell for (name, _), row in watch.rows.items() if row.fell} == {"Dropout": 10}
    text = format_profile(watch)
    assert table(text)["Dropout → 9216"][0].startswith("im2col !10")
    assert text.splitlines()[-1].startswith("!: ")


# The table


def test_the_table_has_milliseconds_a_step_and_shares(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "peak_mb", lambda: 1234.5)
    watch = Profile(trainer)
    watch.first, watch.steps, watch.seconds, watch.waiting = 2.5, 10, 1.0, 0.1
    watch.rows = {("Conv2d", (8, 4, 4)): Row("cpu", 20, 0.2, 0.4, 3_000_000), ("Sum", ()): Row("", 10, 0.05)}
    watch.optimizer = Row("im2col", 10, 0.15)
    lines = format_profile(watch).splitlines()
    assert lines[0] == "profile of 10 steps, 100.0 ms each; the first, which took 2.50 s, does not count"
    assert [line.split() for line in lines[2:]] == [
        ["Conv2d", "→", "8x4x4", "cpu", "20", "20.00", "40.00", "60.0%", "3.00"],
        ["Sum", "10", "5.00", "5.0%"],
        ["AdamW", "im2col", "10", "15.00", "15.0%"],
        ["waiting", "for", "data", "10.00", "10.0%"],
        ["other", "10.00", "10.0%"],
        ["peak", "resident", "memory:", "1,234", "MB"],
    ]


def test_one_step_has_nothing_to_show(trainer: Trainer) -> None:
    watch = Profile(trainer)

    def stop() -> None:
        watch.step()
        trainer.stopping = True

    with watch.watching():
        trainer.fit(stop, lambda _: None)
    assert format_profile(watch).startswith("profile: nothing to show")


# The command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path / "faces.csv")
    return tmp_path


def test_train_prints_the_table_on_stderr_and_trains_the_same(here: Path) -> None:
    command = ("train", "--data", "faces.csv", *TINY, "--kernels", "im2col", "--json")
    plain = minicnn(*command, "--out", "plain")
    watched = minicnn(*command, "--out", "watched", "--profile")
    assert (plain.code, watched.code) == (0, 0)
    assert "profile of" not in plain.err
    assert "profile of 7 steps" in watched.err
    assert set(json.loads(watched.out)) == set(json.loads(plain.out))
    assert {"AdamW", "waiting for data", "other"} <= {name.strip() for name in table(watched.err)}
    assert re.search(r"^peak resident memory: [\d,]+ MB$", watched.err, re.MULTILINE)
    weights = [arrays(here / run / "last.safetensors") for run in ("plain", "watched")]
    for name, array in weights[0].items():
        np.testing.assert_array_equal(weights[1][name], array)


def test_a_resumed_run_is_profiled_too(here: Path) -> None:
    minicnn("train", "--data", "faces.csv", *TINY, "--kernels", "im2col", "--out", "run", "--time-limit", 1e-9)
    result = minicnn("train", "--resume", "run", "--kernels", "im2col", "--profile")
    assert result.code == 0
    assert "profile of 6 steps" in result.err
