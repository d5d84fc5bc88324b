"""The training loop: it learns, ends when it should, and goes on after a stop as if it had never stopped."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minicnn import Tensor, inference, models, rng
from minicnn import functional as F
from minicnn.data.dataset import CLASSES, Dataset, Split
from minicnn.data.synthetic import draw_faces
from minicnn.errors import UserError
from minicnn.recipes import Recipe, make_schedule
from minicnn.schedule import Plateau
from minicnn.training import Row, Trainer, TrainingError

State = tuple[dict[str, np.ndarray], dict[str, Any]]


def faces(n: int, seed: int) -> Split:
    return Split(*draw_faces(n, seed))


def dataset(train: Split, sha256: str = "faces") -> Dataset:
    return Dataset("faces", CLASSES, {"train": train, "val": faces(20, 2)}, sha256)


SMALL = dataset(faces(40, 1))  # 3 batches of 16, 16 and 8
PLAIN = Recipe(
    layers=2,
    epochs=2,
    batch_size=16,
    optimizer="sgd",
    lr=0.005,
    schedule="constant",
    contrast="keep",
    warmup=0.0,
    momentum=0.0,
    weight_decay=0.0,
    flip=False,
)


def changed(**changes: Any) -> Recipe:
    return Recipe(**{**PLAIN.to_dict(), **changes})


def fit(trainer: Trainer, on_step: Callable[[], None] = lambda: None) -> list[Row]:
    rows: list[Row] = []
    trainer.fit(on_step, rows.append)
    return rows


def stop_after(trainer: Trainer, steps: int) -> Callable[[], None]:
    left = iter(range(steps - 1, -1, -1))

    def on_step() -> None:
        trainer.stopping = next(left) == 0

    return on_step


def parameters(trainer: Trainer) -> dict[str, np.ndarray]:
    return {name: parameter.data.copy() for name, parameter in trainer.model.named_parameters()}


def snapshot(trainer: Trainer) -> State:
    """The state as it would be read back from a file."""
    arrays, values = trainer.state()
    return {name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(values))


# Learning


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.01), ("adamw", 0.001)])
def test_the_loss_falls_from_epoch_to_epoch(optimizer: str, lr: float) -> None:
    recipe = Recipe(layers=4, epochs=5, batch_size=15, optimizer=optimizer, lr=lr, flip=False)
    rows = fit(Trainer(recipe, dataset(faces(210, 1))))
    losses = [row["train_loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1.6 < np.log(7) < losses[0]  # guessing costs log 7
    assert rows[-1]["train_accuracy"] > 0.4


def test_the_same_seed_gives_the_same_bits_and_another_seed_gives_others() -> None:
    def trained(seed: int) -> dict[str, np.ndarray]:
        trainer = Trainer(changed(seed=seed, epochs=1, mixup=0.2), SMALL)
        fit(trainer)
        return parameters(trainer)

    one, same, other = trained(1), trained(1), trained(2)
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not any(np.array_equal(one[name], other[name]) for name in one if name.endswith("conv.weight"))


# What it tells


def test_every_step_and_every_epoch_is_told() -> None:
    trainer, told = Trainer(PLAIN, SMALL), []
    trainer.fit(lambda: told.append((trainer.epoch, trainer.step)), lambda row: told.append(row["epoch"]))
    assert told == [(0, 1), (0, 2), (0, 3), 1, (1, 1), (1, 2), (1, 3), 2]
    assert trainer.finished


def test_a_row_has_the_figures_of_its_epoch() -> None:
    trainer = Trainer(changed(schedule="cosine"), SMALL)
    rows = fit(trainer)
    assert trainer.history == rows
    assert list(rows[1]) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "lr",
        "seconds",
        "images_per_second",
    ]
    schedule = make_schedule(trainer.recipe, 3)
    assert [row["lr"] for row in rows] == [schedule.lr(2), schedule.lr(5)]
    assert rows[1]["seconds"] > 0
    assert rows[1]["images_per_second"] == pytest.approx(40 / rows[1]["seconds"], rel=0.05)


def test_the_training_loss_is_the_mean_over_images_and_the_validation_loss_that_of_all_of_val(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses, cross_entropy = [], F.cross_entropy

    def spy(*args: Any) -> Any:
        losses.append(cross_entropy(*args))
        return losses[-1]

    monkeypatch.setattr(F, "cross_entropy", spy)
    [row] = fit(Trainer(changed(epochs=1), SMALL))
    first, second, third, validation = (loss.item() for loss in losses)
    assert row["train_loss"] == pytest.approx((16 * first + 16 * second + 8 * third) / 40)
    assert row["val_loss"] == validation


def test_validation_is_inference_on_the_validation_split() -> None:
    trainer = Trainer(changed(epochs=1), SMALL)
    [row] = fit(trainer)
    val = SMALL.splits["val"]
    chances = inference.probabilities(trainer.model, val.images, trainer.preprocessing)
    assert row["val_accuracy"] == (chances.argmax(axis=1) == val.labels).mean()
    assert row["val_loss"] == pytest.approx(-np.log(chances[np.arange(20), val.labels]).mean(), rel=1e-5)


# What the recipe asks for


def skewed() -> Dataset:
    split = faces(14, 1)
    return dataset(Split(split.images, np.array([0] * 8 + [1] * 4 + [5] * 2, dtype=np.int64)))


def test_class_weights_are_balanced_and_an_absent_class_weighs_nothing() -> None:
    trainer = Trainer(changed(class_weights=True), skewed())
    np.testing.assert_allclose(trainer.class_weights, [14 / 56, 14 / 28, 0, 0, 0, 14 / 14, 0], rtol=1e-6)
    assert trainer.class_weights.dtype == np.float32


def test_without_them_there_are_no_class_weights() -> None:
    assert Trainer(PLAIN, skewed()).class_weights is None


def first_log_probabilities(recipe: Recipe, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """What the network says of the first batch before the first step, and the batch's labels."""
    trainer = Trainer(recipe, data)
    batches = trainer.loader.epoch(0)
    images, labels = next(batches)
    batches.close()
    return F.log_softmax(trainer.model(Tensor(images))).data, labels


