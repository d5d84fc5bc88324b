"""The metrics evaluator: from labels and probabilities to the paper's figures and more, with intervals.

Classes that occur in no label, in no prediction or in neither are counted as scikit-learn does with
`labels=range(C), zero_division=0`: an undefined score is 0 and still takes part in the macro average.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
"""The lower and the upper end of a 95 % confidence interval."""

Z95 = 1.959963984540054
"""The 0.975 quantile of the standard normal distribution."""

BOOTSTRAP_RESAMPLES = 1000
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1, each in 0..1."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassScores(Scores):
    """The scores of one class; `support` is the number of labels that name it."""

    support: int


@dataclass(frozen=True)
class ScoreIntervals:
    """95 % confidence intervals of precision, recall and F1."""

    precision: Interval
    recall: Interval
    f1: Interval


@dataclass(frozen=True, eq=False)
class Metrics:
    """What a network scores on one split; `evaluate` makes it.

    Attributes:
        n: the number of images.
        accuracy: the share of images whose most probable class is their label.
        macro: the mean of the class scores, every class counting the same.
        weighted: the mean of the class scores, each class counting by its support.
        per_class: the scores by class name, in the order of the labels.
        confusion: int64, shape (C, C), rows true, columns predicted.
        log_loss: mean negative log-likelihood of the labels, in nats.
        calibration_error: expected calibration error, 0..1.
        accuracy_interval: 95 % Wilson score interval.
        macro_intervals: 95 % percentile bootstrap intervals.
        weighted_intervals: 95 % percentile bootstrap intervals.
        recall_intervals: 95 % Wilson score interval of each class's recall, by class name.
    """

    n: int
    accuracy: float
    macro: Scores
    weighted: Scores
    per_class: dict[str, ClassScores]
    confusion: NDArray[np.int64]
    log_loss: float
    calibration_error: float
    accuracy_interval: Interval
    macro_intervals: ScoreIntervals
    weighted_intervals: ScoreIntervals
    recall_intervals: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """The same in plain Python types, with the keys that `minicnn eval --json` prints."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "macro": asdict(self.macro),
            "weighted": asdict(self.weighted),
            "per_class": {name: asdict(scores) for name, scores in self.per_class.items()},
            "confusion": self.confusion.tolist(),
            "log_loss": self.log_loss,
            "calibration_error": self.calibration_error,
            "interval": {
                "accuracy": list(self.accuracy_interval),
                "macro": _as_lists(asdict(self.macro_intervals)),
                "weighted": _as_lists(asdict(self.weighted_intervals)),
                "recall": _as_lists(self.recall_intervals),
            },
        }


