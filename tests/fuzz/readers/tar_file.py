"""FER2013 in a .tar.gz: headers, long names, links and sparse files are changed, and packed again."""

import gzip
import io
import tarfile
import zlib
from pathlib import Path
from random import Random

from minicnn.data import readers
from tests.fuzz.harness import Reader
from tests.fuzz.readers.zip_file import MEMBERS

KINDS = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)


def archive(members: dict[str, bytes], form: int, kind: bytes = tarfile.REGTYPE, prefix: str = "") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(prefix + name)
            info.type, info.linkname, info.size = kind, "../../secret.png", len(data)
            file.addfile(info, io.BytesIO(data))
    used = len(content.getvalue().rstrip(b"\0"))
    return content.getvalue()[: -(-used // 512) * 512 + 1024]  # without what fills the last record


def pack(data: bytes, random: Random) -> bytes:
    """Mostly with sums that are right, since a header with a wrong one ends the reading."""
    whole = bytearray(data)
    if random.random() < 0.8:
        for at in range(0, len(whole) - 511, 512):
            block = whole[at : at + 512]
            if block[257:262] == b"ustar":
                block[148:156] = b" " * 8
                whole[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    packed = gzip.compress(bytes(whole), 1, mtime=0)
    if random.random() < 0.1:
        at = random.randrange(len(packed))
        packed = packed[:at] + random.randbytes(random.randrange(4)) + packed[at + random.randrange(4) :]
    return packed


def read(data: bytes, folder: Path) -> object:
    (folder / "a.tar.gz").write_bytes(data)
    return readers.read(folder / "a.tar.gz")


SEEDS = [
    *(archive(members, form) for members in MEMBERS for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
    *(archive(MEMBERS[1], tarfile.GNU_FORMAT, kind) for kind in KINDS),
    *(archive(MEMBERS[2], form, prefix=120 * "long/") for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
]
TOKENS = (
    *KINDS,
    b"L",
    b"K",
    b"S",
    b"x",
    b"g",
    b"99999999999",
    b"\x80" + (1 << 60).to_bytes(11, "big"),
    b"\xff" * 12,
    b"30 size=-512\n",
    b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n",
    b"../",
    zlib.compress(b""),
)
READER = Reader(SEEDS, read, TOKENS, pack)
