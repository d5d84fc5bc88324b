"""Distillation: a network learns what its teachers say of the training images, in part or altogether."""

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import Tensor, checkpoint, distillation, inference
from minicnn import functional as F
from minicnn.apps import train
from minicnn.apps.run_folder import RunFolder
from minicnn.data.augment import Augmentation
from minicnn.data.dataset import CLASSES, Dataset, Split
from minicnn.data.loader import Loader
from minicnn.data.preprocessing import Preprocessing
from minicnn.data.synthetic import draw_faces
from minicnn.recipes import Recipe
from minicnn.training import Trainer
from tests.programs import (
    PLAIN,
    Result,
    arrays,
    leave_out_reports,
    metrics_without_times,
    minicnn,
    stop_after,
    write_faces,
)

LABELS = np.array([2, 0], np.int64)
ANSWERS = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]], np.float32)


def said(n: int, seed: int = 0) -> np.ndarray:
    """Probabilities of n images."""
    powers = np.exp(np.random.default_rng(seed).normal(size=(n, len(CLASSES))))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


# Targets


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, [[0, 0, 1], [1, 0, 0]]),
        (0.5, [[0.1, 0.15, 0.75], [0.55, 0.4, 0.05]]),
        (1.0, [[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]),
    ],
)
def test_a_target_is_the_label_and_by_a_share_the_answer(share: float, expected: list[list[float]]) -> None:
    found = distillation.targets(LABELS, ANSWERS, share, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (ANSWERS[:1], r"expected answers float32 \(2, 3\), got float32 \(1, 3\)"),
        (ANSWERS[:, :2], r"expected answers float32 \(2, 3\), got float32 \(2, 2\)"),
        (np.eye(3, dtype=np.int64)[:2], r"expected answers float32 \(2, 3\), got int64 \(2, 3\)"),
        (ANSWERS * 2, "expected answers that are probabilities"),
        (ANSWERS * np.float32("nan"), "expected answers that are probabilities"),
        (np.array([[2, -1, 0], [1, 0, 0]], np.float32), "expected answers that are probabilities"),
    ],
)
def test_answers_that_are_none_are_refused(answers: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distillation.targets(LABELS, answers, 0.5, 3)


# Batches


def numbered(n: int) -> Split:
    """Images of one grey each, which is their number."""
    return Split(np.repeat(np.arange(n, dtype=np.uint8), 48 * 48).reshape(n, 48, 48), np.arange(n) % 7)


def test_a_shuffled_image_keeps_its_target() -> None:
    answers = said(20)
    for images, targets in Loader(numbered(20), Preprocessing(0.0, 1 / 255), 8, shuffle=True, targets=answers).epoch(0):
        order = np.rint(images[:, 0, 0, 0]).astype(int)
        np.testing.assert_array_equal(targets, answers[order])


def test_mixup_mixes_targets_as_it_mixes_images() -> None:
    answers = said(20)
    loader = Loader(
        numbered(20), Preprocessing(0.0, 1 / 255), 20, augmentation=Augmentation(mixup=1.0), targets=answers
    )
    [(images, targets)] = loader.epoch(0)
    amounts = loader.augmentation.draw(np.random.default_rng([0, 0, 1]), 20, 48, 48)
    weight, partner = amounts["weight"], amounts["partner"]
    np.testing.assert_allclose(images[:, 0, 0, 0], weight * np.arange(20) + (1 - weight) * partner, atol=1e-3)
    np.testing.assert_allclose(targets, weight[:, None] * answers + (1 - weight[:, None]) * answers[partner], atol=1e-6)


# Training

FACES = Dataset("faces", CLASSES, {"train": Split(*draw_faces(14, 1)), "val": Split(*draw_faces(7, 2))}, "faces")
RECIPE = Recipe(layers=2, epochs=1, batch_size=14, optimizer="sgd", lr=0.01, contrast="keep", flip=False, distill=0.7)


def test_the_loss_is_the_cross_entropy_with_those_targets() -> None:
    answers = said(14)
    rows: list[dict[str, float]] = []
    Trainer(RECIPE, FACES, answers=answers).fit(lambda: None, rows.append)
    trainer = Trainer(RECIPE, FACES)
    images, labels = next(trainer.loader.epoch(0))
    order = trainer.loader._order(0)
    np.testing.assert_array_equal(labels, FACES.splits["train"].labels[order])
    log_p = F.log_softmax(trainer.model(Tensor(images))).data
    wanted = 0.3 * np.eye(7)[labels] + 0.7 * answers[order]
    assert rows[0]["train_loss"] == pytest.approx(-(wanted * log_p).sum(axis=1).mean(), rel=1e-5)


def test_a_state_of_other_answers_or_of_none_is_refused() -> None:
    taught = Trainer(RECIPE, FACES, answers=said(14))
    arrays_, values = taught.state()
    with pytest.raises(ValueError, match="its teachers gave other answers"):
        Trainer(RECIPE, FACES, answers=said(14, seed=1)).restore(arrays_, values)
    with pytest.raises(ValueError, match="one of the two has teachers"):
        Trainer(RECIPE, FACES).restore(arrays_, values)
    with pytest.raises(ValueError, match="one of the two has teachers"):
        taught.restore(*Trainer(RECIPE, FACES).state())


# The program


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which takes longer than so small a training."""
    leave_out_reports(monkeypatch)


@pytest.fixture(scope="module")
def school(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two teachers, a and b, and a network `taught` by both."""
    folder = tmp_path_factory.mktemp("school")
    with pytest.MonkeyPatch.context() as patch:
        leave_out_reports(patch)
        for seed, name in enumerate("ab"):
            assert minicnn("train", "--data", faces, *PLAIN, "--seed", seed, "--out", folder / name).code == 0
        assert learn(faces, folder / "taught", f"{folder / 'a'},{folder / 'b'}").code == 0
    return folder


def learn(faces: Path, out: Path, teachers: str, *options: object) -> Result:
    return minicnn("train", "--data", faces, *PLAIN, "--mixup", 0.2, "--teachers", teachers, "--out", out, *options)


def test_what_is_learned_is_the_mean_of_what_the_teachers_say(school: Path, faces: Path) -> None:
    answers = arrays(school / "taught" / "state.safetensors")["answers"]
    images = train.load_data(RunFolder(school / "taught").config()).splits["train"].images
    each = []
    for name in "ab":
        model, preprocessing, _ = checkpoint.load_model(school / name / "best.safetensors")
        each.append(inference.probabilities(model, images, preprocessing))
    assert not np.allclose(*each, atol=1e-3)
    np.testing.assert_allclose(answers, (each[0] + each[1]) / 2, atol=1e-6)


def test_each_teacher_that_is_asked_is_named(school: Path, faces: Path, tmp_path: Path) -> None:
    result = learn(faces, tmp_path / "run", str(school / "a"))
    assert f"minicnn: asking {school / 'a'} about 23 images" in result.err.splitlines()
    assert "other data" not in result.err


def test_a_teacher_that_may_know_the_validation_images_is_told(school: Path, tmp_path: Path) -> None:
    other = write_faces(tmp_path / "other.csv", training=30, seed=1)
    warning = f"minicnn: {school / 'a'} was trained on other data or another split: it may know images of val"
    assert warning in learn(other, tmp_path / "run", str(school / "a")).err.splitlines()


def test_a_teacher_may_be_a_file_and_its_path_holds_from_any_folder(
    school: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(school)
    assert learn(faces, tmp_path / "run", "a/best.safetensors, b").code == 0
    assert RunFolder(tmp_path / "run").config().teachers == f"{school / 'a' / 'best.safetensors'},{school / 'b'}"
    assert np.array_equal(
        arrays(tmp_path / "run" / "state.safetensors")["answers"],
        arrays(school / "taught" / "state.safetensors")["answers"],
    )


def test_weights_say_whether_they_were_taught(school: Path) -> None:
    def answers(name: str) -> Any:
        return checkpoint.load_weights(school / name / "best.safetensors")[1].data.get("answers")

    assert answers("a") is None
    assert len(answers("taught")) == 64


def test_an_interrupted_run_goes_on_bit_for_bit_without_its_teachers(
    school: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        shutil.copytree(school / name, tmp_path / name)
    with monkeypatch.context() as patch:
        stop_after(patch, 4, lambda: signal.raise_signal(signal.SIGINT))
        assert learn(faces, tmp_path / "run", f"{tmp_path / 'a'},{tmp_path / 'b'}").code == 1
    for name in "ab":
        shutil.rmtree(tmp_path / name)
    assert minicnn("train", "--resume", tmp_path / "run").code == 0
    ours, theirs = (arrays(folder / "last.safetensors") for folder in (tmp_path / "run", school / "taught"))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert metrics_without_times(tmp_path / "run") == metrics_without_times(school / "taught")


def test_teachers_and_their_share_change_what_is_learned(school: Path, faces: Path, tmp_path: Path) -> None:
    assert learn(faces, tmp_path / "run", str(school / "a"), "--distill", 0).code == 0
    alone = minicnn("train", "--data", faces, *PLAIN, "--mixup", 0.2, "--out", tmp_path / "alone")
    assert alone.code == 0
    not_taught, labels = (metrics_without_times(tmp_path / name) for name in ("run", "alone"))
    taught = metrics_without_times(school / "taught")
    assert [row["val_loss"] for row in not_taught] == [row["val_loss"] for row in labels]
    assert [row["val_loss"] for row in taught] != [row["val_loss"] for row in labels]


# What is refused


def refusal(result: Result) -> str:
    assert (result.code, result.out) == (1, "")
    return result.err.splitlines()[-1].removeprefix("minicnn: ")


def test_a_teacher_that_is_not_there_is_named_and_nothing_is_left(faces: Path, tmp_path: Path) -> None:
    missing = tmp_path / "no"
    assert refusal(learn(faces, tmp_path / "run", str(missing))) == (
        f"{missing}: expected a .safetensors file, there is none"
    )
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_is_refused(school: Path, faces: Path, tmp_path: Path) -> None:
    model, _, header = checkpoint.load_model(school / "a" / "best.safetensors")
    other = checkpoint.Header(header.architecture, [*header.labels[:6], "contempt"], header.preprocessing)
    checkpoint.save_weights(tmp_path / "other.safetensors", model.state_dict(), other)
    message = refusal(learn(faces, tmp_path / "run", str(tmp_path / "other.safetensors")))
    assert message.startswith(f"{tmp_path / 'other.safetensors'}: expected a teacher of angry, ")
    assert message.endswith(", contempt")


def test_a_run_without_a_finished_epoch_is_no_teacher(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 1, lambda: signal.raise_signal(signal.SIGINT))
        assert minicnn("train", "--data", faces, *PLAIN, "--out", tmp_path / "young").code == 1
    assert refusal(learn(faces, tmp_path / "run", str(tmp_path / "young"))) == (
        f"{tmp_path / 'young'}: expected a trained network as teacher, this run has not finished an epoch"
    )


def test_a_teacher_whose_weights_overflow_leaves_nothing(school: Path, faces: Path, tmp_path: Path) -> None:
    model, _, header = checkpoint.load_model(school / "a" / "best.safetensors")
    huge = {name: array * np.float32(1e30) for name, array in model.state_dict().items()}
    checkpoint.save_weights(tmp_path / "huge.safetensors", huge, header)
    assert "its weights overflow" in refusal(learn(faces, tmp_path / "run", str(tmp_path / "huge.safetensors")))
    assert not (tmp_path / "run").exists()


def test_paths_beyond_what_a_configuration_holds_are_refused(school: Path, faces: Path, tmp_path: Path) -> None:
    teachers = ",".join([str(school / "a")] * (8192 // len(str(school))))
    assert "its configuration takes more than 8,192 characters" in refusal(learn(faces, tmp_path / "run", teachers))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_refused_before_teachers_are_asked(
    school: Path, faces: Path, tmp_path: Path
) -> None:
    result = learn(faces, school / "taught", str(school / "a"))
    assert "holds a run already" in refusal(result)
    assert "asking" not in result.err


def test_other_teachers_beside_resume_are_wrong_usage(school: Path) -> None:
    result = minicnn("train", "--resume", school / "taught", "--teachers", school / "a")
    assert result.code == 2
    assert f"--teachers {school / 'a'} does not agree with the run" in result.err


def changed_state(school: Path, tmp_path: Path, **changes: np.ndarray | None) -> str:
    """What a resume says once arrays of the state have been changed, or removed."""
    run = Path(shutil.copytree(school / "taught", tmp_path / "run"))
    (run / "result.json").unlink()
    state, values = checkpoint.load_state(run / "state.safetensors")
    changed = {name: array for name, array in {**state, **changes}.items() if array is not None}
    checkpoint.save_state(run / "state.safetensors", changed, values)
    start, _, what = refusal(minicnn("train", "--resume", run)).partition(" configuration: ")
    assert start == f"{run / 'state.safetensors'}: does not fit the run's"
    return what


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        (None, "what the teachers said is missing, or there were none"),
        (said(23) * 2, "distillation: expected answers that are probabilities, each row's sum 1"),
        (said(23)[:, :3], "distillation: expected answers float32 (23, 7), got float32 (23, 3)"),
    ],
)
def test_damaged_answers_are_refused(school: Path, tmp_path: Path, answers: np.ndarray | None, what: str) -> None:
    assert changed_state(school, tmp_path, answers=answers) == what


def test_data_that_has_changed_is_said_first(school: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(school / "taught", tmp_path / "run"))
    (run / "result.json").unlink()
    other = write_faces(tmp_path / "faces.csv", training=40)
    config = (run / "config.toml").read_text().splitlines()
    (run / "config.toml").write_text("\n".join([f'data = "{other}"', *config[1:]]))
    assert refusal(minicnn("train", "--resume", run)).endswith("configuration: the data has changed since")
