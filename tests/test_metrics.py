"""The metrics evaluator: against scikit-learn, against published intervals, and on bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    precision_recall_fscore_support,
)
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import log_loss as sklearn_log_loss

from minicnn.apps.metrics import (
    Metrics,
    calibration_error,
    confusion_matrix,
    evaluate,
    format_table,
    wilson_interval,
)
from minicnn.data.dataset import CLASSES

Case = tuple[NDArray[np.int64], NDArray[np.float64]]


def random_case(
    n: int = 200,
    classes: int = 7,
    seed: int = 0,
    labels: list[int] | None = None,
    predicted: list[int] | None = None,
) -> Case:
    """Labels and probabilities that lean towards them, of all classes or of those named."""
    rng = np.random.default_rng(seed)
    label = rng.choice(labels if labels is not None else classes, size=n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), label] += 1.5
    if predicted is not None:
        logits[:, [c for c in range(classes) if c not in predicted]] -= 50.0
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return label, exp / exp.sum(axis=1, keepdims=True)


def certain(predictions: list[int], classes: int) -> NDArray[np.float64]:
    """Probabilities that are 1 for the prediction."""
    return np.eye(classes)[predictions]


def names(classes: int) -> list[str]:
    return [f"class {i}" for i in range(classes)]


CASES = {
    "seven classes": random_case(),
    "two classes": random_case(n=50, classes=2, seed=1),
    "many images": random_case(n=5000, seed=2),
    "a class absent from the labels": random_case(seed=3, labels=[0, 1, 2, 4, 5, 6]),
    "a class absent from the predictions": random_case(seed=4, predicted=[0, 2, 3, 4, 5, 6]),
    "a class absent from both": random_case(seed=5, labels=[0, 1, 2, 3], predicted=[0, 1, 2, 3]),
    "labels and predictions of different classes": random_case(seed=6, labels=[0, 1], predicted=[5, 6]),
    "one image, right": (np.array([3]), certain([3], 7)),
    "one image, wrong": (np.array([3]), certain([4], 7)),
    "all right": (np.arange(70) % 7, certain([i % 7 for i in range(70)], 7)),
    "all wrong": (np.arange(70) % 7, certain([(i + 1) % 7 for i in range(70)], 7)),
}


@pytest.fixture(params=CASES, ids=lambda name: str(name).replace(" ", "-"))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def sklearn_scores(case: Case, average: str | None) -> list[NDArray[np.float64]]:
    label, probability = case
    classes = range(probability.shape[1])
    result = precision_recall_fscore_support(
        label, probability.argmax(axis=1), labels=classes, average=average, zero_division=0
    )
    return list(result)


def measure(case: Case) -> Metrics:
    return evaluate(*case, names(case[1].shape[1]))


def test_confusion_matrix_has_labels_in_rows_and_predictions_in_columns() -> None:
    matrix = confusion_matrix([0, 0, 1, 2], [0, 1, 1, 0], classes=4)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_confusion_matrix_agrees_with_scikit_learn(case: Case) -> None:
    label, probability = case
    classes = probability.shape[1]
    expected = sklearn_confusion(label, probability.argmax(axis=1), labels=range(classes))
    assert measure(case).confusion.tolist() == expected.tolist()


def test_accuracy_agrees_with_scikit_learn(case: Case) -> None:
    label, probability = case
    assert measure(case).accuracy == pytest.approx(accuracy_score(label, probability.argmax(axis=1)), abs=1e-12)


def test_scores_of_each_class_agree_with_scikit_learn(case: Case) -> None:
    ours = [[s.precision, s.recall, s.f1, s.support] for s in measure(case).per_class.values()]
    np.testing.assert_allclose(np.transpose(ours), sklearn_scores(case, None), rtol=0, atol=1e-12)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_averages_agree_with_scikit_learn(case: Case, average: str) -> None:
    scores = getattr(measure(case), average)
    expected = sklearn_scores(case, average)[:3]
    np.testing.assert_allclose([scores.precision, scores.recall, scores.f1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_agrees_with_scikit_learn_also_where_a_probability_is_zero(
    case: Case, dtype: type[np.floating]
) -> None:
    label, probability = case[0], case[1].astype(dtype)
    classes = probability.shape[1]
    expected = sklearn_log_loss(label, probability, labels=range(classes))
    assert evaluate(label, probability, names(classes)).log_loss == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_weighted_recall_is_the_accuracy(case: Case) -> None:
    metrics = measure(case)
    assert metrics.weighted.recall == pytest.approx(metrics.accuracy, abs=1e-12)


def test_the_first_class_wins_a_tie() -> None:
    assert evaluate([1], [[0.2, 0.4, 0.4]], names(3)).accuracy == 1.0


# Newcombe, Statist. Med. 17 (1998) 857, table I, method 3.
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_has_the_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


def test_wilson_interval_of_no_trial_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_interval_never_leaves_zero_to_one() -> None:
    ends = [wilson_interval(k, n) for n in range(1, 60) for k in range(n + 1)]
    assert all(0.0 <= low < high <= 1.0 for low, high in ends)


def test_recall_interval_is_wilsons_over_the_support() -> None:
    metrics = measure(CASES["seven classes"])
    hits, support = int(metrics.confusion[2, 2]), int(metrics.confusion[2].sum())
    assert metrics.recall_intervals["class 2"] == wilson_interval(hits, support)


def test_bootstrap_intervals_contain_the_estimate(case: Case) -> None:
    metrics = measure(case)
    for scores, intervals in (
        (metrics.macro, metrics.macro_intervals),
        (metrics.weighted, metrics.weighted_intervals),
    ):
        for name in ("precision", "recall", "f1"):
            low, high = getattr(intervals, name)
            assert 0.0 <= low <= getattr(scores, name) <= high <= 1.0


def test_bootstrap_intervals_are_the_same_every_time() -> None:
    first, second = (measure(CASES["many images"]) for _ in range(2))
    assert first.to_json() == second.to_json()


def test_bootstrap_interval_of_the_weighted_recall_is_about_wilsons_of_the_accuracy() -> None:
    metrics = measure(CASES["many images"])
    assert metrics.weighted_intervals.recall == pytest.approx(metrics.accuracy_interval, abs=0.002)


def test_bootstrap_interval_is_that_of_resampled_images() -> None:
    label, probability = CASES["many images"]
    predicted = probability.argmax(axis=1)
    rng = np.random.default_rng(7)
    f1 = []
    for _ in range(300):
        pick = rng.integers(len(label), size=len(label))
        scores = precision_recall_fscore_support(label[pick], predicted[pick], average="macro")
        f1.append(scores[2])
    expected = tuple(np.percentile(f1, [2.5, 97.5]))
    assert measure(CASES["many images"]).macro_intervals.f1 == pytest.approx(expected, abs=0.004)


def test_intervals_shrink_with_the_number_of_images() -> None:
    small, large = (measure(CASES[name]).macro_intervals.f1 for name in ("seven classes", "many images"))
    assert large[1] - large[0] < 0.5 * (small[1] - small[0])


def test_calibration_error_is_zero_where_confidence_is_the_accuracy() -> None:
    correct = np.array([True] * 8 + [False] * 2)
    assert calibration_error(correct, np.full(10, 0.8)) == pytest.approx(0.0, abs=1e-12)


def test_calibration_error_is_the_gap_in_each_bin_weighted_by_its_images() -> None:
    # Three images in the bin of 0.9 (accuracy 1/3), one in that of 0.5 (accuracy 1).
    correct = np.array([True, False, False, True])
    confidence = np.array([0.9, 0.9, 0.9, 0.5])
    expected = 3 / 4 * abs(1 / 3 - 0.9) + 1 / 4 * abs(1 - 0.5)
    assert calibration_error(correct, confidence) == pytest.approx(expected)


def test_calibration_bins_are_closed_above() -> None:
    # 1/15 falls in the first bin, beside 0.05, and 2/15 in the second.
    confidence = np.array([1 / 15, 0.05, 2 / 15])
    correct = np.array([False, True, False])
    assert calibration_error(correct, confidence) == pytest.approx((1 - 1 / 15 - 0.05 + 2 / 15) / 3)


def test_json_has_the_documented_keys_in_plain_types() -> None:
    document = evaluate(*CASES["seven classes"], CLASSES).to_json()
    assert document.keys() == {
        *("n", "accuracy", "macro", "weighted", "per_class", "confusion"),
        *("interval", "log_loss", "calibration_error"),
    }
    assert document["macro"].keys() == document["weighted"].keys() == {"precision", "recall", "f1"}
    assert list(document["per_class"]) == list(CLASSES)
    assert document["per_class"]["happy"].keys() == {"precision", "recall", "f1", "support"}
    assert document["interval"].keys() == {"accuracy", "macro", "weighted", "recall"}
    assert document["interval"]["macro"].keys() == {"precision", "recall", "f1"}
    assert len(document["interval"]["accuracy"]) == len(document["interval"]["recall"]["sad"]) == 2
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_table_shows_every_class_the_averages_and_the_confusion_matrix() -> None:
    metrics = evaluate([0, 0, 1, 1], certain([0, 1, 1, 1], 2), ["happy", "sad"])
    lines = format_table(metrics).splitlines()
    assert [line.split() for line in lines if line.startswith("happy")] == [
        ["happy", "1.000", "0.500", "0.095-0.905", "0.667", "2"],
        ["happy", "1", "1"],
    ]
    averages = [line.split()[:4] for line in lines if line.startswith("macro")]
    assert averages == [["macro", "average", "0.833", "0.750"]]
    assert "accuracy 0.7500, 95 % interval 0.3006 to 0.9544, n = 4" in lines


@pytest.mark.parametrize("scale", [1, 100_000])
def test_table_fits_in_88_columns(scale: int) -> None:
    label, probability = CASES["seven classes"]
    long_names = [f"an expression with a long name, {i}" for i in range(7)]
    metrics = evaluate(np.tile(label, scale // 200 + 1), np.tile(probability, (scale // 200 + 1, 1)), long_names)
    assert max(map(len, format_table(metrics).splitlines())) <= 88


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 7], np.full((2, 7), 1 / 7), r"labels to be integers 0\.\.6, got int64 from 0 to 7"),
        ([0, -1], np.full((2, 7), 1 / 7), r"from -1 to 0"),
        ([0.0, 1.0], np.full((2, 7), 1 / 7), r"got float64 from 0\.0 to 1\.0"),
        ([0, 1, 2], np.full((2, 7), 1 / 7), r"got \(3,\) and \(2,\)"),
        ([], np.empty((0, 7)), r"at least one"),
        ([0], np.full((1, 6), 1 / 6), r"\(N, 7\), one column a class, got float64 \(1, 6\)"),
        ([0], np.ones((1, 7), np.int64), r"got int64"),
        ([0], np.array([[2.0, -1.0, 0, 0, 0, 0, 0]]), r"apply softmax first"),
        ([0], np.array([[5.0, 1, 0, 0, 0, 0, 0]]), r"apply softmax first"),
        ([0], np.full((1, 7), np.nan), r"apply softmax first"),
    ],
)
def test_bad_input_is_refused(labels: list[int], probabilities: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(labels, probabilities, CLASSES)


def test_class_names_must_differ() -> None:
    with pytest.raises(ValueError, match="different class names"):
        evaluate([0], [[0.5, 0.5]], ["sad", "sad"])


def test_the_module_needs_numpy_alone() -> None:
    heavy = "matplotlib jinja2 pandas sklearn scipy cv2 safetensors click tqdm"
    code = f"import sys, minicnn.apps.metrics; print([name for name in {heavy.split()!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
