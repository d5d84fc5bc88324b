"""Recipes: everything that says how a network is trained, and what each preset sets it to."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

from minicnn import models, optim, schedule
from minicnn.data.augment import Augmentation
from minicnn.data.dataset import IMAGE_SIZE
from minicnn.data.preprocessing import CONTRASTS, renamed
from minicnn.kernels import precision
from minicnn.nn.module import Module

if TYPE_CHECKING:
    from _typeshed import DataclassInstance  # what mypy calls any dataclass

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "cosine", "onecycle", "plateau", "step")

_TOO_LARGE = 1 << 53
"""Beyond it floats skip whole numbers, and far beyond it there are no floats."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        layers, preset: the network, see minicnn.models.build.
        epochs, batch_size, shuffle: how often and in what portions it sees the images.
        seed: of weights, dropout, order and augmentation.
        optimizer, lr, momentum, weight_decay: "sgd" takes Nesterov's steps where it has momentum; weights alone decay.
        schedule, warmup: how the learning rate moves, and over how many epochs it rises at first.
        label_smoothing, class_weights: of the loss; class weights are n / (classes * count), scikit-learn's "balanced".
        clip: the largest joint norm of the gradients; 0 for no clipping.
        ema: the decay of the averaged weights that are evaluated and kept; 0 for none.
        patience: epochs without a better validation accuracy after which training ends; 0 for never.
        precision: how exactly a GPU multiplies, one of minicnn.kernels.precision.CHOICES; the CPU knows float32 alone.
        contrast: what is done to each image's first, one of minicnn.data.preprocessing.CONTRASTS.
        restore: whether blurred training images, if they are, are restored before that.
        crop, flip, degrees, shift, zoom, erase, mixup: see minicnn.data.augment.Augmentation.
        distill: how much of each target is the teachers' answer, see minicnn.distillation; nothing without teachers.
    """

    layers: int = 4
    preset: str = "default"
    epochs: int = 14
    batch_size: int = 32
    shuffle: bool = True
    seed: int = 0
    optimizer: str = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: float = 0.5
    label_smoothing: float = 0.0
    class_weights: bool = False
    clip: float = 0.0
    ema: float = 0.0
    patience: int = 0
    precision: str = "float32"
    contrast: str = "equalize"
    restore: bool = True
    crop: int = 0
    flip: bool = True
    degrees: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    distill: float = 0.5

    def __post_init__(self) -> None:
        check_types(self)
        for name, value in self.to_dict().items():
            if isinstance(value, int) and abs(value) >= _TOO_LARGE:  # a file's whole numbers have no end
                raise ValueError(f"{name}: expected a number below 2^53")
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("preset", self.preset, models.PRESETS)
        _one_of("contrast", self.contrast, CONTRASTS)
        _one_of("precision", self.precision, precision.CHOICES)
        if self.layers not in models.DEPTHS:
            raise ValueError(f"layers: expected {models.DEPTHS[0]} to {models.DEPTHS[-1]}, got {self.layers}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("seed", "lr", "momentum", "weight_decay", "warmup", "clip", "patience"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")
        for name, end in (("ema", 1), ("label_smoothing", 1), ("crop", IMAGE_SIZE)):
            if not 0 <= getattr(self, name) < end:
                raise ValueError(f"{name}: expected from 0 to below {end}, got {getattr(self, name)}")
        if not 0 <= self.distill <= 1:
            raise ValueError(f"distill: expected from 0 to 1, got {self.distill}")
        if self.warmup > self.epochs:
            raise ValueError(f"warmup: expected at most all {self.epochs} epochs, got {self.warmup}")
        _ = self.augmentation  # which checks its own values
        for name, value in self.to_dict().items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name}: expected a finite number, got {value}")

    @property
    def augmentation(self) -> Augmentation:
        """The part of the recipe that changes images."""
        return Augmentation(**{field.name: getattr(self, field.name) for field in fields(Augmentation)})

    def to_dict(self) -> dict[str, Any]:
        """All values by name, as JSON and TOML can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The recipe that `to_dict` gave; raises ValueError for an unknown name."""
        values = renamed(values)
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"recipe: unknown {', '.join(sorted(unknown))}")
        return cls(**values)


_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # Forty minutes on one core. The faces move as much as a detector's crops do, so that those are read as well.
    "best": {
        "layers": 6,
        "epochs": 40,
        "batch_size": 64,
        "weight_decay": 0.05,
        "ema": 0.999,
        "label_smoothing": 0.05,
        "contrast": "standardize",
        "crop": 3,
        "degrees": 10.0,
        "shift": 0.1,
        "zoom": 0.2,
        "mixup": 0.2,
    },
    # The lineage of the paper: plain SGD at a constant rate, the same order in every epoch, nothing augmented.
    "paper": {
        "optimizer": "sgd",
        "lr": 0.01,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "batch_size": 128,
        "schedule": "constant",
        "warmup": 0.0,
        "shuffle": False,
        "flip": False,
        "epochs": 20,
    },
    "bench": {"optimizer": "sgd", "lr": 0.02, "weight_decay": 5e-4, "batch_size": 128, "contrast": "keep"},
}
"""What each preset changes of Recipe's defaults, which are those of the default preset."""


def preset(name: str, **changes: Any) -> Recipe:
    """The recipe of a preset, with `changes`; raises ValueError for an unknown preset or a value out of range."""
    _one_of("preset", name, models.PRESETS)
    return replace(Recipe(preset=name, **_PRESETS[name]), **changes)


def make_optimizer(recipe: Recipe, model: Module) -> optim.Optimizer:
    """The recipe's optimizer over the model's parameters."""
    groups = optim.decay_groups(model, recipe.weight_decay)
    if recipe.optimizer == "adamw":
        return optim.AdamW(groups, recipe.lr)
    return optim.SGD(groups, recipe.lr, recipe.momentum, nesterov=recipe.momentum > 0)


def make_schedule(recipe: Recipe, steps_an_epoch: int) -> schedule.Schedule:
    """The recipe's learning rate for every step of its epochs."""
    steps = recipe.epochs * steps_an_epoch
    kinds: dict[str, schedule.Schedule] = {
        "constant": schedule.Constant(recipe.lr),
        "cosine": schedule.Cosine(recipe.lr, steps),
        "onecycle": schedule.OneCycle(recipe.lr, steps),
        "plateau": schedule.Plateau(recipe.lr),
        "step": schedule.Step(recipe.lr, max(1, steps // 3)),
    }
    return schedule.Warmup(kinds[recipe.schedule], round(recipe.warmup * steps_an_epoch))


def check_types(settings: "DataclassInstance") -> None:
    """Raise TypeError for a field of another type than it declares, as a file may hold; an int will do for a float."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if type(value) is not field.type and (type(value), field.type) != (int, float):
            raise TypeError(f"{field.name}: expected {getattr(field.type, '__name__', field.type)}, got {value!r}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
