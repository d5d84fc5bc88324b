"""Disks that are full, and folders that cannot be written: one line says so, and once it is mended the work goes on."""

import os
import shutil
from pathlib import Path
from random import Random

import numpy as np

from minicnn.data import fer2013
from tests.faults import children, mounts, pictures, tiny
from tests.faults.tally import Tally
from tests.programs import write_faces

PAGE = 4096
FRAMES = 20
FULL = "disk full"
LOCKED = "folder that cannot be written"

_NO_ROOM = ("No space left on device", "File too large")
_NO_RIGHT = ("Read-only file system", "Permission denied")


def disturb(tally: Tally, folder: Path, random: Random, share: float) -> None:
    """Fill disks and lock folders, for training and for everything else that writes."""
    expected = tiny.straight(folder, tiny.RECIPES[0])
    sizes = range(0, sum(map(_room, expected.folder.iterdir())) + 2 * PAGE, PAGE)
    for size in _some(sizes, 40 * share):
        _training_on(tally, folder / f"train-{size}", expected, size + PAGE)
    _others(tally, folder, share)
    _locked(tally, folder, expected, max(1, round(5 * share)))


def _room(file: Path) -> int:
    return -(-file.stat().st_size // PAGE) * PAGE


def _some(values: range, count: float) -> list[int]:
    """So many of the values, evenly."""
    steps = np.linspace(0, 1, max(1, round(count)) + 2)[1:-1]
    return sorted({values[int(step * (len(values) - 1))] for step in steps})


def _training_on(tally: Tally, disk: Path, expected: tiny.Straight, size: int) -> None:
    """Train on a disk that is too small, make room, and go on."""
    run = disk / "run"
    begin = ("--data", tiny.faces(disk.parent), *expected.options, "--out", run)
    with tally.fault(FULL, f"train, {size:,} bytes"), mounts.small_disk(disk, size) as prepare:
        ended = children.run("train", *begin, *tiny.MACHINE, prepare=prepare)
        if ended.code:
            assert any(reason in ended.line() for reason in _NO_ROOM), ended
            tiny.assert_whole(run)
            mounts.enlarge(disk, 1 << 24)
            again = ("--resume", run) if (run / "config.toml").exists() else begin
            ended = children.run("train", *again, *tiny.MACHINE)
        assert ended.code == 0, ended
        tiny.assert_same(run, expected)


def _others(tally: Tally, folder: Path, share: float) -> None:
    """Fill the disk for all other programs that write files: what they leave is whole, or was there before."""
    weights, stills = pictures.network(folder), pictures.stills(folder, 6)
    reader = ("--weights", weights, "--threads", 1)
    programs: dict[str, tuple[object, ...]] = {
        "copies": ("predict", stills, "--out", "OUT/copies", *reader),
        "table": ("predict", stills, "--csv", "OUT/table.csv", *reader),
        "ONNX": ("export", weights, "--onnx", "OUT/network.onnx"),
    }
    for name, arguments in programs.items():
        whole = folder / f"{name}, whole"
        whole.mkdir()
        assert children.run(*_into(whole, arguments), prepare=pictures.plain).code == 0, name
        files = {path.relative_to(whole): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
        sizes = range(PAGE, sum(_room(whole / file) for file in files) + 2 * PAGE, PAGE)
        for size in _some(sizes, 12 * share):
            _program_on(tally, name, folder / f"{name}, {size}", arguments, files, size)
    for size in _some(range(PAGE, 40 * PAGE, PAGE), 12 * share):
        _import_on(tally, folder, size)
    if mounts.may_mount():  # what is left of a disk is looked at, which a limit on files does not change
        film = pictures.film(folder / "film.avi", FRAMES)
        for ending in ("avi", "mp4", "mkv"):
            for size in _some(range(256 * PAGE, 300 * PAGE, PAGE), 20 * share):  # recordings keep a MB free
                arguments = ("camera", "--no-window", "--source", film, "--record", f"OUT/seen.{ending}", *reader)
                _recording_on(tally, folder / f"{ending}-{size}", arguments, size)


def _into(folder: Path, arguments: tuple[object, ...]) -> list[object]:
    return [str(item).replace("OUT", str(folder)) if "OUT/" in str(item) else item for item in arguments]


def _program_on(
    tally: Tally, name: str, disk: Path, arguments: tuple[object, ...], files: dict[Path, bytes], size: int
) -> None:
    with tally.fault(FULL, f"{name}, {size:,} bytes"), mounts.small_disk(disk, size) as prepare:
        ended = children.run(*_into(disk, arguments), prepare=lambda: (prepare(), pictures.plain()))
        left = {path.relative_to(disk): path for path in disk.rglob("*") if path.is_file()}
        for path in left.values():
            assert not path.name.startswith("."), f"{path} is left"
        for file, path in left.items():
            assert path.read_bytes() == files[file], f"{file} is not whole"
        if ended.code:
            assert any(reason in ended.line() for reason in _NO_ROOM), ended
        else:
            assert left.keys() == files.keys(), f"it says that all is well, and left {sorted(map(str, left))}"


def _recording_on(tally: Tally, disk: Path, arguments: tuple[object, ...], size: int) -> None:
    """Record on a full disk: what is kept, if anything, is a film that says rightly how long it is."""
    with tally.fault(FULL, f"{disk.name}"), mounts.small_disk(disk, size):
        ended = children.run(*_into(disk, arguments), prepare=pictures.plain)
        for file in disk.iterdir():
            assert file.name.startswith("seen."), f"{file} is left"
            frames, promised = pictures.frames_of(file)
            assert frames == promised > 0, f"{frames} of {promised} frames"
            assert ended.code or frames == FRAMES, "it says that all is well"
        if ended.code:
            assert "no room left" in ended.line(), ended


def _import_on(tally: Tally, folder: Path, size: int) -> None:
    """Import on a full disk, make room, and import again."""
    source, disk = folder / "many.csv", folder / f"import-{size}"
    if not source.exists():
        write_faces(source, training=50)
    with tally.fault(FULL, f"import, {size:,} bytes"), mounts.small_disk(disk, size) as prepare:
        os.environ["MINICNN_DATA"] = str(disk)
        ended = children.run("data", "import", source, prepare=prepare)
        if ended.code:
            assert any(reason in ended.line() for reason in _NO_ROOM), ended
            assert not list(disk.iterdir()), sorted(disk.iterdir())
            mounts.enlarge(disk, 1 << 24)
            ended = children.run("data", "import", source)
        assert ended.code == 0, ended
        assert fer2013.load().splits["train"].images.size


def _locked(tally: Tally, folder: Path, expected: tiny.Straight, often: int) -> None:
    """In folders that cannot be written: results can be read, all else is one line, and a run goes on afterwards."""
    locks = {"by its rights": mounts.not_mine}
    if mounts.may_mount():
        locks["by a mount"] = mounts.read_only
    for name, lock in locks.items():
        for path in (folder, folder.parent):
            path.chmod(0o755)  # nobody must get in to be kept out
        begun = folder / f"begun, {name}"
        stopped = children.run(
            *("train", "--data", tiny.faces(folder), *expected.options, *tiny.MACHINE),
            *("--out", begun, "--time-limit", 1e-6),
        )
        assert "time limit" in stopped.err, stopped
        done = Path(shutil.copytree(expected.folder, folder / f"done, {name}"))
        with lock(begun) as prepare:
            for number in range(often):
                with tally.fault(LOCKED, f"resume, {name}, {number}"):
                    line = children.run("train", "--resume", begun, *tiny.MACHINE, prepare=prepare).line()
                    assert any(reason in line for reason in _NO_RIGHT), line
            with tally.fault(LOCKED, f"a run inside, {name}"):
                start = ("train", "--data", tiny.faces(folder), *expected.options, *tiny.MACHINE)
                line = children.run(*start, "--out", begun / "inside", prepare=prepare).line()
                assert any(reason in line for reason in _NO_RIGHT), line
        with tally.fault(LOCKED, f"resume once it is free, {name}"):
            assert children.run("train", "--resume", begun, *tiny.MACHINE).code == 0
            tiny.assert_same(begun, expected)
        with lock(done) as prepare:
            with tally.fault(LOCKED, f"eval, {name}"):
                ended = children.run("eval", done, "--json", *tiny.MACHINE, prepare=prepare)
                assert (ended.code, ended.out) == (0, expected.metrics), ended
            with tally.fault(LOCKED, f"resume what has ended, {name}"):
                ended = children.run("train", "--resume", done, "--json", *tiny.MACHINE, prepare=prepare)
                assert tiny.summary(ended.out) == tiny.summary((done / "result.json").read_text()), ended
