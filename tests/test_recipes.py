"""Recipes: what each preset sets, which values are refused, and what is made of them."""

import json
from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from minicnn import models, nn, optim, recipes, schedule
from minicnn.data.augment import Augmentation
from minicnn.recipes import Recipe

NET = nn.Sequential(nn.ConvBlock(1, 2), nn.Linear(4, 5))


def test_every_preset_trains_the_network_of_its_name() -> None:
    assert [recipes.preset(name).preset for name in models.PRESETS] == list(models.PRESETS)


def test_default_is_the_recipe_without_changes() -> None:
    assert recipes.preset("default") == Recipe()


def test_best_is_forty_epochs_of_faces_that_move() -> None:
    best = recipes.preset("best")
    assert (best.layers, best.epochs, best.optimizer) == (6, 40, "adamw")
    moved = best.augmentation
    assert min(moved.crop, moved.degrees, moved.shift, moved.zoom, moved.mixup) > 0


def test_paper_is_plain_gradient_descent_on_equalized_images() -> None:
    assert recipes.preset("paper") == Recipe(
        preset="paper",
        contrast="equalize",
        optimizer="sgd",
        lr=0.01,
        batch_size=128,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
        warmup=0.0,
        shuffle=False,
        flip=False,
        epochs=20,
    )


def test_a_recipe_of_before_says_equalize() -> None:
    for equalize, contrast in ((True, "equalize"), (False, "keep")):
        older = {name: value for name, value in Recipe().to_dict().items() if name != "contrast"}
        assert Recipe.from_dict({**older, "equalize": equalize}) == Recipe(contrast=contrast)


def test_a_preset_can_be_changed() -> None:
    assert recipes.preset("paper", layers=6, lr=0.5) == replace(recipes.preset("paper"), layers=6, lr=0.5)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^preset: expected one of default, best, paper, bench, got 'bset'$"):
        recipes.preset("bset")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("optimizer", "adam", "optimizer: expected one of sgd, adamw, got 'adam'"),
        ("schedule", "linear", "schedule: expected one of constant, cosine, onecycle, plateau, step, got 'linear'"),
        ("preset", "vgg", "preset: expected one of default, best, paper, bench, got 'vgg'"),
        ("layers", 1, "layers: expected 2 to 8, got 1"),
        ("layers", 9, "layers: expected 2 to 8, got 9"),
        ("epochs", 0, "epochs: expected at least 1, got 0"),
        ("batch_size", 0, "batch_size: expected at least 1, got 0"),
        ("seed", -1, "seed: expected at least 0, got -1"),
        ("lr", -0.1, "lr: expected at least 0, got -0.1"),
        ("lr", float("nan"), "lr: expected at least 0, got nan"),
        ("lr", float("inf"), "lr: expected a finite number, got inf"),
        ("lr", 10**400, "lr: expected a number below 2^53"),
        ("epochs", 10**307, "epochs: expected a number below 2^53"),
        ("seed", 1 << 53, "seed: expected a number below 2^53"),
        ("momentum", -0.1, "momentum: expected at least 0, got -0.1"),
        ("weight_decay", -0.1, "weight_decay: expected at least 0, got -0.1"),
        ("warmup", -1.0, "warmup: expected at least 0, got -1.0"),
        ("clip", -1.0, "clip: expected at least 0, got -1.0"),
        ("patience", -1, "patience: expected at least 0, got -1"),
        ("ema", 1.0, "ema: expected from 0 to below 1, got 1.0"),
        ("label_smoothing", 1.0, "label_smoothing: expected from 0 to below 1, got 1.0"),
        ("erase", 1.5, "Augmentation: expected erase in 0..1, got 1.5"),
        ("mixup", -0.1, "Augmentation: expected mixup in 0..inf, got -0.1"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=name) as raised:
        Recipe(**{name: value})
    assert str(raised.value) == message


def test_a_number_that_python_does_not_even_print_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^clip: expected a number below 2\^53$"):
        Recipe(clip=10**5000)


# As plain values


