"""Folders, zip and tar.gz archives read alike, as named members; nothing is ever unpacked to disk."""

import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from minicnn.data.records import shown
from minicnn.errors import DataError

LARGEST_MEMBER = 1 << 30
"""Bytes a member may unpack to; the largest real one, fer2013.csv, has 0.3e9. More is taken for a bomb."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_HEAD = 4096  # bytes: room for a CSV's header line and every magic number


@dataclass(frozen=True)
class Member:
    """A file in a container.

    Attributes:
        name: its path inside.
        size: bytes once unpacked.
        head: its first bytes, by which it is told what it is. Left empty for names that end as images do: there are
            tens of thousands, and whoever decodes one finds out what it is.
    """

    name: str
    size: int
    head: bytes


class Source(ABC):
    """A folder or archive."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def title(self, name: str) -> str:
        """What messages call a member."""
        return f"{self.path}/{name}"

    @abstractmethod
    def members(self) -> list[Member]:
        """Every file inside but hidden ones, in no particular order.

        Raises:
            DataError: the archive is damaged, or a member is too large or has a name that leads out of it.
        """

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """One member as a stream."""

    @abstractmethod
    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """The content of many members, in whatever order is fastest to read."""


class FolderSource(Source):
    """A folder and everything below it."""

    def members(self) -> list[Member]:
        """See `Source.members`."""
        found = []
        for path in self.path.rglob("*"):
            name = path.relative_to(self.path).as_posix()
            if not _hidden(name) and path.is_file():
                found.append(Member(name, path.stat().st_size, b"" if _image_name(name) else self._head(name)))
        return found

    def _head(self, name: str) -> bytes:
        with self.open(name) as stream:
            return stream.read(_HEAD)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See `Source.open`."""
        with (self.path / name).open("rb") as stream:
            yield stream

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """See `Source.read`."""
        for name in names:
            yield name, (self.path / name).read_bytes()


class ZipSource(Source):
    """A .zip archive."""

    def members(self) -> list[Member]:
        """See `Source.members`."""
        found = []
        with _damage(self.path), zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                _check(self.path, info.filename, info.file_size)
                if info.flag_bits & 1:
                    raise DataError(f"{self.path}: {shown(info.filename)} is encrypted, expected a plain archive")
                if not info.is_dir() and not _hidden(info.filename):
                    head = b"" if _image_name(info.filename) else _head(archive, info)
                    found.append(Member(info.filename, info.file_size, head))
        return found

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See `Source.open`."""
        with _damage(self.path), zipfile.ZipFile(self.path) as archive, archive.open(name) as stream:
            yield stream

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """See `Source.read`."""
        with _damage(self.path), zipfile.ZipFile(self.path) as archive:
            for name in names:
                yield name, archive.read(name)


class TarSource(Source):
    """A .tar.gz archive. It can only be read from its beginning, so each method goes through it once."""

    def members(self) -> list[Member]:
        """See `Source.members`."""
        found = []
        with _damage(self.path):
            for info, stream in self._files():
                if not _hidden(info.name):
                    found.append(Member(info.name, info.size, b"" if _image_name(info.name) else stream.read(_HEAD)))
        return found

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See `Source.open`."""
        with _damage(self.path), closing(self._files()) as files:
            yield next(stream for info, stream in files if info.name == name)

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """See `Source.read`."""
        with _damage(self.path):
            for info, stream in self._files():
                if info.name in names:
                    yield info.name, stream.read()

    def _files(self) -> Generator[tuple[tarfile.TarInfo, IO[bytes]]]:
        with tarfile.open(self.path, "r:gz") as archive:
            for info in archive:
                _check(self.path, info.name, info.size)
                stream = archive.extractfile(info) if info.isreg() else None
                if stream is not None:
                    yield info, stream


def _head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as stream:
        return stream.read(_HEAD)


def _image_name(name: str) -> bool:
    return name.casefold().endswith(IMAGE_SUFFIXES)


def _hidden(name: str) -> bool:
    """Whether a file is an operating system's litter: .DS_Store, __MACOSX/..., .git/..."""
    return any(part.startswith((".", "__MACOSX")) and part != "." for part in name.split("/"))


def _check(path: Path, name: str, size: int) -> None:
    # No member is written to disk, so a name that leads elsewhere could do no harm here; but an archive that holds
    # one was made to do harm, and is not FER2013. The rules are those of Windows and of everyone else together.
    if re.match(r"[/\\]|[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise DataError(f"{path}: member {shown(name)} leads out of the archive, expected a name inside it")
    if size > LARGEST_MEMBER:
        raise DataError(f"{path}: member {shown(name)} unpacks to {size:,} bytes, expected at most {LARGEST_MEMBER:,}")


_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what the archive modules raise on damaged files into one line."""
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: truncated or damaged, expected a whole .zip or .tar.gz ({reason})") from error
