"""FER2013 as image files: train|test/<emotion>/<name>.jpg, in a folder or an archive."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minicnn.data.archives import Member, Source
from minicnn.data.dataset import CLASSES, IMAGE_SIZE
from minicnn.data.pixels import check_size, decode_image
from minicnn.data.progress import bar
from minicnn.data.records import MERGED_NOTE, SPLITS, TEST, USAGES, Records, label_of_name, shown
from minicnn.errors import DataError

_FOLDERS = {"train": "train", "training": "train", "test": "test"} | {
    name: split for split in ("public", "private") for name in (split, f"{split}test")
}
"""The folders above the emotions, and the part of FER2013 each holds."""


class _Face(NamedTuple):
    """An image file's place; in sorted order, faces are in the order of their parts and numbers.

    The numbers in the file names are all there is of an order. The files themselves lie by emotion, and in whatever
    order an archive was made.
    """

    usage: int
    number: int
    name: str
    label: int


def read(source: Source, members: Sequence[Member], *, show_progress: bool) -> Records:
    """Read image files, sorted by part of the data set and the number in their names.

    Raises:
        DataError: an image is unreadable, not 48x48, or lies where its emotion or its part cannot be told.
    """
    for member in members:
        check_size(member.size, source.title(member.name))
    faces = sorted(_face(source, member.name) for member in members)
    position = {face.name: index for index, face in enumerate(faces)}
    images = np.empty((len(faces), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    with bar(len(faces), " images", "reading", show=show_progress) as progress:
        for name, data in source.read(position):
            images[position[name]] = decode_image(data, source.title(name))
            progress.update()
    usage = np.array([face.usage for face in faces], np.uint8)
    return Records(
        images=images,
        labels=np.array([face.label for face in faces], np.int64),
        usage=usage,
        form="image files",
        notes=(MERGED_NOTE,) if (usage == TEST).any() else (),
    )


def _face(source: Source, name: str) -> _Face:
    *above, emotion, file = ["", "", *name.split("/")]
    stem = file.rpartition(".")[0] or file
    label = label_of_name(emotion)
    if label is None:
        raise DataError(
            f"{source.title(name)}: unknown emotion folder {shown(emotion)}, "
            f"expected train|test/<emotion>/ with one of {', '.join(CLASSES)}"
        )
    usage = _usage(stem, above[-1])
    if usage is None:
        raise DataError(
            f"{source.title(name)}: neither its name nor the folder {shown(above[-1])} says which part it belongs to, "
            "expected train/ or test/ above the emotions (import the folder that holds both)"
        )
    number = re.search("[0-9]{1,18}$", stem)
    return _Face(usage, int(number[0]) if number else -1, name, label)


def _usage(stem: str, folder: str) -> int | None:
    """The part a file belongs to: from its own name (PublicTest_123.jpg), else from the folder above its emotion's."""
    prefix = stem.partition("_")[0]
    if prefix in USAGES:
        return USAGES[prefix]
    split = _FOLDERS.get(folder.casefold())
    return None if split is None else SPLITS.index(split)
