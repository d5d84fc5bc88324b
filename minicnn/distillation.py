"""Distillation: a network learns what trained ones, its teachers, say of an image, and not its label alone."""

import numpy as np
from numpy.typing import NDArray


def targets(labels: NDArray[np.int64], answers: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Probabilities to learn: `share` of each image's target is the teachers' answer, the rest is its label.

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531) without their temperature: our teachers' logits have been divided
    by the one that fits validation best. What a teacher says holds what a label cannot: that a face is nearly another
    one's, and that a label is probably wrong.

    Args:
        labels: int64 (N,).
        answers: float32 (N, classes), probabilities.
        share: 0..1.

    Raises:
        ValueError: the answers are not of N images, or not probabilities of all labels.
    """
    if answers.ndim != 2 or len(answers) != len(labels):
        raise ValueError(f"distillation: expected answers to {len(labels)} images (N, classes), got {answers.shape}")
    if not (np.isfinite(answers).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-3) and (answers >= 0).all()):
        raise ValueError("distillation: expected answers that are probabilities, each row's sum 1")
    certain = np.eye(answers.shape[1], dtype=np.float32)[labels]
    mixed: NDArray[np.float32] = certain + np.float32(share) * (answers - certain)
    return mixed