def test_class_weights_weigh_the_loss() -> None:
    recipe = changed(class_weights=True, epochs=1)
    trainer = Trainer(recipe, skewed())
    [row] = fit(trainer)
    log_p, labels = first_log_probabilities(recipe, skewed())
    weights = trainer.class_weights[labels]
    expected = -(weights * log_p[np.arange(14), labels]).sum() / weights.sum()
    assert row["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_mixes_in_every_class() -> None:
    recipe = changed(label_smoothing=0.3, epochs=1)
    [row] = fit(Trainer(recipe, skewed()))
    log_p, labels = first_log_probabilities(recipe, skewed())
    expected = -(0.7 * log_p[np.arange(14), labels] + 0.3 * log_p.mean(axis=1)).mean()
    assert row["train_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("clip", [1e-3, 1e-2])
def test_a_step_goes_no_further_than_clipping_allows(clip: float) -> None:
    trainer = Trainer(changed(clip=clip), SMALL)
    before = parameters(trainer)
    fit(trainer, stop_after(trainer, 1))
    moved = parameters(trainer)
    distance = sum(float(((moved[name] - before[name]).astype(np.float64) ** 2).sum()) for name in before) ** 0.5
    assert distance == pytest.approx(trainer.recipe.lr * clip, rel=1e-2)


def test_the_kept_weights_are_the_networks_own_without_averaging() -> None:
    trainer = Trainer(PLAIN, SMALL)
    assert list(trainer.weights()) == list(trainer.model.state_dict())
    assert all(array is trainer.weights()[name] for name, array in trainer.model.state_dict().items())


def test_the_kept_and_validated_weights_are_the_averaged_ones_where_the_recipe_has_them() -> None:
    trainer = Trainer(changed(ema=0.9), SMALL)
    rows = fit(trainer)
    own = trainer.model.state_dict()
    assert trainer.weights() is trainer.ema.average
    assert trainer.ema.count == 6
    assert not np.array_equal(trainer.weights()["0.conv.weight"], own["0.conv.weight"])
    averaged = models.build(2)
    averaged.load_state_dict(trainer.weights())
    val = SMALL.splits["val"]
    chances = inference.probabilities(averaged, val.images, trainer.preprocessing)
    assert rows[-1]["val_loss"] == pytest.approx(-np.log(chances[np.arange(20), val.labels]).mean(), rel=1e-5)


# When it ends


def test_training_ends_when_patience_does(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(changed(epochs=9, patience=2), SMALL)
    accuracies = iter([0.3, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(trainer, "validate", lambda: (1.0, next(accuracies)))
    rows = fit(trainer)
    assert [row["val_accuracy"] for row in rows] == [0.3, 0.5, 0.4, 0.5]
    assert (trainer.best, trainer.best_epoch) == (0.5, 2)
    assert trainer.finished


def test_without_patience_all_epochs_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(changed(epochs=5), SMALL)
    monkeypatch.setattr(trainer, "validate", lambda: (1.0, 0.1))
    assert len(fit(trainer)) == 5


def test_stopping_ends_after_the_present_step_without_a_row() -> None:
    trainer = Trainer(PLAIN, SMALL)
    assert fit(trainer, stop_after(trainer, 2)) == []
    assert (trainer.epoch, trainer.step, trainer.finished) == (0, 2, False)


def test_stopping_at_the_last_step_of_an_epoch_ends_the_epoch() -> None:
    trainer = Trainer(PLAIN, SMALL)
    assert len(fit(trainer, stop_after(trainer, 3))) == 1
    assert (trainer.epoch, trainer.step) == (1, 0)


def test_a_finished_training_has_nothing_left_to_do() -> None:
    trainer = Trainer(PLAIN, SMALL)
    fit(trainer)
    arrays, values = snapshot(trainer)
    again = Trainer(PLAIN, SMALL)
    again.restore(arrays, values)
    assert fit(again) == []
    assert again.history == values["history"]


def test_a_loss_that_is_no_number_names_epoch_step_and_rate_and_steps_no_further() -> None:
    trainer, held = Trainer(PLAIN, SMALL), {}

    def on_step() -> None:
        if (trainer.epoch, trainer.step) == (1, 1):
            next(trainer.model.parameters()).data[...] = np.nan
            held.update(parameters(trainer))

    with pytest.raises(TrainingError, match="loss") as raised:
        fit(trainer, on_step)
    assert str(raised.value) == (
        "epoch 2, step 2: the loss is nan. Try a lower --lr (it was 0.005), --clip 1, or a longer --warmup; "
        "the last checkpoint is whole"
    )
    assert isinstance(raised.value, UserError)
    for name, array in parameters(trainer).items():
        np.testing.assert_array_equal(array, held[name])


def test_a_rate_that_is_far_too_high_ends_with_that_error() -> None:
    with np.errstate(all="ignore"), pytest.raises(TrainingError, match=r"it was 1e\+30"):
        fit(Trainer(changed(lr=1e30, epochs=5), SMALL))


# Stopping and going on

RESUMED = {
    "sgd": changed(
        epochs=3, schedule="cosine", warmup=1.0, momentum=0.9, weight_decay=1e-3, mixup=0.4, ema=0.9, clip=1.0, crop=2
    ),
    "adamw": changed(epochs=3, optimizer="adamw", lr=0.003, schedule="onecycle", class_weights=True, erase=0.5),
    "plateau": changed(epochs=3, schedule="plateau", momentum=0.9, flip=True, label_smoothing=0.1),
}


def make(name: str) -> Trainer:
    trainer = Trainer(RESUMED[name], SMALL)
    if name == "plateau":  # so impatient that the rate falls after every epoch but the first
        trainer.schedule = Plateau(0.005, patience=0, threshold=0.9)
    return trainer


def bits(state: State) -> State:
    """All of a state but the times."""
    arrays, values = state
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in values["history"]]
    sums = {k: v for k, v in values["sums"].items() if k != "seconds"}
    return arrays, values | {"history": rows, "sums": sums}


def assert_same_bits(one: State, two: State) -> None:
    (one_arrays, one_values), (two_arrays, two_values) = bits(one), bits(two)
    assert one_values == two_values
    assert list(one_arrays) == list(two_arrays)
    for name, array in one_arrays.items():
        np.testing.assert_array_equal(array, two_arrays[name], err_msg=name)


@pytest.fixture(scope="module", params=RESUMED)
def never_stopped(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[State], State]]:
    """A recipe's name, its state after each of the 9 steps, and at the end."""
    trainer, states = make(request.param), []
    fit(trainer, lambda: states.append(snapshot(trainer)))
    assert len(states) == 9
    return request.param, states, snapshot(trainer)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_stopped_training_goes_on_to_the_bits_of_one_that_never_stopped(
    never_stopped: tuple[str, list[State], State], steps: int
) -> None:
    name, _, end = never_stopped
    stopped = make(name)
    fit(stopped, stop_after(stopped, steps))
    state = snapshot(stopped)
    resumed = make(name)
    resumed.restore(*state)
    fit(resumed)
    assert_same_bits(snapshot(resumed), end)


@pytest.mark.parametrize("steps", [2, 3, 6, 8, 9])
def test_a_checkpoint_of_any_step_goes_on_to_the_same_bits(
    never_stopped: tuple[str, list[State], State], steps: int
) -> None:
    # as after a kill: the checkpoint of an epoch's last step is from before its validation
    name, states, end = never_stopped
    resumed = make(name)
    resumed.restore(*states[steps - 1])
    rng.generator().random(steps)  # wherever the generator is: its position is in the state
    resumed.restore(*states[steps - 1])
    fit(resumed)
    assert_same_bits(snapshot(resumed), end)


def test_the_rate_of_these_runs_does_move(never_stopped: tuple[str, list[State], State]) -> None:
    _, _, (_, values) = never_stopped
    assert len({row["lr"] for row in values["history"]}) > 1


def test_restoring_gives_back_the_state_itself(never_stopped: tuple[str, list[State], State]) -> None:
    name, states, _ = never_stopped
    resumed = make(name)
    resumed.restore(*states[4])
    assert_same_bits(snapshot(resumed), states[4])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (changed(layers=3), "the weights do not fit"),
        (changed(optimizer="adamw"), "the saved state is of another optimizer"),
        (changed(ema=0.5), "the saved averages are of another network"),
    ],
)
def test_the_state_of_another_network_or_recipe_is_refused(other: Recipe, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trainer(other, SMALL).restore(*snapshot(Trainer(PLAIN, SMALL)))


def test_the_state_of_a_recipe_with_averages_is_refused_by_one_without() -> None:
    state = snapshot(Trainer(changed(ema=0.5), SMALL))
    with pytest.raises(ValueError, match="the saved state has averages, and this recipe has none"):
        Trainer(PLAIN, SMALL).restore(*state)


def test_the_state_of_a_training_on_other_data_is_refused() -> None:
    state = snapshot(Trainer(PLAIN, SMALL))
    with pytest.raises(ValueError, match="the data has changed since"):
        Trainer(PLAIN, dataset(SMALL.splits["train"], sha256="others")).restore(*state)
