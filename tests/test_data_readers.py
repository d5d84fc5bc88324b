"""FER2013 comes in from every form it travels in, and a bad file is one clear line."""

import gzip
import io
import json
import re
import signal
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minicnn.data import archives, audit, fer2013, readers, readers_csv
from minicnn.data.dataset import CLASSES, Split
from minicnn.errors import DataError
from tests.programs import write_faces

# Twelve faces of noise: (usage, label, image), in the order in which every form must give them back.
_USAGES = ["Training"] * 8 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
_LABELS = [3, 4, 5, 6, 0, 1, 2, 3, 4, 6, 5, 0]
_IMAGES = np.random.default_rng(0).integers(0, 256, (12, 48, 48), dtype=np.uint8)
_IMAGES[:, 0, :3] = (0, 255, 7)  # one, two and three digits, whatever the seed
FACES = list(zip(_USAGES, _LABELS, _IMAGES, strict=True))
_PARTS = {"train": slice(8), "public": slice(8, 10), "private": slice(10, 12)}
HASH = audit.sha256({name: Split(_IMAGES[part], np.array(_LABELS[part])) for name, part in _PARTS.items()})


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "home"))


# --- the forms ------------------------------------------------------------------------------------------------------


def text(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel().tolist()))


def csv_bytes(faces: Iterable = FACES) -> bytes:
    rows = [f"{label},{text(image)},{usage}\n" for usage, label, image in faces]
    return "".join(["emotion,pixels,Usage\n", *rows]).encode()


def icml_bytes() -> bytes:
    rows = [f"{label},{usage},{text(image)}\n" for usage, label, image in FACES]
    return "".join(["emotion, Usage, pixels\n", *rows]).encode()


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


def image_files(name: Callable[[str, int, int], str]) -> dict[str, bytes]:
    """Files in reverse order: the reader has to sort them."""
    numbered = [(name(usage, i, label), png(image)) for i, (usage, label, image) in enumerate(FACES)]
    return dict(reversed(numbered))


def named_by_emotion(usage: str, number: int, label: int) -> str:
    folder = "train" if usage == "Training" else "test"
    return f"{folder}/{CLASSES[label]}/{usage}_{number}.png"


def named_by_synonym(usage: str, number: int, label: int) -> str:
    synonyms = ("Anger", "disgust", "Fear", "happiness", "Sadness", "surprised", "Neutral")
    return f"fer/{synonyms[label]}/{usage}_{number}.png"


def named_by_label(usage: str, number: int, label: int) -> str:
    folder = {"Training": "Training", "PublicTest": "public", "PrivateTest": "PrivateTest"}[usage]
    return f"{folder}/{label}/{number}.png"


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def as_csv(content: bytes) -> Callable[[Path], Path]:
    return lambda folder: write_file(folder / "fer2013.csv", content)


def write_hub_parquet(path: Path, names: list[str] | None = None) -> Path:
    """Images and labels as Hugging Face keeps them: folders numbered in alphabetical order, and their names listed."""
    names = names or sorted(CLASSES)
    faces = [{"bytes": png(image), "path": f"{usage}_{i}.png"} for i, (usage, _, image) in enumerate(FACES)]
    labels = [names.index(CLASSES[label]) for label in _LABELS]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table({"image": faces, "label": labels}).replace_schema_metadata(metadata), path)
    return path


def write_text_parquet(path: Path) -> Path:
    pixels = [text(image) for image in _IMAGES]
    pq.write_table(pa.table({"emotion": _LABELS, "pixels": pixels, "Usage": _USAGES}), path)
    return path


JUNK = {"__MACOSX/._fer2013.csv": b"\0\0", ".DS_Store": b"\0", "README.md": b"pixels", "fer2013.bib": b"@data{}"}