def evaluate(labels: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str]) -> Metrics:
    """Compare probabilities with labels; the prediction is the most probable class, the first on a tie.

    Args:
        labels: integers 0..C-1, shape (N,), N >= 1.
        probabilities: floats, shape (N, C), rows that sum to 1 (the output of softmax, not logits).
        class_names: the C different names, in label order.

    Raises:
        ValueError: shapes that do not fit, no image, labels out of range, or rows that are no probabilities.
    """
    probability = _check_probabilities(np.asarray(probabilities), len(class_names))
    if len(set(class_names)) != len(class_names):
        raise ValueError(f"evaluate: expected different class names, got {list(class_names)}")
    label = np.asarray(labels)
    predicted = probability.argmax(axis=1)
    confusion = confusion_matrix(label, predicted, len(class_names))

    n = len(label)
    correct = int(np.trace(confusion))
    support = confusion.sum(axis=1)
    scores = _class_scores(confusion)
    macro, weighted = _averages(confusion)
    macro_intervals, weighted_intervals = _bootstrap(confusion, macro, weighted)
    return Metrics(
        n=n,
        accuracy=correct / n,
        macro=Scores(*macro.tolist()),
        weighted=Scores(*weighted.tolist()),
        per_class={
            name: ClassScores(precision, recall, f1, count)
            for name, (precision, recall, f1), count in zip(
                class_names, scores.T.tolist(), support.tolist(), strict=True
            )
        },
        confusion=confusion,
        log_loss=log_loss(label, probability),
        calibration_error=calibration_error(predicted == label, probability.max(axis=1)),
        accuracy_interval=wilson_interval(correct, n),
        macro_intervals=macro_intervals,
        weighted_intervals=weighted_intervals,
        recall_intervals={
            name: wilson_interval(int(confusion[i, i]), int(support[i])) for i, name in enumerate(class_names)
        },
    )


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count how often each label met each prediction.

    Args:
        labels: integers 0..classes-1, shape (N,), N >= 1.
        predictions: as `labels`.
        classes: how many classes there are, C.

    Returns:
        int64, shape (C, C): rows true, columns predicted.

    Raises:
        ValueError: different shapes, no image, or a value that is not an integer in 0..classes-1.
    """
    true, predicted = np.asarray(labels), np.asarray(predictions)
    if true.ndim != 1 or true.shape != predicted.shape or not true.size:
        raise ValueError(
            "confusion_matrix: expected as many labels as predictions, one axis and at least one, "
            f"got {true.shape} and {predicted.shape}"
        )
    for what, values in (("labels", true), ("predictions", predicted)):
        if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= classes:
            raise ValueError(
                f"confusion_matrix: expected {what} to be integers 0..{classes - 1}, "
                f"got {values.dtype} from {values.min()} to {values.max()}"
            )
    cell = true.astype(np.int64) * classes + predicted.astype(np.int64)
    counts = np.bincount(cell, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def wilson_interval(successes: int, trials: int) -> Interval:
    """95 % score interval of a proportion; (0, 1) where there was no trial.

    With p = k / n: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). It stays inside 0..1 and is good for
    few trials, where p ± z √(p(1-p)/n) is not.
    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209; Newcombe, Statist. Med. 17 (1998) 857.
    """
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    z2 = Z95 * Z95 / trials
    center = (p + z2 / 2) / (1 + z2)
    half = (p * (1 - p) * z2 + z2 * z2 / 4) ** 0.5 / (1 + z2)
    # At 0 and at `trials` the end is exactly 0 or 1; rounding would leave 1e-17 outside.
    low = 0.0 if successes == 0 else center - half
    high = 1.0 if successes == trials else center + half
    return low, high


def log_loss(labels: NDArray[Any], probabilities: NDArray[np.floating[Any]]) -> float:
    """Mean of -ln p(label), in nats; p is at least the smallest step of its dtype, as in scikit-learn.

    Source: Bishop, Pattern Recognition and Machine Learning (2006), eq. 4.108, divided by N.
    """
    likelihood = np.take_along_axis(probabilities, labels[:, None], axis=1)
    floor = np.finfo(probabilities.dtype).eps
    return float(-np.log(np.maximum(likelihood, floor).astype(np.float64)).mean())


def calibration_error(correct: NDArray[np.bool_], confidence: NDArray[np.floating[Any]]) -> float:
    """Expected calibration error: how far confidence is from accuracy, over 15 bins of equal width.

    Σ_b n_b / n · |accuracy(b) - mean confidence(b)|, bin b being ((b-1)/15, b/15].
    Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, eq. 3.

    Args:
        correct: bool, shape (N,): was the prediction right.
        confidence: floats 0..1, shape (N,): the probability given to the prediction.
    """
    confidence = confidence.astype(np.float64)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    # n_b · |accuracy - confidence| is the absolute sum of a bin's differences: no division by an empty bin.
    gaps = np.bincount(bins, weights=correct - confidence, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _check_probabilities(probability: NDArray[Any], classes: int) -> NDArray[np.floating[Any]]:
    if probability.ndim != 2 or probability.shape[1] != classes or probability.dtype.kind != "f":
        raise ValueError(
            f"evaluate: expected float probabilities (N, {classes}), one column a class, "
            f"got {probability.dtype} {probability.shape}"
        )
    sums = probability.sum(axis=1, dtype=np.float64)
    # Written so that a NaN fails too.
    if not (np.all(probability >= 0) and np.all(np.abs(sums - 1) < 1e-3)):
        raise ValueError("evaluate: expected rows of numbers >= 0 that sum to 1, got others: apply softmax first")
    return probability


def _class_scores(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Precision, recall and F1 of each class: (..., C, C) -> (3, ..., C).

    tp / (tp + fp), tp / (tp + fn) and 2 tp / (2 tp + fp + fn); 0 where the denominator is 0.
    Source: Manning, Raghavan, Schütze, Introduction to Information Retrieval (2008), section 8.3.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    support, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    # Where a denominator is 0 so is the numerator: dividing by 1 there gives the 0 that is wanted.
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    return np.stack([precision, recall, f1])


def _averages(confusion: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Macro and weighted precision, recall and F1: (..., C, C) -> two of (3, ...)."""
    scores = _class_scores(confusion)
    support = confusion.sum(axis=-1)
    weighted = (scores * support).sum(axis=-1) / support.sum(axis=-1)
    return scores.mean(axis=-1), weighted


