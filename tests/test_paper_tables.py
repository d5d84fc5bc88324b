"""The paper's tables as data, and a study printed and written beside them."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from minicnn.apps.metrics import evaluate
from minicnn.apps.paper_tables import PAPER, format_tables, half_width, summarize, write_csv
from minicnn.apps.plots import plot_study

Row = dict[str, Any]


def make_row(layers: int, seed: int, correct: int = 60) -> Row:
    """A training that got `correct` of 100 images right, of two classes with 50 each."""
    labels = np.arange(100) % 2
    predictions = np.where(np.arange(100) < correct, labels, 1 - labels)
    metrics = evaluate(labels, np.eye(2)[predictions], ["happy", "sad"]).to_json()
    return {
        "layers": layers,
        "seed": seed,
        "metrics": metrics,
        "epochs": 20,
        "seconds": 300.0 + seed,
        "parameters": 1_234_567,
    }


# As printed: accuracy; macro precision, recall, F1; weighted precision, recall, F1.
PRINTED = {
    3: (0.47, 0.53, 0.56, 0.46, 0.61, 0.47, 0.51),
    4: (0.48, 0.49, 0.56, 0.46, 0.56, 0.48, 0.50),
    5: (0.43, 0.47, 0.51, 0.41, 0.55, 0.43, 0.46),
    6: (0.48, 0.52, 0.56, 0.47, 0.59, 0.48, 0.51),
}


@pytest.mark.parametrize("layers", PRINTED)
def test_the_papers_scores_are_those_it_prints(layers: int) -> None:
    scores = PAPER[layers]
    values = (scores["accuracy"], *scores["macro"].values(), *scores["weighted"].values())
    assert values == PRINTED[layers]


def test_the_papers_weighted_recall_is_its_accuracy() -> None:
    assert all(scores["weighted"]["recall"] == scores["accuracy"] for scores in PAPER.values())


@pytest.mark.parametrize("seeds", [2, 3, 5, 11, 12, 30])
def test_half_width_is_that_of_the_t_interval(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(size=seeds)
    low, high = stats.t.interval(0.95, seeds - 1, loc=values.mean(), scale=values.std(ddof=1) / math.sqrt(seeds))
    assert half_width(values.tolist()) == pytest.approx((high - low) / 2, rel=2e-4)


def test_half_width_of_one_value_is_unknown_and_zero() -> None:
    assert half_width([0.6]) == 0.0


def test_tables_put_ours_beside_the_papers() -> None:
    lines = format_tables([make_row(4, seed=0)]).splitlines()
    rows = [line.split() for line in lines if line.startswith("4 layers")]
    assert rows[0] == ["4", "layers", "0.48", "0.600", "0.49", "0.600", "0.56", "0.600", "0.46", "0.600"]
    assert rows[1] == ["4", "layers", "0.56", "0.600", "0.48", "0.600", "0.50", "0.600"]


def test_tables_show_the_mean_over_the_seeds_with_its_half_width() -> None:
    text = format_tables([make_row(4, seed, correct) for seed, correct in ((0, 60), (1, 62), (2, 64))])
    # t(0.975; 2) = 4.3027 times 0.02 / sqrt(3).
    assert "0.48  0.620±0.050" in text
    assert "mean over the seeds ± half of its 95 % t interval" in text


def test_tables_of_one_seed_show_no_half_width() -> None:
    assert "±" not in format_tables([make_row(3, seed=0), make_row(4, seed=0)])


def test_tables_leave_the_paper_out_of_a_depth_that_it_lacks() -> None:
    lines = format_tables([make_row(2, seed=0)]).splitlines()
    first = next(line for line in lines if line.startswith("2 layers"))
    assert first.split()[2:4] == ["-", "0.600"]


def test_tables_are_in_order_of_depth() -> None:
    text = format_tables([make_row(6, seed=0), make_row(3, seed=0)])
    assert text.index("3 layers") < text.index("6 layers")


def test_tables_say_what_ours_cost() -> None:
    lines = format_tables([make_row(4, seed=0), make_row(4, seed=2)]).splitlines()
    assert lines[lines.index("ours       seeds  parameters  epochs  seconds per training") + 1].split() == [
        *("4", "layers", "2", "1,234,567", "20", "301"),
    ]


def test_tables_fit_in_88_columns() -> None:
    rows = [make_row(layers, seed, 50 + 3 * seed) for layers in range(2, 9) for seed in range(3)]
    assert max(map(len, format_tables(rows).splitlines())) <= 88


def test_tables_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        format_tables([])


def test_summary_averages_over_the_seeds_of_a_depth() -> None:
    (four, five) = summarize([make_row(5, 0), make_row(4, 0, 60), make_row(4, 1, 64)])
    assert (four["depth"], four["seeds"], five["depth"]) == (4, 2, 5)
    assert four["accuracy"] == pytest.approx(0.62)
    assert four["accuracy_high"] - four["accuracy"] == pytest.approx(half_width([0.60, 0.64]))


def test_summary_of_one_seed_takes_the_interval_of_its_images() -> None:
    row = make_row(4, 0)
    (four,) = summarize([row])
    assert [four["accuracy_low"], four["accuracy_high"]] == row["metrics"]["interval"]["accuracy"]


def test_summary_is_what_the_figure_takes(tmp_path: Path) -> None:
    plot_study(summarize([make_row(4, 0), make_row(5, 0)]), tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


def test_csv_has_a_line_a_training_with_ours_and_the_papers(tmp_path: Path) -> None:
    rows = [make_row(4, 0), make_row(2, 1, correct=77)]
    write_csv(rows, tmp_path / "study.csv")
    with (tmp_path / "study.csv").open(newline="", encoding="utf-8") as file:
        four, two = csv.DictReader(file)
    assert (four["layers"], four["seed"], four["epochs"], four["parameters"]) == ("4", "0", "20", "1234567")
    assert float(four["macro_f1"]) == rows[0]["metrics"]["macro"]["f1"]
    assert (four["paper_accuracy"], four["paper_macro_precision"], four["paper_weighted_f1"]) == ("0.48", "0.49", "0.5")
    assert (two["accuracy"], two["paper_accuracy"]) == ("0.77", "")


def test_csv_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    write_csv([make_row(4, 0)], tmp_path / "study.csv")
    before = (tmp_path / "study.csv").read_bytes()
    with pytest.raises(KeyError):
        write_csv([make_row(4, 0), {"layers": 4}], tmp_path / "study.csv")
    assert (tmp_path / "study.csv").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
