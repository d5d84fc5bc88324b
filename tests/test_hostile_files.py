"""Files that were made to do harm: each is refused in one line, before it costs memory or time.

tests/fuzz looks for such files; what it found, and what is known of bombs, is here by name.
"""

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minicnn import checkpoint
from minicnn.apps.faces import Reader
from minicnn.apps.pictures import decode
from minicnn.apps.run_folder import RunFolder, read_toml
from minicnn.data import archives, readers, readers_parquet, store
from minicnn.data.image_size import claimed_size
from minicnn.data.pixels import decode_image
from minicnn.errors import CheckpointError, DataError
from tests.fuzz.readers import face_image, kept_import, weights
from tests.fuzz.readers.csv_file import ROWS
from tests.fuzz.readers.csv_file import SEEDS as TABLES
from tests.refusals import MB, refusal


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_name_that_steers_a_terminal_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "\x1b[2J\n").mkdir()
    (tmp_path / "train" / "\x1b[2J\n" / "1.png").write_bytes(face_image.SEEDS[0])
    assert r"train/\x1b[2J\n/1.png: unknown emotion" in refusal(lambda: readers.read(tmp_path))


# Zip


def test_a_number_of_thousands_of_digits_in_a_name_is_a_name(tmp_path: Path) -> None:
    name = "train/happy/" + "1" * 5000 + ".png"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, face_image.SEEDS[0])
    assert len(readers.read(tmp_path / "a.zip").labels) == 1


def packed(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_image_that_is_in_a_zip_twice_is_refused(tmp_path: Path) -> None:
    """Its place among the images would have been left as the memory was."""
    path = packed(tmp_path / "a.zip", [("train/happy/Training_1.png", face_image.SEEDS[0])] * 2)
    assert "'train/happy/Training_1.png' is there twice" in refusal(lambda: readers.read(path))


def test_a_member_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path: Path) -> None:
    content = packed(tmp_path / "a.zip", [("train/happy/Training_1.png", bytes(64 * MB))]).read_bytes()
    size = struct.pack("<I", 64 * MB)
    assert content.count(size) == 2
    path = written(tmp_path / "b.zip", content.replace(size, struct.pack("<I", 2000)))
    assert "truncated or damaged" in refusal(lambda: readers.read(path), peak=MB)


def test_a_zip_that_lists_too_many_files_is_refused_before_the_list_is_read(tmp_path: Path) -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 32 * MB, 0, 0)
    path = written(tmp_path / "a.zip", b"PK\x03\x04" + bytes(32 * MB) + end)
    assert "a list of contents of too many files" in refusal(lambda: readers.read(path), peak=MB)


def test_a_second_larger_list_in_a_zip_is_refused(tmp_path: Path) -> None:
    content = packed(tmp_path / "a.zip", [("fer2013.csv", TABLES[0])]).read_bytes()
    path = written(tmp_path / "b.zip", content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:])
    assert "a list of contents of too many files" in refusal(lambda: readers.read(path))


