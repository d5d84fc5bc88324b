"""FER2013: bringing it in, and the two ways of cutting it into training and test sets.

`official` trains on Training less a fixed, stratified tenth, `val`, by which epochs and settings are chosen; PublicTest
and PrivateTest select nothing. FER2013 holds exact copies, some with another label. Those inside Training are
dropped, so that no face is both learned and validated on; faces that two parts share are reported in the notes.

`paper` is what the paper did: the first 24,000 images of Training to train and the rest to validate, copies and all.
The paper counts 28,711 images and validates on 4,710; Training has 28,709, so the rest is 4,709. The usual source, the
competition's train.csv, is 28,710 lines long with its header: 28,710 - 24,000 = 4,710 counts the header as a face, and
28,711 is out by one more.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.data import audit, readers, restoration, store
from minicnn.data.dataset import CLASSES, Dataset, Split
from minicnn.data.records import Records
from minicnn.data.store import data_home
from minicnn.errors import DataError
from minicnn.files import atomic_folder
from minicnn.opencv import cv2

__all__ = ["PAPER_TRAIN", "data_home", "export_paper_layout", "import_path", "imported", "info", "load"]

PAPER_TRAIN = 24_000
"""Images of Training that the paper trains on."""


def import_path(path: str | Path, *, progress: bool = False) -> dict[str, Any]:
    """Read FER2013 in any of its forms and keep it, in place of an earlier import.

    An import that is interrupted or fails leaves the earlier one as it was.

    Args:
        path: a CSV or parquet file, a folder, or a .zip or .tar.gz of either (see readers).
        progress: draw a progress bar, if stderr is a terminal.

    Returns:
        What `info` returns.

    Raises:
        DataError: the data cannot be read, or not be kept.
    """
    records = readers.read(path, show_progress=progress and sys.stderr.isatty())
    description = _describe(records, Path(path))
    store.save(records, description)
    return description


def imported() -> bool:
    """Whether FER2013 has been imported."""
    return (store.folder() / "info.json").is_file()


def info(near: bool = False) -> dict[str, Any]:
    """What has been imported.

    With `near`, near copies are counted too, which takes a few seconds.

    Returns:
        `counts` {split: {class: n}}, copies included, for the splits train, public, private, or `test` where the last
        two are merged; `classes`; `sha256` of all splits (audit.sha256 tells the recipe); `duplicates` (see
        audit.duplicates); `blur` {split: pixels}, 0 where images are sharp, see minicnn.data.restoration; `source` and
        `form`, where it came from; `notes`; `near_copies` {split: see audit.near_copies} where asked for.

    Raises:
        DataError: nothing has been imported.
    """
    if not near:
        return store.info()
    records, description = store.load()
    found = {name: audit.near_copies(split) for name, split in records.splits().items()}
    return {**description, "near_copies": found}


def load(protocol: str = "official", *, path: str | Path | None = None, drop_duplicates: bool = True) -> Dataset:
    """FER2013 cut into splits.

    Args:
        protocol: `official` or `paper`, see above.
        path: read from here instead of from what has been imported.
        drop_duplicates: whether `official` drops exact copies inside Training, keeping the first of each. Kept copies
            all lie in `train` or all in `val`; which images are in `val` does not depend on this.

    Returns:
        The splits train, val, public, private (or test) that the source has.

    Raises:
        DataError: nothing has been imported, `path` cannot be read, or Training is too small for the protocol.
        ValueError: an unknown protocol.
    """
    if protocol not in ("official", "paper"):
        raise ValueError(f"protocol: expected 'official' or 'paper', got {protocol!r}")
    if path is None:
        records, description = store.load()
    else:
        records = readers.read(path)
        description = _describe(records, Path(path))
    splits = records.splits()
    training = splits.pop("train", None)
    notes = [*records.notes, *notes_on_blur(description.get("blur", {}))]
    parts: dict[str, Split] = {}
    if protocol == "paper":
        parts = _paper(training)
        notes.append(f"the first {PAPER_TRAIN:,} images of Training train, the other {len(parts['val']):,} validate")
    elif training is not None:
        parts = _official(training, drop_duplicates)
        notes += _notes_on_copies(description["duplicates"], drop_duplicates)
    parts |= splits
    return Dataset(f"FER2013 ({protocol})", CLASSES, parts, audit.sha256(parts), tuple(notes))


def notes_on_blur(blur: dict[str, float]) -> list[str]:
    """A line where some splits were blurred, which the competition's own images were not."""
    soft = {name: sigma for name, sigma in blur.items() if sigma}
    if not soft:
        return []
    found = ", ".join(f"{name} by {sigma} pixels" for name, sigma in soft.items())
    sharp = [name for name, sigma in blur.items() if not sigma]
    others = f", {', '.join(sharp)} not" if sharp else ""
    return [f"blurred images: {found}{others}; training restores them (--restore), another copy would be better"]