def _bootstrap(
    confusion: NDArray[np.int64], macro: NDArray[np.float64], weighted: NDArray[np.float64]
) -> tuple[ScoreIntervals, ScoreIntervals]:
    """Percentile bootstrap of the averages.

    Drawing N images with replacement and counting again is one multinomial draw of the C·C cells, so no image
    is touched. The seed is fixed: the same predictions have the same interval.
    Source: Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    n = int(confusion.sum())
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n, confusion.ravel() / n, size=BOOTSTRAP_RESAMPLES)
    resampled = _averages(draws.reshape(-1, *confusion.shape))
    return _percentiles(resampled[0], macro), _percentiles(resampled[1], weighted)


def _percentiles(resampled: NDArray[np.float64], point: NDArray[np.float64]) -> ScoreIntervals:
    low, high = np.percentile(resampled, [2.5, 97.5], axis=1)
    # A class that a resample misses scores 0, which pulls resamples of a small set down below the estimate.
    low, high = np.minimum(low, point), np.maximum(high, point)
    return ScoreIntervals(*zip(low.tolist(), high.tolist(), strict=True))


def _as_lists(intervals: dict[str, Interval]) -> dict[str, list[float]]:
    return {name: list(interval) for name, interval in intervals.items()}


def format_table(metrics: Metrics) -> str:
    """The metrics for a terminal, at most 88 columns wide: scores, intervals and the confusion matrix."""
    name_width = len("weighted average")
    lines = [f"{'':{name_width}}  precision  recall  recall 95 %     f1  f1 95 %       support"]
    for name, scores in metrics.per_class.items():
        interval = _range(metrics.recall_intervals[name])
        lines.append(_row(name, name_width, scores, interval, "", scores.support))
    lines.append("")
    for name, average, intervals in (
        ("macro average", metrics.macro, metrics.macro_intervals),
        ("weighted average", metrics.weighted, metrics.weighted_intervals),
    ):
        ranges = _range(intervals.recall), _range(intervals.f1)
        lines.append(_row(name, name_width, average, *ranges, metrics.n))
    low, high = metrics.accuracy_interval
    lines += [
        "",
        f"accuracy {metrics.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f}, n = {metrics.n}",
        f"log loss {metrics.log_loss:.4f}, calibration error {metrics.calibration_error:.4f}",
        "",
        *_confusion_lines(list(metrics.per_class), metrics.confusion, name_width),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _row(name: str, width: int, scores: Scores, recall_range: str, f1_range: str, support: int) -> str:
    return (
        f"{_shorten(name, width):{width}}  {scores.precision:9.3f}  {scores.recall:6.3f}  {recall_range:11}"
        f"  {scores.f1:5.3f}  {f1_range:11}  {support:8}"
    )


def _range(interval: Interval) -> str:
    return f"{interval[0]:.3f}-{interval[1]:.3f}"


def _shorten(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "."


def _confusion_lines(names: list[str], confusion: NDArray[np.int64], name_width: int) -> list[str]:
    width = max(len(str(confusion.max())), min(8, max(map(len, names))))
    head = "".join(f"  {_shorten(name, width):>{width}}" for name in names)
    lines = ["confusion matrix: rows are labels, columns are predictions", f"{'':{name_width}}{head}"]
    for name, row in zip(names, confusion.tolist(), strict=True):
        cells = "".join(f"  {count:{width}}" for count in row)
        lines.append(f"{_shorten(name, name_width):{name_width}}{cells}")
    return lines
