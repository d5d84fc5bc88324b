"""The depth study: each depth trained once, beside the paper's tables; it goes on where it was stopped."""

import csv
import json
import re
import signal
from pathlib import Path

import pytest

from minicnn import training
from minicnn.apps import plots, train
from tests.programs import Result, arrays, leave_out_reports, minicnn, stop_after, write_faces

OPTIONS = ("--batch-size", 16, "--epochs", 1)


@pytest.fixture(autouse=True)
def no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report of each run, which takes longer than so small a training."""
    leave_out_reports(monkeypatch)


@pytest.fixture(scope="module")
def done(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A study of two depths, and what it printed."""
    folder = tmp_path_factory.mktemp("studies") / "study"
    with pytest.MonkeyPatch.context() as patch:
        leave_out_reports(patch)
        return folder, minicnn("study", "--data", faces, "--layers", "2-3", *OPTIONS, "--out", folder)


@pytest.fixture
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "plot_study", lambda *_: None)


def study(faces: Path, out: Path, *options: object) -> Result:
    return minicnn("study", "--data", faces, *OPTIONS, "--out", out, *options)


def rows_without_times(text: str) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in json.loads(text)["rows"]]


# What it leaves


def test_each_depth_has_a_run_folder_of_its_own(done: tuple[Path, Result]) -> None:
    folder, result = done
    assert result.code == 0
    assert {path.name for path in folder.iterdir()} == {
        *("layers-2-seed-0", "layers-3-seed-0"),
        *("study.csv", "study.json", "study.png", "study.txt"),
    }
    assert (folder / "layers-3-seed-0" / "best.safetensors").exists()


def test_a_row_says_what_was_trained_and_what_came_of_it(done: tuple[Path, Result], faces: Path) -> None:
    rows = json.loads((done[0] / "study.json").read_text())["rows"]
    assert [(row["layers"], row["seed"], row["epochs"]) for row in rows] == [(2, 0, 1), (3, 0, 1)]
    for row in rows:
        run = done[0] / f"layers-{row['layers']}-seed-0"
        assert row["metrics"] == json.loads(minicnn("eval", run, "--split", "val", "--json").out)
        trained = (a.size for name, a in arrays(run / "best.safetensors").items() if "running" not in name)
        assert row["parameters"] == sum(trained)


def test_text_and_csv_hold_the_papers_numbers_beside_ours(done: tuple[Path, Result]) -> None:
    text = (done[0] / "study.txt").read_text()
    macro, weighted = text.split("Table 2")
    line = next(line for line in macro.splitlines() if line.startswith("3 layers"))
    assert [float(number) for number in line.split()[2::2]] == [0.47, 0.53, 0.56, 0.46]
    line = next(line for line in weighted.splitlines() if line.startswith("3 layers"))
    assert [float(number) for number in line.split()[2::2]] == [0.61, 0.47, 0.51]
    with (done[0] / "study.csv").open(newline="") as file:
        two, three = csv.DictReader(file)
    assert (two["layers"], two["paper_accuracy"]) == ("2", "")  # the paper has no two layers
    assert (three["layers"], three["paper_accuracy"], three["paper_macro_f1"]) == ("3", "0.47", "0.46")
    rows = json.loads((done[0] / "study.json").read_text())["rows"]
    assert float(three["accuracy"]) == rows[1]["metrics"]["accuracy"]


