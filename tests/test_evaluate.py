"""The evaluator: which weights, which data, which split, and what it prints."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from minicnn import checkpoint, data, inference
from minicnn.apps.evaluate import load_subject, weights_of
from minicnn.data import fer2013, synthetic
from minicnn.data.dataset import CLASSES
from minicnn.errors import CheckpointError, DataError, UserError
from minicnn.pretrained import default_weights
from tests.programs import TINY, in_process_of_its_own, leave_out_reports, minicnn, write_faces

SCORES = {"precision", "recall", "f1"}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("data") / "faces.csv")


@pytest.fixture(scope="module")
def run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        leave_out_reports(patch)
        assert minicnn("train", "--data", faces, *TINY, "--out", folder).code == 0
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A run that may be changed."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def rewrite(file: Path, scale: float = 1.0, **changes: object) -> None:
    """Change a weights file: multiply the weights, replace parts of the header."""
    arrays, header = checkpoint.load_weights(file)
    values = {**vars(header), **changes}
    checkpoint.save_weights(file, {k: a * scale for k, a in arrays.items()}, checkpoint.Header(**values))


# What it prints


def test_json_has_the_keys_that_the_design_names(run: Path) -> None:
    result = in_process_of_its_own("eval", run, "--json")
    assert (result.code, result.err) == (0, "")
    metrics = json.loads(result.out)
    assert metrics["n"] == 20
    assert set(metrics["macro"]) == SCORES
    assert set(metrics["weighted"]) == SCORES
    assert list(metrics["per_class"]) == list(CLASSES)
    assert all(set(scores) == SCORES | {"support"} for scores in metrics["per_class"].values())
    assert np.shape(metrics["confusion"]) == (7, 7)
    assert np.sum(metrics["confusion"]) == 20
    assert metrics["accuracy"] == np.trace(metrics["confusion"]) / 20


def test_text_names_data_and_split_and_shows_intervals_and_confusion(run: Path) -> None:
    result = minicnn("eval", run)
    assert result.out.startswith("FER2013 (official), public, 20 images\n\n")
    assert re.search(r"accuracy 0\.\d{4}, 95 % interval 0\.\d{4} to 0\.\d{4}, n = 20", result.out)
    assert "macro average" in result.out
    assert "weighted average" in result.out
    assert "confusion matrix: rows are labels, columns are predictions" in result.out
    assert all(name in result.out for name in CLASSES)


def test_figures_are_those_of_the_network_on_the_split(run: Path, faces: Path) -> None:
    model, preprocessing, _ = checkpoint.load_model(run / "best.safetensors")
    for split in ("train", "val", "public"):
        part = data.load(str(faces)).splits[split]
        predictions = inference.logits(model, part.images, preprocessing).argmax(axis=1)
        confusion = np.zeros((7, 7), int)
        np.add.at(confusion, (part.labels, predictions), 1)
        subject = load_subject(run, split=split)
        assert subject.metrics().confusion.tolist() == confusion.tolist()
        assert subject.what == f"FER2013 (official), {split}"


def test_the_best_validation_accuracy_of_the_training_is_found_again(run: Path) -> None:
    summary = json.loads((run / "result.json").read_text())
    assert load_subject(run, split="val").metrics().accuracy == summary["val_accuracy"]


def test_tta_averages_over_ten_views(run: Path, faces: Path) -> None:
    model, preprocessing, _ = checkpoint.load_model(run / "best.safetensors")
    part = data.load(str(faces)).splits["public"]
    probabilities = inference.probabilities(model, part.images, preprocessing, tta=True)
    result = json.loads(minicnn("eval", run, "--tta", "--json").out)
    assert result["accuracy"] == (probabilities.argmax(axis=1) == part.labels).mean()
    subject = load_subject(run)
    assert subject.metrics(tta=True).log_loss != subject.metrics().log_loss


# Which weights


def test_a_run_is_evaluated_by_its_best_weights(copy: Path) -> None:
    before = minicnn("eval", copy, "--json").out
    (copy / "last.safetensors").write_text("not these")
    assert minicnn("eval", copy, "--json").out == before
    assert weights_of(copy) == copy / "best.safetensors"


def test_a_run_that_has_no_best_yet_is_evaluated_by_its_last_weights(copy: Path) -> None:
    (copy / "best.safetensors").unlink()
    assert weights_of(copy) == copy / "last.safetensors"
    assert minicnn("eval", copy).code == 0


def test_a_weights_file_is_enough_anywhere(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "best.safetensors", tmp_path / "net.safetensors")
    assert minicnn("eval", tmp_path / "net.safetensors", "--json").out == minicnn("eval", run, "--json").out


def test_without_weights_the_packages_network_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    few = synthetic.load(train=7, val=7, public=9)
    monkeypatch.setattr(synthetic, "load", lambda: few)
    measured = minicnn("eval", "--data", "synthetic", "--json").out
    assert json.loads(measured)["n"] == 9
    assert measured == minicnn("eval", default_weights(), "--data", "synthetic", "--json").out


def test_a_folder_without_weights_is_one_line(tmp_path: Path) -> None:
    result = minicnn("eval", tmp_path)
    assert result.code == 1
    assert result.err == (
        f"minicnn: {tmp_path}: expected a run folder or a weights file, there is no best.safetensors in it\n"
    )


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = minicnn("eval", tmp_path / "no.safetensors")
    assert result.code == 1
    assert result.err == f"minicnn: {tmp_path}/no.safetensors: expected a .safetensors file, there is none\n"


def test_the_state_of_a_training_is_one_line(run: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a network's weights, it holds a training's state"):
        load_subject(run / "state.safetensors")


def test_weights_that_overflow_are_one_line(copy: Path) -> None:
    rewrite(copy / "best.safetensors", scale=1e30)
    result = minicnn("eval", copy)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"minicnn: {copy}: its weights overflow: they are damaged, or of a training that diverged\n"


# Which data


def test_the_split_is_public_where_there_is_one_else_val(run: Path, tmp_path: Path) -> None:
    assert load_subject(run).what == "FER2013 (official), public"
    without = write_faces(tmp_path / "train.csv", public=0)
    subject = load_subject(run, data_name=str(without))
    assert subject.metrics().n == 7
    assert subject.what.startswith("FER2013 (official), val")


def test_a_split_that_the_data_lacks_is_one_line_that_names_those_it_has(run: Path) -> None:
    result = minicnn("eval", run, "--split", "private")
    assert (result.code, result.out) == (1, "")
    assert result.err == "minicnn: FER2013 (official): expected a split 'private', it has train, val, public\n"


def test_a_split_that_no_data_has_is_wrong_usage(run: Path) -> None:
    result = minicnn("eval", run, "--split", "test")
    assert (result.code, "'test' is not one of 'train', 'val', 'public', 'private'" in result.err) == (2, True)


def test_other_data_can_be_named(run: Path, tmp_path: Path) -> None:
    other = write_faces(tmp_path / "other.csv", public=14, seed=5)
    assert json.loads(minicnn("eval", run, "--data", other, "--json").out)["n"] == 14


def test_networks_of_imported_and_of_drawn_faces_find_their_data_again(
    copy: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "home"))
    fer2013.import_path(faces)
    few = synthetic.load(train=7, val=7, public=9)
    monkeypatch.setattr(synthetic, "load", lambda: few)
    for name, n in (("fer2013", 20), ("synthetic", 9)):
        rewrite(copy / "best.safetensors", data={"name": name, "protocol": "official", "sha256": ""})
        assert json.loads(minicnn("eval", copy, "--json").out)["n"] == n


def test_data_that_has_changed_since_the_training_is_reported(tmp_path: Path, copy: Path) -> None:
    other = write_faces(tmp_path / "other.csv", seed=5)
    _, header = checkpoint.load_weights(copy / "best.safetensors")
    rewrite(copy / "best.safetensors", data={**header.data, "name": str(other)})
    assert load_subject(copy).what == "FER2013 (official), public (the data has changed since the training)"


def test_other_validation_images_than_the_trainings_own_may_have_been_learned(tmp_path: Path, copy: Path) -> None:
    other = str(write_faces(tmp_path / "other.csv", seed=5))
    known = "not the training's own: some images may have been learned"
    assert load_subject(copy, data_name=other, split="val").what == f"FER2013 (official), val ({known})"
    assert load_subject(copy, data_name=other, split="public").what == "FER2013 (official), public"


def test_data_that_is_gone_is_one_line(copy: Path) -> None:
    _, header = checkpoint.load_weights(copy / "best.safetensors")
    rewrite(copy / "best.safetensors", data={**header.data, "name": "/nowhere/faces.csv"})
    with pytest.raises(DataError, match=r"^/nowhere/faces\.csv: no such file or folder"):
        load_subject(copy)


def test_labels_of_another_kind_are_refused(copy: Path) -> None:
    rewrite(copy / "best.safetensors", labels=[*CLASSES[1:], "bored"])
    with pytest.raises(DataError, match="its classes are not those of"):
        load_subject(copy)


def test_a_protocol_that_the_data_is_too_small_for_is_one_line(run: Path) -> None:
    with pytest.raises(UserError, match="the protocol `paper` trains on 24,000 images"):
        load_subject(run, protocol="paper")