@pytest.mark.parametrize("name", models.PRESETS)
def test_a_recipe_comes_back_from_its_plain_values(name: str) -> None:
    recipe = recipes.preset(name, layers=3, mixup=0.2, ema=0.99)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_plain_values_are_all_there_are() -> None:
    assert list(Recipe().to_dict()) == [field.name for field in fields(Recipe)]


def test_unknown_names_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^recipe: unknown depth, width$"):
        Recipe.from_dict({"width": 3, "layers": 4, "depth": 5})


def test_values_that_are_left_out_are_the_defaults() -> None:
    assert Recipe.from_dict({"layers": 5}) == Recipe(layers=5)


def test_plain_values_are_checked() -> None:
    with pytest.raises(ValueError, match="epochs: expected at least 1, got 0"):
        Recipe.from_dict({"epochs": 0})


def test_the_augmentation_has_the_recipes_values() -> None:
    recipe = Recipe(crop=4, flip=False, degrees=10.0, shift=0.1, zoom=0.2, erase=0.3, mixup=0.4)
    assert recipe.augmentation == Augmentation(4, False, 10.0, 0.1, 0.2, 0.3, 0.4)


# What is made of them


def test_sgd_takes_nesterovs_steps_where_it_has_momentum() -> None:
    with_momentum = recipes.make_optimizer(Recipe(optimizer="sgd", lr=0.3, momentum=0.8), NET)
    assert isinstance(with_momentum, optim.SGD)
    assert (with_momentum.lr, with_momentum.momentum, with_momentum.nesterov) == (0.3, 0.8, True)
    plain = recipes.make_optimizer(Recipe(optimizer="sgd", momentum=0.0), NET)
    assert isinstance(plain, optim.SGD)
    assert (plain.momentum, plain.nesterov) == (0.0, False)


def test_adamw_is_adamw() -> None:
    optimizer = recipes.make_optimizer(Recipe(optimizer="adamw", lr=0.3), NET)
    assert isinstance(optimizer, optim.AdamW)
    assert optimizer.lr == 0.3


@pytest.mark.parametrize("name", recipes.OPTIMIZERS)
def test_weights_alone_decay(name: str) -> None:
    optimizer = recipes.make_optimizer(Recipe(optimizer=name, weight_decay=0.25), NET)
    decays = {id(parameter): group.weight_decay for group in optimizer.groups for parameter in group.params}
    assert {key: decays[id(parameter)] for key, parameter in NET.named_parameters()} == {
        "0.conv.weight": 0.25,
        "0.bn.weight": 0.0,
        "0.bn.bias": 0.0,
        "1.weight": 0.25,
        "1.bias": 0.0,
    }


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("constant", lambda: schedule.Constant(0.4)),
        ("cosine", lambda: schedule.Cosine(0.4, 60)),
        ("onecycle", lambda: schedule.OneCycle(0.4, 60)),
        ("plateau", lambda: schedule.Plateau(0.4)),
        ("step", lambda: schedule.Step(0.4, 20)),
    ],
)
def test_a_schedule_reaches_over_all_steps_of_all_epochs(name: str, same: Callable[[], schedule.Schedule]) -> None:
    made = recipes.make_schedule(Recipe(schedule=name, lr=0.4, epochs=6, warmup=0.0), steps_an_epoch=10)
    assert [made.lr(step) for step in range(60)] == [same().lr(step) for step in range(60)]


def test_the_rate_rises_over_the_epochs_of_the_warmup() -> None:
    made = recipes.make_schedule(Recipe(schedule="constant", lr=0.4, warmup=0.5), steps_an_epoch=8)
    assert [made.lr(step) for step in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_a_schedule_that_listens_does_so_through_the_warmup() -> None:
    made = recipes.make_schedule(Recipe(schedule="plateau", lr=0.4, warmup=1.0), steps_an_epoch=4)
    for _ in range(7):
        made.observe(1.0)
    assert made.lr(100) == pytest.approx(0.2)


def test_a_step_schedule_fits_a_training_of_a_single_step() -> None:
    made = recipes.make_schedule(Recipe(schedule="step", lr=0.4, epochs=1, warmup=0.0), steps_an_epoch=1)
    assert made.lr(0) == 0.4
