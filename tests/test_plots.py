"""The figures: what is drawn where, on any number of epochs, and nothing global is touched."""

import math
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from minicnn.apps.paper_tables import PAPER
from minicnn.apps.plots import plot_confusion, plot_curves, plot_study

Epoch = dict[str, float]


def make_history(epochs: int) -> list[Epoch]:
    return [
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "train_accuracy": 1 - 0.8 / epoch,
            "val_loss": 2.1 / epoch,
            "val_accuracy": 0.6 - 0.4 / epoch - 0.001 * epoch,
            "lr": 0.1,
            "seconds": 10.0,
            "images_per_second": 2500.0,
        }
        for epoch in range(1, epochs + 1)
    ]


STUDY = [
    {"depth": 4, "accuracy": 0.62, "macro_f1": 0.58, "weighted_f1": 0.61, "accuracy_low": 0.60, "accuracy_high": 0.64},
    {"depth": 3, "accuracy": 0.60, "macro_f1": 0.55, "weighted_f1": 0.59},
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved during the test, to look into; they are saved as ever."""
    saved: list[Figure] = []
    save = Figure.savefig

    def spy(figure: Figure, *args: object, **options: object) -> None:
        saved.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return saved


def texts(figure: Figure, axes: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[axes].texts]


@pytest.mark.parametrize("epochs", [1, 2, 40, 300])
def test_curves_of_any_number_of_epochs_are_a_whole_png(epochs: int, tmp_path: Path) -> None:
    plot_curves(make_history(epochs), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        image.load()
        assert image.format == "PNG"
        assert image.width > 2 * image.height > 800
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_curves_are_loss_and_accuracy_of_training_and_validation(figures: list[Figure], tmp_path: Path) -> None:
    history = make_history(5)
    plot_curves(history, tmp_path / "curves.png")
    for axes, quantity in zip(figures[0].axes, ("loss", "accuracy"), strict=True):
        drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
        for label, split in (("training", "train"), ("validation", "val")):
            expected = [(epoch["epoch"], epoch[f"{split}_{quantity}"]) for epoch in history]
            np.testing.assert_array_equal(drawn[label], expected)


def test_curves_name_the_best_epoch(figures: list[Figure], tmp_path: Path) -> None:
    plot_curves(make_history(40), tmp_path / "curves.png")
    assert figures[0].axes[1].get_title(loc="right") == "best validation accuracy 56.0 %, epoch 20"


def test_curves_of_one_epoch_show_both_points_with_room_around(figures: list[Figure], tmp_path: Path) -> None:
    plot_curves(make_history(1), tmp_path / "curves.png")
    for axes in figures[0].axes:
        assert axes.get_xlim() == (0.0, 2.0)
        assert all(line.get_marker() in ("o", "s") for line in axes.lines)
        low, high = axes.get_ylim()
        assert high - low >= 0.2 - 1e-9


def test_curves_at_the_top_leave_no_room_above_one_hundred_percent(figures: list[Figure], tmp_path: Path) -> None:
    history = [{**epoch, "train_accuracy": 0.99, "val_accuracy": 0.98} for epoch in make_history(3)]
    plot_curves(history, tmp_path / "curves.png")
    assert figures[0].axes[1].get_ylim()[1] <= 1.011


def test_curves_leave_a_gap_where_validation_is_missing(figures: list[Figure], tmp_path: Path) -> None:
    history = make_history(3)
    for epoch in history:
        epoch["val_accuracy"] = epoch["val_loss"] = math.nan
    plot_curves(history, tmp_path / "curves.png")
    assert figures[0].axes[1].get_title(loc="right") == ""


def test_curves_of_no_epoch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_curves([], tmp_path / "curves.png")


def test_confusion_shows_count_and_row_percent_in_each_cell(figures: list[Figure], tmp_path: Path) -> None:
    plot_confusion([[3, 1], [0, 5]], ["happy", "sad"], tmp_path / "confusion.png")
    assert texts(figures[0]) == ["3", "75 %", "1", "25 %", "0", "0 %", "5", "100 %"]


def test_confusion_has_labels_down_and_predictions_across(figures: list[Figure], tmp_path: Path) -> None:
    plot_confusion([[3, 1], [0, 5]], ["happy", "sad"], tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["happy", "sad"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy\n4", "sad\n5"]
    assert axes.get_xlabel() == "prediction"
    assert axes.get_ylabel().startswith("label")


def test_confusion_text_is_dark_on_light_cells_and_white_on_dark_ones(figures: list[Figure], tmp_path: Path) -> None:
    plot_confusion([[9, 0], [0, 9]], ["happy", "sad"], tmp_path / "confusion.png")
    colors = [text.get_color() for text in figures[0].axes[0].texts[::2]]
    assert colors[0] == colors[3] == "white"
    assert colors[1] == colors[2] != "white"


def test_confusion_of_a_class_without_images_is_zero_percent(figures: list[Figure], tmp_path: Path) -> None:
    plot_confusion([[0, 0], [1, 1]], ["happy", "sad"], tmp_path / "confusion.png")
    assert texts(figures[0])[:4] == ["0", "0 %", "0", "0 %"]


def test_confusion_must_have_a_row_and_a_column_for_each_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a matrix \(3, 3\), got \(2, 2\)"):
        plot_confusion([[1, 0], [0, 1]], ["a", "b", "c"], tmp_path / "confusion.png")


@pytest.mark.parametrize(
    ("panel", "key", "path"),
    [(0, "accuracy", ("accuracy",)), (1, "macro_f1", ("macro", "f1")), (2, "weighted_f1", ("weighted", "f1"))],
)
def test_study_draws_ours_beside_the_papers(
    panel: int, key: str, path: tuple[str, ...], figures: list[Figure], tmp_path: Path
) -> None:
    plot_study(STUDY, tmp_path / "study.png")
    drawn = {line.get_label(): line.get_xydata().tolist() for line in figures[0].axes[panel].lines}
    assert drawn["minicnn"] == [[3, STUDY[1][key]], [4, STUDY[0][key]]]
    paper = []
    for depth, scores in PAPER.items():
        value = scores
        for step in path:
            value = value[step]
        paper.append([depth, value])
    assert drawn["the paper"] == paper


def test_study_draws_the_interval_where_it_is_known(figures: list[Figure], tmp_path: Path) -> None:
    plot_study(STUDY, tmp_path / "study.png")
    (bars,) = figures[0].axes[0].collections
    assert [segment.tolist() for segment in bars.get_segments()] == [[[4, 0.60], [4, 0.64]]]


def test_study_without_intervals_draws_none(figures: list[Figure], tmp_path: Path) -> None:
    plot_study(STUDY[1:], tmp_path / "study.png")
    assert not figures[0].axes[0].collections


def test_study_of_depths_that_the_paper_lacks_shows_them_too(figures: list[Figure], tmp_path: Path) -> None:
    plot_study([{**STUDY[1], "depth": 8}], tmp_path / "study.png")
    assert figures[0].axes[0].get_xticks().tolist() == [3, 4, 5, 6, 8]


def test_study_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one depth"):
        plot_study([], tmp_path / "study.png")


def test_equal_figures_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        plot_confusion([[3, 1], [0, 5]], ["happy", "sad"], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_drawing_changes_no_setting_of_matplotlib(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    plot_study(STUDY, tmp_path / "study.png")
    assert dict(matplotlib.rcParams) == before


def test_drawing_imports_no_window_toolkit(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from minicnn.apps.plots import plot_confusion\n"
        "plot_confusion([[1, 0], [0, 1]], ['a', 'b'], sys.argv[1])\n"
        "print('matplotlib.pyplot' in sys.modules, 'tkinter' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "confusion.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]
