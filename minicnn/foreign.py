"""Files that are not ours, by what they are: somebody who gives one as weights should read what they gave."""

from pathlib import Path

_STARTS = (
    (b"\x89HDF", "an HDF5 file, perhaps Keras's"),
    (b"GGUF", "a GGUF file, a language model's"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a picture, sound or film"),
    (b"%PDF", "a PDF"),
    (b"\x7fELF", "a program"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PAR1", "a parquet table"),
    (b"version https://git-lfs", "a Git LFS pointer in place of the file (git lfs pull brings it)"),
    (b"<!DOCTYPE", "a web page, perhaps a download's error message"),
    (b"<!doctype", "a web page, perhaps a download's error message"),
    (b"<html", "a web page, perhaps a download's error message"),
    (b"\x08", "an ONNX model, perhaps"),
)

_MEMBERS = (
    (b"/data.pkl", "a PyTorch file, whose weights are pickled"),
    (b".npy", "NumPy arrays (.npz)"),
    (b"metadata.json", "a Keras model, perhaps"),
)
"""What the name of the first file in a zip archive says of it."""


def what_is(path: Path) -> str:
    """What a file is that was expected to be safetensors, in a few words, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        return "an empty one"
    if start[8:9] == b"{":  # after the length of the header, whose first byte may well be that of another format
        return "a damaged or truncated one"
    if start.startswith(b"PK\x03\x04"):
        name = start[30 : 30 + int.from_bytes(start[26:28], "little")]
        return next((what for end, what in _MEMBERS if name.endswith(end)), "a zip archive")
    if start[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    known = next((what for magic, what in _STARTS if start.startswith(magic)), None)
    return known or ("a text" if _is_text(start) else "something else, or a damaged one")


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode()
    except UnicodeDecodeError as error:  # a letter may be cut at the end
        text = start[: error.start].decode() if error.start > len(start) - 4 else "\0"
    return all(letter.isprintable() or letter in "\t\r\n" for letter in text)
