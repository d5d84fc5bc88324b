"""Reading pictures as they come: turned, deep, transparent, huge, damaged; and finding them in folders and patterns."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from minicnn.apps import pictures
from minicnn.apps.pictures import decode, expand, is_video, pictures_in
from minicnn.errors import DataError, UserError
from tests.portraits import Pixels, astronaut

Sample = np.ndarray


def encoded(image: Sample, kind: str = ".png") -> bytes:
    data: bytes = cv2.imencode(kind, image)[1].tobytes()
    return data


@pytest.fixture
def colors(random: np.random.Generator) -> Pixels:
    picture: Pixels = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return picture


# Decoding


def test_a_color_picture_comes_as_it_is(colors: Pixels) -> None:
    np.testing.assert_array_equal(decode(encoded(colors), "a.png"), colors)


def test_grey_levels_become_three_equal_colors(colors: Pixels) -> None:
    grey = colors[:, :, 0]
    np.testing.assert_array_equal(decode(encoded(grey), "a.png"), np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (8, 1), (3, 2), (6, 3)])
def test_a_photo_is_turned_as_its_camera_says(orientation: int, turns: int) -> None:
    upright = astronaut()[::4, ::4][:100]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.rot90(upright, -turns)[:, :, ::-1]).save(file, "JPEG", exif=exif, quality=95)
    found = decode(file.getvalue(), "a.jpg")
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_of_sixteen_bits_the_highest_in_use_are_taken(colors: Pixels, bits: int) -> None:
    colors[0, 0, 0] = 255
    deep = colors.astype(np.uint16) << (bits - 8)
    np.testing.assert_array_equal(decode(encoded(deep), "a.png"), colors)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_transparent_becomes_white(colors: Pixels, kind: type) -> None:
    most = np.iinfo(kind).max
    whole = np.dstack([colors.astype(kind) * (most // 255), np.full(colors.shape[:2], most, kind)])
    whole[2, 3] = (0, 0, 0, 0)
    expected = colors.copy()
    expected[2, 3] = 255
    np.testing.assert_array_equal(decode(encoded(whole), "a.png"), expected)


def test_a_large_picture_is_laid_on_white_band_by_band() -> None:
    whole = np.random.default_rng(0).integers(0, 256, (3000, 2000, 4), dtype=np.uint8)
    tracemalloc.start()
    mixed = pictures._on_white(whole)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * mixed.nbytes
    rows = slice(1040, 1060)  # across the end of a band
    np.testing.assert_array_equal(mixed[rows], pictures._on_white(whole[rows]))


def test_a_palette_is_looked_up(colors: Pixels) -> None:
    file = io.BytesIO()
    Image.fromarray(colors[:, :, ::-1]).convert("P", palette=Image.Palette.ADAPTIVE).save(file, "PNG")
    np.testing.assert_array_equal(decode(file.getvalue(), "a.png"), colors)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.png: expected a picture (JPEG, PNG, ...), got an empty file"),
        (b"hello", "a.png: expected a picture (JPEG, PNG, ...), got something else, or a damaged one"),
        (b"%PDF-1.7", "a.png: expected a picture (JPEG, PNG, ...), got a PDF"),
        (
            encoded(astronaut(), ".jpg")[:9000],
            "a.png: expected a picture (JPEG, PNG, ...), got a damaged or unfinished JPEG",
        ),
        (encoded(astronaut())[:9000], "a.png: expected a picture (JPEG, PNG, ...), got a damaged or unfinished PNG"),
        (
            encoded(np.ones((4, 4, 3), np.float32), ".tiff"),
            "a.png: expected 8 or 16 bits a channel, got float32: convert it first",
        ),
        (
            encoded(np.ones((4, 4, 3), np.float32), ".hdr"),
            "a.png: expected 8 or 16 bits a channel, got float32 (Radiance HDR): convert it first",
        ),
    ],
    ids=["empty", "text", "pdf", "jpeg", "png", "float", "hdr"],
)
def test_what_is_no_whole_picture_is_one_clear_line(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as raised:
        decode(data, "a.png")
    assert str(raised.value) == message


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before_it_does() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match=r"a.png: cannot be read as a picture: larger than [0-9,]+ pixels"):
        decode(bomb, "a.png")


# Finding files


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "trip/c.webp", "trip/d.mp4", "x[1].png"):
        file = tmp_path / "album" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path


def found(*sources: str) -> tuple[list[str], list[str]]:
    """The files that are named, and what is said of the others."""
    errors: list[UserError] = []
    return expand(sources, errors.append), [str(error) for error in errors]


@pytest.mark.usefixtures("album")
def test_a_folder_gives_its_pictures_and_videos_at_any_depth_in_order() -> None:
    names = ["a.png", "b.JPG", "trip/c.webp", "trip/d.mp4", "x[1].png"]
    assert found("album") == ([f"album/{name}" for name in names], [])


@pytest.mark.usefixtures("album")
def test_a_pattern_gives_what_it_matches() -> None:
    assert found("album/*.png") == (["album/a.png", "album/x[1].png"], [])
    assert found("**/*.webp") == (["album/trip/c.webp"], [])


@pytest.mark.usefixtures("album")
def test_a_file_is_taken_at_its_word_even_where_its_name_looks_like_a_pattern() -> None:
    assert found("album/x[1].png", "album/notes.txt") == (["album/x[1].png", "album/notes.txt"], [])


@pytest.mark.usefixtures("album")
def test_a_file_that_is_named_twice_is_read_once() -> None:
    assert found("album/a.png", "album/*a*", "album/a.png") == (["album/a.png"], [])


def test_what_names_nothing_is_said_and_the_others_go_on(album: Path) -> None:
    (album / "empty").mkdir()
    files, errors = found("gone.jpg", "empty", "album/a.png", "*.gif")
    assert files == ["album/a.png"]
    assert errors == [
        "gone.jpg: no such file or folder",
        "empty: expected pictures or videos in this folder, there are none",
        "*.gif: no file matches this pattern",
    ]


# Videos


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.AVI"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12.5, (64, 48))
    for level in (0, 100, 200):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def test_a_video_gives_its_frames_with_their_numbers_and_its_rate(video: Path) -> None:
    frames = list(pictures_in(str(video)))
    assert [(frame.frame, frame.rate) for frame in frames] == [(0, 12.5), (1, 12.5), (2, 12.5)]
    assert [round(frame.image.mean(), -1) for frame in frames] == [0, 100, 200]


def test_a_file_that_only_ends_like_a_video_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("hello")
    assert is_video("clip.mp4")
    with pytest.raises(UserError, match=r"clip.mp4: .*video"):
        list(pictures_in(str(tmp_path / "clip.mp4")))


def test_a_file_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.png: cannot be read: No such file"):
        list(pictures_in(str(tmp_path / "gone.png")))
