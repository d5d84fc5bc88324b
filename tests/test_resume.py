"""Resuming: a run that was stopped, in whatever way, ends with the bits of one that never was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minicnn import checkpoint, files, training
from minicnn.apps import train
from tests.programs import (
    PLAIN,
    Result,
    arrays,
    environment,
    leave_out_reports,
    metrics_without_times,
    minicnn,
    stop_after,
)

WEIGHTS = ("last.safetensors", "best.safetensors", "state.safetensors")
EVERYTHING = (
    *PLAIN,
    *("--mixup", 0.4, "--ema", 0.9, "--crop", 2, "--degrees", 10, "--erase", 0.5, "--label-smoothing", 0.1),
    *("--schedule", "plateau", "--warmup", 1.5, "--clip", 1, "--class-weights", "yes", "--seed", 3),
)
ADAM = (*PLAIN, "--optimizer", "adamw", "--lr", 0.01, "--schedule", "onecycle", "--shuffle", "no")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which takes longer than so small a training."""
    leave_out_reports(monkeypatch)


@pytest.fixture(scope="module")
def never_stopped(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the folder of a run with some options that was never stopped."""
    runs: dict[tuple[object, ...], Path] = {}

    def folder(options: tuple[object, ...] = PLAIN) -> Path:
        if options not in runs:
            runs[options] = tmp_path_factory.mktemp("straight") / "run"
            assert minicnn("train", "--data", faces, *options, "--out", runs[options]).code == 0
        return runs[options]

    return folder


def assert_same_bits(run: Path, straight: Path) -> None:
    for name in WEIGHTS:
        ours, theirs = arrays(run / name), arrays(straight / name)
        assert list(ours) == list(theirs), name
        assert all(np.array_equal(ours[key], theirs[key], equal_nan=True) for key in ours), name
    assert metrics_without_times(run) == metrics_without_times(straight)
    assert len(metrics_without_times(run)) > 1


class KilledError(BaseException):
    """Ends a run as kill -9 would: nothing catches it."""


def die() -> None:
    raise KilledError


def killed_run(*arguments: object) -> None:
    with pytest.raises(KilledError):
        minicnn("train", *arguments)


# Interrupted


@pytest.mark.parametrize(
    ("options", "steps"),
    [(EVERYTHING, 1), (EVERYTHING, 3), (EVERYTHING, 5), (EVERYTHING, 9), (PLAIN, 4), (ADAM, 4)],
    ids=["first step", "end of an epoch", "mid-epoch", "last step", "plain", "adam"],
)
def test_after_ctrl_c_it_goes_on_bit_for_bit(
    faces: Path,
    tmp_path: Path,
    never_stopped: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    steps: int,
) -> None:
    straight = never_stopped(options)
    with monkeypatch.context() as patch:
        stop_after(patch, steps, lambda: signal.raise_signal(signal.SIGINT))
        code = minicnn("train", "--data", faces, *options, "--out", tmp_path / "run").code
    assert code == (0 if steps == 9 else 1)  # the last step is the end in any case
    assert minicnn("train", "--resume", tmp_path / "run").code == 0
    assert_same_bits(tmp_path / "run", straight)


def test_interrupted_again_and_again_it_goes_on_bit_for_bit(
    faces: Path, tmp_path: Path, never_stopped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = never_stopped(EVERYTHING)
    arguments: tuple[object, ...] = ("--data", faces, *EVERYTHING, "--out", tmp_path / "run")
    codes = []
    while not codes or codes[-1]:
        assert len(codes) < 9
        with monkeypatch.context() as patch:
            stop_after(patch, 1, lambda: signal.raise_signal(signal.SIGINT))
            codes.append(minicnn("train", *arguments).code)
        arguments = ("--resume", tmp_path / "run")
    assert codes == [1] * 8 + [0]
    assert_same_bits(tmp_path / "run", straight)


# Killed


@pytest.mark.parametrize("seconds", [0, 3600], ids=["a checkpoint every step", "a checkpoint every epoch"])
@pytest.mark.parametrize("steps", [1, 5, 6, 8], ids="after {} steps".format)
def test_after_dying_between_steps_it_goes_on_bit_for_bit(
    faces: Path,
    tmp_path: Path,
    never_stopped: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    seconds: float,
) -> None:
    straight = never_stopped(EVERYTHING)
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", seconds)
    with monkeypatch.context() as patch:
        stop_after(patch, steps, die)
        killed_run("--data", faces, *EVERYTHING, "--out", tmp_path / "run")
    done = checkpoint.load_state(tmp_path / "run" / "state.safetensors")[1]
    assert 3 * done["epoch"] + done["step"] == (steps - 1 if seconds == 0 else (steps - 1) // 3 * 3)
    assert minicnn("train", "--resume", tmp_path / "run").code == 0
    assert_same_bits(tmp_path / "run", straight)


def test_after_dying_at_any_write_it_goes_on_bit_for_bit(
    faces: Path, tmp_path: Path, never_stopped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each rename of the run but the first, which makes the run, and so between any two files."""
    options = (*PLAIN, "--epochs", 2)
    straight = never_stopped(options)
    replace = os.replace
    written: list[str] = []

    def dying_at(number: int) -> Callable[[Path, Path], None]:
        def rename(source: Path, target: Path) -> None:
            written.append(target.name)
            if len(written) == number:
                raise KilledError
            replace(source, target)

        return rename

    def run(folder: Path, number: int) -> None:
        written.clear()
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", dying_at(number))
            minicnn("train", "--data", faces, *options, "--out", folder)

    run(tmp_path / "whole", 0)
    everything = list(written)
    assert everything[:3] == ["config.toml", "last.safetensors", "state.safetensors"]
    assert everything[-1] == "result.json"
    for number in range(2, len(everything) + 1):
        folder = tmp_path / f"dies-at-{number}"
        with pytest.raises(KilledError):
            run(folder, number)
        assert written == everything[:number]
        assert minicnn("train", "--resume", folder).code == 0
        assert_same_bits(folder, straight)


def test_a_run_that_died_before_its_first_checkpoint_gets_one_before_its_first_step(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_weights", lambda *_: die())
        killed_run("--data", faces, *PLAIN, "--out", tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.toml"]
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "_train_on", lambda *_: die())
        killed_run("--resume", tmp_path / "run")
    assert (tmp_path / "run" / "last.safetensors").exists()


DRIVER = """
import os, signal, sys, time
from pathlib import Path
from minicnn import files, optim
from minicnn.apps import cli, train
from minicnn.apps.progress import TrainingBar

moment, marker, *arguments = sys.argv[1:]
kind, _, number = moment.partition(" ")
train._Run._write_report = lambda *_: None
train.CHECKPOINT_SECONDS = 0
count = 0

def wait_at(function):
    def counted(*given, **named):
        global count
        count += 1
        if count == int(number):
            Path(marker).touch()
            stop = time.monotonic() + 60
            while time.monotonic() < stop and not (kind == "step" and given[0].trainer.stopping):
                time.sleep(0.01)
        return function(*given, **named)
    return counted

if kind == "step":
    TrainingBar.step = wait_at(TrainingBar.step)
elif kind == "update":
    optim.SGD.step = wait_at(optim.SGD.step)
else:
    files.os.replace = wait_at(files.os.replace)
sys.argv = ["minicnn", "train", *arguments]
cli.main()
"""
"""A run that waits for a signal at a moment: after a step, before an update of the weights, before a rename."""


def signaled(moment: str, number: int, folder: Path, *arguments: object) -> Result:
    """Start a run in a process of its own, send it a signal when it has come to `moment`, and wait for its end."""
    marker = folder.with_name("here")
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, moment, str(marker), *map(str, arguments), "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        while not marker.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return Result(process.returncode, out, err)


@pytest.mark.parametrize("moment", ["step 4", "update 8", "rename 13"])
def test_after_kill_9_it_goes_on_bit_for_bit(
    faces: Path, tmp_path: Path, never_stopped: Callable[..., Path], moment: str
) -> None:
    straight = never_stopped(EVERYTHING)
    result = signaled(moment, signal.SIGKILL, tmp_path / "run", "--data", faces, *EVERYTHING)
    assert result.code == -signal.SIGKILL
    assert not (tmp_path / "run" / "result.json").exists()
    left = {path.name for path in (tmp_path / "run").glob(".*")}
    assert bool(left) == moment.startswith("rename")
    assert minicnn("train", "--resume", tmp_path / "run").code == 0
    assert not list((tmp_path / "run").glob(".*"))
    assert_same_bits(tmp_path / "run", straight)


def test_ctrl_c_from_outside_ends_a_run_cleanly_and_it_goes_on_bit_for_bit(
    faces: Path, tmp_path: Path, never_stopped: Callable[..., Path]
) -> None:
    straight = never_stopped(EVERYTHING)
    result = signaled("step 5", signal.SIGINT, tmp_path / "run", "--data", faces, *EVERYTHING, "--json")
    assert result.code == 1
    assert json.loads(result.out)["ended"] == "interrupted"
    assert "Traceback" not in result.err
    assert result.err.endswith(f"minicnn: interrupted: minicnn train --resume {tmp_path / 'run'} goes on\n")
    assert checkpoint.load_state(tmp_path / "run" / "state.safetensors")[1]["step"] == 2
    assert minicnn("train", "--resume", tmp_path / "run").code == 0
    assert_same_bits(tmp_path / "run", straight)


# On other threads, in another place, with options given again


@pytest.fixture
def interrupted(faces: Path, tmp_path: Path) -> Path:
    """The folder of a run that was interrupted in its second epoch."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4, lambda: signal.raise_signal(signal.SIGINT))
        assert minicnn("train", "--data", faces, *PLAIN, "--out", tmp_path / "run").code == 1
    return tmp_path / "run"


def test_any_number_of_threads_gives_the_same_bits(
    faces: Path, tmp_path: Path, never_stopped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = never_stopped(EVERYTHING)
    with monkeypatch.context() as patch:
        stop_after(patch, 4, lambda: signal.raise_signal(signal.SIGINT))
        minicnn("train", "--data", faces, *EVERYTHING, "--threads", 1, "--out", tmp_path / "run")
    assert minicnn("train", "--resume", tmp_path / "run", "--threads", 3).code == 0
    assert_same_bits(tmp_path / "run", straight)


def test_a_folder_that_was_moved_goes_on_where_it_is(
    interrupted: Path, tmp_path: Path, never_stopped: Callable[..., Path]
) -> None:
    moved = interrupted.rename(tmp_path / "moved")
    result = minicnn("train", "--resume", moved, "--json")
    assert json.loads(result.out)["run"] == str(moved)
    assert_same_bits(moved, never_stopped(PLAIN))


def test_a_run_of_before_there_were_three_contrasts_goes_on(
    interrupted: Path, never_stopped: Callable[..., Path]
) -> None:
    file = interrupted / "config.toml"
    file.write_text(file.read_text().replace('contrast = "equalize"', "equalize = true"))
    arrays, values = checkpoint.load_state(interrupted / "state.safetensors")
    older = {name: value for name, value in values["config"].items() if name != "contrast"}
    checkpoint.save_state(interrupted / "state.safetensors", arrays, {**values, "config": {**older, "equalize": True}})
    assert minicnn("train", "--resume", interrupted).code == 0
    assert_same_bits(interrupted, never_stopped(PLAIN))


def test_options_given_again_that_agree_are_welcome(
    interrupted: Path, faces: Path, never_stopped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(faces.parent)
    again = ("--data", "faces.csv", *PLAIN, "--protocol", "official", "--config", interrupted / "config.toml")
    assert minicnn("train", "--resume", interrupted, *again).code == 0
    assert_same_bits(interrupted, never_stopped(PLAIN))


# A run that is over


def test_a_finished_run_gives_its_summary_again_and_trains_no_more(
    never_stopped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = never_stopped(PLAIN)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    monkeypatch.setattr(train, "load_data", lambda _: pytest.fail("read the data again"))
    result = minicnn("train", "--resume", folder, "--json")
    assert result.code == 0
    assert json.loads((folder / "result.json").read_text()).items() > json.loads(result.out).items()
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == before


def test_a_finished_run_that_was_moved_says_where_it_is(never_stopped: Callable[..., Path], tmp_path: Path) -> None:
    moved = shutil.copytree(never_stopped(PLAIN), tmp_path / "moved")
    assert json.loads(minicnn("train", "--resume", moved, "--json").out)["run"] == str(moved)


def test_a_run_whose_result_was_removed_writes_it_again(never_stopped: Callable[..., Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(never_stopped(PLAIN), tmp_path / "run"))
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").unlink()
    assert minicnn("train", "--resume", copy).code == 0
    assert json.loads((copy / "result.json").read_text()) == {**result, "run": str(copy)}