def _describe(records: Records, path: Path) -> dict[str, Any]:
    splits = records.splits()
    return {
        "counts": audit.counts(splits),
        "classes": list(CLASSES),
        "sha256": audit.sha256(splits),
        "duplicates": audit.duplicates(splits),
        "blur": {name: restoration.find_blur(split.images) for name, split in splits.items()},
        "source": str(path.absolute()),
        "form": records.form,
        "notes": list(records.notes),
    }


def _paper(training: Split | None) -> dict[str, Split]:
    n = 0 if training is None else len(training)
    if training is None or n <= PAPER_TRAIN:
        raise DataError(
            f"the protocol `paper` trains on {PAPER_TRAIN:,} images of Training and validates on the rest: there are "
            f"{n:,}; use the protocol `official`"
        )
    head, tail = slice(None, PAPER_TRAIN), slice(PAPER_TRAIN, None)
    return {
        "train": Split(training.images[head], training.labels[head]),
        "val": Split(training.images[tail], training.labels[tail]),
    }


def _official(training: Split, drop_duplicates: bool) -> dict[str, Split]:
    prints = audit.fingerprints(training.images)
    first = audit.first_copies(prints)
    original = first == np.arange(len(first))
    chosen = _tenth(prints, training.labels, original)[first]  # copies go where their first goes
    kept = original if drop_duplicates else np.ones_like(original)
    if not chosen.any():
        raise DataError(
            "the protocol `official` sets a tenth of each class in Training aside: expected a class with two different "
            f"images, there is none among the {len(training)}"
        )
    rows = {"train": kept & ~chosen, "val": kept & chosen}
    return {name: Split(training.images[mask], training.labels[mask]) for name, mask in rows.items()}


def _tenth(prints: Sequence[bytes], labels: NDArray[np.int64], original: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Choose a tenth of the different images of each class (rounded; at least one of two): those of lowest hash.

    As good as random, and the same for every order of the file and every version of NumPy.
    """
    chosen = np.zeros(len(labels), bool)
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(original & (labels == label)).tolist()
        n = max((len(rows) + 5) // 10, int(len(rows) > 1))
        chosen[sorted(rows, key=prints.__getitem__)[:n]] = True
    return chosen


def _notes_on_copies(duplicates: dict[str, Any], dropped: bool) -> list[str]:
    within = duplicates["within"]["train"]
    notes = []
    if within["copies"]:
        fate = "dropped, the first of each kept" if dropped else "kept"
        notes.append(
            f"{within['copies']:,} exact copies inside Training {fate} "
            f"({within['conflicting']:,} of {within['groups']:,} groups carry different labels)"
        )
    return notes + [
        f"images in both {pair.replace('+', ' and ')}: {n:,}" for pair, n in duplicates["shared"].items() if n
    ]


def export_paper_layout(directory: str | Path, *, path: str | Path | None = None) -> dict[str, int]:
    """Write Training as the paper's pipeline lays it out: folders train/ and val/ of JPEG files, each with its index.

    Images are named by their row in Training, so val/ begins with 24000.jpg; an index, dataset.csv, has no header and
    a line `name,label` an image.

    Args:
        directory: where to; must be empty or not be there.
        path: read from here instead of from what has been imported.

    Returns:
        The number of images in each folder.

    Raises:
        DataError: the data cannot be read or is too small, or the directory is not empty.
    """
    target = Path(directory).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: not empty, expected a folder that is empty or not there yet")
    splits = load("paper", path=path).splits
    try:
        with atomic_folder(target) as building:
            for name, first in (("train", 0), ("val", PAPER_TRAIN)):
                _write_images(building / name, splits[name], first)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror or error})") from error
    return {name: len(splits[name]) for name in ("train", "val")}


def _write_images(folder: Path, split: Split, first: int) -> None:
    folder.mkdir()
    write: Callable[[str, NDArray[np.uint8]], bool] = cv2().imwrite
    lines = []
    for row, (image, label) in enumerate(zip(split.images, split.labels, strict=True), first):
        if not write(str(folder / f"{row}.jpg"), image):
            raise OSError(None, f"OpenCV could not write {row}.jpg")
        lines.append(f"{row}.jpg,{label}\n")
    (folder / "dataset.csv").write_text("".join(lines), encoding="ascii")
