"""What every reader of FER2013 gives back, before any protocol cuts it into training and test sets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minicnn.data.dataset import CLASSES, Split
from minicnn.errors import on_one_line

SPLITS = ("train", "public", "private", "test")
"""The parts of FER2013. `test` is PublicTest and PrivateTest where a source has merged them."""

USAGES = {"Training": 0, "PublicTest": 1, "PrivateTest": 2}
"""What the CSV's Usage column and the image files' names call the parts, as indices into SPLITS."""

TRAIN, TEST = SPLITS.index("train"), SPLITS.index("test")

MERGED_NOTE = "PublicTest and PrivateTest cannot be told apart in this source: they stay merged, as `test`"


@dataclass(frozen=True)
class Records:
    """Labelled images in the order of their source.

    Attributes:
        images: uint8, shape (N, 48, 48), grey levels 0..255.
        labels: int64, shape (N,), indices into CLASSES.
        usage: uint8, shape (N,), indices into SPLITS.
        form: the form that the data came in, in words.
        notes: what was skipped, merged or taken for granted.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    usage: NDArray[np.uint8]
    form: str
    notes: tuple[str, ...] = ()

    def splits(self) -> dict[str, Split]:
        """The parts that hold images, by name, each in the order of the source."""
        found = {}
        for code, name in enumerate(SPLITS):
            rows = np.flatnonzero(self.usage == code)
            if len(rows):
                # A part in one piece, as they nearly always are, is a view: a copy takes as long as the hash over it.
                whole = rows[-1] - rows[0] + 1 == len(rows)
                chosen = slice(rows[0], rows[-1] + 1) if whole else rows
                found[name] = Split(self.images[chosen], self.labels[chosen])
        return found


def joined(parts: Sequence[Records]) -> Records:
    """The records of several files of one source, one after another."""
    return Records(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        usage=np.concatenate([part.usage for part in parts]),
        form=parts[0].form,
        notes=tuple(note for part in parts for note in part.notes),
    )


def usage_of_file(stem: str) -> int:
    """The part that a file's own name tells where nothing in it does: `test` for test.csv, else `train`."""
    return TEST if stem.casefold().startswith("test") else TRAIN


def usage_note(name: str, usage: int) -> str:
    """The note that goes with `usage_of_file`."""
    if usage == TEST:
        return MERGED_NOTE
    return f"{name} says nothing of usage: all of it is taken as Training"


_ALIASES = {"anger": "angry", "happiness": "happy", "sadness": "sad", "surprised": "surprise"}


def label_of_name(name: str) -> int | None:
    """The label of an emotion's name, or of its CSV number 0..6 as text; None where it is neither.

    Labels always come from names. The order of folders, which is alphabetical, is not the order of the labels.
    """
    word = name.strip().casefold()
    word = _ALIASES.get(word, word)
    if word in CLASSES:
        return CLASSES.index(word)
    return CSV_LABELS.get(word)


CSV_LABELS = {str(label): label for label in range(len(CLASSES))}
"""The CSV's labels as they are written in it."""


def shown(text: object) -> str:
    """A value from a file, quoted and cut so that a message stays on one line."""
    quoted = repr(text)
    return quoted if len(quoted) <= 40 else f"{quoted[:36]}...{quoted[-1]}"


def names_of(values: Sequence[str], limit: int = 5) -> str:
    """A list of names for a message: the first few, and how many more."""
    more = f" and {len(values) - limit:,} more" if len(values) > limit else ""
    return ", ".join(on_one_line(value[:200]) for value in values[:limit]) + more
