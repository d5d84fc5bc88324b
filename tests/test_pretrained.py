"""The network in the package: it is there, small, says what it is, and reads a face that is not of its data."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
from safetensors import safe_open

from minicnn import checkpoint, inference, recipes
from minicnn.data.dataset import CLASSES
from minicnn.pretrained import default_weights
from tests.portraits import astronaut
from tests.programs import ROOT, minicnn


def log() -> list[dict[str, str]]:
    """Its training, an epoch a row."""
    with (ROOT / "docs/models/default-metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


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
    usual = recipes.preset(recipe.preset).to_dict()
    changed = {name: value for name, value in recipe.to_dict().items() if value != usual[name]}
    (command,) = re.findall(r"^\| command \| `(.*)`, seed (\d+)", card, re.MULTILINE)
    assert command[0].startswith(f"minicnn train --data fer2013 --preset {recipe.preset} ")
    options = {name.replace("-", "_"): value for name, value in re.findall(r"--([\w-]+) (\S+)", command[0])}
    assert options.pop("teachers", None) == ("…" if "answers" in header.data else None)
    assert options == {"data": "fer2013", "preset": recipe.preset, **{name: str(v) for name, v in changed.items()}}
    assert int(command[1]) == recipe.seed
    *teachers, last = re.findall(r"^minicnn train --data fer2013 (.*)--out (\S+)$", card, re.MULTILINE)
    assert last[0].partition("--teachers ")[0] == "".join(f"--{name} {changed[name]} " for name in ("zoom", "shift"))
    assert last[0].partition("--teachers ")[2].strip() == ",".join(folder for _, folder in teachers)
    assert f"epoch {header.metrics['epoch']} of {recipe.epochs}" in card


def test_its_card_states_what_it_is_and_what_it_took() -> None:
    arrays, header = checkpoint.load_weights(default_weights())
    parameters = sum(array.size for name, array in arrays.items() if ".running_" not in name)
    seconds = sum(float(row["seconds"]) for row in log())
    card = (ROOT / "docs/explanation/model-card.md").read_text()
    assert f"{header.architecture['layers']} convolutional layers, {parameters:,} parameters" in card
    assert f"{seconds:,.0f} seconds" in card
    assert f"logits divided by {header.metrics['temperature']:.3f}" in card
    assert f"restored from the blur) | {header.metrics['val_accuracy']:.3f} |" in card


def test_the_chapter_on_depth_and_the_results_have_one_confusion_matrix() -> None:
    chapter = (ROOT / "docs/tutorials/12-depth.md").read_text()
    numbers = re.findall(r"^        \[((?:\d+, ){6}\d+)\],$", chapter, re.MULTILINE)
    results = (ROOT / "docs/results.md").read_text()
    printed = re.findall(r"^[a-z]+ ((?: +\d+){7})$", results, re.MULTILINE)
    assert [[int(n) for n in row.split(", ")] for row in numbers] == [[int(n) for n in row.split()] for row in printed]
    assert len(printed) == len(CLASSES)


def test_its_log_is_in_the_tree() -> None:
    _, header = checkpoint.load_weights(default_weights())
    assert max(float(row["val_accuracy"]) for row in log()) == header.metrics["val_accuracy"]


def test_it_reads_the_astronauts_smile(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "astronaut.png"), astronaut())
    result = minicnn("predict", tmp_path / "astronaut.png", "--json")
    (picture,) = json.loads(result.out)
    (face,) = picture["faces"]
    assert face["emotion"] == "happy"
    assert face["probabilities"]["happy"] > 0.5
