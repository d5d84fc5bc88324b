"""Ten training steps of small networks in the manner of the presets, by the presets' recipes; also as a program.

`python -m tests.trajectories` writes the losses that test_trajectories.py compares with, to trajectories.json:
computed in float64 by array code, and in float32 by the loops. To be done again only where a recipe is meant to change.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import minicnn
from minicnn import kernels, models, nn, recipes
from minicnn.kernels import parallel
from minicnn.steps import Step

STORED = Path(__file__).with_suffix(".json")
SMALL = ("default", "paper")
NETWORKS = (*SMALL, "whole default")
"""`whole default` has the preset's own channels, and the kernels that go with them: too many for the loops."""
STEPS, BATCH, CLASSES = 10, 6, 7


def network(name: str) -> nn.Module:
    """Three convolutional layers, each halving the image, with the preset's kind of layers and few channels."""
    if name == "whole default":
        return models.build(3)
    widths = [(1, 4), (4, 8), (8, 8)]
    if name == "default":
        blocks = [nn.ConvBlock(channels, outputs, pool=2) for channels, outputs in widths]
        return nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(0.3), nn.Linear(8, CLASSES))
    layers: list[nn.Module] = []
    for channels, outputs in widths:
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.RReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 16), nn.RReLU(), nn.Dropout(0.5), nn.Linear(16, CLASSES)]
    return nn.Sequential(*layers, *head)


def train(name: str, dtype: str = "float32") -> tuple[list[float], str]:
    """The loss of each step, and a digest of all parameters and statistics at the end."""
    minicnn.manual_seed(7)
    model, side = network(name), 48 if name == "whole default" else 12
    if dtype == "float64":
        model.double()
    recipe = recipes.preset(name.split()[-1], layers=3, epochs=2, batch_size=BATCH)
    optimizer, schedule = recipes.make_optimizer(recipe, model), recipes.make_schedule(recipe, STEPS // 2)
    step, losses = Step(model, optimizer, None, recipe, None), []
    random = np.random.default_rng(7)
    patterns = random.standard_normal((CLASSES, 1, side, side))
    for number in range(STEPS):
        labels = random.integers(0, CLASSES, BATCH)
        images = patterns[labels] + 0.5 * random.standard_normal((BATCH, 1, side, side))
        optimizer.lr = schedule.lr(number)
        _, loss = step.forward(images.astype(np.float32).astype(dtype), labels)
        step.backward(loss)
        losses.append(loss.item())
    digest = hashlib.sha256(b"".join(array.tobytes() for array in model.state_dict().values()))
    return losses, digest.hexdigest()


def store() -> None:
    """Write the losses to compare with."""
    values = {}
    for name in NETWORKS:
        with kernels.using("im2col"):
            wide, _ = train(name, "float64")
        with kernels.using("reference" if name in SMALL else "im2col"):
            narrow, _ = train(name)
        values[name] = {"float64": wide, "float32": [round(loss, 7) for loss in narrow]}
    STORED.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        store()
    else:
        parallel.set_threads(int(sys.argv[1]))
        print(json.dumps({name: train(name) for name in NETWORKS}))
