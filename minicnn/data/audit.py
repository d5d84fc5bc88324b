"""What is in a set of images: counts, exact copies, and a hash by which two sets can be known to be the same."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.data.dataset import CLASSES, Split


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