FORMS: dict[str, Callable[[Path], Path]] = {
    "fer2013.csv": as_csv(csv_bytes()),
    "fer2013.csv from Windows": as_csv(b"\xef\xbb\xbf" + csv_bytes().replace(b"\n", b"\r\n")),
    "fer2013.csv quoted, blank line at the end": as_csv(re.sub(rb",([0-9 ]+),", rb',"\1",', csv_bytes()) + b"\n"),
    "fer2013.csv with other spacing": as_csv(csv_bytes().replace(b" 25", b"  25").replace(b",T", b" ,T")),
    "fer2013.csv without extension": lambda p: write_file(p / "data", csv_bytes()),
    "icml_face_data.csv": lambda p: write_file(p / "icml_face_data.csv", icml_bytes()),
    "folder of CSVs": lambda p: write_folder(
        p / "f", {"a/fer2013.csv": csv_bytes(), "icml_face_data.csv": b"x", **JUNK}
    ),
    "zip of a CSV": lambda p: write_zip(p / "a.zip", {"fer2013/fer2013.csv": csv_bytes(), **JUNK}),
    "tar.gz of a CSV": lambda p: write_tar(p / "a.tar.gz", {**JUNK, "./fer2013/fer2013.csv": csv_bytes()}),
    "tar.gz called .zip": lambda p: write_tar(p / "a.zip", {"icml_face_data.csv": icml_bytes()}),
    "image folder": lambda p: write_folder(p / "f", image_files(named_by_emotion) | JUNK),
    "image folder, synonyms": lambda p: write_folder(p / "f", image_files(named_by_synonym)),
    "image folder, numbers": lambda p: write_folder(p / "f", image_files(named_by_label)),
    "zip of images": lambda p: write_zip(p / "a.zip", image_files(named_by_emotion) | JUNK),
    "tgz of images": lambda p: write_tar(p / "a.tgz", image_files(named_by_emotion) | JUNK),
    "parquet of a hub": lambda p: write_hub_parquet(p / "a.parquet"),
    "parquet of texts": lambda p: write_text_parquet(p / "a.parquet"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_faces_in_the_same_order(form: str, tmp_path: Path) -> None:
    records = readers.read(FORMS[form](tmp_path))
    assert records.labels.tolist() == _LABELS
    assert records.usage.tolist() == [0] * 8 + [1] * 2 + [2] * 2
    np.testing.assert_array_equal(records.images, _IMAGES)
    assert (records.images.dtype, records.labels.dtype) == (np.uint8, np.int64)
    assert audit.sha256(records.splits()) == HASH


def test_a_jpeg_of_a_gray_face_saved_in_color_is_converted(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(_IMAGES[0], (0, 0), 5)
    files = {"train/sad/1.jpg": jpeg(cv2.cvtColor(smooth, cv2.COLOR_GRAY2BGR))}
    records = readers.read(write_folder(tmp_path / "f", files))
    np.testing.assert_allclose(records.images[0].astype(int), smooth.astype(int), atol=3)


def test_image_names_without_usage_leave_the_two_test_sets_merged_and_say_so(tmp_path: Path) -> None:
    files = {"train/happy/im0.png": png(_IMAGES[0]), "test/happy/im0.png": png(_IMAGES[1])}
    records = readers.read(write_folder(tmp_path / "f", files))
    assert {name: len(split) for name, split in records.splits().items()} == {"train": 1, "test": 1}
    assert any("merged" in note for note in records.notes)


def test_images_without_a_suffix_are_known_by_their_content(tmp_path: Path) -> None:
    records = readers.read(write_zip(tmp_path / "a.zip", {"train/happy/1": png(_IMAGES[0])}))
    np.testing.assert_array_equal(records.images[0], _IMAGES[0])


def test_numbers_in_image_names_count_as_numbers(tmp_path: Path) -> None:
    files = {f"train/{name}/Training_{number}.png": png(_IMAGES[0]) for name, number in (("angry", 10), ("sad", 9))}
    assert readers.read(write_folder(tmp_path / "f", files)).labels.tolist() == [4, 0]


def train_csv(rows: slice) -> bytes:
    return "".join(["emotion,pixels\n", *[f"{y},{text(x)}\n" for _, y, x in FACES[rows]]]).encode()


def test_train_csv_is_training_and_says_so(tmp_path: Path) -> None:
    records = readers.read(write_file(tmp_path / "train.csv", train_csv(slice(8))))
    assert list(records.splits()) == ["train"]
    assert any("train.csv" in note and "Training" in note for note in records.notes)


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_a_test_csv_without_labels_is_skipped_with_a_note(write: Callable, tmp_path: Path) -> None:
    files = {"test.csv": f"pixels\n{text(_IMAGES[0])}\n".encode(), "train.csv": train_csv(slice(8))}
    records = readers.read(write(tmp_path / "it", files))
    assert {name: len(split) for name, split in records.splits().items()} == {"train": 8}
    assert any("test.csv" in note and "no labels" in note for note in records.notes)


def test_a_test_csv_with_labels_is_the_merged_test_set(tmp_path: Path) -> None:
    files = {"test.csv": train_csv(slice(8, None)), "train.csv": train_csv(slice(8))}
    records = readers.read(write_zip(tmp_path / "a.zip", files))
    assert {name: len(split) for name, split in records.splits().items()} == {"train": 8, "test": 4}
    assert any("merged" in note for note in records.notes)


def test_of_several_csvs_the_original_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    files = {
        "a/fer2013_new.csv": icml_bytes(),
        "a/icml_face_data.csv": icml_bytes(),
        "b/fer2013.csv": csv_bytes(FACES[:3]),
        "c/train.csv": train_csv(slice(8)),
    }
    records = readers.read(write_folder(tmp_path / "f", files))
    assert len(records.labels) == 3
    assert sum("was skipped" in note for note in records.notes) == 3


def test_two_tables_of_training_are_refused(tmp_path: Path) -> None:
    files = {"a/train.csv": train_csv(slice(8)), "b/train.csv": train_csv(slice(8)), "c/test.csv": train_csv(slice(2))}
    with pytest.raises(DataError, match=r"several CSV files without Usage .* expected one or train\.csv, test\.csv"):
        readers.read(write_folder(tmp_path / "f", files))


def test_parquet_labels_go_by_their_names_not_their_numbers(tmp_path: Path) -> None:
    one = readers.read(write_hub_parquet(tmp_path / "a.parquet", sorted(CLASSES)))
    other = readers.read(write_hub_parquet(tmp_path / "b.parquet", list(reversed(CLASSES))))
    assert one.labels.tolist() == other.labels.tolist() == _LABELS


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        content = csv_bytes()
        info = tarfile.TarInfo("fer2013.csv")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("train/happy/Training_1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../secret.png"
        archive.addfile(link)
    assert len(readers.read(path).labels) == 12


# --- bad files ------------------------------------------------------------------------------------------------------


def row(pixels: str = text(_IMAGES[0]), label: str = "3", usage: str = "Training") -> bytes:
    return f"{label},{pixels},{usage}\n".encode()


HEADER = b"emotion,pixels,Usage\n"
SHORT = text(_IMAGES[0]).rpartition(" ")[0]
GOOD = HEADER + row()


def with_pixel(value: str) -> bytes:
    return GOOD + row(SHORT + " " + value)


BAD_CSVS: dict[str, tuple[bytes, list[str]]] = {
    "column missing": (b"emotion,Usage\n3,Training\n", ["row 1", "emotion,pixels,Usage", "'emotion,usage'"]),
    "column misnamed": (b"label,pixels,Usage\n" + row(), ["no column 'emotion'"]),
    "column twice": (b"emotion,pixels,pixels\n3,1,1\n", ["row 1", "emotion,pixels,Usage"]),
    "no header": (row() * 2, ["row 1", "emotion,pixels,Usage"]),
    "header not UTF-8": (b"\xe9motion,pixels\n", ["emotion"]),
    "semicolons": (HEADER.replace(b",", b";") + row(), ["row 1", "'emotion;pixels;usage'"]),
    "a pixel too few": (GOOD + row(SHORT), ["row 3", "2,303 pixels", "expected 2,304 (48x48)"]),
    "a pixel too many": (GOOD + row(SHORT + " 1 2"), ["row 3", "2,305 pixels", "expected 2,304"]),
    "a row short, the next long": (GOOD + row(SHORT) + row(SHORT + " 1 2"), ["row 3", "2,303 pixels"]),
    "no pixels": (GOOD + row(""), ["row 3", "0 pixels"]),
    "256": (with_pixel("256"), ["row 3", "pixel 2,304 is '256'", "0..255"]),
    "1000": (with_pixel("1000"), ["row 3", "pixel 2,304 is '1000'", "0..255"]),
    "-1": (with_pixel("-1"), ["row 3", "pixel 2,304 is '-1'", "0..255"]),
    "a fraction": (with_pixel("1.5"), ["row 3", "pixel 2,304 is '1.5'", "whole number"]),
    "letters": (with_pixel("abc"), ["row 3", "pixel 2,304 is 'abc'", "whole number"]),
    "digits of another script": (with_pixel("٣"), ["row 3", "pixel 2,304 is '٣'"]),
    "label 7": (GOOD + row(label="7"), ["row 3", "emotion is '7'", "0..6"]),
    "label by name": (GOOD + row(label="happy"), ["row 3", "emotion is 'happy'", "0..6"]),
    "unknown usage": (GOOD + row(usage="Validation"), ["row 3", "Usage is 'Validation'", "Training, PublicTest"]),
    "row cut off": (GOOD + row()[:-2000], ["row 3", "Usage is ''"]),
    "fault after a blank line": (GOOD + b"\n" + row(label="9"), ["row 4", "emotion is '9'"]),
    "fault in a later chunk": (HEADER + row() * 600 + row(label="9"), ["row 602", "emotion is '9'"]),
    "quote left open": (GOOD + row('"1 2'), ["row 3", "not well-formed CSV"]),
    "not UTF-8": (GOOD + row(usage="Tr").replace(b"Tr", b"Tr\xff"), ["row 3", "not UTF-8"]),
    "UTF-16": (GOOD.decode().encode("utf-16"), ["unsupported type of file", "CSV"]),
    "header only": (HEADER, ["no rows", "expected one row a face"]),
    "empty": (b"", ["empty file", "expected"]),
    "test.csv": (f"pixels\n{SHORT} 1\n".encode(), ["no column 'emotion'", "test.csv", "fer2013.csv"]),
}


def refuse(path: Path, fragments: Iterable[str]) -> None:
    """Importing `path` fails with one line that holds the path and the fragments, and keeps nothing."""
    with pytest.raises(DataError) as caught:
        fer2013.import_path(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert [f for f in fragments if f not in message] == [], message
    assert not fer2013.data_home().exists()


@pytest.mark.parametrize("fault", BAD_CSVS)
def test_a_bad_csv_is_refused_in_one_line(fault: str, tmp_path: Path) -> None:
    content, fragments = BAD_CSVS[fault]
    refuse(write_file(tmp_path / "fer2013.csv", content), ["fer2013.csv", *fragments])


def test_an_interruption_while_pandas_reads_is_one_and_no_bad_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = readers_csv._Lines.readinto

    def interrupted(self: readers_csv._Lines, buffer: bytearray) -> int:
        signal.raise_signal(signal.SIGINT)
        return read(self, buffer)

    monkeypatch.setattr(readers_csv._Lines, "readinto", interrupted)
    with pytest.raises(KeyboardInterrupt):
        readers.read(write_faces(tmp_path / "faces.csv"))


@pytest.mark.parametrize("write", [write_zip, write_tar, write_folder])
@pytest.mark.parametrize("fault", ["256", "not UTF-8", "quote left open"])
def test_a_bad_csv_in_an_archive_is_named_with_its_row(write: Callable, fault: str, tmp_path: Path) -> None:
    content, fragments = BAD_CSVS[fault]
    refuse(write(tmp_path / "it", {"deep/fer2013.csv": content}), ["it/deep/fer2013.csv", *fragments])


def big_png() -> bytes:
    return png(np.random.default_rng(1).integers(0, 256, (600, 600), dtype=np.uint8))


BAD_IMAGES: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "no images": ({"notes.txt": b"nothing", "other.json": b"{}"}, ["notes.txt", "neither images nor a CSV"]),
    "no files": ({".DS_Store": b"\0"}, ["holds no files"]),
    "several CSVs, none fits": ({"a.csv": b"x,y\n1,2\n", "b.csv": b"image\n"}, ["a.csv, b.csv", "emotion,pixels"]),
    "several CSVs without usage": (dict.fromkeys(["a.csv", "b.csv"], train_csv(slice(2))), ["a.csv", "b.csv", "Usage"]),
    "unknown emotion": ({"train/contempt/1.png": png(_IMAGES[0])}, ["contempt/1.png", "'contempt'", "surprise"]),
    "image at the top": ({"1.png": png(_IMAGES[0])}, ["1.png", "unknown emotion folder ''"]),
    "unknown part": ({"validation/sad/1.png": png(_IMAGES[0])}, ["validation/sad/1.png", "'validation'", "train/"]),
    "emotions at the top": ({"sad/1.png": png(_IMAGES[0])}, ["sad/1.png", "train/", "holds both"]),
    "not an image": ({"train/sad/1.jpg": b"hello"}, ["train/sad/1.jpg", "unreadable"]),
    "an empty image": ({"train/sad/1.jpg": b""}, ["train/sad/1.jpg", "unreadable"]),
    "half a PNG": ({"train/sad/1.png": png(_IMAGES[0])[:900]}, ["train/sad/1.png", "unfinished"]),
    "half a JPEG": ({"train/sad/1.jpg": jpeg(_IMAGES[0])[:900]}, ["train/sad/1.jpg", "unfinished"]),
    "a PNG of nonsense": ({"train/sad/1.png": b"\x89PNG\r\n\x1a\n nonsense IEND"}, ["train/sad/1.png", "unreadable"]),
    "another size": ({"train/sad/1.png": png(_IMAGES[0][:40])}, ["train/sad/1.png", "48x40 pixels", "48x48"]),
    "a photo": ({"train/sad/1.png": big_png()}, ["train/sad/1.png", "bytes", "48x48"]),
}  # fmt: skip


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
@pytest.mark.parametrize("fault", BAD_IMAGES)
def test_bad_image_files_are_refused_in_one_line(write: Callable, fault: str, tmp_path: Path) -> None:
    files, fragments = BAD_IMAGES[fault]
    refuse(write(tmp_path / "it", files), fragments)


@pytest.mark.parametrize("name", ["../evil.csv", "train/../../evil.png", "/etc/evil", "..\\evil", "C:\\evil", "\\evil"])
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_archive_with_a_name_that_leads_out_of_it_is_refused(write: Callable, name: str, tmp_path: Path) -> None:
    refuse(write(tmp_path / "it", {"fer2013.csv": csv_bytes(), name: b"x"}), ["leads out of the archive"])


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_member_that_unpacks_to_too_much_is_refused(
    write: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1_000_000)
    files = {"fer2013.csv": csv_bytes(), "bomb": bytes(2_000_000)}
    refuse(write(tmp_path / "it", files), ["'bomb'", "2,000,000 bytes", "1,000,000"])


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("form", ["CSV", "images"])
def test_an_archive_cut_anywhere_is_refused(write: Callable, form: str, tmp_path: Path) -> None:
    files = {"fer2013.csv": csv_bytes()} if form == "CSV" else image_files(named_by_emotion)
    whole = write(tmp_path / "whole", files).read_bytes()
    for end in np.linspace(10, len(whole) - 600, 25).astype(int):
        refuse(write_file(tmp_path / "cut", whole[:end]), ["truncated or damaged", ".zip or .tar.gz"])


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_archive_with_damaged_content_is_refused(write: Callable, tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "whole", {"fer2013.csv": csv_bytes()}).read_bytes())
    content[5000:5100] = bytes(100)
    path = write_file(tmp_path / "damaged", bytes(content))
    with pytest.raises(DataError, match=r"damaged"):
        fer2013.import_path(path)
    assert not fer2013.data_home().exists()


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(write_zip(tmp_path / "plain.zip", {"fer2013.csv": csv_bytes()}).read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    refuse(write_file(tmp_path / "a.zip", bytes(content)), ["encrypted"])


UNSUPPORTED = {
    "a picture": png(_IMAGES[0]),
    "a 7z archive": b"7z\xbc\xaf\x27\x1c\0\x04",
    "a gzip of one file": gzip.compress(csv_bytes()),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_an_unsupported_type_of_file_is_refused(kind: str, tmp_path: Path) -> None:
    refuse(write_file(tmp_path / "it", UNSUPPORTED[kind]), [".tar.gz", "expected"])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "none.csv", ["no such file or folder", ".zip"])


# --- parquet --------------------------------------------------------------------------------------------------------


def parquet(path: Path, columns: dict[str, list]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


BAD_PARQUETS: dict[str, tuple[dict[str, list], list[str]]] = {
    "no faces": ({"label": [1], "name": ["x"]}, ["label, name", "images or pixels"]),
    "no labels": ({"image": [png(_IMAGES[0])]}, ["expected a column of labels"]),
    "no rows": ({"emotion": pa.array([], pa.int64()), "pixels": pa.array([], pa.string())}, ["no rows"]),
    "label 7": ({"image": [png(_IMAGES[0])] * 2, "label": [0, 7]}, ["row 2", "label is 7", "0..6"]),
    "label null": ({"image": [png(_IMAGES[0])], "label": pa.array([None], pa.int64())}, ["row 1", "label is None"]),
    "image null": ({"image": pa.array([None], pa.binary()), "label": [0]}, ["row 1", "image holds None"]),
    "bad image": ({"image": [b"nothing"], "label": [0]}, ["row 1", "unreadable"]),
    "bad pixels": ({"pixels": [SHORT + " 1", SHORT], "emotion": [0, 0]}, ["row 2", "2,303 pixels"]),
    "bad usage": ({"pixels": [SHORT + " 1"], "emotion": [0], "Usage": ["x"]}, ["row 1", "Usage is 'x'"]),
}


@pytest.mark.parametrize("fault", BAD_PARQUETS)
def test_a_bad_parquet_file_is_refused_in_one_line(fault: str, tmp_path: Path) -> None:
    columns, fragments = BAD_PARQUETS[fault]
    refuse(parquet(tmp_path / "a.parquet", columns), fragments)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_a_compression_without_bounds_is_refused(method: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("fer2013.csv", csv_bytes())
    refuse(path, ["'fer2013.csv'", f"method {method}", "deflate"])


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    content = write_hub_parquet(tmp_path / "a.parquet").read_bytes()
    refuse(write_file(tmp_path / "cut.parquet", content[: len(content) // 2]), ["truncated or damaged parquet"])


def test_parquet_labels_may_be_names_and_usage_may_be_missing(tmp_path: Path) -> None:
    columns = {"img_bytes": [png(_IMAGES[0]), png(_IMAGES[1])], "labels": ["Happy", "anger"]}
    records = readers.read(parquet(tmp_path / "train-00000.parquet", columns))
    assert records.labels.tolist() == [3, 0]
    assert list(records.splits()) == ["train"]
    assert any("taken as Training" in note for note in records.notes)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refuse(path, ["needs pyarrow", "pip install pyarrow"])
