"""A training run: what `minicnn train` leaves in its folder and on its streams, and how it ends."""

import csv
import json
import re
import signal
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from minicnn import checkpoint, training
from minicnn.apps.progress import TrainingBar
from minicnn.data import fer2013, synthetic
from tests.programs import TINY, Result, in_process_of_its_own, leave_out_reports, minicnn, stop_after, write_faces

KEYS = {"run", "layers", "epochs", "val_accuracy", "val_loss", "images_per_second", "seconds"}
FILES = {
    "config.toml",
    "metrics.csv",
    "curves.png",
    "confusion.png",
    "report.html",
    "best.safetensors",
    "last.safetensors",
    "state.safetensors",
    "result.json",
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("data") / "faces.csv")


@pytest.fixture(scope="module")
def done(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run of two epochs, and what it printed with --json: as a program of its own, so that nothing is hidden."""
    folder = tmp_path_factory.mktemp("runs") / "deep" / "run"
    return folder, in_process_of_its_own("train", "--data", faces, *TINY, "--out", folder, "--json")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with no FER2013 imported."""
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which takes longer than so small a training."""
    leave_out_reports(monkeypatch)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The run folder


def test_a_run_folder_holds_the_files_that_the_design_names_and_no_other(done: tuple[Path, Result]) -> None:
    assert files(done[0]) == FILES


def test_config_toml_holds_every_option_of_the_run(done: tuple[Path, Result], faces: Path) -> None:
    config = tomllib.loads((done[0] / "config.toml").read_text())
    assert config["data"] == str(faces)
    assert (config["layers"], config["batch_size"], config["epochs"], config["seed"]) == (2, 16, 2, 0)
    assert config["protocol"] == "official"


def test_metrics_csv_has_a_line_an_epoch(done: tuple[Path, Result]) -> None:
    with (done[0] / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds"} <= set(rows[0])
    assert all(0 <= float(row["val_accuracy"]) <= 1 and float(row["val_loss"]) > 0 for row in rows)


@pytest.mark.parametrize("name", ["curves.png", "confusion.png"])
def test_the_figures_are_png_files(done: tuple[Path, Result], name: str) -> None:
    assert (done[0] / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_report_names_the_run_and_shows_its_figures(done: tuple[Path, Result]) -> None:
    html = (done[0] / "report.html").read_text()
    summary = json.loads(done[1].out)
    for text in ("2 layers on FER2013", "Loss and accuracy of training", "Confusion matrix: each row", summary["run"]):
        assert text in html
    assert html.count('src="data:image/png;base64,') == 2
    assert not re.search(r'(src|href)="(?!data:)', html)


def test_both_weights_files_can_be_used_and_say_what_they_are(done: tuple[Path, Result], faces: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        model, _, header = checkpoint.load_model(done[0] / name)
        assert sum(1 for _ in model.parameters()) > 0
        assert header.architecture == {"layers": 2, "preset": "default", "classes": 7}
        assert header.labels == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
        assert header.data["name"] == str(faces)
        assert len(header.data["sha256"]) == 64


def test_best_holds_the_weights_of_the_epoch_with_the_best_validation_accuracy(done: tuple[Path, Result]) -> None:
    with (done[0] / "metrics.csv").open(newline="") as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    _, header = checkpoint.load_weights(done[0] / "best.safetensors")
    assert header.metrics["epoch"] == 1 + int(np.argmax(accuracies))
    assert header.metrics["val_accuracy"] == max(accuracies)


def test_last_weights_are_there_before_the_first_step(faces: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        assert {"last.safetensors", "state.safetensors", "config.toml"} <= files(here / "run")
        raise training.TrainingError("the first step")

    monkeypatch.setattr(training.Trainer, "_train_on", refuse)
    assert minicnn("train", "--data", faces, *TINY, "--out", "run").err.endswith("minicnn: the first step\n")
    assert checkpoint.load_model(here / "run" / "last.safetensors")


def test_the_averaged_weights_are_the_ones_that_are_kept(faces: Path, here: Path, no_report: None) -> None:
    minicnn("train", "--data", faces, *TINY, "--epochs", 1, "--ema", 0.9, "--out", "run")
    kept, state = load_file("run/last.safetensors"), load_file("run/state.safetensors")
    assert all(np.array_equal(kept[name], state[f"ema.{name}"]) for name in kept)
    assert not all(np.array_equal(kept[name], state[f"model.{name}"]) for name in kept)


# What it prints


def test_json_prints_one_document_on_stdout_and_nothing_else_there(done: tuple[Path, Result]) -> None:
    folder, result = done
    summary = json.loads(result.out)
    assert set(summary) >= KEYS
    assert summary["run"] == str(folder)
    assert (summary["layers"], summary["epochs"]) == (2, 2)
    assert 0 <= summary["val_accuracy"] <= 1
    assert summary["val_loss"] > 0
    assert summary["images_per_second"] > 0
    assert summary["seconds"] > 0
    assert result.code == 0


def test_the_summary_is_kept_in_the_folder(done: tuple[Path, Result]) -> None:
    kept = json.loads((done[0] / "result.json").read_text())
    assert len(kept.pop("sha256")) == 64
    assert kept == json.loads(done[1].out)


def test_progress_is_on_stderr_a_line_an_epoch_where_that_is_no_terminal(done: tuple[Path, Result]) -> None:
    lines = done[1].err.splitlines()
    assert lines[0].startswith("training 2 layers on ")
    assert [line.split(":")[0] for line in lines[1:]] == ["epoch 1/2", "epoch 2/2"]


def test_on_a_terminal_a_bar_shows_loss_accuracy_speed_and_time_left(faces: Path, here: Path, no_report: None) -> None:
    result = minicnn("train", "--data", faces, *TINY, "--epochs", 1, "--out", "run", "--json", terminal=True)
    assert json.loads(result.out)["epochs"] == 1
    last = re.split(r"[\r\n]+", result.err.strip())[-1]
    assert last.startswith("training: 100%")
    assert re.search(r"4/4 \[\d\d:\d\d<00:00, .*loss \d\.\d{3}, accuracy 0\.\d{3}, \d+ images/s", last)


def test_without_json_the_summary_is_text_that_names_the_report(faces: Path, here: Path) -> None:
    result = minicnn("train", "--data", faces, *TINY, "--epochs", 1, "--out", "run")
    assert result.code == 0
    assert re.fullmatch(
        r"1 epoch in \d+ s, \d+ images/s; best validation accuracy 0\.\d{4} \(epoch 1\)\nreport: run/report.html\n",
        result.out,
    )


# The folder and the data it is given


def test_runs_are_numbered_where_no_folder_is_given(faces: Path, here: Path, no_report: None) -> None:
    for number in (1, 2):
        result = minicnn("train", "--data", faces, *TINY, "--epochs", 1, "--json")
        assert json.loads(result.out)["run"] == f"runs/train-{number}"


def test_a_folder_with_a_run_in_it_is_refused_and_left_alone(faces: Path, done: tuple[Path, Result]) -> None:
    before = {path.name: path.read_bytes() for path in done[0].iterdir()}
    result = minicnn("train", "--data", faces, *TINY, "--out", done[0])
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith(f"minicnn: {done[0]}: holds a run already")
    assert {path.name: path.read_bytes() for path in done[0].iterdir()} == before


@pytest.mark.parametrize("out", ["a file", "a file/run", "/proc/run"])
def test_a_folder_that_cannot_be_made_is_one_line(faces: Path, here: Path, out: str) -> None:
    Path("a file").write_text("")
    result = minicnn("train", "--data", faces, *TINY, "--out", out)
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines()[1:] == [result.err.splitlines()[-1]]
    assert result.err.splitlines()[-1].startswith(f"minicnn: {out}: the run folder cannot be written: ")


def test_a_full_disk_is_one_line(faces: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "run/last.safetensors")

    monkeypatch.setattr(checkpoint, "save_weights", full)
    result = minicnn("train", "--data", faces, *TINY, "--out", "run")
    assert result.code == 1
    assert result.err.splitlines()[1:] == [
        "minicnn: run/last.safetensors: No space left on device; what was saved is whole: once this is mended, "
        "minicnn train --resume run goes on"
    ]


def test_data_that_is_not_there_leaves_no_folder_behind(here: Path) -> None:
    result = minicnn("train", "--data", "nowhere.csv", "--out", "run")
    assert result.code == 1
    assert "nowhere.csv: no such file or folder" in result.err
    assert not (here / "run").exists()


def test_data_without_images_to_train_on_is_one_line(here: Path) -> None:
    write_faces(here / "faces.csv", training=0)
    result = minicnn("train", "--data", "faces.csv", *TINY, "--out", "run")
    assert result.code == 1
    assert "expected a split 'train' to train, it has public" in result.err


@pytest.fixture
def few_drawn_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    few = synthetic.load(train=32, val=14, public=7)
    monkeypatch.setattr(synthetic, "load", lambda: few)


def test_with_no_data_named_and_none_imported_it_draws_faces_and_says_so(
    here: Path, no_report: None, few_drawn_faces: None
) -> None:
    result = minicnn("train", *TINY, "--epochs", 1, "--out", "run")
    assert result.code == 0
    assert result.err.startswith("training 2 layers on synthetic: run\n")
    assert tomllib.loads((here / "run" / "config.toml").read_text())["data"] == "synthetic"


def test_with_no_data_named_it_takes_fer2013_where_that_was_imported_and_says_so(
    faces: Path, here: Path, no_report: None
) -> None:
    fer2013.import_path(faces)
    result = minicnn("train", *TINY, "--epochs", 1, "--out", "run")
    assert result.code == 0
    assert result.err.startswith("training 2 layers on fer2013: run\n")


def test_a_path_with_any_characters_is_kept(faces: Path, here: Path, no_report: None) -> None:
    data = here / 'f😀 "quoted" \x7f\\n.csv'
    data.write_bytes(faces.read_bytes())
    assert minicnn("train", "--data", data, *TINY, "--epochs", 1, "--out", "rün").code == 0
    assert minicnn("train", "--resume", "rün", "--data", data).code == 0
    assert minicnn("eval", "rün").code == 0


def test_a_path_that_is_not_utf_8_trains_and_is_reported(faces: Path, here: Path) -> None:
    data = here / "f\udcff.csv"
    data.write_bytes(faces.read_bytes())
    result = minicnn("train", "--data", data, *TINY, "--epochs", 1, "--out", "r\udcfe")
    assert result.code == 0
    assert result.out.endswith("report: r\\udcfe/report.html\n")
    assert minicnn("train", "--resume", "r\udcfe").code == 0


# How it ends


def test_limit_takes_so_many_images_of_train_and_val(faces: Path, here: Path, no_report: None) -> None:
    seen: list[tuple[int, int]] = []

    def look(trainer: training.Trainer, *_: object) -> None:
        splits = trainer.dataset.splits
        seen.append((len(splits["train"]), len(splits["val"])))
        raise training.TrainingError("enough seen")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Trainer, "fit", look)
        for limit in (0, 5, 20, 1000):
            minicnn("train", "--data", faces, *TINY, "--limit", limit, "--out", f"run-{limit}")
    assert seen == [(53, 7), (5, 5), (20, 7), (53, 7)]


def test_a_time_limit_ends_the_run_well_and_it_can_go_on(
    faces: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = minicnn("train", "--data", faces, *TINY, "--time-limit", 1e-6, "--out", "run", "--json")
    assert result.code == 0
    assert json.loads(result.out)["ended"] == "time limit"
    assert result.err.endswith("minicnn: time limit: minicnn train --resume run goes on\n")
    assert checkpoint.load_state("run/state.safetensors")[1]["step"] == 1
    result = minicnn("train", "--resume", "run", "--json")
    assert (result.code, json.loads(result.out)["ended"]) == (0, "finished")
    assert files(here / "run") == FILES


def test_before_the_first_epoch_is_over_there_are_no_figures_to_report(faces: Path, here: Path) -> None:
    result = minicnn("train", "--data", faces, *TINY, "--time-limit", 1e-6, "--out", "run")
    assert result.out == "run: no epoch was finished\n"
    assert files(here / "run") == {"config.toml", "last.safetensors", "state.safetensors"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_takes_a_checkpoint_says_how_to_go_on_and_fails(
    faces: Path, here: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    stop_after(monkeypatch, 1, lambda: signal.raise_signal(number))
    result = minicnn("train", "--data", faces, *TINY, "--out", "run", "--json")
    assert result.code == 1
    assert json.loads(result.out)["ended"] == "interrupted"
    assert result.err.splitlines()[1:] == ["minicnn: interrupted: minicnn train --resume run goes on"]
    assert checkpoint.load_state("run/state.safetensors")[1]["step"] == 1


def test_a_second_interrupt_ends_it_at_once(faces: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(_bar: TrainingBar) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingBar, "step", twice)
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background ignores it
    try:
        result = minicnn("train", "--data", faces, *TINY, "--out", "run")
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert (result.code, result.out) == (1, "")
    assert result.err.endswith("\nminicnn: interrupted\n")
    assert checkpoint.load_state("run/state.safetensors")[1]["step"] == 0


def test_the_handlers_of_signals_are_given_back(faces: Path, here: Path, no_report: None) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    minicnn("train", "--data", faces, *TINY, "--epochs", 1, "--out", "run")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    ("batch_size", "where"),
    [(16, r"epoch 1, step 2: the loss is \w+"), (64, r"epoch 1, the validation loss is \w+")],
    ids=["in a step", "in the last step of an epoch"],
)
def test_a_training_that_diverges_stops_with_what_to_try_and_leaves_its_checkpoint(
    faces: Path, here: Path, batch_size: int, where: str
) -> None:
    result = minicnn("train", "--data", faces, *TINY, "--lr", 1e30, "--batch-size", batch_size, "--out", "run")
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()[1:]
    assert re.match(rf"minicnn: {where}\. Try a lower --lr \(it was .*\), --clip 1, or a longer --warmup", line)
    model, _, _ = checkpoint.load_model("run/last.safetensors")
    assert all(np.isfinite(parameter.data).all() for parameter in model.parameters())
    assert checkpoint.load_state("run/state.safetensors")[1]["step"] == 0


def test_early_stopping_finishes_a_run(faces: Path, here: Path, no_report: None) -> None:
    result = minicnn(
        "train", "--data", faces, *TINY, "--epochs", 9, "--lr", 0, "--patience", 1, "--out", "run", "--json"
    )
    summary = json.loads(result.out)
    assert (summary["epochs"], summary["best_epoch"], summary["ended"]) == (2, 1, "finished")
    assert minicnn("train", "--resume", "run", "--json").out == result.out