def test_the_figure_is_a_png(done: tuple[Path, Result]) -> None:
    assert (done[0] / "study.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_stdout_holds_the_tables_and_stderr_says_which_run_is_on(done: tuple[Path, Result]) -> None:
    folder, result = done
    assert result.out == f"{(folder / 'study.txt').read_text()}\n{folder}: csv, txt, json, png\n"
    lines = [line for line in result.err.splitlines() if line.startswith("training: ")]
    assert lines == [f"training: {folder / name}" for name in ("layers-2-seed-0", "layers-3-seed-0")]


# Given again


def test_a_study_that_is_done_trains_nothing_again(
    done: tuple[Path, Result], faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = done
    files = [path for path in folder.glob("*/*") if path.is_file()]
    before = [path.stat().st_mtime_ns for path in files]
    monkeypatch.setattr(training.Trainer, "_train_on", lambda *_: pytest.fail("trained again"))
    result = study(faces, folder, "--layers", "2-3", "--json")
    assert result.code == 0
    assert json.loads(result.out)["rows"] == json.loads((folder / "study.json").read_text())["rows"]
    assert [path.stat().st_mtime_ns for path in files] == before


def test_a_study_that_was_interrupted_goes_on_to_the_same_rows(
    done: tuple[Path, Result], faces: Path, tmp_path: Path, no_figure: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 3, lambda: signal.raise_signal(signal.SIGINT))  # the first step of the second depth
        result = study(faces, tmp_path / "study", "--layers", "2-3")
    assert (result.code, result.out) == (1, "")
    folder = tmp_path / "study" / "layers-3-seed-0"
    assert result.err.splitlines()[-1] == f"minicnn: {folder}: interrupted: the same command goes on from here"
    assert len(json.loads((tmp_path / "study" / "study.json").read_text())["rows"]) == 1
    assert study(faces, tmp_path / "study", "--layers", "2-3").code == 0
    ours, theirs = (rows_without_times((path / "study.json").read_text()) for path in (tmp_path / "study", done[0]))
    assert ours == theirs


@pytest.mark.parametrize("options", [("--lr", 0.01), ("--epochs", 2), ("--limit", 5), ("--preset", "bench")])
def test_other_options_in_the_same_folder_are_refused(
    done: tuple[Path, Result], faces: Path, options: tuple[object, ...]
) -> None:
    before = (done[0] / "study.json").read_bytes()
    result = study(faces, done[0], "--layers", "2-3", *options)
    assert (result.code, result.out) == (1, "")
    line = result.err.splitlines()[-1]
    assert re.fullmatch(rf"minicnn: {done[0]}: is a study with other options \((.*)\): give another --out", line)
    assert str(options[0]).removeprefix("--") in line
    assert (done[0] / "study.json").read_bytes() == before


def test_results_are_enough_to_go_on_from_without_the_folders_of_the_runs(
    done: tuple[Path, Result], faces: Path, tmp_path: Path, no_figure: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    start = train.start
    monkeypatch.setattr(
        train, "start", lambda config, *a, **k: (trained.append(config.recipe.layers), start(config, *a, **k))[1]
    )
    of_before = json.loads((done[0] / "study.json").read_text())
    settings = of_before["settings"]
    settings["equalize"] = settings.pop("contrast") == "equalize"
    del settings["teachers"], settings["distill"]  # which are younger
    (tmp_path / "study.json").write_text(json.dumps(of_before))
    assert study(faces, tmp_path, "--layers", "3-4").code == 0
    assert trained == [4]
    rows = json.loads((tmp_path / "study.json").read_text())["rows"]
    assert [row["layers"] for row in rows] == [2, 3, 4]


def test_other_data_in_the_same_folder_is_refused(done: tuple[Path, Result], tmp_path: Path) -> None:
    other = write_faces(tmp_path / "faces.csv", training=40)
    assert "other options (sha256)" in study(other, done[0], "--layers", "2").err


ROW = '{"layers": 2, "seed": 0, "epochs": 1, "seconds": "x", "parameters": 1, "metrics": {}}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", '{"settings": {}, "rows": [{}]}'),
        '{"settings": {}, "rows": [{"layers": 2, "seed": 0}]}',
        f'{{"settings": {{}}, "rows": [{ROW}]}}',
    ],
)
def test_damaged_results_are_refused(faces: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    result = study(faces, tmp_path, "--layers", "2")
    assert (result.code, result.err.splitlines()[-1]) == (
        1,
        f"minicnn: {tmp_path / 'study.json'}: expected a study's results, it is damaged: give another --out",
    )


def test_more_depths_may_be_added_to_a_study(
    done: tuple[Path, Result], faces: Path, no_figure: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    monkeypatch.setattr(train, "start", lambda config, *_, **__: trained.append(config.recipe.layers) or {"ended": ""})
    study(faces, done[0], "--layers", "2,3,4")
    assert trained == [4]


# What it is asked for


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, no_figure: None) -> list[tuple[int, int]]:
    """Depth and seed of the first run that a study would train; it goes no further."""
    runs: list[tuple[int, int]] = []

    def start(config: train.RunConfig, *_: object, **__: object) -> dict[str, str]:
        runs.append((config.recipe.layers, config.recipe.seed))
        return {"ended": "interrupted"}

    monkeypatch.setattr(train, "start", start)
    return runs


@pytest.mark.parametrize(
    ("layers", "first"), [((), 3), (("--layers", "5"), 5), (("--layers", "6,2"), 6), (("--layers", "4-4"), 4)]
)
def test_the_first_depth_is_trained_first(
    faces: Path, tmp_path: Path, asked: list[tuple[int, int]], layers: tuple[str, ...], first: int
) -> None:
    study(faces, tmp_path, *layers)
    assert asked == [(first, 0)]


@pytest.mark.parametrize(
    ("text", "depths"), [("3-6", [3, 4, 5, 6]), ("4", [4]), ("3,5", [3, 5]), ("2-3,8,3", [2, 3, 8]), ("3,3", [3])]
)
def test_layers_names_depths(text: str, depths: list[int]) -> None:
    from minicnn.apps.options import depths as parse

    assert parse(text) == depths


@pytest.mark.parametrize("text", ["1-3", "6-3", "3-9", "three", "3-", "-3", "3;4", "3.0", "3,,4"])
def test_layers_that_name_no_depths_are_wrong_usage(faces: Path, tmp_path: Path, text: str) -> None:
    result = study(faces, tmp_path / "study", f"--layers={text}")
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[-1].startswith("Error: --layers")
    assert not (tmp_path / "study").exists()


def test_a_limit_holds_for_what_is_measured_too(faces: Path, tmp_path: Path, no_figure: None) -> None:
    result = study(faces, tmp_path, "--layers", 2, "--limit", 3, "--json")
    [row] = json.loads(result.out)["rows"]
    assert row["metrics"]["n"] == 3


def test_seeds_train_each_depth_so_often_from_the_first_seed_on(faces: Path, tmp_path: Path, no_figure: None) -> None:
    result = study(faces, tmp_path, "--layers", 2, "--seeds", 2, "--seed", 7, "--json")
    rows = json.loads(result.out)["rows"]
    assert [(row["layers"], row["seed"]) for row in rows] == [(2, 7), (2, 8)]
    one, two = (arrays(tmp_path / f"layers-2-seed-{seed}" / "last.safetensors") for seed in (7, 8))
    assert any((one[name] != two[name]).any() for name in one)
    assert "±" in (tmp_path / "study.txt").read_text()
