"""Distillation: a network learns what trained ones, its teachers, say of an image, and not its label alone."""

import numpy as np
from numpy.typing import NDArray


def targets(labels: NDArray[np.int64], answers: NDArray[np.float32], share: float, classes: int) -> NDArray[np.float32]:
    """Probabilities to learn: `share` of each image's target is the teachers' answer, the rest is its label.

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531) without their temperature: the logits of a network whose training
    is finished have been divided by the one that fits validation best. What a teacher says holds what a label cannot:
    that a face is nearly another one's, and that a label is probably wrong.

    Args:
        labels: int64 (N,).
        answers: float32 (N, classes), probabilities.
        share: 0..1.
        classes: how many there are.

    Raises:
        ValueError: the answers are not such probabilities.
    """
    if answers.dtype != np.float32 or answers.shape != (len(labels), classes):
        raise ValueError(
            f"distillation: expected answers float32 {(len(labels), classes)}, got {answers.dtype} {answers.shape}"
        )
    if not (np.isfinite(answers).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-3) and (answers >= 0).all()):
        raise ValueError("distillation: expected answers that are probabilities, each row's sum 1")
    certain = np.eye(classes, dtype=np.float32)[labels]
    mixed: NDArray[np.float32] = certain + np.float32(share) * (answers - certain)
    return mixed
