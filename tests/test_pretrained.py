"""The network in the package: it is there, small, says what it is, and reads a face that is not of its data."""

import json
from pathlib import Path

import cv2
import numpy as np
from safetensors import safe_open

from minicnn import checkpoint, inference, recipes
from minicnn.data.dataset import CLASSES
from minicnn.pretrained import default_weights
from tests.portraits import astronaut
from tests.programs import ROOT, minicnn


def test_it_is_small_and_loads() -> None:
    path = default_weights()
    assert path.stat().st_size <= 5_000_000
    model, preprocessing, header = checkpoint.load_model(path)
    assert header.labels == list(CLASSES)
    faces = np.random.default_rng(0).integers(0, 256, (2, 48, 48), dtype=np.uint8)
    assert inference.probabilities(model, faces, preprocessing).shape == (2, 7)


def test_it_carries_a_checksum() -> None:
    with safe_open(default_weights(), framework="numpy") as file:
        assert len(file.metadata()["sha256"]) == 64


def test_its_header_says_how_to_make_it_again() -> None:
    _, header = checkpoint.load_weights(default_weights())
    recipe = recipes.Recipe.from_dict(header.recipe)
    assert (recipe.layers, recipe.preset) == (header.architecture["layers"], header.architecture["preset"])
    card = (ROOT / "docs/explanation/model-card.md").read_text()
    assert header.data["sha256"] in card
    assert recipe == recipes.preset(recipe.preset)  # which the card's command is
    assert f"`minicnn train --data fer2013 --preset {recipe.preset}`, seed {recipe.seed}" in card
    assert f"epoch {header.metrics['epoch']} of {recipe.epochs}" in card


def test_its_log_is_in_the_tree() -> None:
    _, header = checkpoint.load_weights(default_weights())
    names, *rows = (line.split(",") for line in (ROOT / "docs/models/default-metrics.csv").read_text().splitlines())
    best = max(rows, key=lambda row: float(row[names.index("val_accuracy")]))
    assert float(best[names.index("val_accuracy")]) == header.metrics["val_accuracy"]


def test_it_reads_the_astronauts_smile(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "astronaut.png"), astronaut())
    result = minicnn("predict", tmp_path / "astronaut.png", "--json")
    (picture,) = json.loads(result.out)
    (face,) = picture["faces"]
    assert face["emotion"] == "happy"
    assert face["probabilities"]["happy"] > 0.5
