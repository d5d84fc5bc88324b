"""Resuming: what is refused, and how: options that disagree, data that has changed, files that are damaged."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from minicnn import checkpoint, files
from minicnn.apps import train
from minicnn.apps.run_folder import SUMMARY, RunFolder
from minicnn.files import locked
from tests.programs import PLAIN, leave_out_reports, minicnn, stop_after, write_faces


@pytest.fixture(scope="module")
def interrupted_once(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was interrupted after the second step of its second epoch."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 5, lambda: signal.raise_signal(signal.SIGINT))
        leave_out_reports(patch)
        assert minicnn("train", "--data", faces, *PLAIN, "--out", folder).code == 1
    return folder


@pytest.fixture
def interrupted(interrupted_once: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(interrupted_once, tmp_path / "run"))


# Options given again


@pytest.mark.parametrize(
    ("options", "ours", "theirs"),
    [
        (("--epochs", 4), "--epochs 4", "3"),
        (("--lr", 0.2), "--lr 0.2", "0.1"),
        (("--layers", 3), "--layers 3", "2"),
        (("--preset", "bench"), "--preset bench", "default"),
        (("--data", "synthetic"), "--data synthetic", "faces.csv"),
        (("--protocol", "paper"), "--protocol paper", "official"),
        (("--limit", 5), "--limit 5", "0"),
        (("--flip", "no"), "--flip False", "True"),
    ],
)
def test_an_option_that_disagrees_is_wrong_usage_and_names_both_values(
    interrupted: Path, options: tuple[object, ...], ours: str, theirs: str
) -> None:
    before = {path.name: path.read_bytes() for path in interrupted.iterdir()}
    result = minicnn("train", "--resume", interrupted, *options)
    assert (result.code, result.out) == (2, "")
    line = result.err.splitlines()[-1]
    assert line.startswith(f"Error: {ours} does not agree with the run in {interrupted}, which has ")
    assert f"{theirs}: leave it out" in line
    assert {path.name: path.read_bytes() for path in interrupted.iterdir()} == before


def test_options_from_a_variable_or_a_file_must_agree_too(
    interrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.toml").write_text("epochs = 4\n")
    result = minicnn("train", "--resume", interrupted, "--config", tmp_path / "other.toml")
    assert (result.code, "--epochs 4 does not agree" in result.err) == (2, True)
    monkeypatch.setenv("MINICNN_TRAIN_EPOCHS", "5")
    result = minicnn("train", "--resume", interrupted)
    assert (result.code, "--epochs 5 does not agree" in result.err) == (2, True)


def test_a_new_folder_beside_resume_is_wrong_usage(interrupted: Path, tmp_path: Path) -> None:
    result = minicnn("train", "--resume", interrupted, "--out", tmp_path / "new")
    assert (result.code, "--out and --resume name two folders" in result.err) == (2, True)


# What cannot be resumed


def refusal(folder: Path) -> str:
    """The one line for a run that cannot be resumed."""
    result = minicnn("train", "--resume", folder)
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    return line.removeprefix("minicnn: ")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: expected a run folder, with a config.toml in it"
    assert refusal(tmp_path / "no") == f"{tmp_path / 'no'}: expected a run folder, with a config.toml in it"


def test_data_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    data = write_faces(tmp_path / "faces.csv", training=30)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2, lambda: signal.raise_signal(signal.SIGINT))
        minicnn("train", "--data", data, *PLAIN, "--out", tmp_path / "run")
    write_faces(data, training=30, seed=1)
    assert "the data has changed since" in refusal(tmp_path / "run")
    data.unlink()
    assert refusal(tmp_path / "run").startswith(f"{data}: no such file or folder")


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_state_is_refused(interrupted: Path, part: float) -> None:
    state = interrupted / "state.safetensors"
    content = state.read_bytes()
    state.write_bytes(content[: int(part * len(content))])
    assert refusal(interrupted).startswith(f"{state}: expected a whole .safetensors file, got ")


def test_weights_in_the_place_of_the_state_are_refused(interrupted: Path) -> None:
    state = interrupted / "state.safetensors"
    state.write_bytes((interrupted / "last.safetensors").read_bytes())
    assert refusal(interrupted) == f"{state}: expected a training's state, it holds a network's weights"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("layers = 2", "layers = 3"),
        ('optimizer = "sgd"', 'optimizer = "adamw"'),
        ("ema = 0.0", "ema = 0.9"),
        ('schedule = "cosine"', 'schedule = "plateau"'),
        ("batch_size = 8", "batch_size = 30"),
    ],
)
def test_a_state_of_another_configuration_is_refused(interrupted: Path, old: str, new: str) -> None:
    config = interrupted / "config.toml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    assert "does not fit the run's configuration" in refusal(interrupted)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lr = 0.1\n", "lr = 0.3\n"),
        ("epochs = 3", "epochs = 7"),
        ("limit = 0", "limit = 8"),
        ("shuffle = true", "shuffle = false"),
    ],
)
def test_a_configuration_that_was_changed_since_is_refused_before_anything_is_computed(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    config = interrupted / "config.toml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    monkeypatch.setattr(train, "load_data", lambda _: pytest.fail("read the data"))
    line = refusal(interrupted)
    assert "does not fit the run's configuration: config.toml says " in line
    assert line.endswith(": put that back")


def test_damaged_best_weights_are_told_before_training_and_not_after(interrupted: Path) -> None:
    best = interrupted / "best.safetensors"
    content = bytearray(best.read_bytes())
    content[-1] ^= 1
    best.write_bytes(content)
    assert refusal(interrupted).startswith(f"{best}: damaged: ")


def test_a_run_that_another_process_trains_is_refused_and_left_alone(interrupted: Path) -> None:
    (interrupted / ".last.safetensors.1.tmp").write_text("the other's")
    with locked(interrupted):
        line = refusal(interrupted)
        again = minicnn("train", "--data", "synthetic", *PLAIN, "--out", interrupted)
    assert line == f"{interrupted} is being trained by another process: wait for it, or stop it"
    assert again.err.splitlines()[-1] == f"minicnn: {line}"
    assert (interrupted / ".last.safetensors.1.tmp").exists()


def test_a_disk_that_is_full_is_told_with_what_to_do(interrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert refusal(interrupted) == (
        f"{interrupted / 'metrics.csv'}: No space left on device; what was saved is whole: once this is mended, "
        f"minicnn train --resume {interrupted} goes on"
    )


@pytest.mark.parametrize("name", ["epoch", "rng", "schedule", "optimizer_count", "sums", "data"])
def test_a_state_that_lacks_a_value_is_refused(interrupted: Path, name: str) -> None:
    state = interrupted / "state.safetensors"
    saved, values = checkpoint.load_state(state)
    checkpoint.save_state(state, saved, {key: value for key, value in values.items() if key != name})
    assert refusal(interrupted) == f"{state}: does not fit the run's configuration: '{name}'"


def test_a_state_whose_numbers_no_float_holds_is_refused(interrupted: Path) -> None:
    state = interrupted / "state.safetensors"
    saved, values = checkpoint.load_state(state)
    checkpoint.save_state(state, saved, {**values, "sums": {**values["sums"], "seen": 10**400}})
    assert refusal(interrupted) == (
        f"{state}: does not fit the run's configuration: expected numbers in the history, the sums and the schedule"
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "data"),
        ("layers = ", "Invalid value"),
        ('data = "synthetic"\nprotocol = "official"\nlimit = 0\ncolor = "blue"\n', "unknown color"),
        ('data = "synthetic"\nprotocol = "official"\nlimit = 0\nlayers = 99\n', "layers: expected 2 to 8, got 99"),
        ('data = "synthetic"\nprotocol = "official"\nlimit = 0\nepochs = "3"\n', "epochs"),
        ('data = "synthetic"\nprotocol = "official"\nlimit = 0\nepochs = 2.5\n', "epochs"),
        ('data = "synthetic"\nprotocol = "official"\nlimit = 0\nepochs = [3]\n', "epochs"),
        ('data = "synthetic"\nprotocol = "official"\nlimit = "all"\n', "limit"),
        ('data = 3\nprotocol = "official"\nlimit = 0\n', "data"),
        ('data = "synthetic"\nprotocol = "odd"\nlimit = 0\n', "protocol"),
    ],
)
def test_a_damaged_configuration_is_refused(interrupted: Path, config: str, reason: str) -> None:
    file = interrupted / "config.toml"
    file.write_text(config)
    line = refusal(interrupted)
    assert line.startswith(f"{file}: the run's configuration is damaged: ")
    assert reason in line


def test_a_result_that_was_changed_is_refused(interrupted: Path) -> None:
    folder = RunFolder(interrupted)
    folder.write_result({**dict.fromkeys(SUMMARY, 1), "val_accuracy": 0.51})
    file = folder["result.json"]
    file.write_text(file.read_text().replace("0.51", "0.71"))
    assert refusal(interrupted) == f"{file}: damaged: remove it and --resume the run"


def test_a_result_of_before_there_were_checksums_is_read(interrupted: Path) -> None:
    summary = dict.fromkeys(SUMMARY, 1)
    (interrupted / "result.json").write_text(json.dumps(summary))
    result = minicnn("train", "--resume", interrupted, "--json")
    assert json.loads(result.out) == {**summary, "run": str(interrupted)}


@pytest.mark.parametrize("result", ["", "{", "[]", "3", "{}", '{"run": "x"}', "\x00"])
def test_a_damaged_result_is_refused(interrupted: Path, result: str) -> None:
    file = interrupted / "result.json"
    file.write_text(result)
    assert refusal(interrupted) == f"{file}: damaged: remove it and --resume the run"


@pytest.mark.parametrize("name", ["odd", "model.odd", "optimizer.odd", "ema.odd"])
def test_a_state_with_arrays_that_have_no_place_is_refused(interrupted: Path, name: str) -> None:
    saved, values = checkpoint.load_state(interrupted / "state.safetensors")
    checkpoint.save_state(interrupted / "state.safetensors", {**saved, name: np.zeros(1, "float32")}, values)
    assert "does not fit the run's configuration" in refusal(interrupted)
