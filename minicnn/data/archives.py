"""Folders, zip and tar.gz archives read alike, as named members; nothing is ever unpacked to disk."""

import gzip
import re
import struct
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
from minicnn.errors import DataError, on_one_line

LARGEST_MEMBER = 1 << 30
"""Bytes a member may unpack to; the largest real one, fer2013.csv, has 0.3e9. More is taken for a bomb."""

LARGEST_ARCHIVE = 1 << 32
"""Bytes that all members may unpack to together."""

MOST_MEMBERS = 1 << 17
"""Files; FER2013 as images has 35,887, and macOS adds one of its own to each."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_HEAD = 512  # bytes: room for a CSV's header line and every magic number
_LARGEST_DIRECTORY = 1 << 24  # bytes of a zip's list of contents: four times that of FER2013 as images
_LARGEST_READ = 1 << 20  # bytes that tarfile reads at once, of names and of members


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
        return f"{self.path}/{on_one_line(name[:200])}"

    @abstractmethod
    def members(self) -> list[Member]:
        """Every file inside but hidden ones, in no particular order.

        Raises:
            DataError: the archive is damaged, holds too much, or a member has a name that leads out of it or is there
                twice.
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
        found: list[Member] = []
        for path in self.path.rglob("*"):
            name = path.relative_to(self.path).as_posix()
            if not _hidden(name) and path.is_file():
                if len(found) == MOST_MEMBERS:
                    raise DataError(f"{self.path}: expected a folder of at most {MOST_MEMBERS:,} files, it holds more")
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
        found, contents = [], _Contents(self.path)
        _check_directory(self.path)
        with _damage(self.path), zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                contents.add(info.filename, info.file_size)
                if info.flag_bits & 1:
                    raise DataError(f"{self.path}: {shown(info.filename)} is encrypted, expected a plain archive")
                # others can unpack to twenty thousand times their size, and zipfile sets them no bounds
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(
                        f"{self.path}: {shown(info.filename)} is packed by method {info.compress_type}, expected an "
                        "archive that everyone can read (deflate): pack it again"
                    )
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
                with archive.open(name) as stream:
                    # the size that the archive states, and a byte more: without a bound, zipfile unpacks all there is
                    yield name, stream.read(archive.getinfo(name).file_size + 1)


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
        contents = _Contents(self.path)
        with _Unpacked(self.path) as content, tarfile.open(fileobj=content, mode="r:") as archive:
            for info in archive:
                contents.add(info.name, info.size)
                stream = archive.extractfile(info) if info.isreg() else None
                if stream is not None:
                    yield info, stream


class _Unpacked(gzip.GzipFile):
    """What a gzip file unpacks to, in pieces and within bounds: tarfile would read a name of gigabytes in one."""

    def read(self, size: int | None = -1) -> bytes:
        """Bytes from here on; a size below 0, which is everything, is refused like one that is too large."""
        if size is None or not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError(f"a header that asks for {size} bytes at once")
        self._check(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, by unpacking all before it."""
        self._check(offset)
        return super().seek(offset, whence)

    def _check(self, end: int) -> None:
        if end > LARGEST_ARCHIVE:
            raise tarfile.ReadError(f"it unpacks to more than {LARGEST_ARCHIVE:,} bytes")


def _head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as stream:
        return stream.read(_HEAD)


def _image_name(name: str) -> bool:
    return name.casefold().endswith(IMAGE_SUFFIXES)


def _hidden(name: str) -> bool:
    """Whether a file is an operating system's litter: .DS_Store, __MACOSX/..., .git/..."""
    return any(part.startswith((".", "__MACOSX")) and part != "." for part in name.split("/"))


class _Contents:
    """What an archive holds, as it is gone through: what is in it twice, or is too much, ends in a DataError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: set[str] = set()
        self.size = 0

    def add(self, name: str, size: int) -> None:
        """Another member."""
        path, largest = self.path, LARGEST_MEMBER
        # No member is written to disk, so a name that leads elsewhere could do no harm here; but an archive that holds
        # one was made to do harm, and is not FER2013. The rules are those of Windows and of everyone else together.
        if re.match(r"[/\\]|[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise DataError(f"{path}: member {shown(name)} leads out of the archive, expected a name inside it")
        if not 0 <= size <= largest:
            raise DataError(f"{path}: member {shown(name)} unpacks to {size:,} bytes, expected at most {largest:,}")
        if name in self.names and not name.endswith("/"):
            raise DataError(f"{path}: member {shown(name)} is there twice, expected each name once")
        self.names.add(name)
        self.size += size
        if self.size > LARGEST_ARCHIVE or len(self.names) > MOST_MEMBERS:
            raise DataError(
                f"{path}: expected at most {MOST_MEMBERS:,} members that unpack to {LARGEST_ARCHIVE:,} bytes together, "
                "it holds more"
            )


def _check_directory(path: Path) -> None:
    """Refuse a zip with a list of contents that would fill the memory: zipfile reads all of it at once.

    Where it looks for the list's size is where zipfile looks (APPNOTE.TXT 4.3.16): in the last 22 bytes, or before a
    comment. It would also take a second, larger list for archives beyond 4 GB, which FER2013 has no use for.
    """
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - (1 << 16) - 42))
        tail = stream.read()
    plain = tail[-22:].startswith(b"PK\x05\x06") and tail.endswith(b"\0\0")
    at = len(tail) - 22 if plain else tail.rfind(b"PK\x05\x06")
    if at < 0:
        return  # zipfile says that it is damaged
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if size > _LARGEST_DIRECTORY or tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
        raise DataError(f"{path}: a list of contents of too many files, expected at most {MOST_MEMBERS:,}")


# What the modules of the standard library raise on damaged or hostile files: they promise their own errors alone, but
# names that are no UTF-8, numbers of ten thousand digits and headers inside headers come out as these.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    struct.error,
    ValueError,
    LookupError,
    OverflowError,
    RuntimeError,
)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what the archive modules raise on damaged files into one line."""
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: truncated or damaged, expected a whole .zip or .tar.gz ({reason})") from error
