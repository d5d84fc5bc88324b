"""Every form that FER2013 travels in, told apart by content and never by extension."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath

from minicnn.data import readers_csv, readers_images
from minicnn.data.archives import IMAGE_SUFFIXES, FolderSource, Member, Source, TarSource, ZipSource
from minicnn.data.readers_csv import CsvFile, columns_of
from minicnn.data.records import Records, joined, names_of
from minicnn.errors import DataError

_FORMS = (
    "a CSV file (emotion,pixels,Usage), a folder of train|test/<emotion>/ images, either in a .zip or .tar.gz, "
    "or a .parquet file"
)
_ZIP, _GZIP = (b"PK\x03\x04", b"PK\x05\x06"), b"\x1f\x8b"
_IMAGE = (b"\xff\xd8\xff", b"\x89PNG")


def read(path: str | Path, *, show_progress: bool = False) -> Records:
    """Read FER2013 from a file, folder or archive, in any of its forms.

    Args:
        path: where it lies; archives are read in place.
        show_progress: whether to draw a bar on stderr.

    Returns:
        The labelled images in the order of the source (image files: by part and number, see readers_images).

    Raises:
        DataError: nothing is there, or it is damaged or not FER2013: one line that names the file, the row where
            there is one, and what was expected.
    """
    path = Path(path)
    try:
        return _read(path, show_progress)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file or folder, expected {_FORMS}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read(path: Path, show_progress: bool) -> Records:
    if path.is_dir():
        return _read_source(FolderSource(path), show_progress)
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        raise DataError(f"{path}: empty file, expected {_FORMS}")
    if head.startswith(_ZIP):
        return _read_source(ZipSource(path), show_progress)
    if head.startswith(_GZIP):
        return _read_source(TarSource(path), show_progress)
    if head.startswith(b"PAR1"):
        # Only here: pyarrow is an extra, and its reader is of no use without it.
        from minicnn.data import readers_parquet

        return readers_parquet.read(path, show_progress=show_progress)
    if b"\0" in head or head.startswith(_IMAGE):
        raise DataError(f"{path}: unsupported type of file, expected {_FORMS}")
    opener = partial(FolderSource(path.parent).open, path.name)
    file = CsvFile(str(path), path.stat().st_size, columns_of(head), opener)
    return readers_csv.read(file, show_progress=show_progress)


def _read_source(source: Source, show_progress: bool) -> Records:
    members = sorted(source.members(), key=lambda member: member.name)
    tables = [file for file in (_csv_file(source, member) for member in members) if "pixels" in file.columns]
    images = [member for member in members if _is_image(member)]
    if any(file.has_labels for file in tables) or (tables and not images):
        return _read_csvs(source, tables, show_progress)
    if images:
        return readers_images.read(source, images, show_progress=show_progress)
    found = names_of([member.name for member in members]) or "no files"
    raise DataError(f"{source.path}: holds {found}: neither images nor a CSV with pixels; expected {_FORMS}")


def _read_csvs(source: Source, files: Sequence[CsvFile], show_progress: bool) -> Records:
    chosen = _choose(files)
    if len(chosen) > 1 and sorted(PurePath(file.name).stem for file in chosen) != ["test", "train"]:
        names = names_of([file.name for file in chosen])
        raise DataError(
            f"{source.path}: several CSV files without Usage ({names}), expected one or train.csv, test.csv"
        )
    skipped = [
        f"{file.name} was skipped: " + (f"{chosen[0].name} was read" if file.has_labels else "it has no labels")
        for file in files
        if file not in chosen
    ]
    parts = [readers_csv.read(file, show_progress=show_progress) for file in chosen]
    records = joined(parts)
    return replace(records, notes=(*records.notes, *skipped))


def _choose(files: Sequence[CsvFile]) -> Sequence[CsvFile]:
    """The one file that tells parts apart (the original, should a copy lie beside it), else all that have labels.

    Where none has labels, any: reading it says what is missing.
    """
    whole = sorted((file for file in files if file.has_usage), key=lambda file: PurePath(file.name).stem != "fer2013")
    return whole[:1] or [file for file in files if file.has_labels] or files[:1]


def _csv_file(source: Source, member: Member) -> CsvFile:
    opener = partial(source.open, member.name)
    return CsvFile(source.title(member.name), member.size, columns_of(member.head), opener)


def _is_image(member: Member) -> bool:
    return member.name.casefold().endswith(IMAGE_SUFFIXES) or member.head.startswith(_IMAGE)
