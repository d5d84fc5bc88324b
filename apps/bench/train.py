"""`minicnn bench train`: training steps a second, beside PyTorch's."""

from typing import Any

from minicnn import recipes
from minicnn.apps.bench.job import Settings, make_network, run_job
from minicnn.apps.bench.network import describe_optimizer, recipe
from minicnn.apps.bench.race import Say

STEPS = 4
"""Timed steps a turn, unless told otherwise."""


def bench_train(settings: Settings, say: Say) -> dict[str, Any]:
    """Time training steps: zero_grad, forward, loss, backward, update by the preset's optimizer, the loss as a number.

    See race.race for what comes back and what is raised.
    """
    model = make_network(settings)
    training = recipe(settings.layers, settings.preset)
    optimizer = describe_optimizer(recipes.make_optimizer(training, model))
    details = {**optimizer, "label_smoothing": training.label_smoothing}
    return run_job("train", settings, model, say, details)
