"""What is in a set of images: counts, exact copies, and a hash by which two sets can be known to be the same."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.data.dataset import CLASSES, Split
from minicnn.opencv import cv2

_ALIKE = 0.995
"""Correlation from which two images are one photo, stored twice."""
_SMALL = 16
"""Pixels a side by which images are compared: what compression and a second resizing change is gone."""
_PLAIN = 3.0
"""Grey levels of deviation below which an image shows nothing: all of those are alike."""
_ROWS = 1024
"""Images that are compared with all others at a time."""


def sha256(splits: Mapping[str, Split]) -> str:
    """Hash images and labels in their splits.

    The hash runs over the splits in alphabetical order of their names. For each it takes: the name in ASCII and a zero
    byte; the number of images as 8 bytes, little-endian; every label as one byte; every image as its H x W bytes, row
    by row. The order within a split counts, as protocols that take "the first n images" depend on it.
    """
    digest = hashlib.sha256()
    for name, split in sorted(splits.items()):
        digest.update(name.encode("ascii") + b"\0" + len(split).to_bytes(8, "little"))
        digest.update(split.labels.astype(np.uint8).tobytes())
        digest.update(np.ascontiguousarray(split.images).data)
    return digest.hexdigest()


def counts(splits: Mapping[str, Split]) -> dict[str, dict[str, int]]:
    """The number of images of each class in each split."""
    return {
        name: {label: int((split.labels == code).sum()) for code, label in enumerate(CLASSES)}
        for name, split in splits.items()
    }


def fingerprints(images: NDArray[np.uint8]) -> list[bytes]:
    """A 16-byte hash (BLAKE2b) of each image's pixels: two images have the same one only if they are equal."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]


def first_copies(prints: Sequence[bytes]) -> NDArray[np.int64]:
    """For each image, the index of the first one equal to it (its own index where there is none before)."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(mark, index) for index, mark in enumerate(prints)], np.int64)


def duplicates(splits: Mapping[str, Split]) -> dict[str, Any]:
    """Count the exact copies inside each split, and the images that two splits share.

    Returns:
        `within`: {split: {copies, groups, conflicting}}, where a group is an image that is there more than once, copies
        are all but the first of each group, and a group is conflicting where its labels differ.
        `shared`: {"train+public": n}: different images that are in both splits.
    """
    prints = {name: fingerprints(split.images) for name, split in splits.items()}
    return {
        "within": {name: _within(prints[name], split.labels) for name, split in splits.items()},
        "shared": {f"{a}+{b}": len({*prints[a]} & {*prints[b]}) for a, b in combinations(splits, 2)},
    }


def near_copies(split: Split) -> dict[str, int]:
    """Count the photos that are there in exactly two forms, alike but not the same bytes, as two uploads of one are.

    The two were labelled apart, so how often they differ says how much of a label is chance. Exact copies count once:
    they may have one label because they were copied with it. Photos in more than two forms are left out, since a single
    one would count as many pairs. Takes memory for 4 bytes times 1024 times the images.

    Returns:
        `photos`, and `conflicting`, those with two labels.
    """
    different = np.unique(first_copies(fingerprints(split.images)))
    size = (_SMALL, _SMALL)
    small = [cv2().resize(image, size, interpolation=cv2().INTER_AREA).ravel() for image in split.images[different]]
    shown = np.array([i for i, image in enumerate(small) if image.std() > _PLAIN], np.int64)
    x = np.array([small[i] for i in shown], np.float32).reshape(len(shown), _SMALL**2)
    x -= x.mean(axis=1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    others, partner = np.zeros(len(x), np.int64), np.zeros(len(x), np.int64)
    for start in range(0, len(x), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(x)))
        alike = x[rows] @ x.T > _ALIKE
        alike[rows - start, rows] = False
        others[rows], partner[rows] = alike.sum(axis=1), alike.argmax(axis=1)
    one = np.flatnonzero(others == 1)
    one = one[(others[partner[one]] == 1) & (one < partner[one])]
    labels = split.labels[different[shown]]
    return {"photos": len(one), "conflicting": int((labels[one] != labels[partner[one]]).sum())}


def _within(prints: Sequence[bytes], labels: NDArray[np.int64]) -> dict[str, int]:
    groups = [mark for mark, count in Counter(prints).items() if count > 1]
    names = defaultdict(set)
    for mark, label in zip(prints, labels.tolist(), strict=True):
        names[mark].add(label)
    return {
        "copies": len(prints) - len(set(prints)),
        "groups": len(groups),
        "conflicting": sum(len(names[mark]) > 1 for mark in groups),
    }