@pytest.mark.parametrize(("bound", "value"), [("MOST_MEMBERS", 5), ("LARGEST_ARCHIVE", 3000)])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_too_much_is_refused(
    kind: str, bound: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [(f"{number}.txt", bytes(600)) for number in range(6)]
    write = {"zip": packed, "tar": tarred}[kind]
    path = write(tmp_path / "a", members)
    monkeypatch.setattr(archives, bound, value)
    assert str(path) in refusal(lambda: readers.read(path))


# Tar


def tarred(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def header(size: bytes, kind: bytes = b"0", name: bytes = b"fer2013.csv") -> bytes:
    """A block that begins a member, with its sum."""
    block = bytearray(name.ljust(124, b"\0") + size.ljust(12, b"\0") + bytes(376))
    block[156:157], block[257:265], block[148:156] = kind, b"ustar\x0000", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


SIZES = {
    "2^60 bytes": b"\x80" + (1 << 60).to_bytes(11, "big"),
    "less than nothing": (-512).to_bytes(12, "big", signed=True),
}


@pytest.mark.parametrize("kind", [b"0", b"L", b"K", b"x", b"g", b"5", b"?"])
@pytest.mark.parametrize("size", SIZES)
def test_a_tar_header_is_not_taken_at_its_word(size: str, kind: bytes, tmp_path: Path) -> None:
    """Of less than nothing tarfile would read all that follows, or the same header for ever."""
    path = written(tmp_path / "a.tar.gz", gzip.compress(header(SIZES[size], kind) * 3 + bytes(8 * MB)))
    assert str(path) in refusal(lambda: readers.read(path), peak=MB)


def test_a_name_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    content = header(b"%011o" % (64 * MB), b"L") + b"a" * (64 * MB) + header(b"0")
    path = written(tmp_path / "a.tar.gz", gzip.compress(content, 1))
    assert "asks for 67108864 bytes at once" in refusal(lambda: readers.read(path), peak=MB)


def test_headers_of_headers_without_an_end_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar.gz", gzip.compress((header(b"1", b"L") + b"a".ljust(512, b"\0")) * 5000))
    assert "truncated or damaged" in refusal(lambda: readers.read(path), peak=32 * MB)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_hold_no_images(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("train/happy/Training_1.png")
        info.type, info.linkname = kind, str(written(tmp_path / "face.png", face_image.SEEDS[0]))
        archive.addfile(info)
    assert "holds no files" in refusal(lambda: readers.read(path))


# CSV


def test_a_row_without_an_end_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", [("fer2013.csv", TABLES[0] + b"3," + b"1 " * (32 * MB))])
    assert "fer2013.csv, row 4: longer than 65,536 bytes" in refusal(lambda: readers.read(path), peak=4 * MB)


def test_a_quote_without_an_end_is_refused_where_it_begins(tmp_path: Path) -> None:
    rows = "\n".join(["emotion,pixels,Usage", ROWS[0], '3,"1 2', *ROWS * 2000])
    path = packed(tmp_path / "a.zip", [("fer2013.csv", rows.encode())])
    assert "row 3: not well-formed CSV (a quote that does not end)" in refusal(lambda: readers.read(path), peak=4 * MB)


# Parquet


def parquet(path: Path, columns: dict[str, object], about: object = None) -> Path:
    metadata = None if about is None else {"huggingface": json.dumps(about)}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


def test_a_few_bytes_that_stand_for_many_rows_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "a.parquet", {"emotion": [0] * 3, "pixels": ["1"] * 3})
    monkeypatch.setattr(readers_parquet, "_MOST_ROWS", 2)
    assert "3 rows, expected at most 2" in refusal(lambda: readers.read(path))


@pytest.mark.parametrize(
    "columns",
    [
        {"emotion": [0], "pixels": ["1"], "Usage": [["Training"]]},
        {"image": [{"bytes": face_image.SEEDS[0], "path": 5}], "label": [[1]]},
        {"image": [{"bytes": 5, "path": "a"}], "label": [1]},
        {"emotion": [0], "pixels": pa.array([b"\xff\xfe"]).cast(pa.string(), safe=False)},
    ],
    ids=["lists for texts", "lists for labels", "numbers for images", "no UTF-8"],
)
def test_columns_of_another_kind_are_refused(columns: dict[str, object], tmp_path: Path) -> None:
    refusal(lambda: readers.read(parquet(tmp_path / "a.parquet", columns)))


def test_names_of_labels_that_are_no_list_are_passed_over(tmp_path: Path) -> None:
    about = {"info": {"features": {"label": {"names": 5}}}}
    path = parquet(tmp_path / "train.parquet", {"image": [face_image.SEEDS[0]], "label": [3]}, about)
    assert readers.read(path).labels.tolist() == [3]


# Pictures


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xd9"


def frame(height: int, width: int) -> bytes:
    return b"\xff\xc0\0\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\0"


def test_an_image_of_a_data_set_is_not_decoded_where_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "imdecode")
    bomb = face_image.png(100_000, 100_000, bytes(1000))
    assert "100000x100000 pixels, expected a 48x48 image" in refusal(lambda: decode_image(bomb, "a.png"))


@pytest.mark.parametrize(
    "hidden", [b"\xff\x01", b"\xff\xd0", b"\xff\xff", b"\0\0"], ids=["TEM", "RST", "fill", "noise"]
)
def test_what_a_decoder_passes_over_hides_no_size(hidden: bytes) -> None:
    """A reader that took it for a segment would jump over the true size, and find another one further on."""
    data = jpeg(hidden, frame(65535, 65535), bytes(65535), frame(48, 48))
    assert claimed_size(data) == (65535, 65535)


def test_a_jpeg_of_thousands_of_passes_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "imdecode")
    data = jpeg(frame(2000, 2000), b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 5000)
    assert "a damaged or unfinished JPEG" in refusal(lambda: decode(data, "photo.jpg"))


def test_a_jpeg_of_nothing_but_segments_takes_no_time() -> None:
    assert claimed_size(jpeg(b"\xff\xe0\0\x02" * 500_000, frame(48, 48))) is None
    assert claimed_size(jpeg(b"\xff" * 2_000_000)) is None


@pytest.mark.parametrize(("width", "height"), [(100_000, 1), (1, 100_000)])
def test_a_picture_a_hundred_thousand_pixels_wide_is_read(width: int, height: int) -> None:
    rows = zlib.compress(bytes((width + 1) * height))
    assert len(rows) < 1000
    picture = decode(face_image.png(width, height, bytes((width + 1) * height)), "wide.png")
    assert picture.shape == (height, width, 3)
    assert Reader().find(picture)[0] == []


# Settings, weights and what an import keeps


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + '{"a"=' * 1000])
def test_values_inside_values_without_an_end_are_no_settings(text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "config.toml", text.encode())
    with pytest.raises(ValueError, match=r"too deep|Invalid|Unclosed|Expected"):
        read_toml(path)
    assert "damaged" in refusal(RunFolder(tmp_path).config)


def test_settings_of_megabytes_are_not_read(tmp_path: Path) -> None:
    written(tmp_path / "config.toml", b"#" * (20 * MB))
    assert "expected at most 8,192 characters" in refusal(RunFolder(tmp_path).config, peak=MB)


@pytest.mark.parametrize("text", ["[" * 5000, "[]", '{"run": 1}', json.dumps(dict.fromkeys("abc"))])
def test_a_summary_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    written(tmp_path / "result.json", text.encode())
    assert "damaged" in refusal(RunFolder(tmp_path).result)


@pytest.mark.parametrize("value", [2**60, 2**63, 2**64 - 1])
def test_a_header_of_2_to_the_60_bytes_is_not_read(value: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", struct.pack("<Q", value) + b"{" + bytes(1000))
    assert "got a damaged or truncated one" in refusal(lambda: checkpoint.load_model(path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"classes": 7', '"classes": true'),
        ('"angry"', "5"),
        ('"angry"', '["angry"]'),
        ('"angry"', r'"\u001b[2J"'),
        ('"synthetic"', "5"),
        (json.dumps(weights.HEADER.labels), json.dumps(["a"] * 2000)),
    ],
)
def test_a_header_that_lies_is_refused_before_a_network_is_built(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("minicnn.models.build")
    header = weights.outer(
        weights.INNER.replace(old, new).replace('"classes": 7', f'"classes": {2000 if "a" in new else 7}')
    )
    path = written(tmp_path / "a.safetensors", struct.pack("<Q", len(header)) + header + weights.ARRAYS)
    with pytest.raises(CheckpointError):
        checkpoint.load_model(path)


KEPT = {
    "labels out of range": {"labels.npy": np.array([0, 7])},
    "labels that are no numbers": {"labels.npy": np.array(["a", "b"])},
    "usage out of range": {"usage.npy": np.array([0, 9], np.uint8)},
    "labels without a length": {"labels.npy": np.array(5)},
}


@pytest.mark.parametrize("fault", KEPT)
def test_an_import_that_was_changed_is_refused(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path))
    store.folder().mkdir()
    for name, content in kept_import.KEPT.items():
        written(store.folder() / name, content)
    store.load()
    for name, array in KEPT[fault].items():
        written(store.folder() / name, kept_import.array(array))
    with pytest.raises(DataError, match=r"damaged .*; import again"):
        store.load()


def test_an_array_whose_header_is_no_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path))
    store.folder().mkdir()
    for name, content in kept_import.KEPT.items():
        written(store.folder() / name, content.replace(b"{'descr'", b"{'descr"))
    assert "import again" in refusal(store.load)
